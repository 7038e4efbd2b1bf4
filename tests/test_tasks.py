"""Memory tasks as a user trains them: tests at other lengths, curricula, capabilities."""

import csv
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import memory
from experiments.runner import lane_results, loop
from experiments.runner.program import program_alone
from experiments.runner.task import make_plan, resolve
from rnnlab.cells import CELLS
from rnnlab.data import LENGTHS, TASKS, memory_sequences, of_lengths
from rnnlab.models import network
from rnnlab.recurrence import recurrent
from rnnlab.training.batches import generated, in_order
from rnnlab.training.lanes import evaluation_over_lanes, lane_mesh, over_lanes, stacked
from rnnlab.training.optim import Hyper, optimizer
from rnnlab.training.train import make_evaluate, make_run
from tests.conftest import plain_jax, ran, refused
from tests.folders import read, rows

pytestmark = pytest.mark.usefixtures('shell')

TINY = '--hidden_size=4', '--batch_size=4', '--validation=20', '--steps=4', '--eval_every=2'


def test_hand_set_weights_have_every_parity_right_at_any_length():
    """h is the pair (bit or parity, bit and parity): their difference is the next parity."""
    config = memory.Config(
        task='parity', length=8, cell='elman', hidden_size=2, validation=30, steps=1,
        test_length=('8', '8x', '1000'),
    )  # fmt: skip
    plan = make_plan(memory.TASK, resolve(memory.TASK, config))
    progress = loop.begin(program_alone(plan, None), [config.hyper], [0], np.uint32(0))
    sharp = 40.0
    params = {
        'layer_1': {
            'cell': {
                'kernel': sharp * jnp.array([[1.0, 1.0], [0.5, 0.5], [-0.5, -0.5]]),
                'bias': sharp * jnp.array([-0.5, -1.5]),
            }
        },
        'readout': {
            'kernel': sharp * jnp.array([[0.0, 1.0], [0.0, -1.0]]),
            'bias': sharp * jnp.array([1.0, 0.0]),
        },
    }
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, plan.params)
    lane = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, 0), params)
    progress.best = progress.best._replace(params=lane)
    (tested,) = lane_results.tested(progress)
    assert list(tested.tests) == [8, 64, 1000]
    for values in (tested.test, *tested.tests.values()):
        assert values['accuracy'] == 1
        assert values['loss'] < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'classes'), [('parity', 2), ('s3', 6)])
@pytest.mark.parametrize(
    ('cell', 'units', 'steps', 'learns'),
    [
        ('elman', 48, 2500, True),
        ('lstm', 24, 500, True),
        ('slstm', 24, 500, True),
        ('mingru', 64, 500, False),
        ('rg_lru', 32, 500, False),
    ],
)
def test_a_recurrent_matrix_tracks_a_state_at_8_times_the_trained_length(
    name, classes, cell, units, steps, learns
):
    """Linear recurrences with positive factors cannot (arXiv 2411.12537). Three seeds."""
    task, longer = TASKS[name](12), TASKS[name](8 * 12)
    net = network([recurrent(CELLS[cell](units))], inputs=task.inputs, outputs=task.outputs)
    batches = generated(of_lengths(task, 3), 50, 100)
    run = make_run(lambda hyper: net, optimizer('adam'), batches, every=100)
    mesh = lane_mesh(3, jax.devices()[:1])
    with plain_jax(x64=False):
        lanes, keys = over_lanes(run, mesh, jax.vmap), [jax.random.key(seed) for seed in range(3)]
        settings = stacked([Hyper(lr=1e-2, clip=1.0)] * 3, keys)
        state = lanes.advance(*settings, None, lanes.start(*settings), steps)
        test = memory_sequences(longer, 0, 200).test
        program = evaluation_over_lanes(mesh, jax.vmap)
        evaluate = make_evaluate(net, in_order(test, 200), program=program)
        right = evaluate(state.params, test)['accuracy']
    assert min(right) > 0.9 if learns else max(right) < 1 / classes + 0.05


@pytest.mark.slow
def test_a_lane_of_a_curriculum_is_the_run_alone_at_any_length(tmp_path):
    flags = *TINY, '--task=induction', '--length=3..9', '--test_length=1x,2x,5', '--cell=elman'
    ran('memory', *flags, '--sweep=seed=0,1', '--out=sweep', cwd=tmp_path, x64=True)
    out = ran('memory', *flags, '--seed=1', '--out=alone', cwd=tmp_path, x64=True)
    with (tmp_path / 'sweep' / 'trials.csv').open() as file:
        trial = [*csv.DictReader(file)][1]
    summary = read(tmp_path / 'alone', 'summary.json')
    assert read(tmp_path / 'alone', 'config.json')['length'] == '3..9'
    tests = [[summary[f'test_{n}_{name}'] for name in ('loss', 'accuracy')] for n in (9, 18, 5)]
    assert tests[0] == [summary['test_loss'], summary['test_accuracy']]
    assert len({loss for loss, _ in tests}) == 3
    for name in summary:
        if name.startswith('test_'):
            assert float(trial[name]) == pytest.approx(summary[name], rel=1e-9)
    lines = re.findall(r'^ +(\d+) +(\d\.\d{4}) +(\d\.\d{4})$', out, re.MULTILINE)
    assert [line[0] for line in lines] == ['9', '18', '5']
    np.testing.assert_allclose(np.array(lines, float)[:, 1:], tests, atol=6e-5)
    lanes = [row for row in rows(tmp_path / 'sweep') if row['trial'] == 1]
    for lane, alone in zip(lanes, rows(tmp_path / 'alone'), strict=True):
        assert {name: lane[name] for name in alone} == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize('name', TASKS)
def test_the_model_of_a_task_has_outputs_for_its_labels(name):
    config = resolve(memory.TASK, memory.Config(task=name, hidden_size=3))
    task, net = memory.problem(config), memory.build(config, None, Hyper())
    assert config.length == LENGTHS[name]

    def answer(key):
        inputs, labels = task.sample(key)
        return net.apply(net.init(key), jnp.expand_dims(inputs, 0)), jnp.expand_dims(labels, 0)

    outputs, labels = jax.eval_shape(answer, jax.random.key(0))
    assert outputs.shape == (*labels.shape, *[task.outputs] * (not task.numbers))


def test_bad_lengths_are_one_line(tmp_path):
    cases = [
        (['--task=induktion'], ['should be one of adding,', 'did you mean induction?']),
        (['--task=mqar', '--length=15'], ['--length of 16 or more', '4 pairs', 'not 15']),
        (['--task=selective_copy', '--length=19'], ['--length of 20 or more']),
        (['--task=mqar', '--length=8..64'], ['--length of 16 or more', 'not 8']),
        (['--length=64..8'], ['--length=64..8', 'a range of them like 8..64']),
        (['--length=0..8'], ['--length=0 must be at least 1']),
        (['--length=8..'], ['--length=8..', 'range']),
        (['--length=8-64'], ['--length=8-64 should be a whole number']),
        (['--task=s3', '--test_length=2y'], ['--test_length=2y', 'multiple like 8x']),
        (['--task=s3', '--test_length=0x'], ['--test_length=0x', '--length of 2 or more, not 0']),
        (['--task=recall', '--test_length=1x,2x'], ['--test_length=2x', 'odd --length']),
        (['--task=s3', '--test_length=99999999x'], ['--test_length=99999999x', 'more than']),
        (['--task=s3', '--test_length=9999999x'], ['of each --test_length', 'would take']),
        (['--task=counting', '--length=1000001'], ['--length of at most 1000000']),
        (['--sweep=test_length=1,2'], ['--test_length is a list']),
    ]
    refused('memory', cases, tmp_path)
