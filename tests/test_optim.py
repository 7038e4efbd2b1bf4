"""Optimizers against their framework's formula in NumPy, and recorded steps of torch and Keras."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parity.optimizers import GRADIENTS, LR, SETTINGS, formula, ours
from rnnlab.cells import CELLS, gru, lru, lstm, stack
from rnnlab.data import Split
from rnnlab.errors import InputError
from rnnlab.models import classifier, network
from rnnlab.recurrence import bidirectional, recurrent
from rnnlab.training.batches import shuffled
from rnnlab.training.lanes import in_turn, lane, lane_mesh, over_lanes, stacked
from rnnlab.training.optim import CONSTANTS, Hyper, optimizer, recurrent_mask, schedule
from rnnlab.training.train import make_run
from tests.conftest import close, noisy, same

GOLDEN = Path(__file__).parent / 'golden'


@pytest.mark.parametrize('constants', CONSTANTS)
@pytest.mark.parametrize(
    ('name', 'settings'),
    [
        *SETTINGS.items(),
        ('sgd', {}),
        ('adam', {'beta1': 0.5, 'beta2': 0.9}),
        ('adam', {'beta1': 0.0}),
    ],
)
def test_equals_the_formula(name, constants, settings):
    expected = formula(name, constants, **settings)
    if expected is not None:
        close(ours(name, constants, **settings), expected, 1e-12)


@pytest.mark.parametrize('library', ['torch', 'keras'])
def test_parameters_are_those_that_are_kept(library):
    with np.load(GOLDEN / f'{library}.npz', allow_pickle=False) as kept:
        for name, settings in SETTINGS.items():
            close(ours(name, library, **settings)[9::10], kept[f'{name}.parameters'], 1e-12)


def test_clipping_is_by_global_norm():
    gradient = {'a': jnp.array([3.0, 0.0]), 'b': jnp.array([[4.0]])}
    for clip, factor in ((1.0, 0.2), (5.5, 1.0), (float('inf'), 1.0)):
        tx = optimizer('sgd')(Hyper(lr=1.0, clip=clip))
        updates, _ = tx.update(gradient, tx.init(gradient), gradient)
        close(updates, jax.tree.map(lambda g, factor=factor: -factor * g, gradient), 1e-12)


def test_settings_may_be_arrays_of_a_vmap():
    def step(lr, clip):
        tx = optimizer('adamw')(Hyper(lr=lr, clip=clip, weight_decay=lr))
        w = jnp.ones(6)
        return tx.update(jnp.asarray(GRADIENTS[0]), tx.init(w), w)[0]

    lrs, clips = jnp.array([0.1, 0.2]), jnp.array([0.5, jnp.inf])
    close(
        jax.vmap(step)(lrs, clips),
        jnp.stack([step(lr, clip) for lr, clip in zip(lrs, clips, strict=True)]),
        1e-12,
    )


@pytest.mark.parametrize(
    ('name', 'after'),
    [
        ('constant', lambda share: 1.0),
        ('linear', lambda share: 1 - share),
        ('cosine', lambda share: (1 + np.cos(np.pi * share)) / 2),
    ],
)
@pytest.mark.parametrize('warmup', [0, 1, 4])
def test_a_schedule_rises_to_its_peak_and_falls(name, after, warmup):
    steps = 12
    expected = [
        (n + 1) / warmup if n < warmup else after((n - warmup) / (steps - warmup))
        for n in range(steps)
    ]
    share = schedule(name, steps, warmup)
    if share is None:
        assert (name, warmup < 2, expected) == ('constant', True, [1.0] * steps)
        return
    with jax.numpy_dtype_promotion('standard'):
        close(
            np.array([share(jnp.asarray(n, float)) for n in range(steps)]),
            np.array(expected),
            1e-12,
        )
        tx = optimizer('sgd', multiplier=share)(Hyper(lr=LR))
        state, w = tx.init(jnp.ones(4)), 1.0
        for _ in range(steps):
            update, state = tx.update(jnp.ones(4), state)
            w = w + update
        close(w, 1 - LR * np.sum(expected) * np.ones(4), 1e-12)


def test_a_warmup_must_leave_steps_to_train():
    with pytest.raises(InputError, match='`warmup=12` must leave some of the 12 steps'):
        schedule('linear', 12, 12)
    with pytest.raises(InputError, match='constant, cosine, linear'):
        schedule('step', 12)


@pytest.mark.parametrize(
    ('name', 'constants', 'words'),
    [
        ('lion', 'keras', 'adam, adamw, rmsprop, sgd'),
        ('adam', 'caffe', 'keras, tf1, torch'),
        ('adamw', 'tf1', 'TF1 has no adamw'),
    ],
)
def test_unknown_names_say_the_known(name, constants, words):
    with pytest.raises(InputError, match=words):
        optimizer(name, constants)


def one_layer(cell):
    return network([recurrent(cell)], inputs=2, outputs=2)


RECURRENT = {  # the entries of an example's params that are recurrent
    'lstm': {'kernel': np.arange(5)[:, None] >= 2},
    'gru': {'recurrent_kernel': True},
    'indrnn': {'recurrent_scale': True},
    'rg_lru': {'lambda': True},
    'lru': dict.fromkeys(('nu_log', 'theta_log', 'gamma_log', 'B_re', 'B_im'), True),
    's5': dict.fromkeys(('log_decay', 'phase', 'log_step', 'B_re', 'B_im'), True),
}


@pytest.mark.parametrize('name', RECURRENT)
def test_recurrent_parameters_have_a_rate_of_their_own_and_no_decay(name):
    """Beside plain adamw, the steps are scaled; with 0 nothing recurrent moves."""
    model = one_layer(CELLS[name](3))
    params, mask = noisy(model.init(jax.random.key(0))), recurrent_mask(model)
    of_cell = {
        parameter: np.broadcast_to(RECURRENT[name].get(parameter, False), leaf.shape)
        for parameter, leaf in params['layer_1']['cell'].items()
    }
    whole = jax.tree.map(lambda m, p: np.broadcast_to(m, p.shape), mask, params)
    same(whole['layer_1']['cell'], of_cell)
    assert not np.any(jax.tree.leaves(whole['readout'])[0])
    grads = noisy(params, seed=3)

    def step(recurrent, **settings):
        tx = optimizer('adamw', recurrent=recurrent)(Hyper(lr=0.1, **settings))
        return tx.update(grads, tx.init(params), params)[0]

    decayed, plain = (step(None, weight_decay=decay) for decay in (0.3, 0.0))
    for factor in (0.0, 0.25, 1.0):
        own = step(mask, weight_decay=0.3, lr_recurrent=factor)
        expected = jax.tree.map(
            lambda m, d, p, f=factor: jnp.where(m, f * p, d), whole, decayed, plain
        )
        close(own, expected, 1e-12)


def test_the_rate_of_recurrent_parameters_needs_some():
    for cell in (CELLS['qrnn'](3), CELLS['mingru'](3)):
        with pytest.raises(InputError, match=r'has no use with \w+\(.*\): its layout names no'):
            recurrent_mask(one_layer(cell))


def test_recurrent_parameters_have_their_rate_in_every_structure():
    layers = [recurrent(stack(gru(3), lru(3))), bidirectional(lstm(2), lru(2))]
    model = classifier(layers, inputs=2, classes=2)
    params, mask = model.init(jax.random.key(0)), recurrent_mask(model)
    hyper = Hyper(lr=0.1, weight_decay=0.1, lr_recurrent=0.0)
    tx = optimizer('adamw', recurrent=mask)(hyper)
    gradient = noisy(jax.tree.map(jnp.zeros_like, params))
    updates, _ = jax.jit(tx.update)(gradient, tx.init(params), params)
    still = jax.tree.map(lambda own, update: jnp.all((update == 0) == own), mask, updates)
    assert all(map(bool, jax.tree.leaves(still)))


def test_a_lane_with_its_rate_of_recurrent_parameters_is_the_run_alone():
    data = Split(np.random.default_rng(0).standard_normal((8, 4, 2)), np.arange(8) % 2)
    model = classifier([bidirectional(gru(3), lru(2))], inputs=2, classes=2)
    mask, batches = recurrent_mask(model), shuffled(data, 4)
    tx = optimizer('adamw', recurrent=mask)
    run = make_run(lambda hyper: model, tx, batches, every=2)
    key = jax.random.key(0)
    hypers = [Hyper(lr=0.1, weight_decay=0.1, lr_recurrent=factor) for factor in (0.0, 0.5, 1.0)]
    alone = [run.advance(hyper, key, data, run.start(hyper, key), 3).params for hyper in hypers]
    before = run.start(hypers[0], key).params
    still = jax.tree.map(lambda m, a, b: jnp.where(m, a, b) - b, mask, alone[0], before)
    same(still, jax.tree.map(jnp.zeros_like, before))
    moved = jax.tree.map(lambda m, a, b: jnp.all(m | (a != b)), mask, alone[0], before)
    assert sum(map(bool, jax.tree.leaves(moved))) > len(jax.tree.leaves(moved)) // 2
    lanes = over_lanes(run, lane_mesh(3, jax.devices()[:1]), in_turn)
    settings = stacked(hypers, [key] * 3)
    states = lanes.advance(*settings, data, lanes.start(*settings), 3)
    for number, params in enumerate(alone):
        close(lane(states.params, number), jax.tree.map(np.asarray, params), 1e-9)
