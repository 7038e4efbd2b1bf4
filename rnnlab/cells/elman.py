"""The Elman cell, also called simple or vanilla RNN, and its ReLU form IRNN."""

import jax
import jax.numpy as jnp

from rnnlab.cells.base import Cell, Hidden, apart, gated, joint, maker
from rnnlab.errors import known, positive
from rnnlab.initializers import Preset, preset

ACTIVATIONS = {'tanh': jnp.tanh, 'relu': jax.nn.relu}


@maker
def elman(hidden_size: int, *, activation: str = 'tanh', init: str | Preset = 'keras') -> Cell:
    """The Elman cell (Elman 1990); activation is tanh or relu.

        h' = tanh([x, h] W + b)             [B, D+H] [D+H, H] + [H] -> [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [H] with torch's start).
    """
    positive('hidden_size', hidden_size)
    known('activation', activation, ACTIVATIONS)
    act, start = ACTIVATIONS[activation], preset(init)

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, bias = start.recurrent(key, inputs, hidden_size, (1,), dtype)
        return {'kernel': jnp.concatenate([kernel, recurrent])} | start.biases(bias)

    def carry(params, batch_shape):
        return Hidden(jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype))

    def affine(params, carry, x):
        return joint(params, x, carry.h)

    def elementwise(params, carry, z):
        h = act(z)
        return Hidden(h), h, (h,)

    return gated(init_params, carry, affine, elementwise, ('h',), prepare=apart)


@maker
def irnn(hidden_size: int, *, init: str | Preset = 'identity') -> Cell:
    """The Elman cell with ReLU whose recurrent kernel starts as the identity (Le, Jaitly, Hinton 2015).

        h' = relu([x, h] W + b)             [B, D+H] [D+H, H] + [H] -> [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [H] with torch's start).
    """
    return elman(hidden_size, activation='relu', init=init)
