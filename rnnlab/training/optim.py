"""Optimizers by name, with the constants of the framework that they are compared with.

Each takes a Hyper, whose entries may be arrays, so that a sweep can vmap over them. Sources:
keras.optimizers (Keras 3), torch.optim, tf.train of TensorFlow 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rnnlab.cells.base import Tree
from rnnlab.cells.params import recurrent_entries
from rnnlab.errors import InputError, known
from rnnlab.models import Model

CONSTANTS = ('keras', 'torch', 'tf1')
WEIGHT_DECAY = {'keras': 0.004, 'torch': 0.01}  # what each one's AdamW starts with; TF1 has none


class Hyper(NamedTuple):
    """The dynamic settings of a run: numbers or scalar arrays. None is off, or a default."""

    lr: float | Array = 1e-3  # with a schedule its peak
    lr_recurrent: float | Array | None = None  # factor on it for the recurrent parameters
    clip: float | Array = float('inf')  # maximum global norm of the gradient; inf is off
    weight_decay: float | Array = 0.0
    momentum: float | Array = 0.0
    beta1: float | Array | None = None  # decay rates of Adam's moments
    beta2: float | Array | None = None
    label_smoothing: float | Array | None = None  # fraction spread evenly over all classes
    dropout: float | Array | None = None
    recurrent_dropout: float | Array | None = None
    zoneout: float | Array | None = None
    zoneout_cell: float | Array | None = None
    forget_bias: float | Array | None = None
    init_scale: float | Array | None = None  # factor on the recurrent layers' initial matrices


def schedule(name: str, steps: int, warmup: int = 0) -> optax.Schedule | None:
    """Learning-rate multiplier as a function of the step (from 0); None if constantly 1.

    Step n of the first `warmup` has n / warmup. Then it is constant, or falls to 0 at `steps`,
    linearly or along half a period of the cosine. Raises InputError for a name not in SCHEDULES, or
    a warmup of all steps.
    """
    known('schedule', name, SCHEDULES)
    if not 0 <= warmup < steps:
        words = f'`warmup={warmup}` must leave some of the {steps} steps'
        raise InputError(f'{words} to train at the full learning rate')
    if name == 'constant' and warmup < 2:
        return None
    rise = optax.linear_schedule(1 / max(warmup, 1), 1.0, max(warmup - 1, 1))
    return optax.join_schedules([rise, SCHEDULES[name](steps - warmup)], [warmup])


SCHEDULES = {
    'constant': lambda steps: optax.constant_schedule(1.0),
    'cosine': lambda steps: optax.cosine_decay_schedule(1.0, steps),
    'linear': lambda steps: optax.linear_schedule(1.0, 0.0, steps),
}


def optimizer(
    name: str,
    constants: str = 'keras',
    multiplier: optax.Schedule | None = None,
    recurrent: Tree = None,
) -> Callable[[Hyper], optax.GradientTransformation]:
    """A function that makes the named optimizer from a Hyper, gradient clipping first.

    `multiplier` is a learning-rate schedule (see `schedule`). With `recurrent`, that of
    `recurrent_mask`, recurrent parameters have no weight decay, and lr * lr_recurrent as their
    learning rate (Orvieto et al. 2023; Smith et al. 2023, as their SSM parameters). Raises
    InputError for a name not in
    OPTIMIZERS, constants not in CONSTANTS, or adamw with those of TF1, which has none.
    """
    known('optimizer', name, OPTIMIZERS)
    known('optimizer constants', constants, CONSTANTS)
    if name == 'adamw' and constants not in WEIGHT_DECAY:
        raise InputError(f'TF1 has no adamw; take the constants of {" or ".join(WEIGHT_DECAY)}')

    def make(hyper: Hyper) -> optax.GradientTransformation:
        lr: optax.ScalarOrSchedule = hyper.lr
        if multiplier:
            lr = lambda count: hyper.lr * multiplier(jnp.asarray(count, float))  # noqa: E731
        clip, direction = optax.clip_by_global_norm(hyper.clip), OPTIMIZERS[name](hyper, constants)
        rate = optax.scale_by_learning_rate(lr)
        if recurrent is None or hyper.lr_recurrent is None:
            return optax.chain(clip, direction, rate)
        if name == 'adamw':
            direction = optax.chain(adam(hyper, constants), decayed(hyper.weight_decay, recurrent))
        return optax.chain(clip, direction, rate, scaled(hyper.lr_recurrent, recurrent))

    return make


def recurrent_mask(model: Model) -> Tree:
    """Which entries of a model's params are recurrent: bool arrays that broadcast against them.

    Raises InputError for a cell whose layout names none.
    """
    mask = jax.tree.map(lambda leaf: np.full((1,) * leaf.ndim, False), model.shapes)
    for name, layer in model.layers.items():
        for part, cell in layer.cells.items():
            own = recurrent_entries(cell, model.shapes[name][part])
            if not any(map(np.any, jax.tree.leaves(own))):
                words = f'`lr_recurrent` has no use with {cell}'
                raise InputError(f'{words}: its layout names no recurrent parameters')
            mask[name][part] = own
    return mask


def decayed(rate: float | Array, recurrent: Tree) -> optax.GradientTransformation:
    """optax.add_decayed_weights, but for the recurrent entries."""
    return optax.stateless(
        lambda updates, params: jax.tree.map(
            lambda u, p, own: u + jnp.where(own, 0, rate).astype(u.dtype) * p,
            updates,
            params,
            recurrent,
        )
    )


def scaled(factor: float | Array, recurrent: Tree) -> optax.GradientTransformation:
    """Multiplies the updates of the recurrent entries."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(
            lambda u, own: u * jnp.where(own, factor, 1).astype(u.dtype), updates, recurrent
        )
    )


def adam(hyper: Hyper, constants: str) -> optax.GradientTransformation:
    beta1 = 0.9 if hyper.beta1 is None else hyper.beta1
    beta2 = 0.999 if hyper.beta2 is None else hyper.beta2
    return {
        'keras': scale_by_adam_uncorrected(beta1, beta2, eps=1e-7),
        'torch': optax.scale_by_adam(beta1, beta2, eps=1e-8),
        'tf1': scale_by_adam_uncorrected(beta1, beta2, eps=1e-8),
    }[constants]


def adamw(hyper: Hyper, constants: str) -> optax.GradientTransformation:
    return optax.chain(adam(hyper, constants), optax.add_decayed_weights(hyper.weight_decay))


def rmsprop(hyper: Hyper, constants: str) -> optax.GradientTransformation:
    return {
        'keras': optax.scale_by_rms(decay=0.9, eps=1e-7),
        'torch': optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False),
        'tf1': optax.scale_by_rms(decay=0.9, eps=1e-10, initial_scale=1.0),
    }[constants]


def sgd(hyper: Hyper, constants: str) -> optax.GradientTransformation:
    """The same in all three frameworks while the learning rate is constant."""
    return optax.trace(decay=hyper.momentum)


OPTIMIZERS = {'adam': adam, 'adamw': adamw, 'rmsprop': rmsprop, 'sgd': sgd}


def scale_by_adam_uncorrected(
    b1: float | Array = 0.9, b2: float | Array = 0.999, eps: float = 1e-7
) -> optax.GradientTransformation:
    """Adam as Keras and TF1 compute it: sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps).

    This is the form just before section 2.1 of Kingma and Ba (2015). In optax's, v is corrected
    under the root: eps has 1 / sqrt(1 - b2^t) times less effect, 31.6 times at the first step.
    """

    def init(params: optax.Params) -> optax.OptState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros, nu=zeros)

    def update(
        updates: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)

        def direction(m: Array, v: Array) -> Array:
            t = count.astype(m.dtype)
            return jnp.sqrt(1 - b2**t) / (1 - b1**t) * m / (jnp.sqrt(v) + eps)

        return jax.tree.map(direction, mu, nu), optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)
