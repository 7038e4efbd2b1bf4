"""Pre-norm residual blocks against flax.linen's layers, and their batch norm in training."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from rnnlab.analysis.describe import count, describe
from rnnlab.cells import CELLS, gru, lru
from rnnlab.data import Split
from rnnlab.errors import InputError
from rnnlab.interop import to_torch
from rnnlab.models import classifier, network
from rnnlab.recurrence import Block, bidirectional, dropout_mask, recurrent, unroll
from rnnlab.recurrence.blocks import MOMENTUM
from rnnlab.recurrence.dropout import fold
from rnnlab.training.batches import in_order, shuffled
from rnnlab.training.devices import batch_mesh
from rnnlab.training.lanes import (
    evaluation_over_lanes,
    in_turn,
    lane,
    lane_mesh,
    over_lanes,
    stacked,
)
from rnnlab.training.optim import Hyper, optimizer
from rnnlab.training.train import make_evaluate, make_run
from tests.conftest import call, close, noisy, refused, same
from tests.folders import read

T, B, D, H, WIDTH = 5, 3, 2, 4, 3
LENGTHS = np.array([5, 1, 3])
PRESENT = jnp.array([True, True, False])
KEYS = jax.random.split(jax.random.key(1), B)


def layers(norm, pool='mean', dropout=None, directions=1, number=2):
    layer = recurrent(lru(H)) if directions == 1 else bidirectional(gru(H), gru(H))
    block = Block(norm=norm, dropout=dropout)
    return classifier([layer] * number, inputs=D, classes=5, dense=WIDTH, pool=pool, block=block)


def example(model):
    params = noisy(model.init(jax.random.key(0)))
    params |= {n: jax.tree.map(jnp.abs, params[n]) for n in params if n.startswith('statistics')}
    return params, np.random.default_rng(0).standard_normal((B, T, D))


def dense(params, x):
    return nn.Dense(params['kernel'].shape[1], param_dtype=float).apply({'params': params}, x)


@jax.numpy_dtype_promotion('standard')
def by_hand(norm, params, inputs, dropout=None, mask=None):
    """(logits, running statistics) of two layers and the mean over all steps, with flax.linen's
    Dense, LayerNorm and BatchNorm. mask [T, B, 1] is for a batch norm in training."""
    x, after = dense(params['dense'], jnp.asarray(inputs.transpose(1, 0, 2))), {}
    for number in (1, 2):
        own = params[f'block_{number}']
        learned = {'scale': own['norm_scale'], 'bias': own['norm_bias']}
        if norm == 'layer':
            read = nn.LayerNorm(epsilon=1e-5, param_dtype=float).apply({'params': learned}, x)
        else:
            running = params[f'statistics_{number}']
            names = {'mean': running['mean'], 'var': running['variance']}
            layer = nn.BatchNorm(
                use_running_average=mask is None, momentum=MOMENTUM, param_dtype=float
            )
            read, state = layer.apply(
                {'params': learned, 'batch_stats': names}, x, mask=mask, mutable=['batch_stats']
            )
            new = state['batch_stats']
            after[f'statistics_{number}'] = {'mean': new['mean'], 'variance': new['var']}
        y = nn.gelu(unroll(lru(H), params[f'layer_{number}']['cell'], read)[1])
        keys = fold(fold(KEYS, number), 3)
        if dropout:
            y = y * jnp.broadcast_to(dropout_mask(fold(keys, 0), dropout, H), y.shape)
        kernels, biases = jnp.split(own['glu_kernel'], 2, 1), jnp.split(own['glu_bias'], 2)
        value, gate = (
            dense({'kernel': k, 'bias': b}, y) for k, b in zip(kernels, biases, strict=True)
        )
        y = value * nn.sigmoid(gate)
        if dropout:
            y = y * jnp.broadcast_to(dropout_mask(fold(keys, 1), dropout, WIDTH), y.shape)
        x = x + y
    return dense(params['readout'], jnp.mean(x, axis=0)), after


@pytest.mark.parametrize('norm', ['layer', 'batch'])
def test_a_stack_is_the_loop_by_hand(norm):
    model = layers(norm)
    params, inputs = example(model)
    close(jax.jit(model.apply)(params, inputs), by_hand(norm, params, inputs)[0])


@pytest.mark.parametrize('norm', ['layer', 'batch'])
def test_in_training_dropout_is_on_and_the_batch_norm_is_of_the_batch(norm):
    model = layers(norm, dropout=0.4)
    params, inputs = example(model)
    _, outputs, statistics = model.forward(params, inputs, keys=KEYS, present=PRESENT)
    mask = jnp.broadcast_to(PRESENT[None, :, None], (T, B, 1))
    expected, after = by_hand(norm, params, inputs, dropout=0.4, mask=mask)
    close((outputs[:2], statistics), (expected[:2], after))
    assert len(statistics) == (2 if norm == 'batch' else 0)


@pytest.mark.parametrize('norm', ['layer', 'batch'])
@pytest.mark.parametrize(('pool', 'directions'), [('mean', 1), ('last', 1), ('last', 2)])
def test_padding_changes_nothing(norm, pool, directions):
    model = layers(norm, pool, 0.3, directions)
    params, inputs = example(model)

    def loss(params, inputs, lengths):
        _, outputs, statistics = model.forward(params, inputs, lengths, KEYS)
        return jnp.sum(jnp.sin(outputs)), (outputs, statistics)

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    expected = run(params, inputs, LENGTHS)
    for more, filler in ((0, 9.0), (3, -9.0)):
        padded = np.full((B, T + more, D), filler)
        for row, own, length in zip(padded, inputs, LENGTHS, strict=True):
            row[:length] = own[:length]
        close(run(params, padded, LENGTHS), expected)
    if pool == 'mean' and norm == 'layer':  # without others
        apply = jax.jit(model.apply)
        alone = [apply(params, inputs[n : n + 1, :length]) for n, length in enumerate(LENGTHS)]
        close(apply(params, inputs, LENGTHS), jnp.concatenate(alone))


def test_the_last_output_is_that_of_the_last_step():
    two, block = [recurrent(lru(H))] * 2, Block()
    every = network(two, inputs=D, outputs=5, block=block)
    last = network(two, inputs=D, outputs=5, block=block, pool='last')
    params, inputs = example(every)
    of_all, of_last, run = map(jax.jit, (every.apply, last.apply, every.run))
    expected = of_all(params, inputs)
    close(of_last(params, inputs), expected[:, -1])
    close(of_last(params, inputs, LENGTHS), expected[np.arange(B), LENGTHS - 1])
    carry, first = run(params, inputs[:, :2])  # and a carry continues the sequences
    close(jnp.concatenate([first, run(params, inputs[:, 2:], carry=carry)[1]], 1), expected)


def test_a_block_keeps_the_width_of_its_inputs():
    both = [bidirectional(lru(3), lru(4)), recurrent(CELLS['lstm'](5))]
    model = classifier(both, inputs=6, classes=2, block=Block(norm='batch'))
    table = [' '.join(line.split()) for line in describe(model).splitlines()]
    for words in ('layer_1: 6 -> 6', 'glu_kernel [7, 12] y 0:7 value 0:6 gate 6:12 84'):
        assert any(words in line for line in table), words
    assert any(line.startswith('layer_2: 6 -> 6 kernel [11, 20] x 0:6 h 6:11') for line in table)
    own = 2 * (2 * 6 + 2 * 6) + (7 + 1) * 12 + (5 + 1) * 12  # norms and their statistics, GLUs
    plain = classifier(both, inputs=6, classes=2)
    cells = count([plain.shapes['layer_1'], model.shapes['layer_2'], model.shapes['readout']])
    assert count(model.shapes) == cells + own


def test_bad_arguments_are_named():
    for arguments, words in (({'norm': 'group'}, 'norm'), ({'dropout': 1.0}, 'dropout')):
        with pytest.raises(InputError, match=words):
            Block(**arguments)


def test_frameworks_have_no_such_block():
    own = [recurrent(CELLS['lstm'](H))]
    params = network(own, inputs=D, outputs=2, block=Block()).init(jax.random.key(0))
    with pytest.raises(InputError, match=r'^a network of pre-norm residual blocks has no counter'):
        to_torch(own, params)


N, BATCH = 22, 8
HYPER = Hyper(lr=0.01, clip=1.0, dropout=0.2)


@cache
def data():
    rng = np.random.default_rng(0)
    return Split(rng.standard_normal((N, T, D)), rng.integers(0, 5, N), rng.integers(1, T + 1, N))


@cache
def run(devices=1):
    return make_run(
        lambda hyper: layers('batch', dropout=hyper.dropout, number=1),
        optimizer('adamw'),
        shuffled(data(), BATCH),
        every=5,
        mesh=batch_mesh(BATCH) if devices > 1 else None,
    )


def after(*chunks, devices=1):
    state = run(devices).start(HYPER, jax.random.key(3))
    for steps in chunks:
        state = run(devices).advance(HYPER, jax.random.key(3), data(), state, steps)
    return state


def test_statistics_are_carried_through_training_however_it_is_cut():
    whole = after(7)
    same(after(3, 1, 3), whole)
    running = whole.params['statistics_1']
    assert float(jnp.max(jnp.abs(running['mean']))) > 0
    assert float(jnp.min(jnp.abs(running['variance'] - 1))) > 1e-3


def test_devices_that_share_a_batch_have_its_statistics():
    close(after(4, devices=2).params, after(4).params, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize('each', [jax.vmap, in_turn])
def test_a_lane_is_the_run_alone(each):
    keys = [jax.random.key(seed) for seed in (3, 4)]
    lanes = over_lanes(run(), lane_mesh(2, jax.devices()[:1]), each)
    hypers, keys = stacked([HYPER, HYPER._replace(lr=0.1)], keys)
    states = lanes.advance(hypers, keys, data(), lanes.start(hypers, keys), 4)
    alone = after(4).params
    close(lane(states.params, 0), jax.tree.map(np.asarray, alone), 1e-9)
    net, batches = layers('batch', number=1), in_order(data(), 22)
    program = evaluation_over_lanes(lane_mesh(2, jax.devices()[:1]), each)
    of_lanes = make_evaluate(net, batches, program=program)(states.params, data())['loss']
    assert of_lanes[0] == pytest.approx(make_evaluate(net, batches)(alone, data())['loss'])


def test_the_evaluation_is_by_running_statistics():
    """So it is the same in batches of any size."""
    net, params = layers('batch', number=1), after(4).params
    values = [
        make_evaluate(net, in_order(data(), size))(params, data())['loss'] for size in (22, 5)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


SMALL = [
    '--task=parity', '--length=6', '--validation=20', '--batch_size=4', '--hidden_size=3',
    '--block=prenorm', '--norm=batch', '--dropout=0.2', '--eval_every=2',
    '--cell=lru', '--devices=1',
]  # fmt: skip


def ran(*flags, cwd):
    code, out, err = call('memory', *SMALL, *flags, cwd=cwd, x64=True)
    assert code == 0, err
    return out


@pytest.mark.slow
def test_a_run_resumes_to_the_same_parameters(tmp_path):
    ran('--steps=6', '--out=whole', cwd=tmp_path)
    ran('--steps=2', '--out=cut', cwd=tmp_path)
    ran('--steps=6', '--out=cut', '--resume', cwd=tmp_path)
    whole = read(tmp_path / 'whole', 'summary.json')
    cut = read(tmp_path / 'cut', 'summary.json')
    assert cut | {'seconds': 0, 'checksum': 0} == whole | {'seconds': 0, 'checksum': 0}
    block = (3 * 6 + 6) + 4 * 3  # GLU; norm and statistics
    assert whole['parameters'] == (1 * 3 + 3) + (3 * 3 + 5 * 9) + block + (3 * 2 + 2)


def test_what_does_not_go_together_is_refused(tmp_path):
    cases = [
        (['--norm=batch'], ['--norm=batch', '--block=prenorm']),
        (['--block=postnorm'], ['--block=postnorm', 'plain, prenorm']),
        (['--block=prenorm', '--norm=group'], ['--norm=group', 'layer, batch']),
        (['--dense=0'], ['--dense']),
    ]
    refused('memory', cases, tmp_path)
    cases = [(['--block=prenorm', '--layers=0', '--pool=mean'], ['--block', '--layers=0'])]
    refused('mnist', [([*flags, '--dataset=digits'], words) for flags, words in cases], tmp_path)
