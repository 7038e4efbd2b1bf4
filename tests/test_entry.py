"""How an experiment's process begins and ends: Ctrl-C, closed outputs, devices, kept programs."""

import importlib
import os
import platform
import resource
import shlex
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.runner import console
from experiments.runner.cli import command, one_line_errors, parse
from experiments.runner.fields import specs
from experiments.runner.machine import keep_memory
from rnnlab.data import cache
from rnnlab.errors import InputError

from .conftest import ROOT, launch

SMALL = ['--dataset=digits', '--steps=2', '--hidden_size=4', '--out=run']
CTRL_C = 'import signal\nsignal.raise_signal(signal.SIGINT)\n'
SWALLOWED = """
class Callback:
    def __del__(self):
        import signal
        signal.raise_signal(signal.SIGINT)

Callback()
from rnnlab.cells.lstm import lstm as mycell
"""


@pytest.mark.parametrize(
    ('module', 'text'),
    [('jax', CTRL_C), ('mymodule', SWALLOWED)],
    ids=['in an import', 'where Python swallows exceptions'],
)
def test_an_early_interrupt_ends_the_process(module, text, tmp_path, monkeypatch):
    (tmp_path / f'{module}.py').write_text(text)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    result = launch('mnist', *SMALL, '--cell=mymodule:mycell', cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (130, '', 'error: interrupted\n')
    assert not (tmp_path / 'run').exists()


EXPERIMENTS = [
    path.stem for path in sorted(ROOT.glob('experiments/*.py')) if path.stem != '__init__'
]
PATHS = [
    (experiment, name)
    for experiment in EXPERIMENTS
    for name, spec in specs(importlib.import_module(f'experiments.{experiment}').Config).items()
    if spec.path
]


@pytest.mark.parametrize(('experiment', 'name'), PATHS)
def test_a_path_is_one_of_this_machine(experiment, name, monkeypatch):
    config = importlib.import_module(f'experiments.{experiment}').Config
    monkeypatch.setenv('HOME', '/home/me')

    def value(text):
        return getattr(parse(config, ['', f'--{name}={text}'])[0], name)

    assert [value(text) for text in ('~/x', '~', 'a~/b', './~x')] == [
        '/home/me/x', '/home/me', 'a~/b', './~x',
    ]  # fmt: skip
    for text in ('', 'gs://bucket/x', 'file:///x', '~nobody-of-this-name/x', 'a\0b', 'a\udcff'):
        with pytest.raises(InputError, match=f'^--{name}'):
            value(text)


FLAGS = [
    ('mnist', '--dataset=digits', '--lr=0.0123456789', '--clip=inf', '--bidirectional'),
    ('mnist', '--sweep=cell=gru,lstm', '--sweep=lr~log(1e-4,1e-1)', '--trials=7', '--nodry_run'),
    ('series', "--csv=my 'own' $table.csv", '--column=b c', '--out=runs/x y', '--seed=3'),
    ('memory', '--task=copy', '--zoneout=0.1', '--keep=best'),
]


@pytest.mark.parametrize('flags', FLAGS)
def test_the_recorded_command_gives_the_configuration(flags):
    experiment, *given = flags
    config, _ = parse(importlib.import_module(f'experiments.{experiment}').Config, ['', *given])
    launcher, name, *words = shlex.split(command(experiment, config))
    assert (launcher, name) == ('./launch.sh', experiment)
    assert parse(type(config), ['', *words])[0] == config


def test_every_flag_of_a_file_or_folder_is_a_path():
    named = {name for _, name in PATHS}
    assert named >= {'out', 'data_dir', 'csv', 'npz', 'text', 'predict'}
    assert ('imdb', 'predict') not in PATHS  # a review


def test_a_platform_without_devices_is_one_line(monkeypatch, capsys):
    def devices():  # as JAX has it for a platform whose plugin is missing
        raise AssertionError

    monkeypatch.setattr(jax, 'devices', devices)
    with pytest.raises(SystemExit), one_line_errors():
        jax.devices()
    assert capsys.readouterr().err.startswith('error: JAX finds no device')


def test_an_assertion_of_ours_stays_a_traceback():
    with pytest.raises(AssertionError), one_line_errors():
        raise AssertionError


def test_more_devices_than_cores_are_refused(tmp_path, shell):
    result = launch('mnist', *SMALL, '--devices=1000', cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, '')
    assert result.stderr.startswith('error: --devices=1000 is more than')


def test_output_that_nobody_reads_costs_no_training(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, 'w') as stream, monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', stream)
        for _ in range(3):
            console.say('epoch 1')


def test_the_cache_keeps_what_was_used_last(own_cache):
    (own_cache / 'programs').mkdir(parents=True)
    files = [own_cache / name for name in ('a.npz', 'programs/b', 'programs/c', 'd.npz')]
    for path, used in zip(files, (3, 1, 4, 2), strict=True):
        path.write_bytes(bytes(10))
        os.utime(path, (used, 0))
    cache.trim(own_cache, 40)
    assert all(path.exists() for path in files)
    cache.trim(own_cache, 29)
    assert [path.exists() for path in files] == [True, False, True, False]
    cache.trim(own_cache / 'nowhere', 0)


def test_an_experiment_trims_the_cache(own_cache, monkeypatch):
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
    own_cache.mkdir(parents=True)
    with (own_cache / 'old').open('wb') as file:
        file.truncate(cache.MOST + 1)  # a hole, which takes no room
    launch('report', '--out=nowhere')
    assert not (own_cache / 'old').exists()


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another allocator')
def test_memory_that_is_freed_stays_in_the_process():
    def resident():
        return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()

    keep_memory()
    array = np.ones(8_000_000)
    before, size = resident(), array.nbytes
    del array
    assert resident() > before - size / 2
