"""The update gate RNN."""

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

from rnnlab.cells.base import Cell, Hidden, apart, gated, joint, maker
from rnnlab.errors import positive
from rnnlab.initializers import Preset, keeping, preset


@maker
def ugrnn(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Preset = 'keras',
) -> Cell:
    """The UGRNN (Collins, Sohl-Dickstein, Sussillo 2017): an Elman cell with one gate.

        g, n = split([x, h] W + b)          [B, D+H] [D+H, 2H] + [2H] -> 2 of [B, H]: gate, candidate
        g, n = sigmoid(g), tanh(n)          [B, H]
        h' = g h + (1 - g) n                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [2H] with torch's start). forget_bias and chrono start the gate as in
    lstm.
    """
    positive('hidden_size', hidden_size)
    start = preset(init)

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, bias = start.recurrent(key, inputs, hidden_size, (2,), dtype)
        keep, _ = keeping(start, key, hidden_size, dtype, chrono, forget_bias)
        return {'kernel': jnp.concatenate([kernel, recurrent])} | start.biases(
            bias.at[0, :hidden_size].add(keep)
        )

    def carry(params, batch_shape):
        return Hidden(jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype))

    def affine(params, carry, x):
        return joint(params, x, carry.h)

    def elementwise(params, carry, z):
        g, n = jnp.split(z, 2, axis=-1)
        g, n = sigmoid(g), jnp.tanh(n)
        h = g * carry.h + (1 - g) * n
        return Hidden(h), h, (g, n)

    return gated(init_params, carry, affine, elementwise, ('g', 'n'), prepare=apart)
