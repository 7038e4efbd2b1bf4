"""The engines of Linear cells: a and b of all steps at once, then h' = a h + b over time.

`linear` takes one step after another, `associative` all of them in about 2 log2(T) sweeps over time
(Blelloch 1990; Martin and Cundy 2018). Their gradient is such a recurrence too, in the other
direction. Reverse mode only.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from rnnlab.cells.base import Carry, Hidden
from rnnlab.recurrence.engines.scan import in_parts
from rnnlab.recurrence.masking import Constants, Inputs, Masked, Output

Pair = tuple[Array, Array]  # (a, b)
Method = Callable[[Array, Array, Array, bool], Array]
Kept = tuple[Array, Array, Array, Array | None]

# `linear` computes a and b for a part of the time axis at a time, and again for the gradient, so
# that they stay in the cache: at most so many entries of h, and so many steps.
ENTRIES, STEPS = 2**16, 128


def linear(
    cell: Masked, constants: Constants, carry: Carry, inputs: Inputs, reverse: bool
) -> tuple[Carry, Output]:
    """(carry, ys [T, *batch, H]) of a Masked cell over Inputs."""

    def part(carry: Carry, inputs: Inputs) -> tuple[Carry, Output]:
        return solve(cell, constants, carry, inputs, reverse, one_by_one)

    steps = max(1, min(STEPS, ENTRIES // max(1, carry.h.size)))
    if len(inputs.x) <= steps:
        return part(carry, inputs)
    return in_parts(jax.checkpoint(part, prevent_cse=False), steps, carry, inputs, reverse)


def solve(
    cell: Masked, constants: Constants, carry: Carry, inputs: Inputs, reverse: bool, method: Method
) -> tuple[Carry, Output]:
    a, b = cell.drive(constants, inputs)
    hs = recurrence(method, reverse, a, b, carry.h, inputs.boundary)
    return Hidden(hs[0] if reverse else hs[-1]), cell.read(constants, hs, inputs)


def one_by_one(a: Array, b: Array, h: Array, reverse: bool) -> Array:
    """hs [T, *batch, H], by a scan; a may be [H]."""
    if a.ndim < b.ndim:
        return lax.scan(
            lambda h, b: (jnp.broadcast_to(a, b.shape) * h + b,) * 2, h, b, reverse=reverse
        )[1]

    def step(h: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        a, b = at
        h = a * h + b
        return h, h

    return lax.scan(step, h, (a, b), reverse=reverse)[1]


def all_at_once(a: Array, b: Array, h: Array, reverse: bool) -> Array:
    """hs [T, *batch, H], by an associative scan; a may be [H]."""

    def compose(first: Pair, second: Pair) -> Pair:
        (a, b), (a_next, b_next) = first, second
        return a_next * a, a_next * b + b_next

    a, first = jnp.broadcast_to(a, b.shape), -1 if reverse else 0
    return lax.associative_scan(compose, (a, b.at[first].add(a[first] * h)), reverse=reverse)[1]


associative = partial(solve, method=all_at_once)  # an engine as `linear`, all steps at once


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recurrence(
    method: Method, reverse: bool, a: Array, b: Array, h: Array, boundary: Array | None
) -> Array:
    """hs [T, *batch, H] of h' = a h + b, for the initial h and one of the two methods.

    No gradient flows into the h before a step of which boundary [T] is true. Without boundary, a
    may be [H].
    """
    return method(a, b, h, reverse)


def forward(
    method: Method, reverse: bool, a: Array, b: Array, h: Array, boundary: Array | None
) -> tuple[Array, Kept]:
    hs = method(a, b, h, reverse)
    return hs, (a, h, hs, boundary)


def backward(
    method: Method, reverse: bool, kept: Kept, d_hs: Array
) -> tuple[Array, Array, Array, None]:
    a, h, hs, boundary = kept
    zero, first = jnp.zeros_like(h), -1 if reverse else 0
    if a.ndim < d_hs.ndim:
        d_b = method(a, d_hs, zero, not reverse)
        d_a = jnp.sum(d_b * delayed(hs, h, reverse), axis=range(d_b.ndim - 1))
        return d_a, d_b, jnp.broadcast_to(a, h.shape) * d_b[first], None
    if boundary is not None:
        a = jnp.where(boundary.reshape(-1, *(1 for _ in h.shape)), jnp.zeros_like(a), a)
    d_b = method(delayed(a, zero, not reverse), d_hs, zero, not reverse)
    return d_b * delayed(hs, h, reverse), d_b, a[first] * d_b[first], None


recurrence.defvjp(forward, backward)


def delayed(xs: Array, x: Array, reverse: bool) -> Array:
    """xs [T, ...] one step later, x first; with reverse one step earlier, x last."""
    x = jnp.expand_dims(x, 0)
    return jnp.concatenate([xs[1:], x] if reverse else [x, xs[:-1]])
