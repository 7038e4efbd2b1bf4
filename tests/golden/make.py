"""Writes torch.npz and keras.npz beside this file: the results of experiments.parity, in float64.

    KERAS_BACKEND=jax python -m tests.golden.make         # with the extra `peers`

For each cell: the `shapes` of its weights (JSON), raveled `weights` and `carry`, `xs`, `lengths`,
and the library's `outputs`, `after` (final carries), `d weights`, `d inputs` and `d carry`. For
each optimizer: the parameters after every tenth step.
"""

import json
from pathlib import Path

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments.parity.harness import Image, make_point
from experiments.parity.libraries import PEERS
from experiments.parity.optimizers import PATHS, SETTINGS

IMAGES: dict[str, Image] = {'conv_lstm': (6,)}
CASES = {
    'torch': ('elman', 'irnn', 'lstm', 'lstm_projected', 'gru'),
    'keras': ('elman', 'irnn', 'lstm', 'conv_lstm', 'gru', 'gru_reset_before'),
}


def arrays(library: str, name: str):
    peer = PEERS[library](name, IMAGES.get(name, ()))
    assert peer, f'{library} has no {name}'
    weights, xs, carries = at = make_point(peer.weights, peer.convert)
    shapes = json.dumps(jax.tree.map(lambda leaf: list(leaf.shape), weights))
    results = peer.results(*at)
    results['after'] = results.pop('carry')
    kept = {'weights': weights, 'carry': carries} | results
    yield from {'shapes': shapes, 'xs': xs, 'lengths': peer.lengths}.items()
    yield from (
        (what, value if what in ('outputs', 'd inputs') else ravel_pytree(value)[0])
        for what, value in kept.items()
    )


def main():
    jax.config.update('jax_enable_x64', True)
    for library, names in CASES.items():
        kept = {
            f'{name}.{what}': np.asarray(value)
            for name in names
            for what, value in arrays(library, name)
        }
        kept |= {
            f'{optimizer}.parameters': PATHS[library][1](optimizer)[9::10] for optimizer in SETTINGS
        }
        np.savez_compressed(Path(__file__).parent / f'{library}.npz', **kept)


if __name__ == '__main__':
    main()
