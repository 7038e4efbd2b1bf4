"""How optimizers move the same parameters under the same gradients: ours, torch's, Keras's, optax's own, and definitions in NumPy.

Each gives the parameters after every step [50, 6] in float64, or None where the library has no such optimizer with these constants.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnlab.training.optim import WEIGHT_DECAY, Hyper, optimizer

GRADIENTS = np.random.default_rng(0).standard_normal((50, 6)) * np.array(
    [1, 1, 1e-3, 1e-3, 1e-6, 0]
)
START = np.ones(GRADIENTS.shape[1])
LR = 2.0**-7  # the same in float32, in which Keras keeps it
SETTINGS: dict[str, dict[str, float]] = {
    'adam': {},
    'adamw': {'weight_decay': 0.01},
    'rmsprop': {},
    'sgd': {'momentum': 0.9},
}


def ours(name: str, constants: str, **settings: float) -> np.ndarray:
    return optax_path(optimizer(name, constants)(Hyper(lr=LR, **settings)))


@jax.numpy_dtype_promotion('standard')  # optax's own Adam promotes its step count
def optax_path(tx: optax.GradientTransformation) -> np.ndarray:
    def step(at, g):
        w, state = at
        updates, state = tx.update(g, state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), w

    w = jnp.asarray(START)
    return np.asarray(
        jax.jit(lambda gradients: jax.lax.scan(step, (w, tx.init(w)), gradients)[1])(
            jnp.asarray(GRADIENTS)
        )
    )


def formula(
    name: str,
    constants: str,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
) -> np.ndarray | None:
    """The framework's definition, a step at a time; a decay of weights is that of AdamW."""
    if name == 'adamw' and constants not in WEIGHT_DECAY:
        return None
    first = 1.0 if (name, constants) == ('rmsprop', 'tf1') else 0.0
    w, m, v, path = START, 0.0, np.full_like(START, first), []
    for t, g in enumerate(GRADIENTS, 1):
        if name == 'sgd':
            m = momentum * m + g
            step = m
        elif name == 'rmsprop':
            decay, epsilon = {'keras': (0.9, 1e-7), 'torch': (0.99, 1e-8), 'tf1': (0.9, 1e-10)}[
                constants
            ]
            v = decay * v + (1 - decay) * g**2
            step = g / (np.sqrt(v) + epsilon if constants == 'torch' else np.sqrt(v + epsilon))
        else:
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
            if constants == 'torch':
                step = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
            else:
                step = (
                    np.sqrt(1 - beta2**t)
                    / (1 - beta1**t)
                    * m
                    / (np.sqrt(v) + (1e-7 if constants == 'keras' else 1e-8))
                )
        w = w - LR * (step + weight_decay * w)
        path.append(w)
    return np.stack(path)


def torch(name: str) -> np.ndarray:
    import torch

    makers = {
        'adam': torch.optim.Adam,
        'adamw': torch.optim.AdamW,
        'rmsprop': torch.optim.RMSprop,
        'sgd': torch.optim.SGD,
    }
    w, path = torch.tensor(START, requires_grad=True), []
    tx = makers[name]([w], lr=LR, **SETTINGS[name])
    for g in GRADIENTS:
        w.grad = torch.tensor(g)
        tx.step()
        path.append(w.detach().numpy().copy())
    return np.stack(path)


def keras(name: str) -> np.ndarray:
    import keras

    optimizers = keras.optimizers
    makers = {
        'adam': optimizers.Adam,
        'adamw': optimizers.AdamW,
        'rmsprop': optimizers.RMSprop,
        'sgd': optimizers.SGD,
    }
    w, path = keras.Variable(START, dtype='float64'), []
    tx = makers[name](LR, **SETTINGS[name])
    for g in GRADIENTS:
        tx.apply([jnp.asarray(g)], [w])
        path.append(np.asarray(w.value))
    return np.stack(path)


def flax(name: str) -> np.ndarray | None:
    """optax's, with its own constants: those of torch, but for RMSprop, whose are nobody's."""
    makers: dict[str, Any] = {'adam': optax.adam, 'adamw': optax.adamw, 'sgd': optax.sgd}
    return optax_path(makers[name](LR, **SETTINGS[name])) if name in makers else None


def tf1(name: str) -> np.ndarray | None:
    return formula(name, 'tf1', **SETTINGS[name])


# by library: whose constants they are held against, and the parameters
PATHS: dict[str, tuple[str, Callable[[str], np.ndarray | None]]] = {
    'torch': ('torch', torch), 'keras': ('keras', keras), 'flax': ('torch', flax), 'tf1': ('tf1', tf1),
}  # fmt: skip
