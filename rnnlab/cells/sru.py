"""The simple recurrent unit."""

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import (
    Blocks,
    Cell,
    Hidden,
    Params,
    Step,
    biased,
    gated,
    maker,
    times,
    zero_carry,
)
from rnnlab.errors import positive
from rnnlab.initializers import Initializer, forget_and_input_bias, initializer
from rnnlab.precision import product

GATES = ('n', 'f', 'r')


@maker
def sru(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Initializer = 'keras',
) -> Cell:
    """The SRU (Lei et al. 2018, equations 1 to 4, without the scale alpha): all products are of
    the input, and the gates see only their own unit's state.

        n, f, r = split(x W)                [B, D] [D, 3H] -> 3 of [B, H]: candidate, forget, reset
        f = sigmoid(f + v_f h + b_f)        [B, H]
        r = sigmoid(r + v_r h + b_r)        [B, H]
        h' = f h + (1 - f) n                [B, H]
        y = r h' + (1 - r) s                [B, H]: s is x if D = H, else the last H columns of x W

    W is params['kernel'], [D, 3H] or [D, 4H], v_f and v_r are the halves of recurrent_scale [2H],
    b_f and b_r of bias [2H]. forget_bias and chrono are for b_f, as in lstm.
    """
    positive('hidden_size', hidden_size)
    drawn = initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        blocks = 3 if inputs == hidden_size else 4
        kernel, _, biases = drawn.recurrent(key, inputs, hidden_size, (blocks,), dtype)
        keep, _ = forget_and_input_bias(
            drawn, key, hidden_size, dtype, forget_bias=forget_bias, chrono=chrono
        )
        bias = biases.sum(axis=0)[hidden_size : 3 * hidden_size].at[:hidden_size].add(keep)
        return {'kernel': kernel, 'recurrent_scale': jnp.zeros_like(bias), 'bias': bias}

    return gated(
        init_params,
        zero_carry(Hidden, hidden_size),
        affine,
        elementwise,
        GATES,
        takes_mask=False,
        layout={'kernel': Blocks(('x',), GATES), 'recurrent_scale': Blocks(recurrent=True)},
    )


def affine(params: Params, carry: Hidden, x: Array) -> tuple[Array, Array, Array]:
    size = carry.h.shape[-1]
    n, gates, skip = jnp.split(product(x, params['kernel']), [size, 3 * size], axis=-1)
    return n, biased(gates, params['bias']), skip if skip.shape[-1] else x


def elementwise(params: Params, carry: Hidden, z: tuple[Array, Array, Array]) -> Step:
    n, gates, skip = z
    of_h = times(jnp.concatenate([carry.h, carry.h], axis=-1), params['recurrent_scale'])
    f, r = jnp.split(sigmoid(gates + of_h), 2, axis=-1)
    h = f * carry.h + (1 - f) * n
    return Hidden(h), r * h + (1 - r) * skip, (n, f, r)
