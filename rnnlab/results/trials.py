"""The folder of a sweep: each finished wave in a file of its own, and what they come to together.

A trial is a dict: its number, `settings` (what sets it apart from the others), its status, and what a run's summary has.
"""

import csv
import io
import json
import math
import shutil
import statistics
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from rnnlab.errors import InputError
from rnnlab.results import runs

SWEEP, TRIALS, WAVES, BEST = 'sweep.json', 'trials.csv', 'waves', 'best'
FINISHED, CHANCE, DIVERGED = 'finished', 'chance', 'diverged'

Trial = dict[str, Any]


class Setting(NamedTuple):
    """The trials that differ in their seed alone."""

    settings: dict[str, Any]  # without the seed
    trials: list[Trial]

    def sound(self, field: str) -> list[Trial]:
        return [
            trial
            for trial in self.trials
            if trial.get(field) is not None and trial['status'] != DIVERGED
        ]

    def values(self, field: str) -> list[float]:
        return [trial[field] for trial in self.sound(field)]

    def by_seed(self, field: str) -> dict[Any, float]:
        return {trial['settings'].get('seed'): trial[field] for trial in self.sound(field)}

    def mean(self, field: str) -> float | None:
        return statistics.fmean(values) if (values := self.values(field)) else None

    def deviation(self, field: str) -> float | None:
        return statistics.stdev(values) if len(values := self.values(field)) > 1 else None

    def score(self, field: str) -> float:
        """The mean of what is greater the better, in which a diverged trial counts as an accuracy of 0, or a loss without end:
        settings that only sometimes work are not the best."""
        values = self.values(field)
        if len(values) < len(self.trials) and not is_share(field):
            return -math.inf
        return sum(score(field, value) for value in values) / len(self.trials)


def is_share(field: str) -> bool:
    """Whether a figure is from 0 to 1 and the greater the better, as accuracies are, or the smaller the better, as losses are."""
    return field.endswith('accuracy')


def score(field: str, value: Any) -> Any:
    """The greater the better: an accuracy as it is, a loss with its sign turned."""
    return value if is_share(field) else -value


def label(settings: dict[str, Any], names: list[str]) -> str:
    return ' '.join(f'{name}={settings[name]}' for name in names)


def wave_path(folder: Path, first: int) -> Path:
    """Where the wave whose first trial this is goes; beside it, without suffix, the run of its best trial."""
    return folder / WAVES / f'{first:05d}.json'


def write_wave(folder: Path, trials: list[Trial], rows: list[dict[str, Any]]) -> None:
    runs.write_json(wave_path(folder, trials[0]['trial']), {'trials': trials, 'rows': rows})


def read_waves(folder: Path) -> tuple[list[Trial], list[dict[str, Any]]]:
    """The finished trials by number, and the rows of their curves."""
    trials: dict[int, Trial] = {}
    rows: dict[int, list[dict[str, Any]]] = {}
    for path in sorted((folder / WAVES).glob('*.json')):
        wave = runs.read_json(path)
        try:
            for trial in wave['trials']:
                trials[trial['trial']], rows[trial['trial']] = trial, []
            for row in wave['rows']:
                rows[row['trial']].append(row)
        except (KeyError, TypeError) as error:
            raise InputError(
                f'{path} is no wave of a sweep; remove it, and resume the sweep'
            ) from error
    return [trials[number] for number in sorted(trials)], [
        row for number in sorted(rows) for row in rows[number]
    ]


def best(trials: list[Trial], metric: str) -> Trial | None:
    """The finished trial with the best metric, of equals the first."""
    alive = [
        trial for trial in trials if trial['status'] != DIVERGED and trial.get(metric) is not None
    ]
    return max(
        alive, key=lambda trial: (score(metric, trial[metric]), -trial['trial']), default=None
    )


def by_setting(trials: list[Trial], metric: str) -> list[Setting]:
    """The settings with the trials of all their seeds, the best settings first."""
    groups: dict[str, Setting] = {}
    for trial in trials:
        settings = {name: value for name, value in trial['settings'].items() if name != 'seed'}
        groups.setdefault(json.dumps(settings), Setting(settings, [])).trials.append(trial)
    return sorted(groups.values(), key=lambda setting: -setting.score(metric))


def merge(folder: Path, metric: str) -> tuple[list[Trial], list[dict[str, Any]]]:
    """Writes trials.csv, metrics.jsonl and the best trial's run from the waves finished so far; the result is what they hold."""
    trials, rows = read_waves(folder)
    runs.write_text(folder / TRIALS, table(trials))
    runs.write_text(folder / runs.METRICS, ''.join(json.dumps(row) + '\n' for row in rows))
    winner = best(trials, metric)
    for path in sorted((folder / WAVES).glob('*/')):
        number = trial_of(path)
        if winner and number == winner['trial']:
            if trial_of(folder / BEST) != number:
                copy_folder(path, folder / BEST)
        elif path.with_suffix(
            '.json'
        ).exists():  # of a finished wave: a run that is not the best, or what a kill left
            shutil.rmtree(path, ignore_errors=True)
    return trials, rows


def copy_folder(source: Path, target: Path) -> None:
    """Never half of it; of two processes that do so at once either may win, since they copy the same."""
    beside = target.with_name(f'{target.name}.{uuid.uuid4().hex}.part')
    shutil.copytree(source, beside)
    shutil.rmtree(target, ignore_errors=True)
    try:
        beside.rename(target)
    except OSError:
        shutil.rmtree(beside)


def trial_of(folder: Path) -> int | None:
    """Which trial's run a folder holds."""
    try:
        return runs.read_json(folder / runs.SUMMARY).get('trial')
    except InputError:  # none, or not whole yet
        return None


def table(trials: list[Trial]) -> str:
    """The text of trials.csv: a row a trial; what it has not stays empty. A setting named like a figure is headed as its flag."""
    settings = list(dict.fromkeys(name for trial in trials for name in trial['settings']))
    fullest = max(trials, key=len, default={})  # a diverged trial has not all
    fields = [
        name
        for name in dict.fromkeys(name for trial in (fullest, *trials) for name in trial)
        if name not in ('trial', 'settings')
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(
        ['trial', *(f'--{name}' if name in fields else name for name in settings), *fields]
    )
    for trial in trials:
        writer.writerow(
            [
                trial['trial'],
                *(trial['settings'].get(name) for name in settings),
                *(trial.get(name) for name in fields),
            ]
        )
    return out.getvalue()
