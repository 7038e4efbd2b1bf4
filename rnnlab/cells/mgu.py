"""The minimal gated unit."""

import jax.numpy as jnp
from jax.nn import sigmoid

from rnnlab.cells.base import Cell, Hidden, biased, dropped, maker, named, plain
from rnnlab.errors import positive
from rnnlab.initializers import Preset, preset
from rnnlab.precision import product


@maker
def mgu(hidden_size: int, *, init: str | Preset = 'keras') -> Cell:
    """The MGU (Zhou et al. 2016): a GRU with one gate for both of its tasks.

        x_f, x_n = split(x W + b)           [B, D] [D, 2H] + [2H] -> 2 of [B, H]
        U_f, U_n = split(U)                 [H, 2H], 2 of [H, H]
        f = sigmoid(x_f + h U_f)            [B, H]: forget
        n = tanh(x_n + (f h) U_n)           [B, H]: candidate
        h' = (1 - f) h + f n                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], U recurrent_kernel and b bias. Flax's MGUCell resets after the product and keeps by f: another function.
    """
    positive('hidden_size', hidden_size)
    start = preset(init)

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, biases = start.recurrent(key, inputs, hidden_size, (1, 1), dtype)
        return {'kernel': kernel, 'recurrent_kernel': recurrent, 'bias': biases.sum(axis=0)}

    def carry(params, batch_shape):
        return Hidden(jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype))

    def whole(params, carry, x, mask=None):
        u_f, u_n = jnp.split(params['recurrent_kernel'], 2, axis=-1)
        x_f, x_n = jnp.split(biased(product(x, params['kernel']), params['bias']), 2, axis=-1)
        h = dropped(carry, mask).h
        f = sigmoid(named(x_f + product(h, u_f)))
        n = jnp.tanh(named(x_n + product(f * h, u_n)))
        h = (1 - f) * carry.h + f * n
        return Hidden(h), h, (f, n)

    return plain(init_params, carry, whole, ('f', 'n'))
