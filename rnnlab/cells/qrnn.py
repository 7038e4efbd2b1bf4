"""The quasi-recurrent network."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

from rnnlab.cells.base import Cell, Hidden, biased, gated, linear, maker, named
from rnnlab.errors import InputError, positive
from rnnlab.initializers import Preset, preset
from rnnlab.precision import product


class QRNNCarry(NamedTuple):
    x: Array  # [..., D], the input of the step before
    h: Array  # [..., H]


@maker
def qrnn(hidden_size: int, *, window: int = 2, init: str | Preset = 'keras') -> Cell:
    """The QRNN with fo-pooling and a window of two steps (Bradbury et al. 2017, equations 2 and 4); x- is the input of the step before.

        n, f, o = split([x-, x] W + b)      [B, 2D] [2D, 3H] + [3H] -> 3 of [B, H]: candidate, forget, output
        n, f, o = tanh(n), sigmoid(f), sigmoid(o)
        x-' = x                             [B, D]
        h' = f h + (1 - f) n                [B, H]
        y = o h'                            [B, H]

    W is params['kernel'], b params['bias']. window=1 leaves x- out: then the cell is linear and runs on the engines of linear cells.
    Raises InputError for other windows.
    """
    positive('hidden_size', hidden_size)
    if window not in (1, 2):
        raise InputError(f'window must be 1 or 2 time steps, not {window!r}')
    start = preset(init)
    gates = ('n', 'f', 'o')

    def init_params(key, inputs, dtype=float):
        kernel, _, biases = start.recurrent(key, window * inputs, hidden_size, (3,), dtype)
        return {'kernel': kernel, 'bias': biases.sum(axis=0)}

    def zeros(params, batch_shape, size):
        return jnp.zeros((*batch_shape, size), params['bias'].dtype)

    def carry(params, batch_shape):
        h = zeros(params, batch_shape, hidden_size)
        return (
            Hidden(h)
            if window == 1
            else QRNNCarry(zeros(params, batch_shape, params['kernel'].shape[0] // 2), h)
        )

    def map_input(params, x):
        n, f, o = jnp.split(named(biased(product(x, params['kernel']), params['bias'])), 3, axis=-1)
        return jnp.tanh(n), sigmoid(f), sigmoid(o)

    # one step: linear
    def drive(params, x):
        n, f, o = map_input(params, x)
        return f, (1 - f) * n, (n, f, o)

    def read(params, h, x):
        return map_input(params, x)[2] * h

    # two steps: x goes through with the sums
    def affine(params, carry, x):
        return biased(
            product(jnp.concatenate([carry.x, x], axis=-1), params['kernel']), params['bias']
        ), x

    def elementwise(params, carry, z):
        z, x = z
        n, f, o = jnp.split(z, 3, axis=-1)
        n, f, o = jnp.tanh(n), sigmoid(f), sigmoid(o)
        h = f * carry.h + (1 - f) * n
        return QRNNCarry(x, h), o * h, (n, f, o)

    if window == 1:
        return linear(init_params, carry, drive, read, gates)
    return gated(init_params, carry, affine, elementwise, gates, takes_mask=False)
