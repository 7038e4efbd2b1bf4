"""Networks, frameworks and data of the tests of other frameworks' weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parity.harness import run
from rnnlab import CELLS, bidirectional, recurrent
from rnnlab.interop import from_flax, from_keras, from_torch, to_flax, to_keras, to_torch
from rnnlab.models import network
from tests.conftest import noisy

EXACT = 1e-12
D, H, T, B = 3, 4, 5, 2
# name: (to, from, its kinds, the argument that tells that an Elman cell has ReLUs)
FRAMEWORKS = {
    'torch': (
        to_torch,
        from_torch,
        ('elman', 'irnn', 'lstm', 'gru', 'lstm_projected'),
        'nonlinearity',
    ),
    'keras': (
        to_keras,
        from_keras,
        ('elman', 'irnn', 'lstm', 'gru', 'gru_reset_before'),
        'activation',
    ),
    'flax': (to_flax, from_flax, ('elman', 'irnn', 'lstm', 'gru', 'ugrnn'), 'activation'),
}
HAIKU = ('irnn', 'lstm', 'gru_chung')


def options(framework, kind):
    return {FRAMEWORKS[framework][3]: 'relu'} if kind == 'irnn' else {}


def stacked(kind, both, hidden=H, **start):
    def layer():
        cell = CELLS[kind](hidden, **start)
        return bidirectional(cell, cell) if both else recurrent(cell)

    return [layer() for _ in range(2 if both else 1)]


def made(layers, inputs=D, **others):
    """(a network, params of it without a zero)"""
    net = network(layers, inputs=inputs, outputs=3, **others)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return net, noisy(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))


def params_of(layers):
    return made(layers)[1]


def outputs(weights, xs, carry):
    """Those of layers of one kind, from a carry [h, or c and h; layer and direction; B; H]."""
    layers, params = weights
    carries = [(*fields,) for fields in jnp.moveaxis(carry, 1, 0)]
    return jax.jit(lambda *at: run(lambda params: (layers, params), 'any', *at, (T,) * B)[0])(
        params, xs, carries
    )


def data(kind, directions, dtype=jnp.float64):
    rng = np.random.default_rng(3)
    xs, carry = (
        rng.normal(0, 1, (T, B, D)),
        rng.normal(0, 1, (2 if kind == 'lstm' else 1, directions, B, H)),
    )
    return jnp.asarray(xs, dtype), jnp.asarray(carry, dtype)


KERAS = pytest.mark.filterwarnings('default')  # Keras's own
