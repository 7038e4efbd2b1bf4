"""Flags of any value: an experiment takes it, or refuses it in one line; nothing is written."""

import importlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.runner import groups
from experiments.runner.fields import specs, types_of
from tests.conftest import call

TRAINING = {  # with flags that a dry run needs
    'mnist': ['--dataset=digits'],
    'classify': ['--npz=waves.npz'],
    'imdb': [],
    'listops': ['--length=5..20', '--examples=50'],
    'memory': ['--task=adding', '--length=8', '--validation=20'],
    'series': ['--csv=table.csv'],
    'text': ['--text=book.txt'],
}
READING = ('compare', 'report')
# Of these only the flags are read here.
OTHERS = ('bench', 'conformance', 'explain', 'reproduce', 'starts', *READING)

ODD = (
    '', ' ', '-1', '0', '1', '2', '-0.0', '0.5', 'nan', 'inf', '-inf', '1e999', '1e-400',
    '2147483647', '2147483648', '99999999999999', '9' * 5000, '0x10', '1_000', '1,5', '٣', '½',
    'true', 'None', 'lstm', 'digits', 'mnist', '\0', 'a\0b', 'a\udcff', '"', "'", '$(x)', '[red]',
    '{}', '%s', '\n', 'a\nb', '\u202e', '😀', '~', '~nobody-of-this-name', 'gs://b/x', '/', '.',
    '..', 'x' * 300, '/dev/null', '/dev/null/x', '/proc/self/mem', 'waves.npz', 'table.csv',
    'book.txt', 'folder', 'nowhere', '-', ',', ',,', 'a,b', '1,2', '=', '--', '1/2', '0/0',
    'mymodule:mycell', 'os:getcwd', ':', 'x:', '0.8,0.1,0.1', 'nan,nan,nan', '1,2,3', 'lr=1',
    'lr~1', 'seed=0..2', 'lr~log(1e-4,1e-1)', 'cell=lstm,gru', 'lr=log(nan,1,3)',
    'lr=lin(-1e308,1e308,3)', 'seed=0..' + '9' * 400, 'dropout~0,1',
    'hidden_size~1..99999999999999', 'sweep=1,2', 'out=a,b',
)  # fmt: skip


def values(kind, spec):
    typed = {
        bool: st.sampled_from(['true', 'false']),
        int: st.integers().map(str),
        float: st.floats().map(str),
    }.get(kind, st.text(max_size=8))
    options = [st.sampled_from(ODD), typed]
    if spec.choices:
        options.append(st.sampled_from(spec.choices))
    return st.one_of(options)


def flags(config):
    """One to three flags of an experiment, with values of their type and others."""
    types = types_of(config)
    each = [
        values(types[name], spec).map(lambda text, name=name: f'--{name}={text}')
        for name, spec in specs(config).items()
        if name != 'dry_run'
    ]
    return st.lists(st.one_of(each), min_size=1, max_size=3)


def checked(result, folder, before):
    code, out, err = result
    assert set(folder.iterdir()) == before
    if code:
        assert (code, out) == (1, '')
        assert err.startswith('error: ')
        assert err.count('\n') == 1
    else:
        assert err == ''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('flags')
    (folder / 'folder').mkdir()
    (folder / 'book.txt').write_text('the quick brown fox jumps over the lazy dog\n' * 50)
    table = ''.join(f'{t},{t % 7},{t % 5}\n' for t in range(400))
    (folder / 'table.csv').write_text('t,a,b\n' + table)
    labels = np.arange(40) % 2
    np.savez(
        folder / 'waves.npz', x=np.ones((40, 6, 2), np.float32) * labels[:, None, None], y=labels
    )
    return folder


def config_of(experiment):
    return importlib.import_module(f'experiments.{experiment}').Config


def check(experiment, folder, examples, run):
    """Many flags, derandomized: run(flags) takes or refuses each."""
    before = set(folder.iterdir())

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(flags(config_of(experiment)))
    def each(odd):
        checked(run(odd), folder, before)

    each()


@pytest.mark.parametrize('experiment', TRAINING)
def test_a_sweep_takes_or_refuses_any_flag(experiment, folder, monkeypatch):
    monkeypatch.setenv('TFDS_DATA_DIR', str(folder / 'folder'))
    monkeypatch.setattr(groups, 'fit_lanes', lambda *arguments: (1, 0))  # it compiles
    always = [*TRAINING[experiment], '--sweep=seed=0,1', '--dry_run']
    check(experiment, folder, 10, lambda odd: call(experiment, *always, *odd, cwd=folder))


@pytest.mark.parametrize('experiment', READING)
def test_folders_that_hold_nothing(experiment, folder):
    check(experiment, folder, 10, lambda odd: call(experiment, *odd, 'folder', cwd=folder))


@pytest.mark.parametrize('experiment', [*TRAINING, *OTHERS])
def test_any_flag_is_parsed_or_refused(experiment, folder, monkeypatch):
    monkeypatch.setattr(
        importlib.import_module(f'experiments.{experiment}'), 'main', lambda *arguments: None
    )
    check(experiment, folder, 20, lambda odd: call(experiment, *odd, cwd=folder))
