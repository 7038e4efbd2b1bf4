"""What is shown on the terminal: lines, and the tables of runs and sweeps."""

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from experiments.runner.fields import shown
from rnnlab.cells.base import Params
from rnnlab.data import Split
from rnnlab.errors import first_line
from rnnlab.models import Model
from rnnlab.results.records import Json, Metrics, Summary
from rnnlab.results.tables import lines, new_table, number, render


class Output(Console):
    """Standard output; where nobody reads it any longer, what follows is lost, but no training."""

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = Output(highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(*parts: str, indent: int = 0) -> None:
    """Prints a line, broken between its parts or at blanks where the terminal is narrow."""
    console.print(lines(*parts, indent=indent))


@contextmanager
def drawing(path: Path) -> Iterator[None]:
    """A picture is drawn inside; if that fails, this is said, and the run continues."""
    try:
        yield
    except Exception as error:  # numbers are written by now, and no fault of a picture costs them
        with suppress(OSError):
            path.unlink()  # half a picture, or one of other numbers
        say(f'{path} is not drawn: {first_line(error)}')


@contextmanager
def silenced(number: int) -> Iterator[None]:
    """What libraries write inside to a file descriptor, 1 or 2, is lost."""
    there, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    try:
        yield
    finally:
        os.dup2(there, number)
        os.close(there)
        os.close(nowhere)


def summary_table(summary: Summary, metrics: Metrics) -> str:
    """The result of a run, in one row."""
    columns = {f'test {name}': number(value) for name, value in summary.test.items()}
    if summary.best is not None:
        selection = metrics.selection.name
        columns[f'validation {selection}: best'] = number(summary.best)
        columns['last'] = number(summary.last['validation'][selection])
    if summary.baseline is not None:
        columns['memoryless'] = number(summary.baseline)
    if summary.kept_step != summary.steps:
        columns['kept step'] = f'{summary.kept_step:,}'
    columns['parameters'] = f'{summary.parameters:,}'
    columns['steps'] = f'{summary.steps:,}'
    columns['seconds'] = f'{summary.seconds:.1f}'
    table = new_table(*columns, right=tuple(columns))
    table.add_row(*columns.values())
    return render(table)


def tests_table(summary: Summary) -> str:
    """The metrics of the further test splits, a line for each length."""
    names = next(iter(summary.tests.values()))
    table = new_table('test length', *names, right=('test length', *names))
    for length, values in summary.tests.items():
        table.add_row(f'{length:,}', *(number(values[name]) for name in names))
    return render(table)


def prediction_table(model: Model, params: Params, test: Split) -> str:
    """The labels of the first ten test examples and the classes that the model predicts."""
    first = jax.tree.map(lambda leaf: leaf[:10], test)
    predicted = np.argmax(jax.jit(model.apply)(params, first.inputs, first.lengths), axis=-1)
    headings = [str(at) for at in range(len(predicted))]
    table = new_table('test example', *headings, right=tuple(headings))
    table.add_row('label', *map(str, first.labels))
    table.add_row('predicted', *map(str, predicted))
    return render(table)


def settings_table(
    rows: list[tuple[int, Json]], names: Sequence[str], open_names: Collection[str]
) -> str:
    """The number and settings of each trial; a search chooses those in `open_names`."""
    table = new_table('trial', *names, right=('trial', *names))
    for trial, settings in rows:
        cells = ('searched' if name in open_names else shown(settings[name]) for name in names)
        table.add_row(str(trial), *cells)
    return render(table)
