"""The arguments of unroll as arrays, time first; each fault is an InputError of one line."""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from rnnlab.cells.base import Arrays, Carry, Cell, Params, Tree, take_step
from rnnlab.errors import InputError, first_line

Zoneout = Mapping[str, float | Arrays] | tuple | None  # a tuple of them for a stack


def xs(xs: Arrays, time_major: bool) -> Array:
    """xs [T, *batch, D]."""
    xs = jnp.asarray(xs)
    if xs.ndim < 2:
        axes = '[T, ..., D]' if time_major else '[..., T, D]'
        raise InputError(f'unroll takes xs {axes}, not an array of shape {list(xs.shape)}')
    return xs if time_major else jnp.moveaxis(xs, -2, 0)


def lengths(lengths: Arrays | Sequence[int] | None, xs: Array) -> Array | None:
    """lengths int [*batch]."""
    if lengths is None:
        return None
    lengths, (steps, *batch) = jnp.asarray(lengths), xs.shape[:-1]
    if list(lengths.shape) != batch or not jnp.issubdtype(lengths.dtype, jnp.integer):
        given = f'{lengths.dtype} {list(lengths.shape)}'
        raise InputError(f'lengths must be integers {batch}, one per sequence, not {given}')
    if not isinstance(lengths, jax.core.Tracer) and lengths.size:
        low, high = np.min(np.asarray(lengths)), np.max(np.asarray(lengths))  # not traced
        if not 0 <= low <= high <= steps:
            raise InputError(
                f'lengths must be from 0 to {steps}, the steps of xs, not from {low} to {high}'
            )
    return lengths


def reset(reset: Arrays | None, xs: Array, time_major: bool) -> Array | None:
    """reset bool [T, *batch]."""
    if reset is None:
        return None
    reset, (steps, *batch) = jnp.asarray(reset), xs.shape[:-1]
    shape = [steps, *batch] if time_major else [*batch, steps]
    if list(reset.shape) != shape or reset.dtype != bool:
        raise InputError(f'reset must be bool {shape}, not {reset.dtype} {list(reset.shape)}')
    return reset if time_major else jnp.moveaxis(reset, -1, 0)


def carry(cell: Cell, params: Params, xs: Array, carry: Carry | None) -> Carry:
    """The carry to begin with: the given one, or the initial one of the cell."""
    try:
        initial = cell.carry(params, xs.shape[1:-1])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise no_step(xs, error) from error
    if carry is None:
        return initial
    if jax.tree.map(jnp.shape, carry) != jax.tree.map(jnp.shape, initial):
        raise InputError(
            f'initial_carry for xs {list(xs.shape)} must have the shapes {shapes(initial)}, '
            f'not {shapes(carry)}'
        )
    return carry


def step(cell: Cell, params: Params, carry: Carry, xs: Array, mask: Tree) -> tuple[Carry, Tree]:
    """Shapes and types of (carry, output [*batch, H]) after a step."""
    if mask is not None and not cell.takes_mask:
        raise InputError(
            'recurrent_dropout_mask is for recurrent products, and this cell has none: leave it out'
        )
    if mask is not None and jnp.shape(mask) != jnp.shape(carry.h):
        raise InputError(
            f'recurrent_dropout_mask for this cell and xs {list(xs.shape)} must be '
            f'{list(carry.h.shape)}, not {list(jnp.shape(mask))}'
        )
    x = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
    try:
        return jax.eval_shape(partial(take_step, cell), params, carry, x, mask)
    except (KeyError, TypeError, ValueError) as error:
        raise no_step(xs, error) from error


def promoted(
    cell: Cell, params: Params, carry: Carry, xs: Array, mask: Tree
) -> tuple[Params, Carry, Array, Tree, Tree]:
    """(params, carry, xs, mask, shape and type of the output), so that steps keep the carry's type.

    Where they would not, all floating-point arrays become of jnp.result_type of all.
    """
    after, y = step(cell, params, carry, xs, mask)
    initial = jax.eval_shape(lambda params: cell.carry(params, ()), params)
    if types(after) == types(carry) == types(initial):
        return params, carry, xs, mask, y
    kinds = types((params, carry, xs, mask))
    dtype = jnp.result_type(*(jnp.finfo(kind).dtype for kind in kinds if inexact(kind)))

    def cast(leaf: ArrayLike) -> ArrayLike:
        if not inexact(kind := jnp.result_type(leaf)):
            return leaf
        of_kind = jnp.issubdtype(kind, jnp.complexfloating)
        return jnp.asarray(leaf, jnp.result_type(dtype, jnp.complex64) if of_kind else dtype)

    params, carry, mask = jax.tree.map(cast, (params, carry, mask))
    xs = xs.astype(dtype)
    return params, carry, xs, mask, step(cell, params, carry, xs, mask)[1]


def types(tree: Tree) -> list[np.dtype]:
    """The types of a tree's arrays; plain numbers take that of the arrays beside them."""
    return [leaf.dtype for leaf in jax.tree.leaves(tree) if hasattr(leaf, 'dtype')]


def inexact(dtype: DTypeLike) -> bool:
    return jnp.issubdtype(dtype, jnp.inexact)


def zoneout(cell: Cell, zoneout: Zoneout, carry: Carry, xs: Array) -> dict[str, Array] | None:
    """Per field of the carry the rates [T, *batch, H]; those of a number are [T, 1, ...]."""
    if isinstance(zoneout, tuple):
        raise InputError('zoneout is a tuple for a stack alone')
    rates = {}
    for field, value in (zoneout or {}).items():
        if field not in carry._fields:
            fields = ', '.join(carry._fields)
            raise InputError(f'zoneout on {field!r}: the carry of this cell has {fields}')
        if field not in cell.zoneout:
            fields = ', '.join(map(repr, cell.zoneout))
            raise InputError(f'zoneout on {field!r}: this cell supports it on {fields} alone')
        rate, shape = jnp.asarray(value), [len(xs), *getattr(carry, field).shape]
        if rate.ndim == 0:
            rate = jnp.broadcast_to(rate, (len(xs), *[1] * (xs.ndim - 1)))
        elif list(rate.shape) != shape:
            raise InputError(
                f'zoneout on {field!r} must be a number or an array {shape}, not {[*rate.shape]}'
            )
        rates[field] = rate
    return rates or None


def per_cell(name: str, value: object, cells: Sequence[Cell]) -> Sequence[Tree]:
    """An option of a stack, one entry per cell; None is None for each."""
    if value is None:
        return [None] * len(cells)
    if not isinstance(value, tuple) or len(value) != len(cells):
        raise InputError(f'{name} of a stack must be a tuple of {len(cells)}, one per cell')
    return value


def no_step(xs: Array, error: Exception) -> InputError:
    """The error for a cell that cannot take a step."""
    what = f'{xs.dtype} {list(xs.shape)}'
    return InputError(f'the cell cannot take a step on xs {what}: {first_line(error)}')


def shapes(carry: Carry) -> str:
    return ', '.join(str(list(jnp.shape(leaf))) for leaf in jax.tree.leaves(carry))
