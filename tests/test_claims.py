"""Claims: one process trains a batch at a time, another takes it over, and nothing is lost."""

import json
import os
import time

import numpy as np
import pytest

from experiments.runner import attempts, loop, turns
from rnnlab.errors import InputError
from rnnlab.results import claims, runs, trials
from rnnlab.training.checkpoint import open_checkpoints, restore, save
from tests.conftest import call, ran
from tests.folders import rows
from tests.interrupt import killed
from tests.test_sweeps import table

RUN = [
    '--dataset=digits',
    '--cell=elman',
    '--hidden_size=4',
    '--batch_size=64',
    '--validation=200',
    '--steps=20',
]
RUN += ['--eval_every=10', '--checkpoint_every=0', '--devices=1', '--keep=best']
AXES = ['--sweep=lr=1e-3,0.01,0.1,1e200', '--sweep=seed=0,1', '--max_lanes=2']
WORKER = '--shard=any/3'

sweeps = pytest.mark.usefixtures('shell', 'traced_once')


@pytest.fixture
def folder(tmp_path):
    (tmp_path / claims.CLAIMS).mkdir()
    (tmp_path / trials.WAVES).mkdir()
    return tmp_path


def age(path, seconds):
    """Makes a claim as old as one that was not touched for so long."""
    there = path.stat().st_mtime - seconds
    os.utime(path, (there, there))


def last(folder):
    return claims.read(folder)['00000'][-1]


def take(folder, attempt=1):
    return claims.take(folder, '00000', attempt, [0, 1], 0)


def test_one_process_alone_makes_a_claim(folder):
    assert take(folder) == folder / 'claims' / '00000.1'
    assert take(folder) is None
    assert last(folder).record['trials'] == [0, 1]
    assert not last(folder).stale
    claims.drop(folder, '00000')
    assert claims.read(folder) == {}


def test_a_claim_is_stale_by_the_clock_of_its_file_system(folder, monkeypatch):
    path = take(folder)
    monkeypatch.setattr(time, 'time', lambda: 1e12)  # a machine with another clock
    assert last(folder).age < 1
    age(path, claims.BEAT * claims.MISSED - 1)
    assert not last(folder).stale
    age(path, claims.BEAT * claims.MISSED + 1)
    assert last(folder).stale


def test_a_held_claim_stays_fresh_and_a_released_one_is_gone(folder, impatient):
    path = take(folder)
    age(path, 1000)
    with claims.held(path, folder / 'result'):
        time.sleep(0.1)
        assert not last(folder).stale
    assert not path.exists()


def test_an_error_is_noted_and_counts_only_for_the_last_claim(folder):
    path = take(folder)
    with pytest.raises(ValueError, match='too bad'), claims.held(path, folder / 'result'):
        raise ValueError('too bad')
    assert (last(folder).stale, last(folder).last_words) == (True, 'too bad')
    with claims.held(path, folder / 'result'):
        take(folder, 2)
        raise ValueError('of one that another process has replaced')
    with claims.held(last(folder).path, folder / 'result'):
        (folder / 'result').touch()
        raise ValueError('of one that is done')


def test_the_last_words_are_those_of_the_log(folder, tmp_path):
    path = take(folder)
    record = json.loads(path.read_text()) | {'log': str(tmp_path / 'log')}
    path.write_text(json.dumps(record))
    assert last(folder).last_words == 'it left no word'
    (tmp_path / 'log').write_text('loading\nKilled by the kernel\n\n')
    assert last(folder).last_words == 'Killed by the kernel'
    path.write_text(json.dumps(record)[:20])  # half written
    assert last(folder).record is None


def test_the_next_attempt_takes_the_checkpoint_and_the_last_one_ends(tmp_path):
    state, tree = tmp_path / '00000.0badcafe', {'leaf': np.arange(3)}
    first = attempts.checkpoint_folder(state, 1)
    with open_checkpoints(first) as old:
        save(old, 10, tree)
        old.wait_until_finished()
        second = attempts.checkpoint_folder(state, 2)
        with pytest.raises(InputError, match='has been removed'):
            old.check()
    assert second != first
    with open_checkpoints(second) as new:
        assert restore(new)['leaf'].tolist() == [0, 1, 2]
    attempts.keep(second, state)
    assert attempts.checkpoint_folder(state, 3) == state  # of a batch that has ended
    attempts.keep(attempts.checkpoint_folder(tmp_path / 'other', 1), state)
    assert trials.saved_step(state) == 10


def test_the_first_of_two_writers_decides(tmp_path):
    for text in ('first', 'second'):
        runs.write_text(tmp_path / 'file', text, once=True)
    assert (tmp_path / 'file').read_text() == 'first'
    assert [path.name for path in tmp_path.iterdir()] == ['file']


def train(folder, *flags):
    return ran('mnist', *RUN, *AXES, *flags, f'--out={folder}', x64=True)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, traced_once):
    """The trials and curves of one process."""
    folder = tmp_path_factory.mktemp('claims')
    train(folder)
    return table(folder), rows(folder)


def merged(folder):
    """The trials and curves of workers."""
    record = trials.SweepRecord.read(folder)
    trials.merge(folder, record.metrics, record.ranked_by)
    return table(folder), rows(folder)


def status(folder):
    return call('status', f'--out={folder}')


@sweeps
@pytest.mark.slow
def test_workers_that_die_leave_the_trials_of_one_process(whole, tmp_path, impatient):
    folder = tmp_path / 'sweep'
    moments = (loop, 'evaluate', 1, False), (trials, 'write_wave', 1, False)
    for at in moments:
        assert killed(*at[:3], lambda: train(folder, WORKER), at[3])
        time.sleep(0.2)
        code, out, _ = status(folder)
        assert code == 3
        assert 'attempt 1' in out
    assert 'all 8 trials are done' in train(folder, WORKER)
    assert merged(folder) == whole
    assert status(folder)[0] == 0
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {'best', 'waves'}


@sweeps
@pytest.mark.slow
def test_a_process_whose_batch_another_one_has_finished_does_no_harm(whole, tmp_path, monkeypatch):
    """The first pauses for so long that a second one trains all, then continues."""
    monkeypatch.setattr(claims, 'BEAT', 1000.0)  # so that its claim stays as old as it is made
    folder, evaluate, inside = tmp_path / 'sweep', loop.evaluate, []

    def paused(progress):
        evaluate(progress)
        if not inside:
            inside.append(True)
            for path in folder.glob('claims/*'):
                age(path, 1e5)
            train(folder, WORKER)

    monkeypatch.setattr(loop, 'evaluate', paused)
    train(folder, WORKER)
    assert merged(folder) == whole


@sweeps
@pytest.mark.slow
def test_three_deaths_at_the_same_step_make_a_batch_failed(whole, tmp_path, impatient):
    folder = tmp_path / 'sweep'
    assert killed(loop, 'evaluate', 0, lambda: train(folder, WORKER))
    step = turns.saved_step(folder, '00000')
    *_, path = [claims.take(folder, '00000', attempt, [0, 1], step) for attempt in (2, 3, 4)]
    log = folder / 'log'
    log.write_text('a line\nSegmentation fault\n')
    path.write_text(json.dumps(json.loads(path.read_text()) | {'log': str(log)}))
    train(folder, WORKER)
    own, curves = merged(folder)
    assert [row['status'] for row in own[:2]] == ['failed', 'failed']
    assert own[0]['error'] == 'Segmentation fault'
    assert [{n: v for n, v in row.items() if n != 'error'} for row in own[2:]] == whole[0][2:]
    assert curves == [row for row in whole[1] if row['trial'] > 1]
    printed = ran('report', f'--out={folder}')
    assert '2 failed' in printed
    assert 'trial 1 failed: Segmentation fault' in printed
    assert status(folder)[0] == 0


def test_status_of_a_folder_without_a_sweep_is_one_line(tmp_path):
    words = f'there is no sweep.json in {tmp_path}; name the folder that has it'
    assert status(tmp_path) == (1, '', f'error: {words}\n')
    assert call('status')[2].startswith('error: status takes --out=DIR')
