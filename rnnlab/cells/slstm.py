"""The LSTM of xLSTM with scalar memory."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.nn import log_sigmoid, sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import Cell, Params, Step, joint, joint_params, maker
from rnnlab.cells.lstm import GATES, initial_weights
from rnnlab.initializers import Initializer, initializer


class SLSTMCarry(NamedTuple):
    c: Array  # [..., H]
    n: Array  # [..., H], the normalizer of c
    m: Array  # [..., H], the logarithm of the divisor of c and n, so that no exponential overflows
    h: Array  # [..., H]


@maker
def slstm(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Initializer = 'keras',
) -> Cell:
    """The sLSTM with one head (Beck et al. 2024, equations 8 to 17): exponential input gates, a
    normalizer and a stabilizer.

        i, f, g, o = split([x, h] W + b)    [B, D+H] [D+H, 4H] + [4H] -> 4 of [B, H]
        m' = max(log sigmoid(f) + m, i)     [B, H]
        i = exp(i - m')                     [B, H]: input
        f = exp(log sigmoid(f) + m - m')    [B, H]: forget
        c' = f c + i tanh(g)                [B, H]: g is the candidate
        n' = f n + i                        [B, H]
        h' = sigmoid(o) c' / n'             [B, H]: o is the output gate
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [4H] with torch's initializer).
    forget_bias and chrono as in lstm. The initial m is -1e30, a state without weight: of a
    trainable_carry only h learns.
    """
    weights = initial_weights(hidden_size, forget_bias, chrono, init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        return joint_params(initializer(init), weights(key, inputs, dtype))

    def carry(params: Params, batch_shape: tuple[int, ...]) -> SLSTMCarry:
        zeros = jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype)
        return SLSTMCarry(zeros, zeros, zeros - 1e30, zeros)

    return joint(init_params, carry, elementwise, GATES)  # no zoneout of c alone


def elementwise(params: Params, carry: SLSTMCarry, z: Array) -> Step:
    i, f, g, o = jnp.split(z, 4, axis=-1)
    log_f = log_sigmoid(f) + carry.m
    m = jnp.maximum(log_f, i)
    i, f, g, o = jnp.exp(i - m), jnp.exp(log_f - m), jnp.tanh(g), sigmoid(o)
    c, n = f * carry.c + i * g, f * carry.n + i
    h = o * c / n
    return SLSTMCarry(c, n, m, h), h, (i, f, g, o)
