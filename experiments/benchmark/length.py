"""The time of a layer's gradient over the length of the sequence, in every engine."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import jax
from jax import Array

from experiments.benchmark.timing import compiled_gradient, machine, warm_seconds
from experiments.runner.console import console, drawing
from rnnlab.cells import Cell, find
from rnnlab.cells.base import Params
from rnnlab.recurrence import engines, unroll
from rnnlab.results import plots, runs
from rnnlab.results.tables import new_table, render

LENGTHS = (256, 1024, 4096, 16384, 65536)
CELLS = ('elman', 'lstm', 'gru', 'mingru', 'lru')
BATCH, INPUTS, UNITS = 8, 64, 128
WORK = f'batch {BATCH}, {INPUTS} inputs, {UNITS} units, float32'

Times = dict[str, dict[int, list[float]]]  # seconds, by cell/engine and time steps


def time_lengths(cells: Sequence[str], repeats: int, folder: Path) -> None:
    """Times the engines by turns; prints a table and writes length.json and length.png."""
    seconds: Times = {}
    for time_steps in LENGTHS:
        gradients = all_gradients(cells, time_steps)
        for _ in range(repeats):
            for name, gradient in gradients.items():
                times = seconds.setdefault(name, {}).setdefault(time_steps, [])
                times.append(warm_seconds(gradient))
        record = {'machine': machine(), 'work': WORK, 'seconds': seconds}
        runs.write_json(folder / 'length.json', record)
    medians = {
        name: {length: median(times) for length, times in by_length.items()}
        for name, by_length in seconds.items()
    }
    print_table(medians)
    console.print(f'written: {folder / "length.json"}')
    with drawing(path := folder / 'length.png'):
        plots.length(medians, path, f'The gradient of a layer: {WORK}')
        console.print(f'drawn: {path}')


def all_gradients(cells: Sequence[str], time_steps: int) -> dict[str, Callable[[], object]]:
    """The compiled gradient of all outputs, by cell/engine."""
    xs = jax.random.normal(jax.random.key(1), (time_steps, BATCH, INPUTS))
    found = {}
    for name in cells:
        cell = find(name)(UNITS)
        params = cell.init(jax.random.key(0), INPUTS)
        for engine in engines(cell):

            def outputs(
                params: Params, xs: Array, cell: Cell = cell, engine: str = engine
            ) -> Array:
                return unroll(cell, params, xs, engine=engine)[1]

            found[f'{name}/{engine}'] = compiled_gradient(outputs, params, xs)
    return found


def print_table(medians: dict[str, dict[int, float]]) -> None:
    columns = [f'T = {length:,}' for length in LENGTHS]
    table = new_table('cell/engine', *columns, right=tuple(columns))
    for name, by_length in medians.items():
        texts = [f'{1e3 * s:.3g} ({1e6 * s / length:.3g})' for length, s in by_length.items()]
        table.add_row(name, *texts)
    console.print(render(table))
    units = 'milliseconds of a gradient, in parentheses microseconds a step'
    console.print(f'\n{units}; {WORK}; {machine()}')
