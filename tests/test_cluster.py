"""A sweep over a cluster: what is submitted, what the workers make of it, and what is refused."""

import shutil
import subprocess
import sys
from itertools import product
from types import SimpleNamespace

import pytest

from experiments import mnist
from experiments.runner import cluster, worker
from experiments.runner.cli import parse
from experiments.runner.cluster import command
from experiments.runner.groups import sharing
from tests.conftest import call, ran, refused
from tests.test_sweeps import table

submitit = pytest.importorskip('submitit')

SMALL = ['--dataset=digits', '--hidden_size=4', '--batch_size=64', '--validation=200', '--steps=20']
AXES = ['--sweep=lr=1e-3,0.01', '--sweep=seed=0..2']

pytestmark = pytest.mark.usefixtures('shell')


@pytest.mark.slow
def test_workers_of_this_machine_train_the_sweep(tmp_path):
    folder = tmp_path / 'sweep'
    flags = *SMALL, *AXES, '--cluster=local', '--workers=2'
    assert '6 of 6 trials' in ran('mnist', *flags, f'--out={folder}')
    assert [row['trial'] for row in table(folder)] == [*'012345']
    assert len([*folder.glob('workers/*.1.log')]) == 2


def test_a_program_is_divided_only_where_workers_would_have_less_than_two():
    for workers, programs in product(range(1, 9), range(1, 30)):
        each = sharing(workers, programs)
        assert 1 <= each <= workers
        assert each * programs >= min(2 * workers, workers * programs)
        assert each == 1 or (each - 1) * programs < 2 * workers


def test_the_command_of_a_worker_gives_the_settings_of_the_sweep(tmp_path):
    flags = ['--sweep=lr~log(1e-4,0.1)', '--sweep=seed=0,1', '--trials=3', '--dataset=digits']
    flags += ['--optimizer=adam', '--beta1=0.123456789012', '--bidirectional', '--clip=inf']
    config, _ = parse(mnist.Config, ['', *flags, '--cluster=local', '--workers=4', '--resume'])
    python, _, module, *own = command(mnist.TASK, config, tmp_path)
    assert (python, module) == (sys.executable, 'experiments.mnist')
    back, _ = parse(mnist.Config, ['', *own])
    assert back.to_json() == config.to_json()
    assert (back.sweep, back.trials, back.resume) == (config.sweep, 3, False)
    assert (back.shard, back.out, back.cluster) == ('any/4', str(tmp_path), None)


class Job:
    job_id = '7'


@pytest.mark.parametrize(
    ('text', 'lives'),
    [
        ('exit 1', 4),  # three deaths, and one life to say that a batch has failed
        ('touch "$0/waves/$$.json"; [ $(ls "$0/waves" | wc -l) = 6 ]', 6),  # new results each time
        ('kill -TERM $$', 1),
        ('exit 143', 1),
    ],
)
def test_a_worker_lives_again_while_there_are_results(tmp_path, monkeypatch, text, lives):
    monkeypatch.setattr(submitit, 'JobEnvironment', Job)
    monkeypatch.setattr(worker, 'PAUSE', 0.01)
    (tmp_path / 'waves').mkdir()
    shell = ['bash', '-c', text, str(tmp_path)]
    own = worker.Worker(shell, tmp_path, tmp_path / 'waves')
    if lives == worker.LIVES:
        with pytest.raises(SystemExit, match='has died 4 times'):
            own()
    else:
        own()
    assert len([*tmp_path.glob('7.*.log')]) == lives


def scripts(folder, monkeypatch, **texts):
    """Programs of these texts, which are found first."""
    for name, text in texts.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(0o755)
    monkeypatch.setenv('PATH', str(folder), prepend=':')


def test_workers_of_an_earlier_command_are_not_submitted_again(tmp_path, monkeypatch):
    (tmp_path / 'bin').mkdir()
    submits = f'cat "$2" >/dev/null; echo >>{tmp_path}/submitted; echo Submitted batch job 42'
    queue = f'[ -e {tmp_path}/queue ] && cat {tmp_path}/queue && rm {tmp_path}/queue'
    scripts(tmp_path / 'bin', monkeypatch, sbatch=submits, srun='', squeue=f'{queue}; true')
    argv = [*SMALL, *AXES, '--cluster=slurm', '--workers=3', f'--out={tmp_path / "sweep"}']
    _, out, err = call('mnist', *argv)
    assert '3 workers are submitted' in out
    assert '3 workers have ended, and no trial is finished' in err
    for queued, words in ((2, '; 1 more are submitted'), (3, '; 0 more are submitted')):
        (tmp_path / 'queue').write_text(''.join(f'42_{at}\n' for at in range(queued)))
        _, out, _ = call('mnist', *argv)
        assert f'{queued} workers of an earlier command still run or are in the queue{words}' in out
    assert (tmp_path / 'submitted').read_text().count('\n') == 2


def test_a_worker_of_this_machine_is_known_by_its_process(tmp_path):
    here, other = tmp_path / 'a', tmp_path / 'b'
    config = SimpleNamespace(cluster='local')
    script = ['sh', '-c', 'echo; read line', str(here)]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()  # before this the new process may not have its command line yet
        for logs in (here, other):
            logs.mkdir()
            (logs / f'{process.pid}_submitted.pkl').touch()
        assert cluster.working(config, here) == [str(process.pid)]
        assert cluster.working(config, other) == []
        process.stdin.close()
    assert cluster.working(config, here) == []


BAD = [
    (['--cluster=local'], ['--cluster=local goes with --workers=N']),
    (['--workers=2'], ['--workers goes with --cluster']),
    (['--cluster=local', '--workers=7'], ['--workers=7: more parts than the 6 trials']),
    (['--cluster=local', '--workers=2', '--shard=1/2', '--out=x'], ['goes without --shard']),
    (
        ['--cluster=local', '--workers=2', '--slurm_time=5'],
        ['--slurm_time=5 goes with --cluster=slurm'],
    ),
    (['--cluster=slurm', '--workers=2'], ['--cluster=slurm needs sbatch', 'this machine']),
    (['--cluster=pbs', '--workers=2'], ['--cluster=pbs should be one of local, slurm']),
    (['--cluster=local', '--workers=2', '--out=/dev/null/sweep'], ['Not a directory']),
    (['--shard=any/0', '--out=x'], ['--shard=any/0 should be i/n']),
]


def test_a_cluster_that_cannot_be_is_one_line(tmp_path, monkeypatch):
    nothing = SimpleNamespace(which=lambda name: None, rmtree=shutil.rmtree)
    monkeypatch.setattr(cluster, 'shutil', nothing)
    refused('mnist', [([*SMALL, *AXES, *flags], words) for flags, words in BAD], tmp_path)
    monkeypatch.setitem(sys.modules, 'submitit', None)
    case = [*SMALL, *AXES, '--cluster=local', '--workers=2']
    refused('mnist', [(case, ['--cluster needs submitit: pip install submitit'])], tmp_path)


def test_what_slurm_refuses_is_told_in_its_own_words(tmp_path, monkeypatch):
    (tmp_path / 'bin').mkdir()
    said = 'sbatch: error: invalid partition specified: nowhere\\nsbatch: error: Batch job failed'
    scripts(tmp_path / 'bin', monkeypatch, sbatch=f'printf "{said}" >&2; exit 1', srun='')
    (tmp_path / 'empty').mkdir()
    flags = ['--cluster=slurm', '--workers=2', '--slurm_partition=nowhere', '--out=sweep']
    words = 'sbatch says: error: invalid partition specified: nowhere error: Batch job failed'
    refused('mnist', [([*SMALL, *AXES, *flags], [words])], tmp_path / 'empty')
