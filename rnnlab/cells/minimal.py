"""The minimal GRU and LSTM: gates see only the input, so all steps can be computed at once."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax
from jax.nn import sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import (
    Blocks,
    Cell,
    Gates,
    Hidden,
    Params,
    biased,
    linear,
    maker,
    named,
    zero_carry,
)
from rnnlab.errors import positive
from rnnlab.initializers import Initializer, initializer
from rnnlab.precision import product


@maker
def mingru(hidden_size: int, *, init: str | Initializer = 'keras') -> Cell:
    """The minGRU (Feng et al. 2024, section 3.1).

        z, n = split(x W + b)               [B, D] [D, 2H] + [2H] -> 2 of [B, H]: update, candidate
        z = sigmoid(z)                      [B, H]
        h' = (1 - z) h + z n                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'].
    """

    def of(z: Array, n: Array) -> tuple[Array, Array, Gates]:
        z = sigmoid(z)
        return 1 - z, z * n, (z, n)

    return minimal(hidden_size, ('z', 'n'), of, init)


@maker
def minlstm(hidden_size: int, *, init: str | Initializer = 'keras') -> Cell:
    """The minLSTM with gates that add up to 1 (Feng et al. 2024, section 3.2).

        i, f, g = split(x W + b)            [B, D] [D, 3H] + [3H] -> 3 of [B, H]
        i, f = sigmoid(i), sigmoid(f)       [B, H]: input, forget; g is the candidate
        i, f = i / (i + f), f / (i + f)     [B, H]
        h' = f h + i g                      [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'].
    """

    def of(i: Array, f: Array, g: Array) -> tuple[Array, Array, Gates]:
        # Both fractions are scaled by exp(least): no overflow, and no 0 / 0 with both gates shut.
        least = lax.stop_gradient(jnp.minimum(jnp.minimum(i, f), 0))
        one, of_i, of_f = jnp.exp(least), jnp.exp(least - i), jnp.exp(least - f)
        both = 2 * one + of_i + of_f
        i, f = (one + of_f) / both, (one + of_i) / both
        return f, i * g, (i, f, g)

    return minimal(hidden_size, ('i', 'f', 'g'), of, init)


def minimal(
    hidden_size: int,
    gates: tuple[str, ...],
    of: Callable[..., tuple[Array, Array, Gates]],
    init: str | Initializer,
) -> Cell:
    """The linear cell whose a, b and values of the gates `of` gives for the sums of the gates, one
    dense map of the input."""
    positive('hidden_size', hidden_size)
    drawn = initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        kernel, _, biases = drawn.recurrent(key, inputs, hidden_size, (len(gates),), dtype)
        return {'kernel': kernel, 'bias': biases.sum(axis=0)}

    def drive(params: Params, x: Array) -> tuple[Array, Array, Gates]:
        z = named(biased(product(x, params['kernel']), params['bias']))
        return of(*jnp.split(z, len(gates), axis=-1))

    return linear(
        init_params,
        zero_carry(Hidden, hidden_size),
        drive,
        lambda params, h, x: h,
        gates,
        layout={'kernel': Blocks(('x',), gates), 'bias': Blocks(columns=gates)},
    )
