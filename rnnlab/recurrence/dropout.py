"""Dropout whose mask stays the same at every time step, and for all gates (Gal and Ghahramani 2016, section 4).

Keras's recurrent layers keep a mask over time too, but their LSTM and GRU draw one for each gate's recurrent product.
"""

import jax
import jax.numpy as jnp
from jax import Array

from rnnlab.cells.base import Cell, Chain, Params


def dropout_mask(keys: Array, rate: float | Array, size: int, dtype=float) -> Array:
    """[*batch, size] of 0, with probability `rate`, and 1 / (1 - rate).

    It takes a key for each sequence, so that a sequence's mask does not depend on what it is batched with.
    """
    draw = jnp.vectorize(
        lambda key: jax.random.bernoulli(key, 1 - rate, (size,)), signature='()->(n)'
    )
    return draw(keys).astype(dtype) / jnp.asarray(1 - rate, dtype)


def fold(keys: Array, number: int) -> Array:
    """jax.random.fold_in for each of the keys [*batch]."""
    return jnp.vectorize(lambda key: jax.random.fold_in(key, number))(keys)


def zoneout_shares(
    cell: Cell, params: Params, rates: dict[str, float | Array], keys: Array | None, time_steps: int
):
    """The zoneout of unroll: with keys [*batch] drawn anew at every step, 1 with the probability of its rate, else 0; without them the
    rates, which are the mean (Krueger et al. 2017)."""
    if isinstance(cell.form, Chain):
        parts = enumerate(zip(cell.form.cells, params, strict=True))
        return tuple(
            zoneout_shares(part, p, rates, None if keys is None else fold(keys, n), time_steps)
            for n, (part, p) in parts
        )
    if keys is None:
        return rates
    carry, shares = jax.eval_shape(lambda params: cell.carry(params, ()), params)._asdict(), {}
    for number, (field, rate) in enumerate(rates.items()):
        shape = (time_steps, carry[field].shape[-1] if field in carry else 1)
        draw = jnp.vectorize(
            lambda key, rate=rate, shape=shape: jax.random.bernoulli(key, rate, shape),
            signature='()->(t,n)',
        )
        shares[field] = jnp.moveaxis(draw(fold(keys, number)), -2, 0).astype(
            jax.tree.leaves(params)[0].dtype
        )
    return shares


def recurrent_noise(cell: Cell, params: Params, keys: Array, rate: float | Array):
    """The noise of unroll: a mask for a cell's h, a tuple of them for a chain."""
    if isinstance(cell.form, Chain):
        parts = enumerate(zip(cell.form.cells, params, strict=True))
        return tuple(
            recurrent_noise(part, p, fold(keys, number), rate) for number, (part, p) in parts
        )
    h = jax.eval_shape(lambda params: cell.carry(params, ()), params).h
    return dropout_mask(keys, rate, h.shape[-1], h.dtype)
