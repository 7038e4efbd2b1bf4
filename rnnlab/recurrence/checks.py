"""The arguments of unroll, checked: each fault is an InputError of one line."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnlab.cells.base import Carry, Cell, Params, take_step
from rnnlab.errors import InputError, first_line


def check_xs(xs: Any, time_major: bool) -> Array:
    """xs [T, *batch, D], from [*batch, T, D] unless time_major."""
    xs = jnp.asarray(xs)
    if xs.ndim < 2:
        axes = '[T, ..., D]' if time_major else '[..., T, D]'
        raise InputError(f'unroll takes xs {axes}, not an array of shape {list(xs.shape)}')
    return xs if time_major else jnp.moveaxis(xs, -2, 0)


def check_lengths(lengths: Any, xs: Array) -> Array:
    """lengths int [*batch]."""
    lengths, (time_steps, *batch) = jnp.asarray(lengths), xs.shape[:-1]
    if list(lengths.shape) != batch or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise InputError(
            f'lengths must be integers of shape {batch}, one per sequence, '
            f'not {lengths.dtype} {list(lengths.shape)}'
        )
    if not isinstance(lengths, jax.core.Tracer) and lengths.size:
        given = np.asarray(lengths)  # NumPy's extremes: JAX's would be traced
        if not 0 <= given.min() <= given.max() <= time_steps:
            raise InputError(
                f'lengths must be from 0 to {time_steps}, the time steps of xs, '
                f'not from {given.min()} to {given.max()}'
            )
    return lengths


def check_reset(reset: Any, xs: Array, time_major: bool) -> Array:
    """reset bool [T, *batch], from [*batch, T] unless time_major."""
    time_steps, *batch = xs.shape[:-1]
    reset, shape = jnp.asarray(reset), [time_steps, *batch] if time_major else [*batch, time_steps]
    if list(reset.shape) != shape or reset.dtype != bool:
        raise InputError(f'reset must be bool {shape}, not {reset.dtype} {list(reset.shape)}')
    return reset if time_major else jnp.moveaxis(reset, -1, 0)


def check_carry(cell: Cell, params: Params, xs: Array, carry: Carry | None) -> Carry:
    """The carry to begin with: the given one, or the initial one of the cell."""
    try:
        initial = cell.carry(params, xs.shape[1:-1])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise wrong_params(cell, params, xs, error) from error
    if carry is None:
        return initial
    given, expected = jax.tree.map(jnp.shape, carry), jax.tree.map(jnp.shape, initial)
    if given != expected:
        raise InputError(
            f'initial_carry for xs {list(xs.shape)} must have the shapes {shapes(initial)}, '
            f'not {shapes(carry)}'
        )
    return carry


def check_mask(cell: Cell, mask: Any, carry: Carry) -> None:
    if not cell.takes_mask:
        raise InputError(
            'recurrent_dropout_mask multiplies the input of recurrent products; '
            'this cell has none: leave it out'
        )
    if jnp.shape(mask) != jnp.shape(carry.h):
        raise InputError(
            f'recurrent_dropout_mask must have the shape {list(carry.h.shape)} for this cell '
            f'and batch, not {list(jnp.shape(mask))}'
        )


def check_zoneout(
    cell: Cell, zoneout: Mapping[str, Any] | None, carry: Carry, xs: Array
) -> dict[str, Array] | None:
    """Per field of the carry the rates [T, *batch, H]; those of a number are [T, 1, ...]."""
    if not zoneout:
        return None
    rates = {}
    for field, value in zoneout.items():
        if field not in carry._fields:
            raise InputError(
                f'zoneout on {field!r}: the carry of this cell has {", ".join(carry._fields)}'
            )
        if field != 'h' and 'm' in carry._fields:
            raise InputError(
                f"zoneout on {field!r} is not supported for this cell: only 'h' can be zoned out"
            )
        rate, shape = jnp.asarray(value), [len(xs), *getattr(carry, field).shape]
        if rate.ndim == 0:
            rate = jnp.broadcast_to(rate, (len(xs), *[1] * (xs.ndim - 1)))
        elif list(rate.shape) != shape:
            raise InputError(
                f'zoneout on {field!r} must be a number or an array {shape}, not {list(rate.shape)}'
            )
        rates[field] = rate
    return rates


def check_per_cell(name: str, value: Any, cells: Sequence[Cell]) -> Sequence[Any]:
    """The entry of an option for each cell of a stack; None for each if it is None."""
    if value is None:
        return [None] * len(cells)
    if not isinstance(value, tuple) or len(value) != len(cells):
        raise InputError(f'{name} of a stack must be a tuple of {len(cells)}, one entry per cell')
    return value


def check_step(
    cell: Cell, params: Params, carry: Carry, xs: Array, mask: Any
) -> jax.ShapeDtypeStruct:
    """Shape and type of the output [*batch, H] of a step."""
    x = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
    try:
        return jax.eval_shape(lambda *at: take_step(cell, *at)[1], params, carry, x, mask)
    except (KeyError, TypeError, ValueError) as error:
        raise wrong_params(cell, params, xs, error) from error


def wrong_params(cell: Cell, params: Any, xs: Array, error: Exception) -> InputError:
    """The error for a cell that cannot take a step with these params."""

    def by_name(tree: Any) -> dict[str, list[int]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {
            jax.tree_util.keystr(path, simple=True, separator='.'): [*jnp.shape(leaf)]
            for path, leaf in leaves
        }

    key = jax.random.key(0)
    expected = by_name(jax.eval_shape(lambda key: cell.init(key, xs.shape[-1], float), key))
    if expected == by_name(params):
        return InputError(
            f'the cell cannot take a step on xs {xs.dtype} {list(xs.shape)}: {first_line(error)}'
        )
    return InputError(
        f'params of this cell for xs {list(xs.shape)} must have the shapes {expected}, '
        f'not {by_name(params)}'
    )


def shapes(carry: Carry) -> str:
    return ', '.join(str(list(jnp.shape(leaf))) for leaf in jax.tree.leaves(carry))
