"""The minimal gated unit."""

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import (
    Cell,
    Hidden,
    Params,
    Step,
    biased,
    dropped,
    maker,
    named,
    plain,
    split_layout,
    zero_carry,
)
from rnnlab.errors import positive
from rnnlab.initializers import Initializer, initializer
from rnnlab.precision import product

GATES = ('f', 'n')


@maker
def mgu(hidden_size: int, *, init: str | Initializer = 'keras') -> Cell:
    """The MGU (Zhou et al. 2016): a GRU with one gate for both of its tasks.

        x_f, x_n = split(x W + b)           [B, D] [D, 2H] + [2H] -> 2 of [B, H]
        U_f, U_n = split(U)                 [H, 2H], 2 of [H, H]
        f = sigmoid(x_f + h U_f)            [B, H]: forget
        n = tanh(x_n + (f h) U_n)           [B, H]: candidate
        h' = (1 - f) h + f n                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], U recurrent_kernel and b bias. Flax's MGUCell resets after the product
    and keeps by f: another function.
    """
    positive('hidden_size', hidden_size)
    drawn = initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        kernel, recurrent, biases = drawn.recurrent(key, inputs, hidden_size, (1, 1), dtype)
        return {'kernel': kernel, 'recurrent_kernel': recurrent, 'bias': biases.sum(axis=0)}

    carry = zero_carry(Hidden, hidden_size)
    return plain(init_params, carry, whole, GATES, layout=split_layout(GATES))


def whole(params: Params, carry: Hidden, x: Array, mask: Array | None = None) -> Step:
    u_f, u_n = jnp.split(params['recurrent_kernel'], 2, axis=-1)
    x_f, x_n = jnp.split(biased(product(x, params['kernel']), params['bias']), 2, axis=-1)
    h = dropped(carry, mask).h
    f = sigmoid(named(x_f + product(h, u_f)))
    n = jnp.tanh(named(x_n + product(f * h, u_n)))
    h = (1 - f) * carry.h + f * n
    return Hidden(h), h, (f, n)
