"""Optimizers against their framework's formula in NumPy, and recorded steps of torch and Keras."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parity.optimizers import GRADIENTS, LR, SETTINGS, formula, ours
from rnnlab.errors import InputError
from rnnlab.training.optim import CONSTANTS, Hyper, optimizer, schedule
from tests.conftest import close

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
