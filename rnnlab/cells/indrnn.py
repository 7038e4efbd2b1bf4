"""The independently recurrent network."""

import jax
import jax.numpy as jnp

from rnnlab.cells.base import Cell, Hidden, biased, gated, maker, times
from rnnlab.errors import positive
from rnnlab.initializers import Preset, other, preset
from rnnlab.precision import product


@maker
def indrnn(hidden_size: int, *, init: str | Preset = 'keras') -> Cell:
    """The IndRNN (Li et al. 2018): each unit reads itself alone.

        h' = relu(x W + u h + b)            [B, D] [D, H] + [H] [B, H] + [H] -> [B, H]
        y = h'                              [B, H]

    W is params['kernel'], u recurrent_scale, b bias. u starts uniform in [0, 1), the range for sequences of any length.
    """
    positive('hidden_size', hidden_size)
    start = preset(init)

    def init_params(key, inputs, dtype=float):
        kernel, _, biases = start.recurrent(key, inputs, hidden_size, (1,), dtype)
        scale = jax.random.uniform(other(key), (hidden_size,), dtype)
        return {'kernel': kernel, 'recurrent_scale': scale, 'bias': biases.sum(axis=0)}

    def carry(params, batch_shape):
        return Hidden(jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype))

    def affine(params, carry, x):
        return biased(product(x, params['kernel']), params['bias']) + times(
            carry.h, params['recurrent_scale']
        )

    def elementwise(params, carry, z):
        h = jax.nn.relu(z)
        return Hidden(h), h, (h,)

    return gated(init_params, carry, affine, elementwise, ('h',))
