"""Programs for accelerators that are not there."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from experiments.runner import machine
from rnnlab.cells import CELLS
from rnnlab.data import Split
from rnnlab.models import classifier
from rnnlab.recurrence import recurrent
from rnnlab.training.batches import shuffled
from rnnlab.training.optim import Hyper, optimizer
from rnnlab.training.train import make_run
from tests.conftest import call, refused

DIGITS = ['--dataset=digits', '--hidden_size=8']
TPU = [*DIGITS, '--compile_for=v5e:2x2']
NUMBERS = r' +([\d,.]+) +([\d,.]+) +17,179\.9'


@pytest.fixture
def compiler():
    pytest.importorskip('libtpu', reason="needs a TPU's compiler: pip install 'jax[tpu]'")


@pytest.mark.usefixtures('compiler')
@pytest.mark.parametrize(
    ('flags', 'programs'),
    [
        (['--cell=slstm'], ['']),
        (['--sweep=cell=lstm,mingru', '--sweep=lr=1e-3,1e-2'], ['cell=lstm  ', 'cell=mingru  ']),
    ],
    ids=['a run', 'a sweep'],
)
def test_a_commands_programs_are_compiled_and_nothing_is_trained(flags, programs, tmp_path):
    code, out, err = call('mnist', *TPU, *flags, cwd=tmp_path)
    assert code == 0, err
    for label in programs:
        for name in ('initial state', 'training', 'evaluation', 'test'):
            peak, _ = re.search(f'{label}{name}{NUMBERS}', out).groups()
            assert float(peak.replace(',', '')) > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures('compiler')
def test_what_does_not_fit_or_is_no_tpu_is_one_line(tmp_path):
    large = '--hidden_size=24000', '--optimizer=sgd'
    code, _, err = call('mnist', *TPU, *large, cwd=tmp_path)
    assert (code, err.count('\n')) == (1, 1)
    assert 'TPU v5 lite' in err
    words = ['--compile_for=abacus:2x2', 'v5e:2x2']
    refused('mnist', [([*DIGITS, '--compile_for=abacus:2x2'], words)], tmp_path)


def test_without_the_compiler_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, 'find_spec', lambda name: None)
    machine.topology.cache_clear()
    refused('mnist', [(TPU, ["pip install 'jax[tpu]'"])], tmp_path)


@pytest.mark.parametrize('name', ['lstm', 'gru', 'lru', 'mingru', 'slstm'])
def test_a_step_of_training_lowers_for_a_gpu(name):
    """By the engines of a GPU, with nothing in it that only this machine's processor has."""
    data = Split(jnp.zeros((4, 3, 2)), jnp.zeros(4, jnp.int32))

    def model(hyper):
        return classifier([recurrent(CELLS[name](4))], inputs=2, classes=3)

    batches = shuffled(data, 2)
    run = make_run(model, optimizer('adam'), batches, every=1)

    def steps(key, data, state):
        return run.advance(HYPER, jax.random.wrap_key_data(key), data, state, 1)

    key = jax.random.key_data(jax.random.key(0))
    state = jax.eval_shape(partial(run.start, HYPER), jax.random.key(0))
    exported = jax.export.export(jax.jit(steps), platforms=['cuda'])(key, data, state)
    assert exported.platforms == ('cuda',)
    assert 'rnnlab_' not in exported.mlir_module()


HYPER = Hyper(lr=0.01, clip=1.0)
