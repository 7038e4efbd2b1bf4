"""The lanes that continue from one rung to the next, gathered into a smaller program."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from experiments.runner import loop
from experiments.runner.loop import Progress
from rnnlab.cells.base import Tree
from rnnlab.errors import InputError
from rnnlab.results import runs, trials
from rnnlab.training import checkpoint

Source = tuple[Path, int, int]  # of a lane: the folder of a checkpoint, its lane there, how many

HEX = '[0-9a-f]' * 8  # the end of the name of a state; the folders of attempts have more


def states_of(folder: Path, rung: int, numbers: Sequence[int]) -> list[Source]:
    """Where the states of trials are at the end of a rung; InputError where one is gone."""
    found: dict[int, Source] = {}
    for path in (folder / trials.WAVES).glob('*.json'):
        there = [trial['trial'] for trial in runs.read_json(path)['trials']]
        if path == trials.wave_path(folder, there[0], rung):
            for where in (folder / trials.STATES).glob(f'{path.stem}.{HEX}'):
                found |= {number: (where, lane, len(there)) for lane, number in enumerate(there)}
    if gone := [number for number in numbers if number not in found]:
        words = f'{folder / trials.STATES} has no state of trial {gone[0]} on rung {rung}'
        raise InputError(f'{words}; remove {folder} and train again')
    return [found[number] for number in numbers]


def gather(progress: Progress, sources: Sequence[Source], step: int) -> None:
    """Begins at a step with the lanes that checkpoints hold; the last one fills the program up."""
    folders = dict.fromkeys(folder for folder, _, _ in sources)
    trees = {folder: read(folder) for folder in folders}
    filled = [*sources, *[sources[-1]] * (progress.program.lanes - len(sources))]

    def lanes(part: str, axis: int) -> Tree:
        own = [
            jax.tree.map(lambda leaf, at=lane: np.take(leaf, [at], axis), trees[folder][part])
            for folder, lane, _ in filled
        ]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis), *own)

    for tree in trees.values():
        del tree['state']['step']
    saved = {'state': lanes('state', 0), 'history': lanes('history', 1)}
    saved['state']['step'] = np.int32(step)
    saved['fingerprint'] = progress.fingerprint
    saved['seconds'] = np.float64(sum(trees[f]['seconds'] / held for f, _, held in sources))
    if progress.best:
        saved['best'] = lanes('best', 0)
    loop.take_up(progress, checkpoint.typed(saved, progress.tree(), next(iter(folders))))


def read(folder: Path) -> dict[str, Tree]:
    """The tree of a checkpoint; InputError where there is none."""
    with checkpoint.open_checkpoints(folder) as checkpoints:
        if (tree := checkpoint.restore(checkpoints)) is None:
            words = f'{folder} holds no state to continue from'
            raise InputError(f'{words}; remove {folder.parent.parent} and train again')
    return tree
