"""What pictures and pages show of a sweep: its axes, and the best of each group."""

from collections.abc import Hashable, Iterable
from typing import TypeGuard, TypeVar

import numpy as np

from rnnlab.results.ranking import Setting, label
from rnnlab.results.records import Outcome, Trial, Value, points
from rnnlab.results.trials import Curves
from rnnlab.training.losses import Metric

FEW = 13  # values of an axis that can be told apart
MOST_PANELS = 6  # of curves, and of gradients

Key = TypeVar('Key', bound=Hashable)


def best_at(placed: Iterable[tuple[Key, Setting]], outcome: Outcome) -> dict[Key, Setting]:
    """The best of the settings at each place, the first of equals."""
    best: dict[Key, Setting] = {}
    for at, setting in placed:
        best[at] = max(best.get(at, setting), setting, key=lambda each: each.score(outcome))
    return best


def best_first(
    trials: list[Trial], curves: Curves, split: str, metric: Metric, static: list[str]
) -> dict[str, list[Trial]]:
    """The trials of each static configuration, by rung and the best value of their curves."""

    def best(trial: Trial) -> tuple[int, float]:
        rows = curves.get(trial.number, [])
        values = (value for _, value in points(rows, 'epoch', split, metric))
        return trial.reached, max(map(metric.score, values), default=-np.inf)

    groups: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=best, reverse=True):
        groups.setdefault(label(trial.settings, static), []).append(trial)
    return groups


def colour_axis(trials: list[Trial], static: list[str]) -> str:
    """The first axis of numbers among the dynamic settings, 'seed' if there is none."""
    inside = [name for name in trials[0].settings if name not in (*static, 'seed')]
    numeric = (n for n in inside if all_numbers([trial.settings[n] for trial in trials]))
    return next(numeric, 'seed')


def ordered(values: Iterable[Value]) -> list[Value]:
    """Each value once; numbers by size, others as they come."""
    values = list(dict.fromkeys(values))
    return [*sorted(values)] if all_numbers(values) else values


def all_numbers(values: list[Value]) -> TypeGuard[list[float]]:
    """Whether all are numbers (of JSON, in which infinity is a string)."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
