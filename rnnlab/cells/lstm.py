"""The long short-term memory."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

from rnnlab.cells.cell import Cell, apart, gated, joint
from rnnlab.errors import InputError, positive
from rnnlab.initializers import Preset, chrono_bias, preset


class LSTMCarry(NamedTuple):
    c: Array  # [..., H]
    h: Array  # [..., H]


def lstm(hidden_size: int, *, forget_bias: float | Array | None = None, chrono: float | None = None, init: str | Preset = 'keras') -> Cell:
    """The LSTM (Hochreiter and Schmidhuber 1997) with a forget gate (Gers, Schmidhuber, Cummins 2000).

        z = [x, h] W + b                    [B, D+H] [D+H, 4H] + [4H] -> [B, 4H]
        i, f, g, o = split(z)               4 of [B, H]: input, forget, candidate, output
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c' = f c + i g                      [B, H]
        h' = o tanh(c')                     [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [4H] with torch's start).

    forget_bias is added to the forget gate's bias at the start (Jozefowicz, Zaremba, Sutskever 2015); None takes the
    preset's own. TF1 adds it at every step instead, which is the same function and the same training without decay.
    chrono, in its place, is the longest time in steps that the cell starts to remember: the forget gate's bias is that of
    `chrono_bias`, the input gate's its negative. Raises InputError for both together.
    """
    positive('hidden_size', hidden_size)
    start = preset(init)
    if chrono is not None and forget_bias is not None:
        raise InputError('chrono is a start of the forget gate, and so is forget_bias: give one of them')
    forget = start.forget_bias if forget_bias is None else forget_bias

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, bias = start.recurrent(key, inputs, hidden_size, (4,), dtype)
        i, f = slice(0, hidden_size), slice(hidden_size, 2 * hidden_size)
        if chrono is None:
            bias = bias.at[0, f].add(jnp.asarray(forget, dtype))
        else:
            long = chrono_bias(jax.random.fold_in(key, 0), hidden_size, chrono, dtype)
            bias = bias.at[0, f].add(long).at[0, i].add(-long)
        return {'kernel': jnp.concatenate([kernel, recurrent])} | start.biases(bias)

    def carry(params, batch_shape):
        zeros = jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype)
        return LSTMCarry(zeros, zeros)

    def affine(params, carry, x):
        return joint(params, x, carry.h)

    def pointwise(params, carry, z):
        i, f, g, o = jnp.split(z, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
        c = f * carry.c + i * g
        h = o * jnp.tanh(c)
        return LSTMCarry(c, h), h, (i, f, g, o)

    return gated(init_params, carry, affine, pointwise, ('i', 'f', 'g', 'o'), ready=apart)
