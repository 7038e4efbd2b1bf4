"""Padding, resets, cuts, zoneout and noise, as one change to a cell, so that no engine has to know of them.

The masked cell eats Inputs instead of x. A step that is not valid sees x = 0 and leaves the carry as it was, both chosen
with `where`: freezing alone would leave 0 * NaN in the kernel's gradient. A fresh step starts from the initial carry; no
gradient flows back through the carry of a step at a cut.
The noise is the same at every step, as the params are, and so it stands beside them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rnnlab.cells.base import Carry, Cell, Linear, dropped, take_step


class Inputs(NamedTuple):
    x: Array  # [T, *batch, D]
    valid: Array | None = None  # bool [T, *batch]; None: every step is
    fresh: Array | None = None  # bool [T, *batch]; None: no step is
    cut: Array | None = None  # bool [T]; None: no step is
    held: dict[str, Array] | None = (
        None  # by field of the carry, [T, *batch, H] or 1 for these: the share of the old one that stays
    )


class Masked(NamedTuple):
    """A cell over Inputs: what engines take, with the pair (params, noise) as its params.

    step: (params, carry, inputs) -> (carry, y).
    affine: (params, carry, inputs) -> z, and pointwise: (params, carry, z, inputs) -> (carry, y), for cells of form Gated.
    drive: (params, inputs) -> (a, b), and read: (params, hs, inputs) -> ys, both of all steps at once, for those of form Linear.
    """

    step: Callable
    affine: Callable
    pointwise: Callable
    drive: Callable
    read: Callable


def within(time_steps: int, lengths: Array) -> Array:
    """bool [T, *batch]: not padding, for lengths [*batch]."""
    lengths = jnp.asarray(lengths)
    time = jnp.arange(time_steps, dtype=lengths.dtype).reshape(-1, *(1 for _ in lengths.shape))
    return time < jnp.expand_dims(lengths, 0)


def masks(
    time_steps: int, lengths: Array | None, reset: Array | None, reverse: bool
) -> tuple[Array | None, Array | None]:
    """(valid, fresh), each bool [T, *batch] or None, from per-sequence lengths and the flags of where sequences begin."""
    valid = None if lengths is None else within(time_steps, lengths)
    if reset is None:
        return valid, None
    fresh = reset if valid is None else reset & valid
    if reverse:  # running backwards, the boundary before step t + 1 is met when step t is taken
        fresh = jnp.concatenate([fresh[1:], jnp.zeros_like(fresh[:1])])
    return valid, fresh


def cuts(time_steps: int, bptt: int | None, reverse: bool) -> Array | None:
    """bool [T]: the steps, every bptt-th, whose carry comes from beyond a cut; None where there are none."""
    if bptt is None or bptt >= time_steps:
        return None
    before = jnp.arange(time_steps) + (
        1 if reverse else 0
    )  # the boundary that is crossed to get there
    return (before % bptt == 0) & (before > 0) & (before < time_steps)


def choose(mask: Array | None, yes: Carry, no: Carry) -> Carry:
    """`yes` where mask [*batch] holds, else `no`, for arrays [*batch, ...]; `yes` itself where there is no mask."""
    if mask is None:
        return yes

    def leaf(a, b):
        return jnp.where(jnp.expand_dims(mask, tuple(range(mask.ndim, a.ndim))), a, b)

    return jax.tree.map(leaf, yes, no)


def zeroed(mask: Array | None, x: Array) -> Array:
    """x [*batch, ...] where mask [*batch] holds, else 0; x itself where there is no mask."""
    return choose(mask, x, jnp.zeros_like(x))


def mix(share: Array, old: Array, new: Array) -> Array:
    """share old + (1 - share) new, for a share with as many axes."""
    share = jnp.broadcast_to(share, new.shape).astype(new.dtype)
    return share * old + (1 - share) * new


def masked(cell: Cell) -> Masked:
    def enter(params, carry, inputs):
        if inputs.cut is not None:
            carry = choose(inputs.cut, lax.stop_gradient(carry), carry)
        if inputs.fresh is not None:
            carry = choose(inputs.fresh, cell.carry(params, inputs.x.shape[:-1]), carry)
        return carry, zeroed(inputs.valid, inputs.x)

    def leave(inputs, before, after, y):
        return choose(inputs.valid, after, before), zeroed(inputs.valid, y)

    def hold(inputs, before, after, y, read):
        """Zoneout. The output is then that of the new carry, where it is h or can be read from it."""
        if inputs.held is None:
            return after, y
        fields = {
            name: mix(share, getattr(before, name), getattr(after, name))
            for name, share in inputs.held.items()
        }
        mixed = after._replace(**fields)
        return mixed, mixed.h if y is after.h else read(mixed.h) if read else y

    def step(pair, carry, inputs):
        params, noise = pair
        carry, x = enter(params, carry, inputs)
        read = (lambda h: cell.form.read(params, h, x)) if isinstance(cell.form, Linear) else None
        return leave(
            inputs, carry, *hold(inputs, carry, *take_step(cell, params, carry, x, noise), read)
        )

    def affine(pair, carry, inputs):
        params, noise = pair
        carry, x = enter(params, carry, inputs)
        return cell.form.affine(params, dropped(carry, noise), x)

    def pointwise(pair, carry, z, inputs):
        params, _ = pair
        carry, _ = enter(params, carry, inputs)
        after, y, _ = cell.form.elementwise(params, carry, z)
        return leave(inputs, carry, *hold(inputs, carry, after, y, None))

    def drive(pair, inputs):
        params, _ = pair
        a, b, _ = cell.form.drive(params, zeroed(inputs.valid, inputs.x))
        if any(mask is not None for mask in (inputs.held, inputs.fresh, inputs.valid, inputs.cut)):
            a = jnp.broadcast_to(a, b.shape)
        if inputs.held is not None:
            share = inputs.held['h']
            a, b = mix(share, jnp.ones_like(a), a), mix(share, jnp.zeros_like(b), b)
        if inputs.fresh is not None:
            first = jnp.expand_dims(cell.carry(params, inputs.x.shape[1:-1]).h, 0)
            a, b = zeroed(~inputs.fresh, a), b + zeroed(inputs.fresh, a * first)
        return choose(inputs.valid, a, jnp.ones_like(a)), zeroed(inputs.valid, b)

    def read(pair, hs, inputs):
        params, _ = pair
        return zeroed(inputs.valid, cell.form.read(params, hs, zeroed(inputs.valid, inputs.x)))

    return Masked(step, affine, pointwise, drive, read)


def holding(cell: Masked) -> Masked:
    """The same cell, but the output of the last step taken is held beside the carry, and no step puts anything out."""

    def hold(inputs, before, after, y):
        return (after, choose(inputs.valid, y, before)), ()

    def step(pair, state, inputs):
        carry, y = state
        return hold(inputs, y, *cell.step(pair, carry, inputs))

    def affine(pair, state, inputs):
        return cell.affine(pair, state[0], inputs)

    def pointwise(pair, state, z, inputs):
        carry, y = state
        return hold(inputs, y, *cell.pointwise(pair, carry, z, inputs))

    return cell._replace(step=step, affine=affine, pointwise=pointwise)
