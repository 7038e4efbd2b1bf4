"""What cannot fit into memory is refused by its shapes alone, and what fits never is."""

import jax
import jax.numpy as jnp
import pytest

from experiments import memory, mnist
from experiments.runner import cli, task
from rnnlab.training import memory as known
from tests.conftest import plain_jax, refused

HUGE = 2 * 10**9
CASES = {
    'mnist': [
        *(('--dataset=digits', f'--hidden_size={size}') for size in (300_000, 10**8)),
        ('--dataset=digits', '--sweep=hidden_size=8,300000'),
    ],
    'memory': [
        ('--length=100000000',),
        (f'--validation={HUGE}',),
        ('--validation=2', '--batch_size=1000000000'),
    ],
    'text': [('--embedding=1000000000',)],
    'explain': [('--hidden_size=1000000',), (f'--time_steps={HUGE}',), (f'--inputs={HUGE}',)],
    'starts': [('--hidden_size=1000000',), (f'--draws={HUGE}',)],
}


@pytest.mark.parametrize('experiment', CASES)
def test_what_cannot_fit_is_refused_with_the_figure(experiment, tmp_path):
    words = ['would take at least ', ' GB, more than the ', 'choose smaller sizes']
    refused(experiment, [(flags, words) for flags in CASES[experiment]], tmp_path)


def test_sizes_that_no_array_has_are_refused(tmp_path):
    refused('mnist', [(('--dataset=digits', f'--hidden_size={HUGE}'), ['sizes'])], tmp_path)
    refused('explain', [((f'--hidden_size={HUGE}',), ['sizes'])], tmp_path)


def test_what_the_device_refuses_is_one_line(capsys):
    with pytest.raises(SystemExit), cli.one_line_errors():
        jnp.zeros(2**46, jnp.int8).block_until_ready()
    err = capsys.readouterr().err
    assert err.startswith('error: this takes more memory than there is')
    assert err.count('\n') == 1


TRAININGS = {
    'lstm': (mnist, '--dataset=digits', '--hidden_size=64'),
    'qrnn': (memory, '--length=300', '--validation=2', '--cell=qrnn'),
    'remat': (memory, '--length=300', '--validation=2', '--cell=elman', '--remat=20'),
}


@pytest.mark.parametrize('name', TRAININGS)
def test_a_training_takes_no_less_than_is_said(name, monkeypatch):
    """So nothing that fits is refused. Beside the program there is the copy of a checkpoint."""
    (module, *flags), said = TRAININGS[name], []
    with plain_jax(x64=False):
        config, _ = cli.parse(module.Config, ['', *flags])
        config = task.resolve(module.TASK, config)
        task.load(module.TASK, config)
        monkeypatch.setattr(known, 'device_memory', lambda device: 0)
        monkeypatch.setattr(known, 'check', lambda what, needed, device: said.append(needed))
        plan, hyper, key = task.make_plan(module.TASK, config), config.hyper, jax.random.key(0)
        run = plan.make_run()
        state = jax.eval_shape(run.start, hyper, key)
        program = run.advance.lower(hyper, key, plan.data.train, state, 1).compile()
        taken = program.memory_analysis()
        least = said[-1] - known.size(state)
        assert least <= taken.temp_size_in_bytes + taken.argument_size_in_bytes < 5 * least
