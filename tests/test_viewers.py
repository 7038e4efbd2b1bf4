"""What TensorBoard reads of runs and sweeps, and the table of export: the rows of metrics.jsonl."""

import csv
import json
import math
import shutil
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from experiments import memory
from experiments.runner.fields import swept
from rnnlab.results import claims, runs, tensorboard
from tests.conftest import call, refused
from tests.interrupt import killed

SIZES = '--length=5', '--validation=4', '--hidden_size=2', '--batch_size=2'
PLAIN = 'memory', *SIZES, '--steps=6', '--eval_every=2', '--checkpoint_every=0'
RUN = *PLAIN, '--log_gradients'
SWEEP = *PLAIN, '--sweep=lr=1e-2,1e30', '--sweep=seed=0,1', '--max_lanes=2'
POINTS = [{'lr': lr, 'seed': seed} for lr in (1e-2, 1e30) for seed in (0, 1)]
LOG = '--log=tensorboard'
ALL = {'scalars': 0, 'histograms': 0}  # no sample of them


def trained(folder, *flags):
    code, _, err = call(*flags, '--out=it', cwd=folder)
    assert (code, err) == (0, '')
    return folder / 'it'


def exported(*arguments):
    code, _, err = call('export', *arguments)
    assert (code, err) == (0, '')


def known(value):
    return None if math.isnan(value) else value


def read(folder):
    """By step the values of each tag, and the settings, as TensorBoard reads them."""
    log = EventAccumulator(str(folder), ALL).Reload()
    events = [(tag, e.step, e.value) for tag in log.Tags()['scalars'] for e in log.Scalars(tag)]
    for tag in log.Tags()['histograms']:
        values = [(e.step, e.histogram_value) for e in log.Histograms(tag)]
        assert all(own.bucket_limit == [*range(1, len(own.bucket) + 1)] for _, own in values)
        events += [(tag, step, [*map(known, own.bucket)]) for step, own in values]
    rows, results = {}, {}
    for tag, step, value in events:
        own = results if tag.startswith('summary/') else rows.setdefault(step, {})
        assert tag not in own  # no row twice
        own[tag] = value if isinstance(value, list) else known(value)
    content = log.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(content).hparams
    settings = {name: getattr(v, v.WhichOneof('kind')) for name, v in start.items()}
    return rows, results, settings


def lines(folder, trial=None):
    rows = map(json.loads, (folder / runs.METRICS).read_text().splitlines())
    return [row for row in rows if row.pop('trial', None) == trial]


def tagged(rows):
    """The rows of metrics.jsonl as TensorBoard should read them."""
    groups = 'train', 'validation', 'test', 'gradient'

    def tag(name):
        group, _, rest = name.partition('_')
        return f'{group}/{rest}' if group in groups else name

    def value(own):
        return own if isinstance(own, list | None) else float(np.float32(own))

    return {row.pop('step'): {tag(name): value(own) for name, own in row.items()} for row in rows}


def settings(record):
    return {n: record[n] for n in swept(memory.Config) if record.get(n) is not None}


def timeless(rows):
    return [{name: v for name, v in row.items() if name != 'seconds'} for row in rows.values()]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp('run'), *RUN, LOG)


@pytest.fixture(scope='module')
def sweep(tmp_path_factory):
    """A sweep that was killed in its first batch."""
    folder = tmp_path_factory.mktemp('sweep')
    command = *SWEEP, LOG
    assert killed(tensorboard, 'append', 3, lambda: call(*command, '--out=it', cwd=folder))
    return trained(folder, *command, '--resume')


@pytest.mark.slow
def test_tensorboard_reads_the_rows_the_results_and_the_settings_of_a_run(run):
    rows, results, own = read(run / 'tensorboard')
    assert len(rows) == 3
    assert len(rows[2]['gradient/layer_1.h']) == 5
    assert rows == tagged(lines(run))
    assert own == settings(runs.read_json(run / runs.CONFIG))
    summary = runs.read_json(run / runs.SUMMARY)
    tested = {f'summary/test_{name}': summary[f'test_{name}'] for name in ('loss', 'mae')}
    assert results == pytest.approx(tested | {'summary/best': summary['best_validation_loss']})
    exported('--to=tensorboard', run)  # in the place of the other
    assert read(run / 'tensorboard') == (rows, results, own)
    assert len([*(run / 'tensorboard').iterdir()]) == 1


@pytest.mark.slow
def test_a_run_that_is_resumed_has_the_log_of_one_that_is_not(run, tmp_path):
    command = *RUN, LOG
    assert killed(tensorboard, 'append', 1, lambda: call(*command, '--out=it', cwd=tmp_path))
    rows, *others = read(trained(tmp_path, *command, '--resume') / 'tensorboard')
    assert rows == tagged(lines(tmp_path / 'it'))
    whole, *as_whole = read(run / 'tensorboard')
    assert (timeless(rows), others) == (timeless(whole), as_whole)


@pytest.mark.slow
def test_tensorboard_reads_each_trial_of_a_sweep_that_was_killed(sweep):
    with (sweep / 'trials.csv').open() as file:
        diverged = [trial['status'] == 'diverged' for trial in csv.DictReader(file)]
    assert diverged == [False, False, True, True]
    common = runs.read_json(sweep / 'sweep.json')

    def check():
        for number, point in enumerate(POINTS):
            rows, results, own = read(sweep / 'tensorboard' / str(number))
            assert rows == tagged(lines(sweep, number))
            assert bool(results) != diverged[number]
            assert own == settings(common | point)

    check()
    shutil.rmtree(sweep / 'tensorboard')
    exported('--to=tensorboard', sweep)
    check()


@pytest.mark.slow
def test_an_export_leaves_the_logs_of_trials_that_are_training(sweep):
    def files():
        return [tensorboard.logs(sweep / 'tensorboard' / str(n)) for n in range(len(POINTS))]

    before, batch = files(), [0, 1]
    (sweep / claims.CLAIMS).mkdir()
    claim = claims.take(sweep, '00000-2', 1, batch, 0)
    exported('--to=tensorboard', sweep)
    assert [own == old for own, old in zip(files(), before, strict=True)] == [
        number in batch for number in range(len(POINTS))
    ]
    claim.write_text(json.dumps(json.loads(claim.read_text()) | {'error': 'killed'}))
    shutil.rmtree(sweep / 'tensorboard' / '0')
    exported('--to=tensorboard', sweep)
    assert [own == old for own, old in zip(files(), before, strict=True)] == [False] * len(POINTS)
    shutil.rmtree(sweep / claims.CLAIMS)


class Wandb:
    """What export calls of Weights & Biases: the folder of a run has its rows and results."""

    Settings = staticmethod(dict)

    def init(self, *, dir, id, config, **_):
        self.path = dir / 'wandb' / f'offline-run-20261127_101112-{id}'
        self.path.mkdir(parents=True)
        self.rows, self.summary = [], {'settings': config}
        return self

    def log(self, values, step):
        self.rows.append(values | {'step': step})

    def finish(self):
        runs.write_json(self.path / 'run.json', [self.rows, self.summary])


@pytest.mark.slow
def test_an_export_to_wandb_replaces_what_it_wrote_and_nothing_else(run, monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', Wandb())
    other = run / 'wandb' / 'offline-run-20261127_101112-abcdefgh' / 'run.json'
    runs.write_json(other, [])
    exported('--to=wandb', run)
    first = {*(run / 'wandb').iterdir()}
    exported('--to=wandb', run)
    second = {*(run / 'wandb').iterdir()}
    assert first & second == {other.parent}
    (path,) = second - {other.parent}
    rows, summary = runs.read_json(path / 'run.json', list)
    values = {
        row.pop('step'): {
            n: v if isinstance(v, list | None) else float(np.float32(v)) for n, v in row.items()
        }
        for row in rows
    }
    assert values == tagged(lines(run))
    assert {n: v for n, v in summary.pop('settings').items() if v is not None} == settings(
        runs.read_json(run / runs.CONFIG)
    )
    assert summary['summary/best'] == runs.read_json(run / runs.SUMMARY)['best_validation_loss']


@pytest.mark.slow
def test_a_table_of_runs_and_sweeps_has_their_rows_and_settings(run, sweep, tmp_path):
    path = tmp_path / 'rows.csv'
    for _ in range(2):  # the second in the place of the first
        exported('--to=csv', f'--out={path}', run, sweep)
    with path.open() as file:
        table = [*csv.DictReader(file)]

    def same(cell, value):
        if isinstance(value, str | bool):
            return cell == str(value)
        return cell == '' if value is None else json.loads(cell) == value

    config, common = runs.read_json(run / runs.CONFIG), runs.read_json(sweep / 'sweep.json')
    every = [(run, None, config), *((sweep, n, common | own) for n, own in enumerate(POINTS))]
    expected = [
        {'run': str(folder), 'trial': trial} | row | {n: own[n] for n in swept(memory.Config)}
        for folder, trial, own in every
        for row in lines(folder, trial)
    ]
    assert len(table) == len(expected) == 9
    for cells, whole in zip(table, expected, strict=True):
        assert cells.keys() == expected[0].keys()  # the sweep's rows have no gradients
        assert [name for name, cell in cells.items() if not same(cell, whole.get(name))] == []


def test_what_cannot_be_exported_is_one_line(run, tmp_path, monkeypatch):
    for package in ('tensorboardX', 'wandb'):
        monkeypatch.setitem(sys.modules, package, None)
    inside, other, begun = tmp_path / 'inside', tmp_path / 'other', tmp_path / 'begun'
    inside.mkdir()
    runs.write_json(other / runs.CONFIG, {'experiment': 'starts'})
    runs.write_json(begun / runs.CONFIG, runs.read_json(run / runs.CONFIG))
    takes = ['takes --to=tensorboard, csv or wandb, and the folders']
    cases = [
        (['--to=csv'], takes),
        ([run], takes),
        (['--to=excel', run], ['--to=excel should be one of tensorboard, csv, wandb']),
        (['--to=csv', run, tmp_path], [str(tmp_path), 'neither a run nor a sweep']),
        (['--to=csv', 'nowhere'], ['nowhere holds neither']),
        (['--to=csv', other], [f'{other}/config.json is not of a run']),
        (['--to=csv', begun], [f'no evaluation yet in {begun}']),
        (['--to=tensorboard', run], ['pip install tensorboardX']),
        (['--to=tensorboard', '--out=x', run], ['--out=x goes with --to=csv']),
        (['--to=wandb', run], ['pip install wandb']),
    ]
    refused('export', cases, inside)
    refused('memory', [([*RUN[1:], LOG], ['--log: ', 'pip install tensorboardX'])], inside)
