"""The folder of a sweep: a file for each finished batch of trials, and their union."""

import csv
import io
import json
import math
import shutil
import statistics
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rnnlab.analysis.statistics import Sample
from rnnlab.errors import InputError
from rnnlab.results import runs
from rnnlab.results.records import DIVERGED, Json, Metrics, Outcome, Row, Trial

SWEEP, TRIALS, WAVES, BEST = 'sweep.json', 'trials.csv', 'waves', 'best'

Curves = dict[int, list[Row]]  # the evaluations of each trial, by its number


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """What sweep.json holds beside the settings that all trials share."""

    metrics: Metrics
    ranked_by: Outcome
    sweep: list[str]  # the axes as they were given
    names: list[str]  # of the settings that differ between trials
    static: list[str]  # those of them that make another program
    trials: int
    title: str  # the dataset, task or experiment

    def to_json(self) -> Json:
        own = {
            name: getattr(self, name) for name in ('sweep', 'names', 'static', 'trials', 'title')
        }
        return own | self.metrics.to_json() | {'ranked_by': self.ranked_by.kind}

    @classmethod
    def read(cls, folder: Path) -> 'SweepRecord':
        record = runs.read_json(folder / SWEEP)
        try:
            metrics = Metrics.from_json(record)
            own = {name: record[name] for name in ('sweep', 'names', 'static', 'trials', 'title')}
            ranked_by = Outcome(record['ranked_by'], metrics.selection)
        except (KeyError, TypeError, StopIteration) as error:
            raise InputError(f'{folder / SWEEP} is not the record of a sweep') from error
        return cls(metrics=metrics, ranked_by=ranked_by, **own)


class Setting(NamedTuple):
    """The trials that differ in their seed alone."""

    settings: Json  # without the seed
    trials: list[Trial]

    def by_trial(self, outcome: Outcome) -> list[tuple[Trial, float]]:
        """The trials that have that outcome and did not diverge."""
        values = [(t, outcome.of(t.summary)) for t in self.trials if t.status != DIVERGED]
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


def wave_path(folder: Path, first: int) -> Path:
    """The file of the batch of trials that begins with number `first`.

    Beside it, without suffix, is the run of its best trial.
    """
    return folder / WAVES / f'{first:05d}.json'


def write_wave(folder: Path, trials: Sequence[Trial], curves: Curves, metrics: Metrics) -> None:
    record = {
        'trials': [trial.to_json(metrics) for trial in trials],
        'rows': list(json_rows(curves)),
    }
    first = trials[0].number
    own = wave_checksum(folder, first, json.dumps(record))
    runs.write_json(wave_path(folder, first), record | {runs.CHECKSUM: own})


def wave_checksum(folder: Path, first: int, wave: str) -> str:
    """Of a batch's file, of the place where it belongs, and of the sweep that it belongs to."""
    path = folder / SWEEP
    return runs.checksum(str(first), path.read_text() if path.exists() else '{}', wave)


def json_rows(curves: Curves) -> Iterable[Json]:
    return ({'trial': n} | row.to_json() for n, rows in curves.items() for row in rows)


def read_waves(folder: Path, metrics: Metrics) -> tuple[list[Trial], Curves]:
    """The finished trials by number, and their curves."""
    trials: dict[int, Trial] = {}
    curves: Curves = {}
    for path in sorted((folder / WAVES).glob('*.json')):
        wave = runs.read_json(path)
        try:
            own = wave_checksum(folder, int(path.stem), path.read_text())
            if wave.get(runs.CHECKSUM, own) != own:  # none in those of earlier versions
                raise ValueError(f'another checksum: {own}')
            for record in wave['trials']:
                trial = Trial.from_json(record, metrics)
                trials[trial.number], curves[trial.number] = trial, []
            for record in wave['rows']:
                curves[record['trial']].append(Row.from_json(record, metrics))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            words = f'{path} is damaged, or no batch of trials of this sweep'
            raise InputError(f'{words}; remove it, and resume the sweep') from error
    return [trials[number] for number in sorted(trials)], dict(sorted(curves.items()))


def best(trials: Iterable[Trial], outcome: Outcome) -> Trial | None:
    """The trial with the best outcome, the first of equals."""
    alive = Setting({}, [*trials]).by_trial(outcome)
    ranked = max(alive, key=lambda item: (outcome.score(item[1]), -item[0].number), default=None)
    return ranked and ranked[0]


def by_setting(trials: Iterable[Trial], outcome: Outcome) -> list[Setting]:
    """The settings with the trials of all their seeds, the best first."""
    groups: dict[str, Setting] = {}
    for trial in trials:
        settings = {name: value for name, value in trial.settings.items() if name != 'seed'}
        groups.setdefault(json.dumps(settings), Setting(settings, [])).trials.append(trial)
    return sorted(groups.values(), key=lambda setting: -setting.score(outcome))


def merge(folder: Path, metrics: Metrics, ranked_by: Outcome) -> tuple[list[Trial], Curves]:
    """Writes trials.csv, metrics.jsonl and the best trial's run; returns all finished trials."""
    trials, curves = read_waves(folder, metrics)
    runs.write_text(folder / TRIALS, table([trial.to_json(metrics) for trial in trials]))
    runs.write_lines(folder / runs.METRICS, json_rows(curves))
    winner = best(trials, ranked_by)
    for path in sorted((folder / WAVES).glob('*/')):
        number = trial_of(path)
        if winner and number == winner.number:
            if trial_of(folder / BEST) != number:
                copy_folder(path, folder / BEST)
        elif path.with_suffix(
            '.json'
        ).exists():  # a run that is not the best, or an interrupted copy
            shutil.rmtree(path, ignore_errors=True)
    return trials, curves


def copy_folder(source: Path, target: Path) -> None:
    """Copies it whole or not at all; of two processes that do so at once either may win."""
    beside = target.with_name(f'{target.name}.{uuid.uuid4().hex}.part')
    shutil.copytree(source, beside)
    shutil.rmtree(target, ignore_errors=True)
    try:
        beside.rename(target)
    except OSError:
        shutil.rmtree(beside)


def trial_of(folder: Path) -> int | None:
    """The number of the trial whose run a folder holds."""
    try:
        return runs.read_json(folder / runs.SUMMARY).get('trial')
    except InputError:  # none, or not whole yet
        return None


def table(trials: list[Json]) -> str:
    """The text of trials.csv: a row for each trial, missing values empty.

    A setting named like a column of results is headed as its flag.
    """
    settings = list(dict.fromkeys(name for trial in trials for name in trial['settings']))
    fullest = max(trials, key=len, default={})  # a diverged trial lacks some
    names = dict.fromkeys(name for trial in (fullest, *trials) for name in trial)
    fields = [name for name in names if name not in ('trial', 'settings')]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    headings = (f'--{name}' if name in fields else name for name in settings)
    writer.writerow(['trial', *headings, *fields])
    for trial in trials:
        own = (trial['settings'].get(name) for name in settings)
        writer.writerow([trial['trial'], *own, *(trial.get(name) for name in fields)])
    return out.getvalue()
