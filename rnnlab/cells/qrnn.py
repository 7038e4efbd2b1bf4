"""The quasi-recurrent network."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import (
    Blocks,
    Cell,
    Gates,
    Hidden,
    Params,
    Step,
    biased,
    gated,
    linear,
    maker,
    named,
    zero_carry,
)
from rnnlab.errors import InputError, positive
from rnnlab.initializers import Initializer, initializer
from rnnlab.precision import product

GATES = ('n', 'f', 'o')
LAYOUT = {'kernel': Blocks(('x',), GATES), 'bias': Blocks(columns=GATES)}


class QRNNCarry(NamedTuple):
    x: Array  # [..., D], the input of the previous step
    h: Array  # [..., H]


@maker
def qrnn(hidden_size: int, *, window: int = 2, init: str | Initializer = 'keras') -> Cell:
    """The QRNN with fo-pooling and a window of two steps (Bradbury et al. 2017, equations 2 and 4);
    x- is the input of the previous step.

        n, f, o = split([x-, x] W + b)      [B, 2D] [2D, 3H] + [3H] -> 3 of [B, H]
        n, f, o = tanh(n), sigmoid(f), sigmoid(o)           candidate, forget, output
        x-' = x                             [B, D]
        h' = f h + (1 - f) n                [B, H]
        y = o h'                            [B, H]

    W is params['kernel'], b params['bias']. window=1 leaves x- out: then the cell is linear and
    runs on the engines of linear cells. Raises InputError for other windows.
    """
    positive('hidden_size', hidden_size)
    if window not in (1, 2):
        raise InputError(f'window must be 1 or 2 time steps, not {window!r}')
    drawn = initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        kernel, _, biases = drawn.recurrent(key, window * inputs, hidden_size, (3,), dtype)
        return {'kernel': kernel, 'bias': biases.sum(axis=0)}

    def carry(params: Params, batch_shape: tuple[int, ...]) -> QRNNCarry:
        inputs, dtype = params['kernel'].shape[0] // 2, params['bias'].dtype
        return QRNNCarry(
            jnp.zeros((*batch_shape, inputs), dtype), jnp.zeros((*batch_shape, hidden_size), dtype)
        )

    if window == 1:
        only_h = zero_carry(Hidden, hidden_size)
        return linear(init_params, only_h, drive, read, GATES, layout=LAYOUT)
    return gated(init_params, carry, affine, elementwise, GATES, takes_mask=False, layout=LAYOUT)


def activated(z: Array) -> Gates:
    n, f, o = jnp.split(z, 3, axis=-1)
    return jnp.tanh(n), sigmoid(f), sigmoid(o)


# A window of one step: linear.


def map_input(params: Params, x: Array) -> Gates:
    return activated(named(biased(product(x, params['kernel']), params['bias'])))


def drive(params: Params, x: Array) -> tuple[Array, Array, Gates]:
    n, f, o = map_input(params, x)
    return f, (1 - f) * n, (n, f, o)


def read(params: Params, h: Array, x: Array) -> Array:
    return map_input(params, x)[2] * h


# A window of two steps: x, the next x-, is part of the sums.


def affine(params: Params, carry: QRNNCarry, x: Array) -> tuple[Array, Array]:
    both = jnp.concatenate([carry.x, x], axis=-1)
    return biased(product(both, params['kernel']), params['bias']), x


def elementwise(params: Params, carry: QRNNCarry, sums: tuple[Array, Array]) -> Step:
    z, x = sums
    n, f, o = activated(z)
    h = f * carry.h + (1 - f) * n
    return QRNNCarry(x, h), o * h, (n, f, o)
