"""Optimizers by name, with the constants of the framework that is compared with.

Each takes a Hyper, whose entries may be arrays, so that a sweep can vmap over them. Sources: keras.optimizers (Keras 3),
torch.optim, tf.train of TensorFlow 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from rnnlab.errors import InputError, known

CONSTANTS = ('keras', 'torch', 'tf1')
WEIGHT_DECAY = {'keras': 0.004, 'torch': 0.01}  # what each one's AdamW starts with; TF1 has none


class Hyper(NamedTuple):
    """Everything continuous about a run: numbers or scalar arrays."""

    lr: float | Array = 1e-3
    clip: float | Array = float('inf')  # greatest global norm of the gradient; inf is off
    weight_decay: float | Array = 0.0
    momentum: float | Array = 0.0
    forget_bias: float | Array = 1.0
    dropout: float | Array = 0.0
    recurrent_dropout: float | Array = 0.0


def optimizer(name: str, constants: str = 'keras') -> Callable[[Hyper], optax.GradientTransformation]:
    """What makes the named optimizer from a Hyper, gradient clipping first.

    Raises InputError for a name that is not in OPTIMIZERS, constants not in CONSTANTS, or adamw with TF1's, which has none.
    """
    known('optimizer', name, OPTIMIZERS)
    known('optimizer constants', constants, CONSTANTS)
    if name == 'adamw' and constants not in WEIGHT_DECAY:
        raise InputError(f'TF1 has no adamw; take the constants of {" or ".join(WEIGHT_DECAY)}')

    def make(hyper: Hyper) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(hyper.clip), OPTIMIZERS[name](hyper, constants))

    return make


def adam(hyper, constants):
    return optax.chain(adam_direction(constants), optax.scale_by_learning_rate(hyper.lr))


def adamw(hyper, constants):
    decay = optax.add_decayed_weights(hyper.weight_decay)
    return optax.chain(adam_direction(constants), decay, optax.scale_by_learning_rate(hyper.lr))


def rmsprop(hyper, constants):
    scale = {
        'keras': optax.scale_by_rms(decay=0.9, eps=1e-7),
        'torch': optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False),
        'tf1': optax.scale_by_rms(decay=0.9, eps=1e-10, initial_scale=1.0),
    }
    return optax.chain(scale[constants], optax.scale_by_learning_rate(hyper.lr))


def sgd(hyper, constants):
    """The same in all three frameworks while the learning rate is constant."""
    return optax.chain(optax.trace(decay=hyper.momentum), optax.scale_by_learning_rate(hyper.lr))


OPTIMIZERS = {'adam': adam, 'adamw': adamw, 'rmsprop': rmsprop, 'sgd': sgd}


def adam_direction(constants):
    return {
        'keras': scale_by_adam_uncorrected(eps=1e-7),
        'torch': optax.scale_by_adam(eps=1e-8),
        'tf1': scale_by_adam_uncorrected(eps=1e-8),
    }[constants]


def scale_by_adam_uncorrected(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-7) -> optax.GradientTransformation:
    """Adam as Keras and TF1 compute it: sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps).

    This is the form just before section 2.1 of Kingma and Ba (2015). Against optax's, where v is corrected under the root,
    eps counts 1 / sqrt(1 - b2^t) times as much: 31.6 times at the first step.
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros, nu=zeros)

    def update(updates, state, params=None):
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)

        def direction(m, v):
            t = count.astype(m.dtype)
            return jnp.sqrt(1 - b2**t) / (1 - b1**t) * m / (jnp.sqrt(v) + eps)

        return jax.tree.map(direction, mu, nu), optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)
