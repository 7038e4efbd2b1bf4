"""How parameters start, preset by preset: the spectral radius of each gate's recurrent matrix, and its bias.

python -m experiments.starts
python -m experiments.starts --cells=lstm,lru --hidden_size=256
"""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import mean, stdev

import jax
import numpy as np
from absl import flags

import experiments.runner.cli
from experiments.runner.cli import FLAGS
from experiments.runner.console import console
from rnnlab.analysis.describe import owners, spans
from rnnlab.analysis.diagnostics import spectral_radii
from rnnlab.cells import Cell, find
from rnnlab.initializers import PRESETS
from rnnlab.results.tables import new_table, render

experiments.runner.cli.seed()
flags.adopt_module_key_flags(experiments.runner.cli)
flags.DEFINE(
    experiments.runner.cli.CellsParser(),
    'cells',
    ['elman', 'lstm', 'gru', 'lru', 's5', 'rg_lru'],
    'Recurrent cells.',
)
flags.DEFINE_integer('hidden_size', 128, 'Units.', lower_bound=1)
flags.DEFINE_integer('inputs', 28, 'Values of a time step.', lower_bound=1)
flags.DEFINE_integer('draws', 10, 'Starts that are drawn.', lower_bound=2)
flags.DEFINE_float('chrono', 100.0, 'Longest memory, in steps, of the chrono start.', lower_bound=2)


def main() -> None:
    table = new_table('cell', 'start', 'spectral radius', 'bias of a gate: mean, least, greatest')
    keys = jax.random.split(jax.random.key(FLAGS.seed), FLAGS.draws)
    for name in FLAGS.cells:
        for number, (start, cell) in enumerate(starts(find(name))):
            drawn = [cell.init(key, FLAGS.inputs) for key in keys]
            radii = [spectral_radii(cell, params, FLAGS.inputs) for params in drawn]
            shown = '  '.join(
                f'{gate} {spread([draw[gate] for draw in radii])}' for gate in radii[0]
            )
            table.add_row(
                '' if number else name, start, shown or '—', '  '.join(biases(cell, drawn)) or '—'
            )
        table.add_section()
    console.print(
        f'{FLAGS.draws} draws, hidden size {FLAGS.hidden_size}, {FLAGS.inputs} inputs: mean ± standard deviation\n'
    )
    console.print(render(table))


def starts(make: Callable[..., Cell]) -> Iterator[tuple[str, Cell]]:
    """The cell by the name of each start that it takes."""
    make = partial(make, FLAGS.hidden_size)
    takes = make().hyperparameters
    if 'init' not in takes:
        yield 'its own', make()
        return
    for preset in PRESETS:
        yield preset, make(init=preset)
    if 'chrono' in takes:
        yield f'keras, --chrono={FLAGS.chrono:g}', make(chrono=FLAGS.chrono)


def spread(values: list[float]) -> str:
    return f'{mean(values):.2f} ± {stdev(values):.2f}'


def biases(cell: Cell, drawn: list) -> Iterator[str]:
    """What the gates' biases are, those of both sides added, of gates that do not all start at 0."""
    parts: dict[str, np.ndarray] = {}
    for name, _, _, gates in owners(cell, drawn[0], FLAGS.inputs):
        if 'bias' in name:
            for gate, (begin, end) in spans(gates):
                parts[gate] = parts.get(gate, np.float32(0)) + np.array(
                    [params[name][begin:end] for params in drawn]
                )
    for gate, values in parts.items():
        if values.any():
            yield f'{gate} {values.mean():+.2f}, {values.min():+.2f}, {values.max():+.2f}'


if __name__ == '__main__':
    experiments.runner.cli.run(main)
