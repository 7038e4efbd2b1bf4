"""The simple recurrent unit."""

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

from rnnlab.cells.base import Cell, Hidden, biased, gated, maker, times
from rnnlab.errors import positive
from rnnlab.initializers import Preset, keeping, preset
from rnnlab.precision import product


@maker
def sru(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Preset = 'keras',
) -> Cell:
    """The SRU (Lei et al. 2018, equations 1 to 4, without the scale alpha): all products are of the input, and the gates see their own
    unit's state alone.

        n, f, r = split(x W)                [B, D] [D, 3H] -> 3 of [B, H]: candidate, forget, reset
        f = sigmoid(f + v_f h + b_f)        [B, H]
        r = sigmoid(r + v_r h + b_r)        [B, H]
        h' = f h + (1 - f) n                [B, H]
        y = r h' + (1 - r) s                [B, H]: s is x, or where D is not H the last H columns of x W

    W is params['kernel'], [D, 3H] or [D, 4H], v_f and v_r are the halves of recurrent_scale [2H], b_f and b_r of bias [2H]. forget_bias
    and chrono start b_f as in lstm.
    """
    positive('hidden_size', hidden_size)
    start = preset(init)

    def init_params(key, inputs, dtype=float):
        blocks = 3 if inputs == hidden_size else 4
        kernel, _, biases = start.recurrent(key, inputs, hidden_size, (blocks,), dtype)
        keep, _ = keeping(start, key, hidden_size, dtype, chrono, forget_bias)
        bias = biases.sum(axis=0)[hidden_size : 3 * hidden_size].at[:hidden_size].add(keep)
        return {'kernel': kernel, 'recurrent_scale': jnp.zeros_like(bias), 'bias': bias}

    def carry(params, batch_shape):
        return Hidden(jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype))

    def affine(params, carry, x):
        n, gates, skip = jnp.split(
            product(x, params['kernel']), [hidden_size, 3 * hidden_size], axis=-1
        )
        return n, biased(gates, params['bias']), skip if skip.shape[-1] else x

    def elementwise(params, carry, z):
        n, gates, skip = z
        f, r = jnp.split(
            sigmoid(
                gates
                + times(jnp.concatenate([carry.h, carry.h], axis=-1), params['recurrent_scale'])
            ),
            2,
            axis=-1,
        )
        h = f * carry.h + (1 - f) * n
        return Hidden(h), r * h + (1 - r) * skip, (n, f, r)

    return gated(init_params, carry, affine, elementwise, ('n', 'f', 'r'), takes_mask=False)
