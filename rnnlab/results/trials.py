"""The folder of a sweep: a file for each finished batch of trials, and their union."""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from rnnlab.errors import InputError
from rnnlab.results import ranking, runs, schedule
from rnnlab.results.lock import locked
from rnnlab.results.records import Json, Kind, Metrics, Outcome, Place, Row, Trial, Value
from rnnlab.results.typed import check, field, fields

SWEEP, TRIALS, WAVES, BEST = 'sweep.json', 'trials.csv', 'waves', 'best'
STATES = 'states'  # the checkpoints at the end of a rung, until the next one has ended

OWN = ('sweep', 'names', 'static', 'trials', 'title')  # fields of sweep.json

Curves = dict[int, list[Row]]  # the evaluations of each trial, by its number
Rungs = tuple[dict[Place, Trial], dict[Place, list[Row]]]  # the trials on each, and their curves


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
        own = {name: getattr(self, name) for name in OWN}
        return own | self.metrics.to_json() | {'ranked_by': self.ranked_by.kind}

    @classmethod
    def read(cls, folder: Path) -> 'SweepRecord':
        path = folder / SWEEP
        record = runs.read_json(path)
        with runs.located(f'{path} is not the record of a sweep'):
            own, metrics = fields(record, cls, OWN), Metrics.from_json(record)
            ranked_by = Outcome(field(record, 'ranked_by', Kind), metrics.selection)
            if strange := [axis for axis in own['sweep'] if not re.search('[=~]', axis)]:
                raise InputError(f'sweep has {strange[0]!r}, which is no axis')
        return cls(metrics=metrics, ranked_by=ranked_by, **own)


def wave_path(folder: Path, first: int, rung: int = 1) -> Path:
    """The file of the batch of trials that begins with number `first`, on a rung.

    Beside it, without suffix, is the run of its best trial.
    """
    return folder / WAVES / f'{wave_name(first, rung)}.json'


def wave_name(first: int, rung: int = 1) -> str:
    return f'{first:05d}' + f'-{rung}' * (rung > 1)


def rung_of(path: Path) -> int:
    """The rung of what is named like the file of a batch."""
    return int(path.name.partition('.')[0].partition('-')[2] or 1)


def path_of(folder: Path, batch: Sequence[Trial]) -> Path:
    return wave_path(folder, batch[0].number, batch[0].reached)


def write_wave(folder: Path, trials: Sequence[Trial], curves: Curves, metrics: Metrics) -> None:
    record = {
        'trials': [trial.to_json(metrics) for trial in trials],
        'rows': list(json_rows(curves)),
    }
    own = wave_checksum(folder, trials[0], json.dumps(record))
    text = json.dumps(record | {runs.CHECKSUM: own}, indent=2) + '\n'
    runs.write_text(path_of(folder, trials), text, once=True)


def wave_checksum(folder: Path, first: Trial, wave: str) -> str:
    """Of a batch's file, of the place where it belongs, and of the sweep that it belongs to."""
    path = folder / SWEEP
    place = first.number if first.reached == 1 else [first.number, first.reached]
    return runs.checksum(json.dumps(place), path.read_text() if path.exists() else '{}', wave)


def json_rows(curves: Curves) -> Iterable[Json]:
    return ({'trial': n} | row.to_json() for n, rows in curves.items() for row in rows)


def read_waves(folder: Path, metrics: Metrics) -> tuple[list[Trial], Curves]:
    """The finished trials by number, each on its last rung, and their curves.

    Raises InputError for a damaged file.
    """
    return last_rungs(read_rungs(folder, metrics))


def last_rungs(rungs: Rungs) -> tuple[list[Trial], Curves]:
    every, curves = rungs
    latest = {number: trial for (_, number), trial in every.items()}  # the last rung comes last
    numbers = sorted(latest)
    return [latest[n] for n in numbers], {n: curves[latest[n].reached, n] for n in numbers}


def read_rungs(folder: Path, metrics: Metrics) -> Rungs:
    """The trials at the end of each rung, in the order of the rungs, and their curves."""
    trials: dict[Place, Trial] = {}
    curves: dict[Place, list[Row]] = {}
    for path in sorted(wave_paths(folder)):
        own, rows = read_wave(path, metrics)
        first = next(iter(trials.values()), own[0])
        with read_as_wave(path):
            if any((trial.reached, trial.number) in trials for trial in own):
                raise InputError(f'it has the trials {[trial.number for trial in own]}')
            if own[0].settings.keys() != first.settings.keys():
                raise InputError(f'trial {own[0].number} has other settings than the others')
        trials |= {(trial.reached, trial.number): trial for trial in own}
        curves |= {(trial.reached, trial.number): rows[trial.number] for trial in own}
    return dict(sorted(trials.items())), curves


def wave_paths(folder: Path) -> set[Path]:
    """The files of the finished batches."""
    return {*(folder / WAVES).glob('*.json')}


def read_wave(path: Path, metrics: Metrics) -> tuple[list[Trial], Curves]:
    """The trials of a batch and their curves; InputError for a damaged file."""
    with read_as_wave(path):
        wave = runs.read_json(path)
        own = [Trial.from_json(record, metrics) for record in field(wave, 'trials', list)]
        numbers, folder = [trial.number for trial in own], path.parent.parent
        here = bool(own) and path_of(folder, own) == path and len({*numbers}) == len(own)
        if not here or any(trial.reached != own[0].reached for trial in own):
            raise InputError(f'it has the trials {numbers}')
        checksum = wave_checksum(folder, own[0], path.read_text())
        if wave.get(runs.CHECKSUM, checksum) != checksum:  # none in those of earlier versions
            raise InputError('it has another checksum')
        for trial in own:
            if trial.settings.keys() != own[0].settings.keys():
                raise InputError(f'trial {trial.number} has other settings than the others')
        curves: Curves = {number: [] for number in numbers}
        for record in field(wave, 'rows', list):
            if (number := field(record, 'trial', int)) not in curves:
                raise InputError(f'it has a row of trial {number}')
            curves[number].append(Row.from_json(record, metrics))
    return own, curves


def read_as_wave(path: Path) -> AbstractContextManager[None]:
    """Inside, an InputError says which file is damaged and what to do."""
    advice = f'remove it and {TRIALS}, and resume'
    return runs.located(f'{path} is not its batch of trials ({advice})')


def saved_step(checkpoints: Path) -> int:
    """The step of the newest of a folder's checkpoints, 0 where there is none."""
    steps = [path.name for path in checkpoints.glob('*') if path.name.isdecimal()]
    return max(map(int, steps), default=0)


def merge(folder: Path, metrics: Metrics, ranked_by: Outcome) -> tuple[list[Trial], Curves]:
    """Writes trials.csv, metrics.jsonl and the best trial's run; returns all finished trials.

    It reads everything before it writes or removes anything; of two processes one waits.
    """
    with locked(folder, wait=True):
        rungs = read_finished(folder, metrics)
        trials, curves = last_rungs(rungs)
        winner, numbers = ranking.best(trials, ranked_by), {trial.number for trial in trials}
        # Not what another process has finished since: it may be better.
        read = [p for p in sorted((folder / WAVES).glob('*/')) if first_of(p) in numbers]
        holders = {path: holds(path) for path in [*read, folder / BEST]}
        ours = winner and (winner.number, winner.summary.stopped_at)
        keep = next((path for path, run in holders.items() if ours and run == ours), None)
        if keep and holders[folder / BEST] != holders[keep]:
            runs.copy_folder(keep, folder / BEST)
        runs.write_table(folder / TRIALS, table([trial.to_json(metrics) for trial in trials]))
        runs.write_lines(folder / runs.METRICS, json_rows(curves))
        schedule.write(folder, rungs[0].values(), metrics)
        for path in read:
            if path != keep:  # a run that is not the best, or an interrupted copy
                shutil.rmtree(path, ignore_errors=True)
    return trials, curves


def read_finished(folder: Path, metrics: Metrics) -> Rungs:
    """As `read_rungs`; InputError where a trial of trials.csv is gone, or the best is damaged."""
    trial_of(folder / BEST)
    path = folder / TRIALS
    _, *lines = path.read_bytes().splitlines() if path.exists() else [b'']
    listed = {int(first) for line in lines if (first := line.partition(b',')[0]).isdigit()}
    rungs = read_rungs(folder, metrics)
    if gone := listed - {number for _, number in rungs[0]}:
        words = f'{path} has trial {min(gone)}, which is gone from {WAVES}/'
        raise InputError(f'{words}; remove {TRIALS} and resume, to train it again')
    return rungs


def first_of(folder: Path) -> int | None:
    """The number that begins the name of a folder in waves."""
    digits = re.split('[.-]', folder.name)[0]
    return int(digits) if digits.isdecimal() else None


def trial_of(folder: Path) -> int | None:
    """The number of the trial whose run a folder holds; InputError where it cannot be read."""
    run = holds(folder)
    return run and run[0]


def holds(folder: Path) -> tuple[int, int | None] | None:
    """The number of the trial whose run a folder holds, and the step at which it was stopped."""
    path = folder / runs.SUMMARY
    if not path.exists():  # none, or not whole yet
        return None
    record = runs.read_json(path)
    with runs.located(str(path)):
        if 'trial' not in record:
            return None
        stopped_at = check(record.get('stopped_at'), int | None, 'stopped_at')
        return field(record, 'trial', int), stopped_at


def table(trials: list[Json]) -> list[list[Value]]:
    """The rows of trials.csv: its columns, then a row for each trial, None where it has no value.

    A setting named like a column of results is headed as its flag.
    """
    settings = list(dict.fromkeys(name for trial in trials for name in trial['settings']))
    fullest = max(trials, key=len, default={})  # a diverged trial lacks some
    names = dict.fromkeys(name for trial in (fullest, *trials) for name in trial)
    fields = [name for name in names if name not in ('trial', 'settings')]
    headings = (f'--{name}' if name in fields else name for name in settings)
    rows = [['trial', *headings, *fields]]
    for trial in trials:
        own = (trial['settings'].get(name) for name in settings)
        rows.append([trial['trial'], *own, *(trial.get(name) for name in fields)])
    return rows
