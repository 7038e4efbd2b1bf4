"""The rows of runs and sweeps for TensorBoard, for Weights & Biases, or as one table.

python -m experiments.export --to=tensorboard runs/quick
python -m experiments.export --to=csv --out=rows.csv runs/elman runs/lstm
"""

import contextlib
import importlib
import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.runner import cli, fields
from experiments.runner.console import say
from experiments.runner.fields import check_needs, swept
from experiments.runner.restore import EXPERIMENTS
from rnnlab.errors import InputError
from rnnlab.results import claims, runs, tensorboard, trials
from rnnlab.results.lock import locked
from rnnlab.results.records import Json, Metrics, Row, Summary
from rnnlab.results.trials import SweepRecord

WANDB = 'wandb'  # the folder of that name in that of a run or sweep
OURS = 'rnnlab-'  # begins the ids of the runs that are written there


@dataclass(frozen=True, kw_only=True)
class Config(fields.Config):
    to: str | None = fields.operational(
        None,
        'What to write; csv has the evaluations and settings alone, the others the results, too.',
        choices=('tensorboard', 'csv', 'wandb'),
    )
    out: str = fields.operational(
        'rows.csv', 'The table of --to=csv.', path=True, needs=('to', ('csv',))
    )


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A run, or a finished trial of a sweep, as its folder records it."""

    folder: Path  # of the run or sweep
    trial: int | None  # None of a run
    settings: Json  # dynamic and static ones
    rows: list[Row]
    summary: Summary | None  # None of one that has not ended, diverged or failed

    def within(self, name: str) -> Path:
        """The folder `name` of the run or sweep, or that of the trial in it."""
        return self.folder / name / ('' if self.trial is None else str(self.trial))


def main(config: Config, folders: list[str]) -> None:
    """Writes what the runs and sweeps in these folders have logged; what is there is replaced."""
    if config.to is None or not folders:
        words = 'export takes --to=tensorboard, csv or wandb, and the folders of runs and sweeps'
        raise InputError(f'{words}: export --to=csv runs/a runs/b')
    check_needs(config)
    write = {'tensorboard': to_tensorboard, 'csv': to_csv, 'wandb': to_wandb}[config.to]
    everything = [logged for folder in dict.fromkeys(folders) for logged in read(Path(folder))]
    if not any(logged.rows for logged in everything):
        raise InputError(f'there is no evaluation yet in {", ".join(folders)}')
    write(everything, config)


def read(folder: Path) -> list[Logged]:
    """The run, or the finished trials of the sweep, in a folder; InputError where is neither."""
    if (folder / trials.SWEEP).exists():
        return read_sweep(folder)
    if (folder / runs.CONFIG).exists():
        return [read_run(folder)]
    raise InputError(f'{folder} holds neither a run nor a sweep: name a folder of one')


def read_run(folder: Path) -> Logged:
    path = folder / runs.CONFIG
    record = runs.read_json(path)
    with runs.located(f'{path} is not of a run that this version can read'):
        metrics, own = Metrics.from_json(record), settings(record)
    finished = (folder / runs.SUMMARY).exists()
    rows = runs.read_rows(folder, metrics)
    summary = runs.read_summary(folder, metrics) if finished else None
    return Logged(folder=folder, trial=None, settings=own, rows=rows, summary=summary)


def read_sweep(folder: Path) -> list[Logged]:
    record = SweepRecord.read(folder)
    shared = runs.read_json(folder / trials.SWEEP)
    with runs.located(f'{folder / trials.SWEEP} is not of a sweep that this version can read'):
        settings(shared)
    finished, curves = trials.last_rungs(trials.read_finished(folder, record.metrics))
    if not finished:
        raise InputError(f'{folder} holds no finished trial yet')
    return [
        Logged(
            folder=folder,
            trial=trial.number,
            settings=settings(shared | trial.settings),
            rows=curves[trial.number],
            summary=None if trial.lost else trial.summary,
        )
        for trial in finished
    ]


def settings(record: Json) -> Json:
    """The dynamic and static settings in a record; InputError where it has none of a training."""
    name = record.get('experiment')
    if name not in EXPERIMENTS:
        raise InputError(f'experiment is {name!r}, none of {", ".join(EXPERIMENTS)}')
    config = importlib.import_module(f'experiments.{name}').Config
    return {name: record[name] for name in swept(config) if name in record}


def to_tensorboard(everything: Sequence[Logged], config: Config) -> None:
    """Writes the logs that --log=tensorboard writes while training.

    A trial that is being trained keeps the log that it has: it has these rows, and grows.
    """
    tensorboard.check_installed()
    for logged in everything:
        folder = logged.within(tensorboard.FOLDER)
        if logged.trial in claims.training(logged.folder) and tensorboard.logs(folder):
            continue  # on the next rung
        trains = locked(logged.folder) if logged.trial is None else contextlib.nullcontext()
        with trains:
            path = tensorboard.begin(folder, logged.settings, logged.rows)
            if logged.summary:
                tensorboard.end(path, logged.summary)
    for folder in dict.fromkeys(logged.folder / tensorboard.FOLDER for logged in everything):
        say(f'written: {folder}; look at it with: tensorboard --logdir={folder}')


def to_csv(everything: Sequence[Logged], config: Config) -> None:
    """Writes a table with a row for each evaluation, missing values empty."""
    rows = [(logged, row.to_json()) for logged in everything for row in logged.rows]
    values = [*dict.fromkeys(name for _, row in rows for name in row)]
    names = [*dict.fromkeys(name for logged in everything for name in logged.settings)]

    def cell(value: object) -> object:
        return json.dumps(value) if isinstance(value, list) else value

    table: list[list[object]] = [['run', 'trial', *values, *names]]
    for logged, row in rows:
        cells = [*(row.get(name) for name in values), *map(logged.settings.get, names)]
        table.append([logged.folder, logged.trial, *map(cell, cells)])
    runs.write_table(Path(config.out), table)
    say(f'written: {config.out}, {len(rows)} rows')


def to_wandb(everything: Sequence[Logged], config: Config) -> None:
    """Writes offline runs of Weights & Biases, in place of those that it wrote before."""
    try:
        import wandb
    except ImportError as error:
        raise InputError('--to=wandb needs Weights & Biases: pip install wandb') from error
    ours = f'offline-run-*-{OURS}*'
    for folder in dict.fromkeys(logged.folder for logged in everything):
        for earlier in (folder / WANDB).glob(ours):
            shutil.rmtree(earlier)
    for logged in everything:
        name = logged.folder.resolve().name
        of_trial = {} if logged.trial is None else {'group': name}
        run = wandb.init(
            project='rnnlab',
            id=f'{OURS}{secrets.token_hex(4)}',
            name=name if logged.trial is None else f'{name}-{logged.trial}',
            config=logged.settings,
            dir=logged.folder,
            settings=wandb.Settings(mode='offline', silent=True, console='off'),
            **of_trial,
        )
        for row in logged.rows:
            run.log(tensorboard.values_of(row) | tensorboard.series_of(row), step=row.step)
        if logged.summary:
            run.summary.update(tensorboard.results_of(logged.summary))
        run.finish()
    for path in dict.fromkeys(logged.folder / WANDB for logged in everything):
        say(f'written: {path}; upload it with: wandb sync {path}/{ours}')


if __name__ == '__main__':
    cli.run(Config, main, takes_arguments=True)
