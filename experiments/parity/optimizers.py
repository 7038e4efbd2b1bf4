"""The paths of parameters under fixed gradients: ours, definitions in NumPy, torch, Keras, optax.

A path is the parameters after each step, [50, 6] in float64; None where a library has no such
optimizer with these constants.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rnnlab.training.optim import WEIGHT_DECAY, Hyper, optimizer

GRADIENTS = np.random.default_rng(0).standard_normal((50, 6)) * np.array(
    [1, 1, 1e-3, 1e-3, 1e-6, 0]
)
INITIAL = np.ones(GRADIENTS.shape[1])
LR = 2.0**-7  # exact in float32, in which Keras keeps it
SETTINGS: dict[str, dict[str, float]] = {
    'adam': {},
    'adamw': {'weight_decay': 0.01},
    'rmsprop': {},
    'sgd': {'momentum': 0.9},
}
CLASSES = {'adam': 'Adam', 'adamw': 'AdamW', 'rmsprop': 'RMSprop', 'sgd': 'SGD'}  # torch and Keras


def ours(name: str, constants: str, **settings: float) -> np.ndarray:
    return optax_path(optimizer(name, constants)(Hyper(lr=LR, **settings)))


@jax.numpy_dtype_promotion('standard')  # optax's own Adam promotes its step count
def optax_path(tx: optax.GradientTransformation) -> np.ndarray:
    State = tuple[Array, optax.OptState]

    def step(state: State, gradient: Array) -> tuple[State, Array]:
        w, opt_state = state
        updates, opt_state = tx.update(gradient, opt_state, w)
        w = optax.apply_updates(w, updates)
        return (w, opt_state), w

    w = jnp.asarray(INITIAL)
    path = jax.jit(lambda gradients: jax.lax.scan(step, (w, tx.init(w)), gradients)[1])
    return np.asarray(path(jnp.asarray(GRADIENTS)))


def formula(
    name: str, constants: str, weight_decay: float = 0.0, **settings: float
) -> np.ndarray | None:
    """The framework's definition, step by step; weight decay is AdamW's."""
    if name == 'adamw' and constants not in WEIGHT_DECAY:
        return None
    w, path = INITIAL, []
    for step in STEPS[name](constants, **settings):
        w = w - LR * (step + weight_decay * w)
        path.append(w)
    return np.stack(path)


def sgd(constants: str, momentum: float = 0.0) -> Iterator[np.ndarray]:
    m = np.zeros_like(INITIAL)
    for g in GRADIENTS:
        m = momentum * m + g
        yield m


def rmsprop(constants: str) -> Iterator[np.ndarray]:
    defaults = {'keras': (0.9, 1e-7), 'torch': (0.99, 1e-8), 'tf1': (0.9, 1e-10)}
    decay, epsilon = defaults[constants]
    v = np.full_like(INITIAL, 1.0 if constants == 'tf1' else 0.0)
    for g in GRADIENTS:
        v = decay * v + (1 - decay) * g**2
        yield g / (np.sqrt(v) + epsilon if constants == 'torch' else np.sqrt(v + epsilon))


def adam(constants: str, beta1: float = 0.9, beta2: float = 0.999) -> Iterator[np.ndarray]:
    m = v = np.zeros_like(INITIAL)
    epsilon = 1e-7 if constants == 'keras' else 1e-8
    for t, g in enumerate(GRADIENTS, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        if constants == 'torch':
            yield m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        else:
            yield np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + epsilon)


STEPS: dict[str, Callable[..., Iterator[np.ndarray]]] = {
    'adam': adam, 'adamw': adam, 'rmsprop': rmsprop, 'sgd': sgd,
}  # fmt: skip


def torch(name: str) -> np.ndarray:
    from torch import optim, tensor

    w, path = tensor(INITIAL, requires_grad=True), []
    tx = getattr(optim, CLASSES[name])([w], lr=LR, **SETTINGS[name])
    for g in GRADIENTS:
        w.grad = tensor(g)
        tx.step()
        path.append(w.detach().numpy().copy())
    return np.stack(path)


def keras(name: str) -> np.ndarray:
    from keras import Variable, optimizers

    w, path = Variable(INITIAL, dtype='float64'), []
    tx = getattr(optimizers, CLASSES[name])(LR, **SETTINGS[name])
    for g in GRADIENTS:
        tx.apply([jnp.asarray(g)], [w])
        path.append(np.asarray(w.value))
    return np.stack(path)


def flax(name: str) -> np.ndarray | None:
    """optax's optimizers, whose constants are torch's; those of its RMSprop are nobody else's."""
    if name == 'rmsprop':
        return None
    return optax_path(getattr(optax, name)(LR, **SETTINGS[name]))


def tf1(name: str) -> np.ndarray | None:
    return formula(name, 'tf1', **SETTINGS[name])


# By library: whose constants it is compared with, and its path
PATHS: dict[str, tuple[str, Callable[[str], np.ndarray | None]]] = {
    'torch': ('torch', torch), 'keras': ('keras', keras), 'flax': ('torch', flax),
    'tf1': ('tf1', tf1),
}  # fmt: skip
