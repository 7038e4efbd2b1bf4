"""The gated recurrent unit, with the reset after or before the recurrent product.

r = sigmoid(W_r x + U_r h + b_r)        z = sigmoid(W_z x + U_z h + b_z)
after:   n = tanh(W_n x + b_n + r (U_n h + c_n))      (torch, Flax, cuDNN; Keras's default)
before:  n = tanh(W_n x + U_n (r h) + b_n)            (Cho et al. 2014, equations 5 to 8; TF1)
h' = (1 - z) n + z h                                  y = h'
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

from rnnlab.cells.cell import Cell, biased, gated, named
from rnnlab.errors import positive
from rnnlab.initializers import Preset, preset


class GRUCarry(NamedTuple):
    h: Array  # [..., H]


def gru(hidden_size: int, *, reset_after: bool = True, init: str | Preset = 'keras') -> Cell:
    """A GRU cell; its params, columns in the order r, z, n, are kernel [D, 3H], recurrent_kernel [H, 3H], bias [3H] and,
    with reset_after only, recurrent_bias [3H]."""
    positive('hidden_size', hidden_size)
    start = preset(init)
    gates = ('r', 'z', 'n')

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, (bias, recurrent_bias) = start.recurrent(key, inputs, hidden_size, (2, 1), dtype)
        bias = bias.at[: 2 * hidden_size].add(start.gate_bias)
        params = {'kernel': kernel, 'recurrent_kernel': recurrent, 'bias': bias}
        if reset_after:
            return params | {'recurrent_bias': recurrent_bias}
        return params | {'bias': bias + recurrent_bias}

    def carry(params, batch_shape):
        return GRUCarry(jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype))

    def from_input(params, x):
        return biased(x @ params['kernel'], params['bias'])

    def blend(z, n, h):
        h = (1 - z) * n + z * h
        return GRUCarry(h), h

    # reset after: one affine map, input and recurrent side apart, then elementwise work
    def affine(params, carry, x):
        return from_input(params, x), biased(carry.h @ params['recurrent_kernel'], params['recurrent_bias'])

    def pointwise(params, carry, z):
        (xr, xz, xn), (hr, hz, hn) = (jnp.split(side, 3, axis=-1) for side in z)
        n = jnp.tanh(xn + sigmoid(xr + hr) * hn)
        return blend(sigmoid(xz + hz), n, carry.h)

    # reset before: a second product waits for r
    def step(params, carry, x):
        recurrent_rz, recurrent_n = jnp.split(params['recurrent_kernel'], [2 * hidden_size], axis=-1)
        x_rz, x_n = jnp.split(from_input(params, x), [2 * hidden_size], axis=-1)
        r, z = jnp.split(sigmoid(named(x_rz + carry.h @ recurrent_rz)), 2, axis=-1)
        return blend(z, jnp.tanh(named(x_n + (r * carry.h) @ recurrent_n)), carry.h)

    if reset_after:
        return gated(init_params, carry, affine, pointwise, gates)
    return Cell(init_params, carry, step, gates)


def gru_reset_before(hidden_size: int, *, init: str | Preset = 'keras') -> Cell:
    """The GRU of Cho et al. 2014: gru with reset_after=False."""
    return gru(hidden_size, reset_after=False, init=init)
