"""Which trials are trained when: rounds of batches, each chosen by the results of those before."""

from collections.abc import Iterator, Sequence
from typing import Any

from experiments.runner.lanes import Batch, Group, Planned, Sweep, plan_trial
from experiments.runner.task import Task
from rnnlab.results import trials
from rnnlab.sweeps import search
from rnnlab.sweeps.axes import Drawn, Grid, Settings

POINTS = 8  # that a search tries at once

Axes = Sequence[Grid | Drawn]
Round = list[Batch]  # batches that need no result of each other


def rounds(
    task: Task, config: Any, groups: list[Group], axes: Axes, shared: Sweep
) -> Iterator[Round]:
    """The rounds of a sweep.

    The trials of a round must be in `shared.finished` before the next is asked for. With the same
    results it is the same, so that a sweep which is resumed asks for the finished rounds again.
    """
    if config.search:
        for group in groups:
            yield from searched(task, config, group, axes, shared)
    else:
        yield [batch for group in groups for batch in divided(group, group.trials)]


def divided(group: Group, planned: Sequence[Planned]) -> Round:
    """The batches of some trials of a group."""
    begins = range(0, len(planned), group.lanes)
    return [Batch(group, planned[begin : begin + group.lanes]) for begin in begins]


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
            judged = trials.Setting(dict(point), [shared.finished[number] for number in own])
            told.append((point, judged.score(shared.record.ranked_by)))
