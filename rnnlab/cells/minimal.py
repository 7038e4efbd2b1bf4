"""The minimal GRU and LSTM: gates that see the input alone, so that all steps can be computed at once."""

import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

from rnnlab.cells.base import Cell, Hidden, biased, linear, maker, named
from rnnlab.errors import positive
from rnnlab.initializers import Preset, preset
from rnnlab.precision import product


@maker
def mingru(hidden_size: int, *, init: str | Preset = 'keras') -> Cell:
    """The minGRU (Feng et al. 2024, section 3.1).

        z, n = split(x W + b)               [B, D] [D, 2H] + [2H] -> 2 of [B, H]: update, candidate
        z = sigmoid(z)                      [B, H]
        h' = (1 - z) h + z n                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'].
    """

    def of(z, n):
        z = sigmoid(z)
        return 1 - z, z * n, (z, n)

    return minimal(hidden_size, ('z', 'n'), of, init)


@maker
def minlstm(hidden_size: int, *, init: str | Preset = 'keras') -> Cell:
    """The minLSTM with gates that add up to 1 (Feng et al. 2024, section 3.2).

        i, f, g = split(x W + b)            [B, D] [D, 3H] + [3H] -> 3 of [B, H]: input, forget, candidate
        i, f = sigmoid(i), sigmoid(f)       [B, H]
        i, f = i / (i + f), f / (i + f)     [B, H]
        h' = f h + i g                      [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'].
    """

    def of(i, f, g):
        least = lax.stop_gradient(
            jnp.minimum(jnp.minimum(i, f), 0)
        )  # nothing overflows, nor is it 0 / 0 where both gates are shut
        one, of_i, of_f = jnp.exp(least), jnp.exp(least - i), jnp.exp(least - f)
        both = 2 * one + of_i + of_f
        i, f = (one + of_f) / both, (one + of_i) / both
        return f, i * g, (i, f, g)

    return minimal(hidden_size, ('i', 'f', 'g'), of, init)


def minimal(hidden_size: int, gates: tuple[str, ...], of, init: str | Preset) -> Cell:
    """A linear cell that makes a, b and the gates' values of one dense map of the input."""
    positive('hidden_size', hidden_size)
    start = preset(init)

    def init_params(key, inputs, dtype=float):
        kernel, _, biases = start.recurrent(key, inputs, hidden_size, (len(gates),), dtype)
        return {'kernel': kernel, 'bias': biases.sum(axis=0)}

    def carry(params, batch_shape):
        return Hidden(jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype))

    def drive(params, x):
        z = named(biased(product(x, params['kernel']), params['bias']))
        return of(*jnp.split(z, len(gates), axis=-1))

    return linear(init_params, carry, drive, lambda params, h, x: h, gates)
