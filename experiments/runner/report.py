"""The report of a sweep: its trials merged, ranked by settings, and drawn."""

import math
import re
import statistics
from collections.abc import Callable, Collection
from pathlib import Path

from experiments.runner.console import console, drawing, number, say
from experiments.runner.fields import shown
from rnnlab.errors import InputError
from rnnlab.results import plots, runs, schedule, trials
from rnnlab.results.records import CHANCE, DIVERGED, Outcome, Trial, outcomes
from rnnlab.results.statistics import FEWEST, Interval, Sample, interval, paired
from rnnlab.results.tables import lines, new_table, render
from rnnlab.results.trials import Curves, Setting, SweepRecord

BEST_SETTINGS = 10  # in the tables
AXES, MAP, POPULATION = 'axes.png', 'map.png', 'population.png'


def sweep_report(folder: Path) -> None:
    """Merges and draws the finished trials of a sweep, and prints the best settings."""
    record = SweepRecord.read(folder)
    ranked_by = record.ranked_by
    results, curves = trials.merge(folder, record.metrics, ranked_by)
    if not results:
        raise InputError(f'{folder} holds no finished trial yet')
    if results[0].settings.keys() != {*record.names}:
        words = f'{folder / trials.SWEEP} has names ({", ".join(record.names)}) that differ from'
        raise InputError(f'{words} those of its trials ({", ".join(results[0].settings)})')
    population = (folder / schedule.SCHEDULE).exists()
    settings = trials.by_setting(results, ranked_by, population)
    names = [name for name in record.names if name in settings[0].settings]
    best = settings[:BEST_SETTINGS]
    compared = [setting for setting in best if setting.reached == best[0].reached]
    console.print(f'\n{best_table(best, names, ranked_by)}\n')
    if len(settings) > BEST_SETTINGS:
        say(f'the best {BEST_SETTINGS} of {len(settings)} settings')
    diverged, chance = (count(results, status) for status in (DIVERGED, CHANCE))
    samples = [([shown(s.settings[name]) for name in names], s.sample(ranked_by)) for s in compared]
    if intervals := intervals_table(names, samples, ranked_by):
        console.print(f'{intervals}\n' + 'diverged seeds are in no interval\n' * (diverged > 0))
    ended = f'{len(results)} of {record.trials} trials, {diverged} diverged'
    say(f'{ended}, {chance} no better than chance')
    if any(trial.summary.stopped_at is not None for trial in results):
        say(work(results))
    if population:
        words = 'settings are those at the end'
        say(f'{words}; {folder / schedule.SCHEDULE} has those of each rung, and who copied whom')
    if ranked_by.kind == 'test':
        words = 'not every trial has a validation split, so the best value is optimistic'
        say(f'ranked by {ranked_by.words}: {words}')
    if winner := trials.best(results, ranked_by):
        there = trials.holds(folder / trials.BEST) == (winner.number, winner.summary.stopped_at)
        run = f'is {folder / trials.BEST}' if there else 'has been removed'
        say(f'{best_trial(winner, ranked_by)}; its run {run}')
    pictures = draw_sweep(folder, record, results, curves)
    drawn = f'; drawn: {", ".join(pictures)}' if pictures else ''
    say(f'{folder / trials.TRIALS} has every trial{drawn}')


def count(results: list[Trial], status: str) -> int:
    return sum(trial.status == status for trial in results)


def work(results: list[Trial]) -> str:
    """How many steps were trained, of those of the whole sweep."""
    full = sum(trial.summary.steps for trial in results)
    done = sum(trial.summary.end for trial in results)
    stopped = sum(trial.summary.stopped_at is not None for trial in results)
    words = f'{stopped} trials were stopped: {done:,} of {full:,} lane-steps'
    return f'{words} were trained, {done / full:.1%}'


def best_trial(trial: Trial, ranked_by: Outcome) -> str:
    """A trial's number, settings and outcomes."""
    settings = ' '.join(f'{name}={shown(value)}' for name, value in trial.settings.items())
    values = {o.heading: o.of(trial.summary) for o in outcomes(ranked_by.metric)}
    words = (f'{heading} {number(v)}' for heading, v in values.items() if v is not None)
    return f'best trial: {trial.number}, {settings}: {", ".join(words)}'


def best_table(settings: list[Setting], names: list[str], ranked_by: Outcome) -> str:
    """The mean and standard deviation of each outcome over the seeds of each setting."""
    columns = [o for o in outcomes(ranked_by.metric) if any(s.values(o) for s in settings)]
    rungs = any(s.trials[0].rung is not None for s in settings)
    outcome_headings = (column.heading for column in columns)
    headings = [*names, *['rung'] * rungs, 'seeds', *outcome_headings, 'diverged', 'chance']
    table = new_table(*headings, right=tuple(headings))
    for setting in settings:
        table.add_row(
            *(shown(setting.settings[name]) for name in names),
            *[str(setting.reached)] * rungs,
            str(len(setting.trials)),
            *(mean_and_std(setting.values(column)) for column in columns),
            *(str(count(setting.trials, status) or '') for status in (DIVERGED, CHANCE)),
        )
    return render(table)


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
    """Intervals of the means of settings, and their differences to the best, paired by seed.

    samples: (cells of the columns `names`, values by seed) for each setting, the best first.
    Returns '' for one seed each, and a line without a table for two.
    """
    seeds = max(len(sample.values) for _, sample in samples)
    if seeds < 2:
        return ''
    if seeds < FEWEST:
        words = f'two seeds are too few to tell a difference from noise; it takes {FEWEST}'
        return lines(f'{outcome.words}: {words}')
    columns = 'seeds', 'mean ± sd', '95 % interval', 'minus the best', 'interval'
    table = new_table(*names, *columns, '', right=columns)
    best = next(sample for _, sample in samples if sample.values)
    for cells, sample in samples:
        mean = str(len(sample.values)), mean_and_std(sample.values.values())
        compared = sample is not best and sample.values
        difference = difference_cells(sample, best, outcome) if compared else ()
        table.add_row(*cells, *mean, ends(mean_interval(sample, outcome), number), *difference)
    words = '95 % intervals, and each setting minus the best, paired by seed'
    return f'{lines(f"{outcome.words}: {words}")}\n\n{render(table)}'


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


def draw_sweep(
    folder: Path, record: SweepRecord, results: list[Trial], curves: Curves
) -> list[str]:
    """Draws the pictures of a sweep into its folder, and returns their names."""
    ranked_by, static = record.ranked_by, record.static
    population = (folder / schedule.SCHEDULE).exists()
    settings = trials.by_setting(results, ranked_by, population)
    settings.sort(key=lambda setting: setting.trials[0].number)
    title = f'{record.title}, {len(results)} trials'
    seeds = max(len(setting.trials) for setting in settings) > 1
    specs = dict(re.split('[=~]', spec, maxsplit=1) for spec in record.sweep)
    swept = {name.strip(): values for name, values in specs.items()}
    linear = {name for name, values in swept.items() if 'lin(' in values}
    pictures = []
    if rows := [row for rows in curves.values() for row in rows]:
        split = next(split for split in ('validation', 'test', 'train') if split in rows[0].splits)
        path = folder / runs.CURVES
        metric = ranked_by.metric
        with drawing(path):
            plots.sweep_curves(results, curves, split, metric, static, linear, path, title)
            pictures.append(runs.CURVES)
    sizes = {
        name: len({str(setting.settings[name]) for setting in settings})
        for name in settings[0].settings
    }
    others = ', the best of the other axes'
    if sizes:
        words = others * (len(sizes) > 1) + ', mean ± sd over seeds' * seeds
        path = folder / AXES
        with drawing(path):
            plots.sweep_axes(settings, ranked_by, static, linear, path, title + words)
            pictures.append(AXES)
    # settings that are not swept, such as a size that --parameters chose, follow from the axes
    axes = [name for name in sizes if name in swept]
    if len(axes) > 1 and len({setting.reached for setting in settings}) == 1:
        first, second = sorted(axes, key=lambda name: -sizes[name])[:2]
        words = others * (len(axes) > 2) + ', mean over seeds' * seeds
        path = folder / MAP
        with drawing(path):
            plots.sweep_map(settings, ranked_by, (first, second), linear, path, title + words)
            pictures.append(MAP)
    if population:
        every, _ = trials.read_rungs(folder, record.metrics)
        drawn = [axis[1] for spec in record.sweep if (axis := re.match(r'\s*(\w+)\s*~', spec))]
        path = folder / POPULATION
        with drawing(path):
            plots.sweep_population(every, drawn, ranked_by, linear, path, title)
            pictures.append(POPULATION)
    return pictures
