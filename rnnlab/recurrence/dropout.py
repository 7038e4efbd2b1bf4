"""Dropout whose mask stays the same at every time step, and for all gates (Gal and Ghahramani 2016, section 4).

Keras's recurrent layers keep a mask over time too, but their LSTM and GRU draw one for each gate's recurrent product.
"""

import jax
import jax.numpy as jnp
from jax import Array

from rnnlab.cells.cell import Cell, Chain, Params


def dropout_mask(keys: Array, rate: float | Array, size: int, dtype=float) -> Array:
    """[*batch, size] of 0, with probability `rate`, and 1 / (1 - rate).

    It takes a key for each sequence, so that a sequence's mask does not depend on what it is batched with.
    """
    draw = jnp.vectorize(lambda key: jax.random.bernoulli(key, 1 - rate, (size,)), signature='()->(n)')
    return draw(keys).astype(dtype) / jnp.asarray(1 - rate, dtype)


def fold(keys: Array, number: int) -> Array:
    """jax.random.fold_in for each of the keys [*batch]."""
    return jnp.vectorize(lambda key: jax.random.fold_in(key, number))(keys)


def recurrent_noise(cell: Cell, params: Params, keys: Array, rate: float | Array):
    """The noise of unroll: a mask for a cell's h, a tuple of them for a chain."""
    if isinstance(cell.form, Chain):
        parts = enumerate(zip(cell.form.cells, params, strict=True))
        return tuple(recurrent_noise(part, p, fold(keys, number), rate) for number, (part, p) in parts)
    h = jax.eval_shape(lambda params: cell.carry(params, ()), params).h
    return dropout_mask(keys, rate, h.shape[-1], h.dtype)
