"""How parameters start, preset by preset: the spectral radius of each gate's recurrent matrix, and its bias.

python -m experiments.starts
python -m experiments.starts --cells=lstm,lru --hidden_size=256
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import mean, stdev

import jax
import numpy as np

import experiments.runner.config as groups
from experiments.runner import cli
from experiments.runner.console import console
from experiments.runner.fields import operational
from rnnlab.analysis.describe import parameters, spans
from rnnlab.analysis.diagnostics import spectral_radii
from rnnlab.cells import Cell, find
from rnnlab.initializers import INITIALIZERS
from rnnlab.results.tables import new_table, render


@dataclass(frozen=True, kw_only=True)
class Config(groups.Seed):
    cells: tuple[str, ...] = operational(
        ('elman', 'lstm', 'gru', 'lru', 's5', 'rg_lru'),
        'Recurrent cells.',
        check=groups.known_cells,
    )
    hidden_size: int = operational(128, 'Units.', low=1)
    inputs: int = operational(28, 'Features of a time step.', low=1)
    draws: int = operational(10, 'Number of draws.', low=2)
    chrono: float = operational(
        100.0, 'Longest memory, in steps, of the chrono initializer.', low=2
    )


def main(config: Config) -> None:
    table = new_table('cell', 'start', 'spectral radius', 'bias of a gate: mean, least, greatest')
    keys = jax.random.split(jax.random.key(config.seed), config.draws)
    for name in config.cells:
        for number, (start, cell) in enumerate(starts(config, find(name))):
            drawn = [cell.init(key, config.inputs) for key in keys]
            radii = [spectral_radii(cell, params, config.inputs) for params in drawn]
            shown = '  '.join(
                f'{gate} {spread([draw[gate] for draw in radii])}' for gate in radii[0]
            )
            table.add_row(
                '' if number else name,
                start,
                shown or '—',
                '  '.join(biases(config, cell, drawn)) or '—',
            )
        table.add_section()
    console.print(
        f'{config.draws} draws, hidden size {config.hidden_size}, {config.inputs} inputs: mean ± standard deviation\n'
    )
    console.print(render(table))


def starts(config: Config, make: Callable[..., Cell]) -> Iterator[tuple[str, Cell]]:
    """The cell by the name of each start that it takes."""
    make = partial(make, config.hidden_size)
    takes = make().hyperparameters
    if 'init' not in takes:
        yield 'its own', make()
        return
    for preset in INITIALIZERS:
        yield preset, make(init=preset)
    if 'chrono' in takes:
        yield f'keras, --chrono={config.chrono:g}', make(chrono=config.chrono)


def spread(values: list[float]) -> str:
    return f'{mean(values):.2f} ± {stdev(values):.2f}'


def biases(config: Config, cell: Cell, drawn: list) -> Iterator[str]:
    """What the gates' biases are, those of both sides added, of gates that do not all start at 0."""
    parts: dict[str, np.ndarray] = {}
    for name, _, _, gates in parameters(cell, drawn[0], config.inputs):
        if 'bias' in name:
            for gate, (begin, end) in spans(gates):
                parts[gate] = parts.get(gate, np.float32(0)) + np.array(
                    [params[name][begin:end] for params in drawn]
                )
    for gate, values in parts.items():
        if values.any():
            yield f'{gate} {values.mean():+.2f}, {values.min():+.2f}, {values.max():+.2f}'


if __name__ == '__main__':
    cli.run(Config, main)
