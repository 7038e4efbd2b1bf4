"""Masks of dropout and zoneout.

A dropout mask is the same for all time steps and all gates (Gal and Ghahramani 2016, section 4).
Keras's recurrent layers keep a mask over time too, but their LSTM and GRU draw one for the
recurrent product of each gate.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Key

from rnnlab.cells.base import Carry, Cell, Chain, Mask, Params, Rate
from rnnlab.recurrence.checks import Zoneout


def dropout_mask(
    keys: Key[Array, '*batch'], rate: Rate, size: int, dtype: DTypeLike = float
) -> Float[Array, '*batch {size}']:
    """[*batch, size] of 0, with probability `rate`, and 1 / (1 - rate).

    It takes one key per sequence, so that the mask of a sequence does not depend on the rest of its
    batch.
    """
    draw = jnp.vectorize(
        lambda key: jax.random.bernoulli(key, 1 - rate, (size,)), signature='()->(n)'
    )
    return draw(keys).astype(dtype) / jnp.asarray(1 - rate, dtype)


def fold(keys: Array, number: int) -> Array:
    """jax.random.fold_in for each of the keys [*batch]."""
    return jnp.vectorize(lambda key: jax.random.fold_in(key, number))(keys)


def recurrent_masks(cell: Cell, params: Params, keys: Array, rate: Rate) -> Mask:
    """The recurrent_dropout_mask of unroll: [*batch, H], for a stack a tuple with one per cell."""
    if isinstance(cell.form, Chain):
        parts = enumerate(zip(cell.form.cells, params, strict=True))
        return tuple(recurrent_masks(part, p, fold(keys, n), rate) for n, (part, p) in parts)
    h = carry_shapes(cell, params).h
    return dropout_mask(keys, rate, h.shape[-1], h.dtype)


def zoneout_masks(
    cell: Cell, params: Params, rates: Mapping[str, Rate], keys: Array | None, time_steps: int
) -> Zoneout:
    """The zoneout of unroll (Krueger et al. 2017), for a stack a tuple with one per cell.

    With keys [*batch] masks [T, *batch, H], 1 with the probability of the field's rate, drawn anew
    at every step; without keys the rates, which are the mean of the masks.
    """
    if isinstance(cell.form, Chain):
        parts = enumerate(zip(cell.form.cells, params, strict=True))
        return tuple(
            zoneout_masks(part, p, rates, None if keys is None else fold(keys, n), time_steps)
            for n, (part, p) in parts
        )
    if keys is None:
        return rates
    carry, dtype = carry_shapes(cell, params)._asdict(), jax.tree.leaves(params)[0].dtype
    masks = {}
    for number, (field, rate) in enumerate(rates.items()):
        shape = time_steps, carry[field].shape[-1] if field in carry else 1
        draw = jnp.vectorize(
            lambda key, rate=rate, shape=shape: jax.random.bernoulli(key, rate, shape),
            signature='()->(t,n)',
        )
        masks[field] = jnp.moveaxis(draw(fold(keys, number)), -2, 0).astype(dtype)
    return masks


def carry_shapes(cell: Cell, params: Params) -> Carry:
    """Shapes and types of the carry of one sequence."""
    return jax.eval_shape(lambda params: cell.carry(params, ()), params)
