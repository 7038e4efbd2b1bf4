"""Experiments as a user runs them: cells of their own, devices, precision, what the shell shows."""

import json
import os
import re
import subprocess

import jax
import numpy as np
import pytest

from experiments import mnist, text
from experiments.runner import cli, machine
from experiments.runner.run import train
from experiments.runner.task import make_plan, resolve
from rnnlab.cells import lstm
from rnnlab.recurrence import engines
from tests.conftest import ROOT, call, launch, plain_jax, ran
from tests.folders import SMALL, final, read, rows

pytestmark = pytest.mark.usefixtures('shell')


def readme(section):
    """The blocks of Python in a section of the page of cells."""
    page = (ROOT / 'rnnlab' / 'cells' / 'README.md').read_text()
    (text,) = (part for part in re.split(r'\n##+ ', page) if part.startswith(f'{section}\n'))
    return re.findall(r'```python\n(.*?)```', text, re.DOTALL)


NARROW = """

from dataclasses import replace

def narrow(hidden_size):
    def step(params, carry, x):
        return Hidden(carry.h[..., :1]), carry.h
    return replace(mycell(hidden_size), step=step)
"""


@pytest.mark.slow
def test_a_users_own_cell_trains_sweeps_and_is_explained(tmp_path):
    (tmp_path / 'mymodule.py').write_text(readme('A cell of your own')[0] + NARROW)
    sweep = [*SMALL, '--sweep=cell=mymodule:mycell', '--sweep=seed=0,1']
    options = ['--steps=3', '--zoneout=0.1', '--trainable_carry', '--out=both']
    assert 'mymodule:mycell' in ran('mnist', *sweep, *options, cwd=tmp_path)
    out = ran('explain', '--cell=mymodule:mycell', cwd=tmp_path)
    assert float(re.search(r'all units: (\S+)', out)[1]) < 2e-6
    assert "\n  h' = tanh(x W + u h)" in out
    code, _, message = call('explain', '--cell=mymodule:narrow', cwd=tmp_path)
    law = "a step keeps the carry's structure, shapes and types"
    for words in ('breaks the law', law, 'float32 [3, 4]', 'float32 [3, 1]'):
        assert words in message
    assert (code, message.count('\n')) == (1, 1)


@pytest.mark.slow
def test_the_cores_share_a_batch_where_that_is_worth_it(tmp_path):
    """The native engine has all cores on one device."""
    every = len(jax.devices())
    native = 1 if engines(lstm(200))[0] == 'native' else every
    for cell, size, number in (
        ('lstm', 16, 1),
        ('lstm', 200, native),
        ('lstm_coupled', 200, every),
    ):
        flags = [*SMALL, f'--cell={cell}', f'--hidden_size={size}', '--steps=2']
        with plain_jax(x64=False):
            config, _ = cli.parse(mnist.Config, ['', *flags])
            plan = make_plan(mnist.TASK, resolve(mnist.TASK, config))
            mesh = plan.mesh(machine.devices(config), machine.shared(config))
        assert (mesh.size if mesh else 1) == number
    for more in ([], ['--resume']):
        out = ran('mnist', *flags, f'--out={tmp_path / "run"}', *more)
        assert f'on {every} cpu device(s)' in out
        assert read(tmp_path / 'run', 'config.json')['devices'] == every


@pytest.mark.slow
def test_a_compiled_program_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
    programs = []
    flags = '--dataset=digits', '--validation=200', '--layers=0', '--pool=mean', '--steps=1'
    for name in ('run', 'again'):
        assert launch('mnist', *flags, f'--out={tmp_path / name}').returncode == 0
        (folder,) = (tmp_path / 'cache' / 'rnnlab' / 'programs').iterdir()
        programs.append(sorted(folder.iterdir()))
    assert programs[0]
    assert programs[0] == programs[1]


@pytest.mark.slow
def test_layers_directions_views_and_devices_all_run(tmp_path):
    out = ran(
        'mnist', *SMALL, '--cell=gru', '--layers=2', '--bidirectional', '--view=permuted',
        '--optimizer=sgd', '--momentum=0.9', '--clip=inf', '--steps=3', '--eval_split=test',
        '--eval_every=2', '--eval_examples=50', '--eval_next', '--devices=2', '--out=run',
        cwd=tmp_path,
    )  # fmt: skip
    assert [row['step'] for row in rows(tmp_path / 'run')] == [2, 3]
    assert 'layer_2: 32 -> 32' in out
    assert 'on 2 cpu device(s)' in out


def test_a_loss_that_is_not_finite_stops_with_what_to_try(tmp_path):
    folder = tmp_path / 'run'
    flags = ['--cell=irnn', '--optimizer=sgd', '--lr=1e8', '--clip=inf', '--steps=100']
    code, _, err = call('mnist', *SMALL, *flags, f'--out={folder}')
    what = r'error: the loss or gradient of step \d+ is not finite, with --lr=1e\+08 and --clip=inf'
    assert re.fullmatch(rf'{what}: try a lower one of them.*\n', err)
    assert code == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(final(folder)))


@pytest.mark.slow
def test_two_experiments_train_in_one_process(tmp_path):
    ran('mnist', *SMALL, '--steps=2', '--out=mnist', cwd=tmp_path)
    small = '--length=3', '--hidden_size=4', '--steps=2', '--validation=20'
    ran('memory', '--task=copy', *small, '--out=memory', cwd=tmp_path)
    for name in ('mnist', 'memory'):
        assert read(tmp_path / name, 'config.json')['experiment'] == name
    assert 'dataset' not in read(tmp_path / 'memory', 'config.json')


@pytest.mark.slow
def test_precision_is_of_the_run(tmp_path):
    flags, losses = [*SMALL, '--cell=mingru', '--steps=3'], []
    for precision in ('float32', 'bfloat16'):
        folder = tmp_path / precision
        ran('mnist', *flags, f'--precision={precision}', f'--out={folder}')
        assert read(folder, 'config.json')['precision'] == precision
        losses.append(read(folder, 'summary.json')['test_loss'])
    assert 1e-6 < abs(losses[0] - losses[1]) < 1e-2
    code, _, err = call('mnist', *flags, '--precision=float32', f'--out={folder}', '--resume')
    assert (code, 'precision' in err) == (1, True)


def test_launch_lists_what_there_is():
    options = {'capture_output': True, 'text': True, 'cwd': '/'}
    result = subprocess.run([ROOT / 'launch.sh'], check=True, **options)
    for words in ('mnist', 'Handwritten digits', 'test', 'experiments/recipes/mnist_lstm64.flags'):
        assert words in result.stdout
    result = subprocess.run([ROOT / 'launch.sh', 'mnsit'], **options)
    assert (result.returncode, result.stderr.count('\n')) == (1, 1)
    assert "no experiment 'mnsit'" in result.stderr


@pytest.mark.parametrize('flags', [['--search=tpe', '--cluster=local'], ['--flagfile=my.flags']])
def test_launch_installs_what_the_flags_need(flags, tmp_path):
    """Also those of a file, whose comments are no flags."""
    (tmp_path / 'my.flags').write_text('# --log=wandb\n--cluster=local\n--search=tpe\n')
    (tmp_path / 'bin').mkdir()
    for name in ('python', 'uv', 'nvidia-smi'):
        (tmp_path / 'bin' / name).write_text('#!/bin/sh\n')
        (tmp_path / 'bin' / name).chmod(0o755)
    own = {'VENV': str(tmp_path), 'PATH': f'{tmp_path / "bin"}:{os.environ["PATH"]}'}
    options = {'capture_output': True, 'text': True, 'cwd': tmp_path, 'env': os.environ | own}
    result = subprocess.run([ROOT / 'launch.sh', 'mnist', *flags], **options)
    assert result.returncode == 0
    assert f'setting up {tmp_path} with search,cluster (once' in result.stderr


def test_a_file_that_changed_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = text.Config(text='text', steps=1, hidden_size=4, batch_size=2, window=8)
    checksums = set()
    with plain_jax(x64=False):
        for number, words in enumerate(('the quick brown fox ', 'fox brown quick the ')):
            (tmp_path / 'text').write_text(words * 40)
            folder = train(text.TASK, config.replace(out=f'run{number}'))
            checksums.add(json.loads((folder / 'config.json').read_text())['text_crc32'])
    assert len(checksums) == 2
