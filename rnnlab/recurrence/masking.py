"""Padding, resets, truncation and zoneout in one wrapper of a cell, for all engines.

In a padded step the input is 0 and the carry is kept, both by `where`: keeping the carry alone
would leave 0 * NaN in the kernel's gradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Int, PyTree

from rnnlab.cells.base import Arrays, Carry, Cell, Linear, Params, dropped, take_step

Tree = TypeVar('Tree')
Constants = tuple[Params, Array | None]  # (params, recurrent_dropout_mask): the same at every step
Z: TypeAlias = PyTree  # of affine: an array [..., N] or a tuple of such
Output = Array | tuple[()]  # of an engine; () if only the last output is kept


class Inputs(NamedTuple):
    """What a masked cell reads at each step; None for a mask that has no effect."""

    x: Array  # [T, *batch, D]
    valid: Array | None = None  # bool [T, *batch]: not padding
    reset: Array | None = None  # bool [T, *batch]: the step begins from the initial carry
    boundary: Array | None = None  # bool [T]: no gradient flows into the carry before the step
    zoneout: Mapping[str, Array] | None = None  # by field of the carry, the fraction kept
    perturbation: Carry | None = None  # [T, *batch, ...], added to the carry after the step


@dataclass(frozen=True, eq=False)
class Masked:
    """The functions of a cell as engines call them: on Inputs in place of x, with masks applied."""

    cell: Cell

    def step(self, constants: Constants, carry: Carry, inputs: Inputs) -> tuple[Carry, Output]:
        params, mask = constants
        before, x = resets(self.cell, params, carry, inputs), zeroed(inputs.valid, inputs.x)
        after, y = take_step(self.cell, params, before, x, mask)
        after, y = zoneout(self.cell, params, x, before, after, y, inputs.zoneout)
        after, y = perturbed(self.cell, params, x, after, y, inputs.perturbation)
        return padding(inputs.valid, before, after, y)

    def affine(self, constants: Constants, carry: Carry, inputs: Inputs) -> Z:
        """z of a Gated cell."""
        params, mask = constants
        before, x = resets(self.cell, params, carry, inputs), zeroed(inputs.valid, inputs.x)
        return self.cell.form.affine(params, dropped(before, mask), x)

    def elementwise(
        self, constants: Constants, carry: Carry, z: Z, inputs: Inputs
    ) -> tuple[Carry, Output]:
        """(carry, y) of a Gated cell, for its z."""
        params, _ = constants
        before = resets(self.cell, params, carry, inputs)
        after, y, _ = self.cell.form.elementwise(params, before, z)
        after, y = zoneout(self.cell, params, inputs.x, before, after, y, inputs.zoneout)
        return padding(inputs.valid, before, after, y)

    def drive(self, constants: Constants, inputs: Inputs) -> tuple[Array, Array]:
        """(a, b) [T, *batch, H] of a Linear cell; a is [H] if constant and nothing is masked."""
        params, _ = constants
        a, b, _ = self.cell.form.drive(params, zeroed(inputs.valid, inputs.x))
        if any(mask is not None for mask in inputs[1:]):
            a = jnp.broadcast_to(a, b.shape)
        if inputs.zoneout is not None:
            rate = inputs.zoneout['h']
            a, b = mix(rate, jnp.ones_like(a), a), mix(rate, jnp.zeros_like(b), b)
        if inputs.reset is not None:
            initial = jnp.expand_dims(self.cell.carry(params, inputs.x.shape[1:-1]).h, 0)
            a, b = zeroed(~inputs.reset, a), b + zeroed(inputs.reset, a * initial)
        return choose(inputs.valid, a, jnp.ones_like(a)), zeroed(inputs.valid, b)

    def read(self, constants: Constants, hs: Array, inputs: Inputs) -> Output:
        """ys [T, *batch, H] of a Linear cell, for hs [T, *batch, H]."""
        params, _ = constants
        x = zeroed(inputs.valid, inputs.x)
        return zeroed(inputs.valid, self.cell.form.read(params, hs, x))


@dataclass(frozen=True, eq=False)
class LastOutput(Masked):
    """A Masked cell without outputs: its carry is (carry, y of the last valid step).

    For the engines of Linear cells it is the carry alone.
    """

    def step(self, constants: Constants, carry: Carry, inputs: Inputs) -> tuple[Carry, Output]:
        before, y = carry
        after, new = super().step(constants, before, inputs)
        return (after, choose(inputs.valid, new, y)), ()

    def affine(self, constants: Constants, carry: Carry, inputs: Inputs) -> Z:
        before, _ = carry
        return super().affine(constants, before, inputs)

    def elementwise(
        self, constants: Constants, carry: Carry, z: Z, inputs: Inputs
    ) -> tuple[Carry, Output]:
        before, y = carry
        after, new = super().elementwise(constants, before, z, inputs)
        return (after, choose(inputs.valid, new, y)), ()

    def read(self, constants: Constants, hs: Array, inputs: Inputs) -> Output:
        return ()


def resets(cell: Cell, params: Params, carry: Carry, inputs: Inputs) -> Carry:
    """The carry before a step: the initial one at a reset, without gradient at a boundary."""
    if inputs.boundary is not None:
        carry = choose(inputs.boundary, lax.stop_gradient(carry), carry)
    if inputs.reset is not None:
        carry = choose(inputs.reset, cell.carry(params, inputs.x.shape[:-1]), carry)
    return carry


def zoneout(
    cell: Cell,
    params: Params,
    x: Array,
    before: Carry,
    after: Carry,
    y: Array,
    rates: Mapping[str, Array] | None,
) -> tuple[Carry, Array]:
    """(carry, y) of a step with the old carry mixed in."""
    if rates is None:
        return after, y
    mixed = after._replace(
        **{
            name: mix(rate, getattr(before, name), getattr(after, name))
            for name, rate in rates.items()
        }
    )
    return mixed, output_of(cell, params, x, after, mixed, y)


def perturbed(
    cell: Cell, params: Params, x: Array, after: Carry, y: Array, perturbation: Carry | None
) -> tuple[Carry, Array]:
    """(carry, y) of a step with something added to its carry."""
    if perturbation is None:
        return after, y
    moved = jax.tree.map(jnp.add, after, perturbation)
    return moved, output_of(cell, params, x, after, moved, y)


def output_of(
    cell: Cell, params: Params, x: Array, after: Carry, changed: Carry, y: Array
) -> Array:
    """y of a step whose new carry is changed: that of the changed h if y is h, or if a Linear cell
    reads it from h."""
    if isinstance(cell.form, Linear):
        return cell.form.read(params, changed.h, x)
    return changed.h if y is after.h else y


def padding(valid: Array | None, before: Carry, after: Carry, y: Array) -> tuple[Carry, Array]:
    """(carry, y) of a step: in padding the old carry and 0."""
    return choose(valid, after, before), zeroed(valid, y)


def within(time_steps: int, lengths: Int[Arrays, '*batch']) -> Bool[Array, ' T *batch']:
    """bool [T, *batch]: whether a step is before its sequence's end, for lengths [*batch]."""
    lengths = jnp.asarray(lengths)
    time = jnp.arange(time_steps, dtype=lengths.dtype).reshape(-1, *(1 for _ in lengths.shape))
    return time < jnp.expand_dims(lengths, 0)


def masks(
    time_steps: int, lengths: Array | None, reset: Array | None, reverse: bool
) -> tuple[Array | None, Array | None]:
    """(valid, reset) of Inputs, from those of unroll."""
    valid = None if lengths is None else within(time_steps, lengths)
    if reset is None:
        return valid, None
    reset = reset if valid is None else reset & valid
    if reverse:  # the boundary before step t + 1 is crossed when step t is taken
        reset = jnp.concatenate([reset[1:], jnp.zeros_like(reset[:1])])
    return valid, reset


def boundaries(time_steps: int, bptt: int | None, reverse: bool) -> Array | None:
    """bool [T]: the steps after a boundary, of which there is one every `bptt`; None if none."""
    if bptt is None or bptt >= time_steps:
        return None
    crossed = jnp.arange(time_steps) + (1 if reverse else 0)  # the boundary before each step
    return (crossed % bptt == 0) & (crossed > 0) & (crossed < time_steps)


def choose(mask: Array | None, yes: Tree, no: Tree) -> Tree:
    """Arrays [*batch, ...]: `yes` where mask [*batch] is true, else `no`; `yes` without a mask."""
    if mask is None:
        return yes

    def leaf(a: Array, b: Array) -> Array:
        return jnp.where(jnp.expand_dims(mask, tuple(range(mask.ndim, a.ndim))), a, b)

    return jax.tree.map(leaf, yes, no)


def zeroed(mask: Array | None, x: Array) -> Array:
    """x [*batch, ...] where mask [*batch] is true, else 0; x if there is no mask."""
    return choose(mask, x, jnp.zeros_like(x))


def mix(rate: Array, old: Array, new: Array) -> Array:
    """rate old + (1 - rate) new, for a rate with as many axes."""
    rate = jnp.broadcast_to(rate, new.shape).astype(new.dtype)
    return rate * old + (1 - rate) * new
