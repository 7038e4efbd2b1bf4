"""The independently recurrent network."""

import jax
from jax import Array
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
from rnnlab.initializers import Initializer, another, initializer
from rnnlab.precision import product

LAYOUT = {
    'kernel': Blocks(('x',), ('h',)),
    'recurrent_scale': Blocks(columns=('h',), recurrent=True),
    'bias': Blocks(columns=('h',)),
}


@maker
def indrnn(hidden_size: int, *, init: str | Initializer = 'keras') -> Cell:
    """The IndRNN (Li et al. 2018): each unit reads only itself.

        h' = relu(x W + u h + b)            [B, D] [D, H] + [H] [B, H] + [H] -> [B, H]
        y = h'                              [B, H]

    W is params['kernel'], u recurrent_scale, b bias. u is initialized uniform in [0, 1), the range
    for sequences of any length.
    """
    positive('hidden_size', hidden_size)
    drawn = initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        kernel, _, biases = drawn.recurrent(key, inputs, hidden_size, (1,), dtype)
        scale = jax.random.uniform(another(key), (hidden_size,), dtype)
        return {'kernel': kernel, 'recurrent_scale': scale, 'bias': biases.sum(axis=0)}

    return gated(
        init_params, zero_carry(Hidden, hidden_size), affine, elementwise, ('h',), layout=LAYOUT
    )


def affine(params: Params, carry: Hidden, x: Array) -> Array:
    of_h = times(carry.h, params['recurrent_scale'])
    return biased(product(x, params['kernel']), params['bias']) + of_h


def elementwise(params: Params, carry: Hidden, z: Array) -> Step:
    h = jax.nn.relu(z)
    return Hidden(h), h, (h,)
