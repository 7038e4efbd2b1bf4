"""How parameters are initialized: spectral radii and biases of the gates, by initializer.

python -m experiments.starts
python -m experiments.starts --cells=lstm,lru --hidden_size=256
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import mean, stdev

import jax
import numpy as np

from experiments.runner import cli
from experiments.runner.config import known_cells
from experiments.runner.console import console, say
from experiments.runner.fields import operational
from experiments.runner.training import Seed
from rnnlab.analysis.describe import parameters, spans
from rnnlab.analysis.diagnostics import spectral_radii
from rnnlab.cells import Cell, find
from rnnlab.cells.base import Params
from rnnlab.initializers import INITIALIZERS
from rnnlab.results.tables import new_table, render
from rnnlab.training.memory import check, shapes, size


@dataclass(frozen=True, kw_only=True)
class Config(Seed):
    cells: tuple[str, ...] = operational(
        ('elman', 'lstm', 'gru', 'lru', 's5', 'rg_lru'), 'Recurrent cells.', check=known_cells
    )
    hidden_size: int = operational(128, 'Units.', low=1)
    inputs: int = operational(28, 'Features of a time step.', low=1)
    draws: int = operational(10, 'Number of draws.', low=2)
    chrono: float = operational(
        100.0,
        'Longest memory, in steps, of the chrono initializer.',
        check=lambda steps: 2 <= steps < math.inf,
        must='must be 2 time steps or more',
    )


def main(config: Config) -> None:
    headings = 'cell', 'initializer', 'spectral radius', 'bias of a gate: mean, least, greatest'
    table = new_table(*headings)
    key = jax.random.key(config.seed)
    for name in config.cells:
        for number, (initializer, cell) in enumerate(initialized(config, find(name))):
            init = partial(cell.init, inputs=config.inputs)
            what = f'`draws={config.draws}` of {name} with `hidden_size={config.hidden_size}`'
            check(what, config.draws * size((key, shapes(init, key))))
            drawn = [init(own) for own in jax.random.split(key, config.draws)]
            radii = [spectral_radii(cell, params, config.inputs) for params in drawn]
            shown = (f'{gate} {spread([draw[gate] for draw in radii])}' for gate in radii[0])
            cells = '  '.join(shown), '  '.join(biases(config, cell, drawn))
            table.add_row('' if number else name, initializer, *(text or '—' for text in cells))
        table.add_section()
    sizes = f'hidden size {config.hidden_size}, {config.inputs} inputs'
    say(f'{config.draws} draws, {sizes}: mean ± standard deviation')
    console.print(f'\n{render(table)}')


def initialized(config: Config, make: Callable[..., Cell]) -> Iterator[tuple[str, Cell]]:
    """The cell with each initializer that it takes, by name."""
    make = partial(make, config.hidden_size)
    takes = make().hyperparameters
    if 'init' not in takes:
        yield 'its own', make()
        return
    for name in INITIALIZERS:
        yield name, make(init=name)
    if 'chrono' in takes:
        yield f'keras, --chrono={config.chrono:g}', make(chrono=config.chrono)


def spread(values: list[float]) -> str:
    return f'{mean(values):.2f} ± {stdev(values):.2f}'


def biases(config: Config, cell: Cell, drawn: list[Params]) -> Iterator[str]:
    """The biases of the gates, those of both sides added, unless all are initialized to 0."""
    parts: dict[str, np.ndarray] = {}
    for name, _, _, gates in parameters(cell, drawn[0], config.inputs):
        if 'bias' in name:
            for gate, (begin, end) in spans(gates):
                own = np.array([params[name][begin:end] for params in drawn])
                parts[gate] = parts.get(gate, np.float32(0)) + own
    for gate, values in parts.items():
        if values.any():
            yield f'{gate} {values.mean():+.2f}, {values.min():+.2f}, {values.max():+.2f}'


if __name__ == '__main__':
    cli.run(Config, main)
