"""What a run or a sweep shows on the terminal: its progress, and the tables at its end."""

import math
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from experiments.runner.fields import shown
from rnnlab.data import Split
from rnnlab.errors import first_line
from rnnlab.models import Model
from rnnlab.results.records import DIVERGED, Json, Metrics, Outcome, Row, Summary, Trial, Values
from rnnlab.results.tables import lines, new_table, render
from rnnlab.results.trials import Setting


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


class Rung(Protocol):
    """What is shown of the trials that one compiled program trains."""

    @property
    def stop(self) -> int: ...  # the last step of each trial
    @property
    def trials(self) -> int: ...
    @property
    def lanes(self) -> int: ...
    @property
    def batch_bytes(self) -> int: ...  # memory of a batch of trials


class Group(Protocol):
    """What is shown of the trials of one static configuration."""

    @property
    def label(self) -> str: ...
    @property
    def numbers(self) -> list[int]: ...  # of its trials
    @property
    def rungs(self) -> Sequence[Rung]: ...


class Batch(Protocol):
    """What is shown of the trials that train side by side."""

    @property
    def group(self) -> Group: ...
    @property
    def trials(self) -> Sequence[Any]: ...
    @property
    def number(self) -> int: ...  # of the rung


def number(value: float | None, beside: float | None = None) -> str:
    """A metric's value with four decimals, or with two digits if it is below 0.01; '-' for None.

    beside: the value whose format it takes, as a standard deviation that of its mean.
    """
    if value is None:
        return '-'
    size = abs(value if beside is None else beside)
    return f'{value:.4f}' if size == 0 or size >= 0.01 else f'{value:.1e}'


def progress_bar(amount: ProgressColumn) -> Progress:
    """A progress bar, on a terminal alone."""
    words = TextColumn('{task.description}', markup=False)
    columns = words, BarColumn(), amount, TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def run_progress(
    stop: int, step: int
) -> Iterator[Callable[[int, Mapping[str, float], Row | None], None]]:
    """show(step, means, row) for a run's progress from `step` to `stop`.

    A bar shows the means of the training metrics, and a line each row, of the rows between epochs
    at most one a second.
    """
    with progress_bar(MofNCompleteColumn()) as bar:
        task, shown_at = bar.add_task('compiling', total=stop, completed=step), -math.inf

        def show(step: int, means: Mapping[str, float], row: Row | None) -> None:
            nonlocal shown_at
            words = '  '.join(f'{name} {number(value)}' for name, value in means.items())
            bar.update(task, completed=step, description=words)
            now = time.perf_counter()
            if row and (row.epoch == int(row.epoch) or step == stop or now - shown_at > 1):
                shown_at = now
                say(*row_parts(row), indent=2)

        yield show


def row_parts(row: Row) -> Iterator[str]:
    """The parts of the line of an evaluation."""
    yield f'epoch {row.epoch:5.2f}  step {row.step:6d}'
    yield from (f'{split} {values_words(values)}' for split, values in row.splits.items())
    yield f'{row.seconds:.1f} s'


def values_words(values: Values) -> str:
    return ' '.join(f'{name} {number(value)}' for name, value in values.items())


@contextmanager
def sweep_progress(
    groups: Sequence[Group], finished: Mapping[tuple[int, int], Trial], ranked_by: Outcome
) -> Iterator[Callable[[Batch, int, np.ndarray | None], None]]:
    """show(batch, step, scores) for a batch of trials in training.

    scores: values of the selection metric [batch_size], NaN of diverged trials; None before the
    first evaluation. A bar shows the spread of all trials so far, and a line the end of each batch;
    without a terminal there is a line every five seconds too.
    """
    began = shown_at = time.perf_counter()
    group_of = {number: group for group in groups for number in group.numbers}
    total = sum(rung.trials * steps_in(group, n) for group in groups for n, rung in numbered(group))
    with progress_bar(TextColumn('{task.percentage:3.0f} %')) as bar:
        task = bar.add_task('compiling', total=total)

        def show(batch: Batch, step: int, scores: np.ndarray | None) -> None:
            nonlocal shown_at
            group, size, stop = batch.group, len(batch.trials), batch.group.rungs[-1].stop
            ours = [place for place in finished if place[1] in group_of]
            done = sum(steps_in(group_of[number], rung) for rung, number in ours)
            left = group.rungs[batch.number - 1].stop - step
            done += (steps_in(group, batch.number) - left) * size
            before = [finished[place] for place in ours if place[0] == batch.number]
            words = spread(before, scores, ranked_by)
            bar.update(task, completed=done, description=f'{group.label}  {words}')
            now = time.perf_counter()
            if not left or (not console.is_terminal and now - shown_at > 5):
                shown_at = now
                ended = len(before) + (0 if left else size)
                most = sum(group.rungs[batch.number - 1].trials for group in groups)
                trials, steps = f'{ended} of {most} trials', f'{step} of {stop}'
                parts = trials, group.label, f'step {steps}', words, f'{now - began:.1f} s'
                say(*filter(None, parts), indent=2)

        yield show


def numbered(group: Group) -> Iterator[tuple[int, Rung]]:
    return enumerate(group.rungs, 1)


def steps_in(group: Group, number: int) -> int:
    """The steps of a trial in a rung."""
    before = group.rungs[number - 2].stop if number > 1 else 0
    return group.rungs[number - 1].stop - before


def spread(finished: list[Trial], scores: np.ndarray | None, outcome: Outcome) -> str:
    """Best, median and number of diverged trials, of finished ones and of those in training."""
    running = np.zeros(0) if scores is None else scores
    alive = Setting({}, finished).values(outcome) + running[np.isfinite(running)].tolist()
    diverged = sum(trial.status == DIVERGED for trial in finished) + int(np.isnan(running).sum())
    if not alive:
        return 'no evaluation yet'
    best = max(alive, key=outcome.score)
    return f'best {best:.4f}  median {np.median(alive):.4f}  diverged {diverged}'


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


def prediction_table(model: Model, params: Any, test: Split) -> str:
    """The labels of the first ten test examples and the classes that the model predicts."""
    first = jax.tree.map(lambda leaf: leaf[:10], test)
    predicted = np.argmax(jax.jit(model.apply)(params, first.inputs, first.lengths), axis=-1)
    headings = [str(at) for at in range(len(predicted))]
    table = new_table('test example', *headings, right=tuple(headings))
    table.add_row('label', *map(str, first.labels))
    table.add_row('predicted', *map(str, predicted))
    return render(table)


def groups_table(groups: Sequence[Group]) -> str:
    """The programs of a sweep, and how the trials of each are divided into batches of lanes."""
    columns = 'trials', 'lanes', 'batches', 'steps', 'MB a batch'
    table = new_table('program', *columns, right=columns)
    for at, group in enumerate(groups, 1):
        for number, rung in numbered(group):
            batches = -(-rung.trials // rung.lanes)
            values = rung.trials, rung.lanes, batches, rung.stop, rung.batch_bytes / 1e6
            parts = group.label or str(at), f'rung {number}' if len(group.rungs) > 1 else ''
            table.add_row('  '.join(filter(None, parts)), *(f'{value:,.0f}' for value in values))
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
