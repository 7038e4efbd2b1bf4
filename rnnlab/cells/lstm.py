"""The LSTM (Hochreiter and Schmidhuber 1997) with a forget gate (Gers, Schmidhuber, Cummins 2000).

i, f, g, o = split([x, h] W + b)
c' = sigmoid(f) c + sigmoid(i) tanh(g)
h' = sigmoid(o) tanh(c')                y = h'
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

from rnnlab.cells.cell import Cell, gated, joint
from rnnlab.errors import positive
from rnnlab.initializers import Preset, preset


class LSTMCarry(NamedTuple):
    c: Array  # [..., H]
    h: Array  # [..., H]


def lstm(hidden_size: int, *, forget_bias: float | Array | None = None, init: str | Preset = 'keras') -> Cell:
    """An LSTM cell; its params are kernel [D + H, 4H] and bias [4H], columns in the order i, f, g, o (torch's start:
    recurrent_bias [4H] as well).

    forget_bias is added to the forget gate's bias at the start (Jozefowicz, Zaremba, Sutskever 2015); None takes the
    preset's own. TF1 adds it at every step instead, which is the same function and the same training without decay.
    """
    positive('hidden_size', hidden_size)
    start = preset(init)
    forget = start.forget_bias if forget_bias is None else forget_bias

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, bias = start.recurrent(key, inputs, hidden_size, (4,), dtype)
        bias = bias.at[0, hidden_size : 2 * hidden_size].add(jnp.asarray(forget, dtype))
        return {'kernel': jnp.concatenate([kernel, recurrent])} | start.biases(bias)

    def carry(params, batch_shape):
        zeros = jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype)
        return LSTMCarry(zeros, zeros)

    def affine(params, carry, x):
        return joint(params, x, carry.h)

    def pointwise(params, carry, z):
        i, f, g, o = jnp.split(z, 4, axis=-1)
        c = sigmoid(f) * carry.c + sigmoid(i) * jnp.tanh(g)
        h = sigmoid(o) * jnp.tanh(c)
        return LSTMCarry(c, h), h

    return gated(init_params, carry, affine, pointwise, ('i', 'f', 'g', 'o'))
