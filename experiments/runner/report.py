"""The report of a sweep: its trials merged, ranked by settings, and drawn."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.runner.console import console, drawing, say
from experiments.runner.fields import shown
from experiments.runner.intervals import intervals_table, mean_and_std
from rnnlab.errors import InputError
from rnnlab.results import plots, ranking, runs, schedule, trials
from rnnlab.results.ranking import Setting
from rnnlab.results.records import CHANCE, DIVERGED, FAILED, Outcome, Trial, outcomes
from rnnlab.results.statistics import Sample
from rnnlab.results.tables import new_table, number, render
from rnnlab.results.trials import Curves, SweepRecord

if TYPE_CHECKING:
    from rich.table import Table

BEST_SETTINGS = 10  # in the tables
FAILURES = 5  # that are told
AXES, MAP, POPULATION = 'axes.png', 'map.png', 'population.png'


@dataclass(frozen=True, kw_only=True)
class Report:
    """A sweep as its folder holds it, with at least one finished trial."""

    folder: Path
    record: SweepRecord
    results: list[Trial]
    curves: Curves

    @property
    def outcome(self) -> Outcome:
        return self.record.ranked_by

    @property
    def population(self) -> bool:
        """Whether trials copied others, so that a seed is one of a trial's own settings."""
        return (self.folder / schedule.SCHEDULE).exists()

    @property
    def names(self) -> list[str]:
        return [name for name in self.record.names if self.population or name != 'seed']

    @cached_property
    def settings(self) -> list[Setting]:
        """The best first."""
        return ranking.by_setting(self.results, self.outcome, self.population)

    @property
    def best(self) -> list[Setting]:
        return self.settings[:BEST_SETTINGS]

    @property
    def compared(self) -> list[Setting]:
        """The best settings, as far as they reached the same rung."""
        return [setting for setting in self.best if setting.reached == self.best[0].reached]

    @property
    def seeds(self) -> bool:
        """Whether a setting has several."""
        return max(len(setting.trials) for setting in self.settings) > 1

    @property
    def swept(self) -> dict[str, str]:
        """The axes and their values."""
        specs = (re.split('[=~]', spec, maxsplit=1) for spec in self.record.sweep)
        return {name.strip(): values for name, values in specs}

    @property
    def linear(self) -> set[str]:
        """The axes that are never logarithmic."""
        return {name for name, values in self.swept.items() if 'lin(' in values}

    @property
    def split(self) -> str | None:
        """The split of the curves; None without an evaluation."""
        rows = next((rows for rows in self.curves.values() if rows), None)
        splits = 'validation', 'test', 'train'
        return next(split for split in splits if split in rows[0].splits) if rows else None

    @property
    def pair(self) -> tuple[str, str] | None:
        """The two axes of the map, those of most values.

        Settings that are not swept, such as a size that --parameters chose, follow from the axes.
        """
        sizes = {n: len({str(s.settings[n]) for s in self.settings}) for n in self.names}
        axes = [name for name in sizes if name in self.swept]
        if len(axes) < 2 or len({setting.reached for setting in self.settings}) > 1:
            return None
        first, second = sorted(axes, key=lambda name: -sizes[name])[:2]
        return first, second

    @property
    def interval_rows(self) -> list[tuple[list[str], Sample]]:
        return [
            ([shown(setting.settings[name]) for name in self.names], setting.sample(self.outcome))
            for setting in self.compared
        ]

    @property
    def words(self) -> list[str]:
        """What there is to say beside the tables, a line each."""
        said, (diverged, chance) = [], (count(self.results, s) for s in (DIVERGED, CHANCE))
        ended = f'{len(self.results)} of {self.record.trials} trials, {diverged} diverged'
        failed = [trial for trial in self.results if trial.status == FAILED]
        words = f', {len(failed)} failed' if failed else ''
        said.append(f'{ended}, {chance} no better than chance{words}')
        said += [f'trial {trial.number} failed: {trial.error}' for trial in failed[:FAILURES]]
        if any(trial.summary.stopped_at is not None for trial in self.results):
            said.append(work(self.results))
        if self.population:
            path = self.folder / schedule.SCHEDULE
            words = f'settings are those at the end; {path} has those of each rung'
            said.append(f'{words}, and who copied whom')
        if self.outcome.kind == 'test':
            words = 'not every trial has a validation split, so the best value is optimistic'
            said.append(f'ranked by {self.outcome.words}: {words}')
        if winner := ranking.best(self.results, self.outcome):
            held = trials.holds(self.folder / trials.BEST)
            there = held == (winner.number, winner.summary.stopped_at)
            run = f'is {self.folder / trials.BEST}' if there else 'has been removed'
            said.append(f'{best_trial(winner, self.outcome)}; its run {run}')
        return said


def read(folder: Path) -> Report:
    """Merges the finished trials of a sweep; InputError for a folder without any."""
    record = SweepRecord.read(folder)
    results, curves = trials.merge(folder, record.metrics, record.ranked_by)
    if not results:
        raise InputError(f'{folder} holds no finished trial yet')
    if results[0].settings.keys() != {*record.names}:
        words = f'{folder / trials.SWEEP} has names ({", ".join(record.names)}) that differ from'
        raise InputError(f'{words} those of its trials ({", ".join(results[0].settings)})')
    return Report(folder=folder, record=record, results=results, curves=curves)


def sweep_report(folder: Path) -> Report:
    """Merges and draws the finished trials of a sweep, and prints the best settings."""
    report = read(folder)
    names, outcome, settings = report.names, report.outcome, report.settings
    console.print(f'\n{render(best_table(report.best, names, outcome))}\n')
    if len(settings) > BEST_SETTINGS:
        say(f'the best {BEST_SETTINGS} of {len(settings)} settings')
    diverged = count(report.results, DIVERGED)
    if intervals := intervals_table(names, report.interval_rows, outcome):
        console.print(f'{intervals}\n' + 'diverged seeds are in no interval\n' * (diverged > 0))
    for words in report.words:
        say(words)
    pictures = draw_sweep(report)
    drawn = f'; drawn: {", ".join(pictures)}' if pictures else ''
    say(f'{folder / trials.TRIALS} has every trial{drawn}')
    return report


def count(results: list[Trial], status: str) -> int:
    return sum(trial.status == status for trial in results)


def work(results: list[Trial]) -> str:
    """How many steps were trained, of those of the whole sweep."""
    full = sum(trial.summary.steps for trial in results)
    done = sum(trial.summary.end for trial in results if trial.status != FAILED)
    stopped = sum(trial.summary.stopped_at is not None for trial in results)
    words = f'{stopped} trials were stopped: {done:,} of {full:,} lane-steps'
    return f'{words} were trained, {done / full:.1%}'


def best_trial(trial: Trial, ranked_by: Outcome) -> str:
    """A trial's number, settings and outcomes."""
    settings = ' '.join(f'{name}={shown(value)}' for name, value in trial.settings.items())
    values = {o.heading: o.of(trial.summary) for o in outcomes(ranked_by.metric)}
    words = (f'{heading} {number(v)}' for heading, v in values.items() if v is not None)
    return f'best trial: {trial.number}, {settings}: {", ".join(words)}'


def best_table(settings: list[Setting], names: list[str], ranked_by: Outcome) -> 'Table':
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
    return table


def draw_sweep(report: Report) -> list[str]:
    """Draws the pictures of a sweep into its folder, and returns their names."""
    outcome, static, linear = report.outcome, report.record.static, report.linear
    settings = sorted(report.settings, key=lambda setting: setting.trials[0].number)
    title, seeds = f'{report.record.title}, {len(report.results)} trials', report.seeds
    draw: dict[str, Callable] = {}
    if split := report.split:
        own = report.results, report.curves, split, outcome.metric, static, linear
        draw[runs.CURVES] = partial(plots.sweep_curves, *own, title=title)
    others, axes = ', the best of the other axes', report.names
    if axes:
        words = others * (len(axes) > 1) + ', mean ± sd over seeds' * seeds
        of_axes = settings, outcome, static, linear
        draw[AXES] = partial(plots.sweep_axes, *of_axes, title=title + words)
    if report.pair:
        swept = [name for name in axes if name in report.swept]
        words = others * (len(swept) > 2) + ', mean over seeds' * seeds
        of_map = settings, outcome, report.pair, linear
        draw[MAP] = partial(plots.sweep_map, *of_map, title=title + words)
    if report.population:
        every, _ = trials.read_rungs(report.folder, report.record.metrics)
        specs = report.record.sweep
        drawn = [axis[1] for spec in specs if (axis := re.match(r'\s*(\w+)\s*~', spec))]
        draw[POPULATION] = partial(
            plots.sweep_population, every, drawn, outcome, linear, title=title
        )
    pictures = []
    for name, picture in draw.items():
        with drawing(report.folder / name):
            picture(path=report.folder / name)
            pictures.append(name)
    return pictures
