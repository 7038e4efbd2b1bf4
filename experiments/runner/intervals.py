"""Means of settings with their standard deviations and intervals, and differences to the best."""

import math
import statistics
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from rnnlab.results.records import Outcome
from rnnlab.results.statistics import FEWEST, Interval, Sample, interval, paired
from rnnlab.results.tables import lines, new_table, number, render

if TYPE_CHECKING:
    from rich.table import Table


def mean_and_std(values: Collection[float], show: Callable[..., str] = number) -> str:
    """The mean ± standard deviation of values, without the latter if all are equal."""
    if not values:
        return '-'
    mean = statistics.fmean(values)
    several = len(set(values)) > 1
    return show(mean) + (f' ± {show(statistics.stdev(values), mean)}' if several else '')


def intervals_table(
    names: list[str], samples: list[tuple[list[str], Sample]], outcome: Outcome
) -> str:
    """The text of `intervals`; '' where there are none."""
    return told(*intervals(names, samples, outcome))


def told(words: str, table: 'Table | None') -> str:
    return lines(words) + (f'\n\n{render(table)}' if table else '')


def intervals(
    names: list[str], samples: list[tuple[list[str], Sample]], outcome: Outcome
) -> tuple[str, 'Table | None']:
    """Intervals of the means of settings, and their differences to the best, paired by seed.

    samples: (cells of the columns `names`, values by seed) for each setting, the best first.
    Returns (words, table): ('', None) for one seed each, and no table for two.
    """
    seeds = max(len(sample.values) for _, sample in samples)
    if seeds < 2:
        return '', None
    if seeds < FEWEST:
        words = f'two seeds are too few to tell a difference from noise; it takes {FEWEST}'
        return f'{outcome.words}: {words}', None
    columns = 'seeds', 'mean ± sd', '95 % interval', 'minus the best', 'interval'
    table = new_table(*names, *columns, '', right=columns)
    best = next(sample for _, sample in samples if sample.values)
    for cells, sample in samples:
        mean = str(len(sample.values)), mean_and_std(sample.values.values())
        compared = sample is not best and sample.values
        difference = difference_cells(sample, best, outcome) if compared else ()
        table.add_row(*cells, *mean, ends(mean_interval(sample, outcome), number), *difference)
    words = '95 % intervals, and each setting minus the best, paired by seed'
    return f'{outcome.words}: {words}', table


def mean_interval(sample: Sample, outcome: Outcome) -> Interval | None:
    """The interval of the mean, within the range of the metric."""
    if (of_mean := interval([*sample.values.values()], sample.error)) is None:
        return None
    most = 1.0 if outcome.metric.is_fraction else math.inf
    return Interval(max(of_mean.low, 0.0), min(of_mean.high, most))


def difference_cells(sample: Sample, best: Sample, outcome: Outcome) -> tuple[str, str, str]:
    """The mean difference to the best setting, its interval, and what that means.

    The error is that of two sets of examples. Both have the same ones, on which two nets mostly
    fail alike, so the interval is rather too wide.
    """
    differences = paired(sample.values, best.values)
    size = statistics.fmean(best.values.values())

    def show(value: float) -> str:
        return '+' * (value > 0) + number(value, size)

    of_mean = interval(differences, math.hypot(sample.error, best.error))
    mean = show(statistics.fmean(differences)) if differences else '-'
    return mean, ends(of_mean, show), verdict(of_mean, outcome)


def ends(of: Interval | None, show: Callable[[float], str]) -> str:
    return f'{show(of.low)} to {show(of.high)}' if of else '-'


def verdict(difference: Interval | None, outcome: Outcome) -> str:
    if difference is None:
        return 'too few seeds to tell'
    if difference.holds_zero:
        return 'within the noise'
    return 'better' if outcome.score(difference.low) > 0 else 'worse'
