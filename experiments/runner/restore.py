"""A finished run's configuration and parameters, to use it again."""

from pathlib import Path

import jax
import numpy as np

from experiments.runner.fields import Kind, specs
from experiments.runner.task import C
from rnnlab.cells.base import Arrays, Params
from rnnlab.errors import InputError
from rnnlab.models import Model
from rnnlab.results import runs
from rnnlab.training import checkpoint, lanes

EXPERIMENTS = 'mnist', 'imdb', 'classify', 'series', 'text', 'memory', 'listops'  # those that train
CHUNK = 500  # sequences that are classified at once


def recall(name: str, config: C, flag: str, but: tuple[str, ...] = ()) -> tuple[Path, C]:
    """The folder in --out and the configuration of its run, a run of the experiment `name`.

    Operational fields, and those in `but`, are as in `config`. Raises InputError for another
    experiment's folder, and for a flag that the run had otherwise.
    """
    if not config.out:
        raise InputError(f'{flag} goes with --out=DIR, the folder of a run that has been trained')
    if others := config.changed('sweep', 'resume'):
        raise InputError(f'{flag} goes without --{others[0]}: it trains nothing')
    folder, cls = Path(config.out), type(config)
    record = runs.read_json(folder / runs.CONFIG)
    if record.get('experiment') != name:
        raise InputError(f'{folder} holds a run of {record.get("experiment")}, not of {name}')
    saved = cls.from_json(record, f'the run in {folder}')
    kinds = specs(cls).items()
    own = {n for n, spec in kinds if spec.kind is Kind.OPERATIONAL} | {*but}
    for n in sorted(config.given & specs(cls).keys() - own):
        before, now = getattr(saved, n), getattr(config, n)
        if before != now:
            words = f'the run in {folder} was made with --{n}={before}, not {now}'
            raise InputError(f'{words}; leave --{n} out')
    return folder, saved.replace(**{n: getattr(config, n) for n in own}, given=config.given)


def restore_params(folder: Path, like: Params) -> Params:
    """The parameters that a run kept, with the shapes of `like`."""
    path, saved = folder / runs.CHECKPOINT, None
    if path.is_dir():
        with checkpoint.open_checkpoints(path) as checkpoints:
            saved = checkpoint.restore(checkpoints)
    if saved is None:
        raise InputError(f'there is no checkpoint in {folder} yet; train first')
    evaluated = 'best' in saved and saved['best']['step'][0] > 0
    params = lanes.lane((saved['best'] if evaluated else saved['state'])['params'], 0)
    checkpoint.check_shapes(params, like, path)
    runs.check_fingerprint(folder, saved['fingerprint'])
    return params


def probabilities(net: Model, params: Params, inputs: Arrays, lengths: Arrays | None) -> np.ndarray:
    """The probability of each class [N, K], for sequences [N, T, D] or ids [N, T]."""
    apply, size = jax.jit(net.apply), min(CHUNK, len(inputs))
    parts = []
    for begin in range(0, len(inputs), size):
        rows = np.arange(begin, begin + size) % len(inputs)  # the last chunk is filled up
        logits = apply(params, inputs[rows], None if lengths is None else lengths[rows])
        parts.append(jax.nn.softmax(logits))
    return np.concatenate(parts)[: len(inputs)]
