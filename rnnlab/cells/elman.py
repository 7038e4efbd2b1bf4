"""The Elman cell, also called simple or vanilla RNN (Elman 1990), and its ReLU form IRNN (Le, Jaitly, Hinton 2015).

h' = tanh(W x + U h + b)        y = h'
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rnnlab.cells.cell import Cell, gated, joint
from rnnlab.errors import known, positive
from rnnlab.initializers import Preset, preset

ACTIVATIONS = {'tanh': jnp.tanh, 'relu': jax.nn.relu}


class ElmanCarry(NamedTuple):
    h: Array  # [..., H]


def elman(hidden_size: int, *, activation: str = 'tanh', init: str | Preset = 'keras') -> Cell:
    """An Elman cell; its params are kernel [D + H, H], the rows of W above those of U, and bias [H] (torch's
    start: recurrent_bias [H] as well)."""
    positive('hidden_size', hidden_size)
    known('activation', activation, ACTIVATIONS)
    act, start = ACTIVATIONS[activation], preset(init)

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, bias = start.recurrent(key, inputs, hidden_size, (1,), dtype)
        return {'kernel': jnp.concatenate([kernel, recurrent])} | start.biases(bias)

    def carry(params, batch_shape):
        return ElmanCarry(jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype))

    def affine(params, carry, x):
        return joint(params, x, carry.h)

    def pointwise(params, carry, z):
        h = act(z)
        return ElmanCarry(h), h

    return gated(init_params, carry, affine, pointwise, ('h',))


def irnn(hidden_size: int, *, init: str | Preset = 'identity') -> Cell:
    """h' = relu(W x + U h + b) with U starting as the identity."""
    return elman(hidden_size, activation='relu', init=init)
