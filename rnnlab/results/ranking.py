"""The trials of a sweep by their settings, and the best of them."""

import json
import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple

from rnnlab.results.records import Json, Outcome, Trial
from rnnlab.results.statistics import Sample


class Setting(NamedTuple):
    """The trials that differ in their seed alone."""

    settings: Json  # without the seed
    trials: list[Trial]

    def by_trial(self, outcome: Outcome) -> list[tuple[Trial, float]]:
        """The trials that have that outcome, and are not lost."""
        values = [(t, outcome.of(t.summary)) for t in self.trials if not t.lost]
        return [(trial, value) for trial, value in values if value is not None]

    def values(self, outcome: Outcome) -> list[float]:
        return [value for _, value in self.by_trial(outcome)]

    def sample(self, outcome: Outcome) -> Sample:
        """The values by seed."""
        alive = (trial for trial, _ in self.by_trial(outcome))
        return outcome.sample({trial.settings.get('seed'): trial.summary for trial in alive})

    def mean(self, outcome: Outcome) -> float | None:
        return statistics.fmean(values) if (values := self.values(outcome)) else None

    def deviation(self, outcome: Outcome) -> float | None:
        """The standard deviation over seeds; None of fewer than two."""
        return statistics.stdev(values) if len(values := self.values(outcome)) > 1 else None

    @property
    def reached(self) -> int:
        """The rung that its trials reached."""
        return max(trial.reached for trial in self.trials)

    def score(self, outcome: Outcome) -> float:
        """The mean over all seeds, greater is better.

        A diverged trial counts as an accuracy of 0 or an infinite loss: settings that only
        sometimes work are not the best.
        """
        values = self.values(outcome)
        if len(values) < len(self.trials) and not outcome.metric.higher_is_better:
            return -math.inf
        return sum(map(outcome.score, values)) / len(self.trials)


def label(settings: Json, names: Iterable[str]) -> str:
    return ' '.join(f'{name}={settings[name]}' for name in names)


def best(trials: Iterable[Trial], outcome: Outcome) -> Trial | None:
    """The trial with the best outcome of those on the last rung, the first of equals."""

    def rank(item: tuple[Trial, float]) -> tuple[int, float, int]:
        trial, value = item
        return trial.reached, outcome.score(value), -trial.number

    ranked = max(Setting({}, [*trials]).by_trial(outcome), key=rank, default=None)
    return ranked and ranked[0]


def by_setting(trials: Iterable[Trial], outcome: Outcome, apart: bool = False) -> list[Setting]:
    """The settings with the trials of all their seeds: the last rung's first, the best first.

    apart: each trial alone, with its seed, as in a population, where seeds differ in all settings.
    """
    groups: dict[str, Setting] = {}
    for trial in trials:
        settings = {n: value for n, value in trial.settings.items() if apart or n != 'seed'}
        key = str(trial.number) if apart else json.dumps(settings)
        groups.setdefault(key, Setting(settings, [])).trials.append(trial)
    return sorted(groups.values(), key=lambda each: (-each.reached, -each.score(outcome)))
