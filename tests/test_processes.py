"""One run over several processes: the bytes of one process, one writer, one end."""

import re
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from experiments import mnist
from experiments.runner import processes
from rnnlab.cells.params import named_leaves
from rnnlab.errors import InputError
from rnnlab.training.checkpoint import open_checkpoints, restore
from rnnlab.training.devices import batch_mesh, evenly
from tests.conftest import call, command, refused, same
from tests.folders import rows

pytestmark = pytest.mark.usefixtures('shell')

STEPS = 24
RUN = ['--dataset=digits', '--hidden_size=8', '--dropout=0.2', '--keep=best', '--eval_every=8']
RUN += [f'--steps={STEPS}', '--checkpoint_every=0']
OWN = """
import sys
from experiments import mnist
from experiments.runner import cli, processes
processes.SECONDS = 2
cli.run(mnist.Config, mnist.main)
"""


def coordinator():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return f'--coordinator=127.0.0.1:{free.getsockname()[1]}'


def started(folder, *flags):
    """Two processes of a run."""
    shared = *RUN, *flags, '--out=run', '--processes=2', coordinator()
    pipes = {'cwd': folder, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    return [
        subprocess.Popen(command('mnist', *shared, f'--process_id={number}'), **pipes)
        for number in (0, 1)
    ]


def ended(pair):
    """(exit code, output, errors) of each."""
    texts = [process.communicate(timeout=120) for process in pair]
    return [(process.returncode, *text) for process, text in zip(pair, texts, strict=True)]


def checkpoint(folder):
    with open_checkpoints(folder / 'checkpoint') as checkpoints:
        saved = restore(checkpoints)
    saved['history'].pop('seconds')
    return {name: leaf for name, leaf in named_leaves(saved).items() if name != 'seconds'}


@pytest.mark.slow
def test_two_processes_are_two_devices(tmp_path):
    """Also after a signal to one of them, upon which both stop at the same step, and a resume."""
    alone = '--devices=2', '--out=alone'
    code, _, err = call('mnist', *RUN, *alone, cwd=tmp_path, pictures=True)
    assert code == 0, err
    folder = tmp_path / 'run'
    pair = started(tmp_path, '--devices=2')
    while pair[0].poll() is None and not list(folder.glob('checkpoint/*')):
        time.sleep(0.01)  # until both have taken a step
    pair[1].send_signal(signal.SIGTERM)
    (code, out, err), (other, *silent) = ended(pair)
    assert (code, other, silent) == (143, 143, ['', '']), (out, err, silent)
    assert re.search(f'stopped at step [0-9]+ of {STEPS};', out)
    (code, out, err), (other, *silent) = ended(started(tmp_path, '--resume'))
    assert (code, err, other, silent) == (0, '', 0, ['', '']), (err, silent)
    assert 'resumes at step' in out
    assert rows(folder) == rows(tmp_path / 'alone')
    same(checkpoint(folder), checkpoint(tmp_path / 'alone'))
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in (tmp_path / 'alone').iterdir()}


def test_what_one_process_refuses_ends_all(tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'mine').touch()
    (code, out, err), (other, *silent) = ended(started(tmp_path, '--devices=2'))
    assert (code, out, other, silent) == (1, '', 1, ['', ''])
    assert 'something that is no run' in err
    assert err.count('\n') == 1


def test_processes_with_different_settings_are_refused(monkeypatch):
    monkeypatch.setattr(processes, 'exchange', lambda value: [value, value + 1])
    with pytest.raises(InputError, match='different settings'):
        processes.check_same({'seed': 1})


def test_a_signal_stops_all_processes_at_the_same_step(monkeypatch):
    """Also one that comes while they agree: the others hear of it at the next step."""
    interrupts = []

    def exchange(value):
        interrupts.append(signal.SIGTERM)
        return [0, value]

    monkeypatch.setattr(processes, 'exchange', exchange)
    assert [processes.signalled(interrupts), processes.signalled(interrupts)] == [False, True]
    others = []
    monkeypatch.setattr(processes, 'exchange', lambda value: [value, signal.SIGTERM])
    assert processes.signalled(others)
    assert others == [signal.SIGTERM]


def test_a_coordinator_that_is_not_there_is_one_line(tmp_path):
    flags = *RUN, '--out=run', '--processes=2', '--process_id=1', coordinator()
    result = subprocess.run(
        [sys.executable, '-c', OWN, *flags], cwd=tmp_path, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (1, '')
    assert result.stderr.startswith('error: --coordinator=127.0.0.1:')
    assert result.stderr.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_each_process_has_equally_many_of_the_devices():
    devices = [SimpleNamespace(id=at, process_index=at // 4) for at in range(8)]
    assert [device.id for device in evenly(devices, 4)] == [0, 1, 4, 5]
    with pytest.raises(InputError, match=r'batch_size=33.* is no multiple of the 2 processes'):
        batch_mesh(33, devices)


def test_flags_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv('SLURM_STEP_NUM_TASKS', raising=False)
    two, there = '--processes=2', '--coordinator=127.0.0.1:1234'
    cases = [
        ([two], ['--processes=2 goes with --process_id']),
        ([two, '--process_id=0'], ['--processes=2 goes with --coordinator=HOST:PORT']),
        ([two, '--process_id=2', there], ['--process_id=2 must be below --processes=2']),
        (['--process_id=1'], ['--process_id goes with --processes']),
        ([there], ['--coordinator goes with --processes']),
        ([two, '--process_id=0', '--coordinator=here'], ['--coordinator=here must be HOST:PORT']),
        ([two, '--process_id=0', '--coordinator=a:70000'], ['must be HOST:PORT']),
        (['--processes=0'], ['--processes=0 must be at least 1']),
        ([two, '--sweep=lr=1e-3,1e-2'], ['--processes goes without --sweep', '--shard=i/n']),
    ]
    refused('mnist', [(['--dataset=digits', *flags], words) for flags, words in cases], tmp_path)


@pytest.mark.parametrize(
    ('given', 'environment', 'expected'),
    [
        ({}, {}, None),
        ({'processes': 1}, {'NUM_TASKS': '4', 'PROCID': '3'}, None),
        ({}, {'NUM_TASKS': '1', 'PROCID': '0'}, None),
        ({}, {'NUM_TASKS': '4', 'PROCID': '3'}, (4, 3, None)),
        ({'coordinator': 'a:1'}, {'NUM_TASKS': '4', 'PROCID': '0'}, (4, 0, 'a:1')),
        ({'sweep': ('seed=0,1',)}, {'NUM_TASKS': '4', 'PROCID': '0'}, None),
    ],
)
def test_slurm_says_which_process_this_is(given, environment, expected, monkeypatch):
    names = {'NUM_TASKS': 'SLURM_STEP_NUM_TASKS', 'PROCID': 'SLURM_PROCID'}
    for short, name in names.items():
        monkeypatch.delenv(name, raising=False)
        if short in environment:
            monkeypatch.setenv(name, environment[short])
    assert processes.place(mnist.Config(**given)) == expected
