"""The progress of a run or a sweep while it trains: a bar with the time left, or lines."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from statistics import fmean

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn

from experiments.runner.console import console, say
from experiments.runner.groups import Batch, Group
from rnnlab.results.ranking import Setting
from rnnlab.results.records import DIVERGED, Outcome, Row, Trial, Values
from rnnlab.results.tables import number
from rnnlab.results.trials import Place

COMPILING = 'compiling'

Program = tuple[str, int]  # what one compilation makes: the label of a group, the number of a rung


def seconds_left(
    left: Mapping[str, int], speeds: Mapping[str, float], compilations: int, each: float
) -> float | None:
    """How long the rest takes; None before anything is measured.

    Args:
        left: lane-steps by static configuration.
        speeds: seconds a lane-step of those that have trained; the others take their mean.
        compilations: programs that are not compiled yet.
        each: seconds that a compilation takes.
    """
    if not speeds:
        return None
    mean = fmean(speeds.values())
    return sum(n * speeds.get(label, mean) for label, n in left.items()) + compilations * each


class Clock:
    """Measures how long programs compile, and how fast each static configuration trains."""

    def __init__(self) -> None:
        self.at = time.perf_counter()
        self.compilations: list[float] = []  # seconds, of each program
        self.uncompiled = {'steps', 'evaluation'}
        self.trained: dict[str, tuple[float, int]] = {}  # seconds, lane-steps

    def lap(self) -> float:
        """The seconds since the last lap."""
        before, self.at = self.at, time.perf_counter()
        return self.at - before

    def compile(self) -> None:
        """Another program is compiled: its steps from now on, its evaluation at the first one."""
        self.lap()
        self.compilations.append(0.0)
        self.uncompiled = {'steps', 'evaluation'}

    def train(self, label: str, steps: int, evaluated: bool) -> None:
        """So many lane-steps have been trained, and perhaps evaluated, since the last call."""
        seconds, done = self.lap(), {'steps', *['evaluation'] * evaluated}
        if self.uncompiled & done:
            self.compilations[-1] += seconds
            self.uncompiled -= done
        else:
            before, number = self.trained.get(label, (0.0, 0))
            self.trained[label] = before + seconds, number + steps

    def left(self, left: Mapping[str, int], compilations: int = 0) -> str:
        """The time left, in words; '' while it is unknown."""
        speeds = {label: seconds / n for label, (seconds, n) in self.trained.items() if n}
        seconds = seconds_left(left, speeds, compilations, fmean(self.compilations))
        return '' if seconds is None else str(timedelta(seconds=round(seconds)))


def progress_bar(amount: ProgressColumn, mode: str) -> Progress:
    """A progress bar with the time left, on a terminal alone."""
    words = TextColumn('{task.description}', markup=False)
    columns = words, BarColumn(), amount, TextColumn('{task.fields[left]}')
    hidden = mode != 'bar' or not console.is_terminal
    return Progress(*columns, console=console, transient=True, disable=hidden)


def say_compiling(mode: str) -> None:
    """Says that a run compiles; the bar takes the place of that line."""
    if mode != 'none':
        console.print(COMPILING, end='\r' if mode == 'bar' and console.is_terminal else '\n')


@contextmanager
def run_progress(
    stop: int, step: int, mode: str = 'bar'
) -> Iterator[Callable[[int, Mapping[str, float], Row | None], None]]:
    """show(step, means, row) for a run's progress from `step` to `stop`.

    A bar shows the means of the training metrics, and a line each row, of the rows between epochs
    at most one a second.
    """
    clock, shown_at, last = Clock(), -math.inf, step
    clock.compile()
    with progress_bar(MofNCompleteColumn(), mode) as bar:
        task = bar.add_task(COMPILING, total=stop, completed=step, left='')

        def show(step: int, means: Mapping[str, float], row: Row | None) -> None:
            nonlocal shown_at, last
            clock.train('', step - last, row is not None)
            last = step
            words = '  '.join(f'{name} {number(value)}' for name, value in means.items())
            left = clock.left({'': stop - step})
            bar.update(task, completed=step, description=words, left=left)
            now = time.perf_counter()
            whole = row and (row.epoch == int(row.epoch) or step == stop or now - shown_at > 1)
            if row and whole and mode != 'none':
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
    groups: Sequence[Group], finished: Mapping[Place, Trial], ranked_by: Outcome, mode: str = 'bar'
) -> Iterator['SweepProgress']:
    """The progress of a sweep whose trials enter `finished` at the end of each batch."""
    with progress_bar(TextColumn('{task.percentage:3.0f} %'), mode) as bar:
        yield SweepProgress(groups, finished, ranked_by, bar, mode)


class SweepProgress:
    """Shows what compiles, and the spread of the trials that train.

    A bar shows all trials so far, and a line the end of each batch; without a bar there is a line
    for each compilation and every five seconds too.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        finished: Mapping[Place, Trial],
        ranked_by: Outcome,
        bar: Progress,
        mode: str,
    ) -> None:
        self.groups, self.finished, self.ranked_by = groups, finished, ranked_by
        self.bar, self.mode, self.clock = bar, mode, Clock()
        self.group_of = {number: group for group in groups for number in group.numbers}
        self.began = self.shown_at = time.perf_counter()
        numbered = ((group, n, rung) for group in groups for n, rung in enumerate(group.rungs, 1))
        every = {(group.label, n): rung for group, n, rung in numbered}
        self.steps = Counter({place: rung.lane_steps for place, rung in every.items()})
        self.lanes = {place: rung.lanes for place, rung in every.items()}
        self.task = bar.add_task('', total=self.steps.total(), left='')
        self.programs = len(self.to_compile(self.left()))
        self.batch: Batch | None = None
        self.step = 0

    def ours(self) -> list[Place]:
        return [place for place in self.finished if place[1] in self.group_of]

    def left(self) -> Counter[Program]:
        """The lane-steps of each program that are left, those of the current batch included."""
        left = self.steps.copy()
        for rung, trial in self.ours():
            group = self.group_of[trial]
            left[group.label, rung] -= group.rungs[rung - 1].stop - self.begin(group, rung, trial)
        return left

    def to_compile(self, left: Mapping[Program, int]) -> set[Program]:
        """The programs that train what is left, by their lanes: several rungs may share one."""
        return {(place[0], self.lanes[place]) for place, steps in left.items() if steps > 0}

    def begin(self, group: Group, rung: int, trial: int) -> int:
        """The step from which a trial is trained on a rung."""
        continues = rung > 1 and (rung - 1, trial) in self.finished
        return group.rungs[rung - 2].stop if continues else 0

    def compile(self, batch: Batch) -> None:
        """The program of a batch is about to be compiled."""
        self.clock.compile()
        which = len(self.clock.compilations)
        words = f'{COMPILING} {which} of {max(which, self.programs)}'
        rung = f'rung {batch.number}' if len(batch.group.rungs) > 1 else ''
        told = ', '.join(filter(None, (batch.group.label, rung)))
        words += f': {told}' if told else ''
        self.bar.update(self.task, description=words)
        if self.bar.disable and self.mode != 'none':
            say(words, indent=2)

    def train(self, batch: Batch, step: int, scores: np.ndarray | None) -> None:
        """A batch has been trained to a step.

        scores: values of the selection metric [batch_size], NaN of diverged trials; None before
        the first evaluation.
        """
        group, size = batch.group, len(batch.trials)
        rung, program = group.rungs[batch.number - 1], (group.label, batch.number)
        begin = 0 if batch.number == 1 else self.begin(group, batch.number, batch.trials[0].number)
        before = self.step if batch is self.batch else begin
        self.batch, self.step = batch, step
        self.clock.train(group.label, (step - before) * size, scores is not None)
        left = self.left()
        left[program] -= (step - begin) * size
        by_label = Counter[str]()
        for (label, _), steps in left.items():
            by_label[label] += steps
        others = len(self.to_compile(left) - {(group.label, rung.lanes)})
        ended = [self.finished[place] for place in self.ours() if place[0] == batch.number]
        words = spread(ended, scores, self.ranked_by)
        self.bar.update(
            self.task,
            completed=self.steps.total() - left.total(),
            description=f'{group.label}  {words}',
            left=self.clock.left(by_label, others),
        )
        self.line(batch, step, len(ended) + (size if step == rung.stop else 0), words)

    def line(self, batch: Batch, step: int, ended: int, words: str) -> None:
        """Prints a line at the end of a batch, and without a bar every five seconds."""
        group, now = batch.group, time.perf_counter()
        often = self.bar.disable and now - self.shown_at > 5
        if self.mode == 'none' or not (step == group.rungs[batch.number - 1].stop or often):
            return
        self.shown_at = now
        most = sum(group.rungs[batch.number - 1].trials for group in self.groups)
        trials, steps = f'{ended} of {most} trials', f'step {step} of {group.rungs[-1].stop}'
        parts = trials, group.label, steps, words, f'{now - self.began:.1f} s'
        say(*filter(None, parts), indent=2)


def spread(finished: list[Trial], scores: np.ndarray | None, outcome: Outcome) -> str:
    """Best, median and number of diverged trials, of finished ones and of those in training."""
    running = np.zeros(0) if scores is None else scores
    alive = Setting({}, finished).values(outcome) + running[np.isfinite(running)].tolist()
    diverged = sum(trial.status == DIVERGED for trial in finished) + int(np.isnan(running).sum())
    if not alive:
        return 'no evaluation yet'
    best = max(alive, key=outcome.score)
    return f'best {best:.4f}  median {np.median(alive):.4f}  diverged {diverged}'
