"""The LSTM of xLSTM with scalar memory."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.nn import log_sigmoid, sigmoid

from rnnlab.cells.base import Cell, apart, gated, joint, maker
from rnnlab.errors import positive
from rnnlab.initializers import Preset, keeping, preset


class SLSTMCarry(NamedTuple):
    c: Array  # [..., H]
    n: Array  # [..., H], by which c is normalised
    m: Array  # [..., H], the logarithm of what c and n are divided by, so that no exponential overflows
    h: Array  # [..., H]


@maker
def slstm(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Preset = 'keras',
) -> Cell:
    """The sLSTM with one head (Beck et al. 2024, equations 8 to 17): exponential input gates, a normaliser and a stabiliser.

        i, f, g, o = split([x, h] W + b)    [B, D+H] [D+H, 4H] + [4H] -> 4 of [B, H]: input, forget, candidate, output
        m' = max(log sigmoid(f) + m, i)     [B, H]
        i = exp(i - m')                     [B, H]
        f = exp(log sigmoid(f) + m - m')    [B, H]
        c' = f c + i tanh(g)                [B, H]
        n' = f n + i                        [B, H]
        h' = sigmoid(o) c' / n'             [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [4H] with torch's start). forget_bias and chrono as in lstm. A
    sequence starts from m = -1e30, a state that weighs nothing: with trainable_carry only its h learns.
    """
    positive('hidden_size', hidden_size)
    start = preset(init)

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, bias = start.recurrent(key, inputs, hidden_size, (4,), dtype)
        keep, write = keeping(start, key, hidden_size, dtype, chrono, forget_bias)
        bias = bias.at[0, hidden_size : 2 * hidden_size].add(keep).at[0, :hidden_size].add(write)
        return {'kernel': jnp.concatenate([kernel, recurrent])} | start.biases(bias)

    def carry(params, batch_shape):
        zeros = jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype)
        return SLSTMCarry(zeros, zeros, zeros - 1e30, zeros)

    def affine(params, carry, x):
        return joint(params, x, carry.h)

    def elementwise(params, carry, z):
        i, f, g, o = jnp.split(z, 4, axis=-1)
        log_f = log_sigmoid(f) + carry.m
        m = jnp.maximum(log_f, i)
        i, f, g, o = jnp.exp(i - m), jnp.exp(log_f - m), jnp.tanh(g), sigmoid(o)
        c, n = f * carry.c + i * g, f * carry.n + i
        h = o * c / n
        return SLSTMCarry(c, n, m, h), h, (i, f, g, o)

    return gated(init_params, carry, affine, elementwise, ('i', 'f', 'g', 'o'), prepare=apart)
