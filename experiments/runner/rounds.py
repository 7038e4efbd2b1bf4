"""Which trials are trained when: rounds of batches, each chosen by the results of those before."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.runner.lanes import Batch, Group, Planned, Sweep, plan_trial
from experiments.runner.task import Task
from rnnlab.results import trials
from rnnlab.results.records import Outcome
from rnnlab.sweeps import search
from rnnlab.sweeps.axes import Drawn, Grid, Settings

POINTS = 8  # that a search tries at once

Axes = Sequence[Grid | Drawn]
Round = list[Batch]  # batches that need no result of each other


def rounds(
    task: Task, config: Any, groups: list[Group], axes: Axes, shared: Sweep
) -> Iterator[Round]:
    """The rounds of a sweep.

    Take the next round once the trials of the last are in `shared.finished`. The same results make
    the same rounds, so that a resumed sweep begins with the finished ones.
    """
    if config.search:
        for group in groups:
            yield from searched(task, config, group, axes, shared)
    else:
        yield from halved(groups, config.eta, shared)


def halved(groups: list[Group], eta: int, shared: Sweep) -> Iterator[Round]:
    """A round for each rung, with the settings that did best at the end of the one before.

    All settings of the sweep are compared, by the mean over their seeds of the validation metric
    at the end of the rung. A single rung is all trials.
    """
    left, settings = [trial.number for group in groups for trial in group.trials], 0
    last, outcome = len(groups[0].rungs), Outcome('last', shared.record.metrics.selection)
    for rung in range(1, last + 1):
        yield [
            batch
            for group in groups
            for batch in divided(group, [t for t in group.trials if t.number in left], rung)
        ]
        drop_states(shared.folder, rung)
        if rung < last:
            ranked = trials.by_setting([shared.finished[rung, n] for n in sorted(left)], outcome)
            settings = settings or len(ranked)
            best = ranked[: settings // eta**rung]
            left = [trial.number for setting in best for trial in setting.trials]


def drop_states(folder: Path, rung: int) -> None:
    """Removes the states before a rung that has ended."""
    for path in (folder / trials.STATES).glob('*/'):
        if trials.rung_of(path) < rung:
            shutil.rmtree(path, ignore_errors=True)


def divided(group: Group, planned: Sequence[Planned], rung: int = 1) -> Round:
    """The batches of some trials of a group, on a rung."""
    lanes = group.rungs[rung - 1].lanes
    begins = range(0, len(planned), lanes)
    return [Batch(group, planned[begin : begin + lanes], rung) for begin in begins]


def searched(task: Task, config: Any, group: Group, axes: Axes, shared: Sweep) -> Iterator[Round]:
    """Rounds of the points that earlier results make promising.

    A point is judged by the mean over its trials.
    """
    drawn, each = [axis for axis in axes if isinstance(axis, Drawn)], len(group.trials)
    told: list[tuple[Settings, float]] = []
    while len(told) < config.trials:
        number = min(POINTS, config.trials - len(told))
        points = search.ask(drawn, told, number, config.sweep_seed)
        begins = range(each * len(told), each * (len(told) + number), each)
        numbers = [group.numbers[begin : begin + each] for begin in begins]
        planned = [
            plan_trial(task, config, number, trial.settings | point)
            for point, own in zip(points, numbers, strict=True)
            for number, trial in zip(own, group.trials, strict=True)
        ]
        yield divided(group, planned)
        for point, own in zip(points, numbers, strict=True):
            judged = trials.Setting(dict(point), [shared.finished[1, number] for number in own])
            told.append((point, judged.score(shared.record.ranked_by)))
