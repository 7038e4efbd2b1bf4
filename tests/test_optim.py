"""Each optimizer, step for step, against its framework's formula in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnlab.errors import InputError
from rnnlab.optim import Hyper, optimizer, schedule
from tests.conftest import close

GRADIENTS = np.random.default_rng(0).standard_normal((6, 4)) * np.array([1, 1e-3, 1e-6, 0])
LR = 0.01


@jax.numpy_dtype_promotion('standard')  # optax's own Adam promotes its step count
def run(name, constants, **hyper):
    tx = optimizer(name, constants)(Hyper(lr=LR, **hyper))
    w, path = jnp.ones(4), []
    state = tx.init(w)
    for g in GRADIENTS:
        updates, state = tx.update(jnp.asarray(g), state, w)
        w = optax.apply_updates(w, updates)
        path.append(w)
    return np.stack(path)


def adam(form, eps, decay=0.0, beta1=0.9, beta2=0.999):
    w, m, v, path = np.ones(4), 0, 0, []
    for t, g in enumerate(GRADIENTS, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        if form == 'corrected':
            step = (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        else:
            step = np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + eps)
        w = w - LR * (step + decay * w)
        path.append(w)
    return np.stack(path)


def rmsprop(decay, eps, inside, first=0.0):
    w, v, path = np.ones(4), np.full(4, first), []
    for g in GRADIENTS:
        v = decay * v + (1 - decay) * g**2
        w = w - LR * g / (np.sqrt(v + eps) if inside else np.sqrt(v) + eps)
        path.append(w)
    return np.stack(path)


@pytest.mark.parametrize(
    ('name', 'constants', 'hyper', 'expected'),
    [
        ('adam', 'keras', {}, adam('uncorrected', 1e-7)),
        ('adam', 'tf1', {}, adam('uncorrected', 1e-8)),
        ('adam', 'torch', {}, adam('corrected', 1e-8)),
        ('adam', 'keras', {'beta1': 0.5, 'beta2': 0.9}, adam('uncorrected', 1e-7, 0.0, 0.5, 0.9)),
        ('adam', 'torch', {'beta1': 0.0, 'beta2': 0.95}, adam('corrected', 1e-8, 0.0, 0.0, 0.95)),
        ('adamw', 'keras', {'weight_decay': 0.1}, adam('uncorrected', 1e-7, 0.1)),
        ('adamw', 'torch', {'weight_decay': 0.1}, adam('corrected', 1e-8, 0.1)),
        ('rmsprop', 'keras', {}, rmsprop(0.9, 1e-7, True)),
        ('rmsprop', 'tf1', {}, rmsprop(0.9, 1e-10, True, first=1.0)),
        ('rmsprop', 'torch', {}, rmsprop(0.99, 1e-8, False)),
        ('sgd', 'keras', {}, 1 - LR * np.cumsum(GRADIENTS, axis=0)),
    ],
)
def test_equals_the_formula(name, constants, hyper, expected):
    close(run(name, constants, **hyper), expected, 1e-12)


@pytest.mark.parametrize('constants', ['keras', 'torch', 'tf1'])
def test_momentum(constants):
    velocity, w, path = 0, np.ones(4), []
    for g in GRADIENTS:
        velocity = 0.9 * velocity + g
        w = w - LR * velocity
        path.append(w)
    close(run('sgd', constants, momentum=0.9), np.stack(path), 1e-12)


def test_clipping_is_by_global_norm():
    gradient = {'a': jnp.array([3.0, 0.0]), 'b': jnp.array([[4.0]])}
    for clip, factor in ((1.0, 0.2), (5.5, 1.0), (float('inf'), 1.0)):
        tx = optimizer('sgd')(Hyper(lr=1.0, clip=clip))
        updates, _ = tx.update(gradient, tx.init(gradient), gradient)
        close(updates, jax.tree.map(lambda g, factor=factor: -factor * g, gradient), 1e-12)


def test_settings_may_be_arrays_of_a_vmap():
    def step(lr, clip):
        tx = optimizer('adamw')(Hyper(lr=lr, clip=clip, weight_decay=lr))
        w = jnp.ones(4)
        return tx.update(jnp.asarray(GRADIENTS[0]), tx.init(w), w)[0]

    lrs, clips = jnp.array([0.1, 0.2]), jnp.array([0.5, jnp.inf])
    close(jax.vmap(step)(lrs, clips), jnp.stack([step(lr, clip) for lr, clip in zip(lrs, clips, strict=True)]), 1e-12)


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
    expected = [(n + 1) / warmup if n < warmup else after((n - warmup) / (steps - warmup)) for n in range(steps)]
    share = schedule(name, steps, warmup)
    if share is None:
        assert (name, warmup < 2, expected) == ('constant', True, [1.0] * steps)
        return
    with jax.numpy_dtype_promotion('standard'):
        close(np.array([share(jnp.asarray(n, float)) for n in range(steps)]), np.array(expected), 1e-12)
        tx = optimizer('sgd', share=share)(Hyper(lr=LR))
        state, w = tx.init(jnp.ones(4)), 1.0
        for _ in range(steps):
            update, state = tx.update(jnp.ones(4), state)
            w = w + update
        close(w, 1 - LR * np.sum(expected) * np.ones(4), 1e-12)


def test_a_warmup_must_leave_steps_to_train():
    with pytest.raises(InputError, match='warmup=12 must leave some of the 12 steps'):
        schedule('linear', 12, 12)
    with pytest.raises(InputError, match='constant, cosine, linear'):
        schedule('step', 12)


@pytest.mark.parametrize(
    ('name', 'constants', 'words'),
    [('lion', 'keras', 'adam, adamw, rmsprop, sgd'), ('adam', 'caffe', 'keras, tf1, torch'), ('adamw', 'tf1', 'TF1 has no adamw')],
)
def test_unknown_names_say_the_known(name, constants, words):
    with pytest.raises(InputError, match=words):
        optimizer(name, constants)
