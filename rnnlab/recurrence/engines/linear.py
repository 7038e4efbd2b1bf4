"""The engines of linear cells (form Linear): a and b of all steps at once, and then h' = a h + b over time.

`linear` takes one step after another, `associative` all of them in about 2 log2(T) sweeps over time (Blelloch 1990; Martin and Cundy
2018). Both have the same gradient of their own, which is such a recurrence too, run the other way. Reverse mode only.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from rnnlab.cells.base import Hidden
from rnnlab.recurrence.engines.parts import in_parts

# The entries of h over the steps whose a and b are made at once, and again for the gradient, so that they stay in the cache; and at most
# how many steps. Milliseconds of a gradient on one core of parts of 1, 8, 32 and 128 steps, minGRU and minLSTM: 106, 109, 181, 272 and
# 152, 254, 467, 636 (T, B, D, H = 200, 50, 2, 1000), of 8, 32 and 128 steps: 57, 62, 87 and 244, 266, 348 (784, 64, 1, 128).
ENTRIES, STEPS = 2**16, 128


def linear(cell, params, carry, inputs, reverse):
    """(carry, ys [T, *batch, H]) of a Masked cell over Inputs."""

    def part(carry, inputs):
        return run(one_by_one, cell, params, carry, inputs, reverse)

    steps = max(1, min(STEPS, ENTRIES // max(1, carry.h.size)))
    if len(inputs.x) <= steps:
        return part(carry, inputs)
    return in_parts(jax.checkpoint(part, prevent_cse=False), steps, carry, inputs, reverse)


def associative(cell, params, carry, inputs, reverse):
    """The same, and all steps at once."""
    return run(all_at_once, cell, params, carry, inputs, reverse)


def run(form, cell, params, carry, inputs, reverse):
    a, b = cell.drive(params, inputs)
    hs = recurrence(form, reverse, a, b, carry.h, inputs.cut)
    return Hidden(hs[0] if reverse else hs[-1]), cell.read(params, hs, inputs)


def one_by_one(a, b, h, reverse):
    if a.ndim < b.ndim:  # the same at every step
        return lax.scan(
            lambda h, b: (jnp.broadcast_to(a, b.shape) * h + b,) * 2, h, b, reverse=reverse
        )[1]

    def step(h, at):
        a, b = at
        h = a * h + b
        return h, h

    return lax.scan(step, h, (a, b), reverse=reverse)[1]


def all_at_once(a, b, h, reverse):
    def joined(first, second):
        (a, b), (a_next, b_next) = first, second
        return a_next * a, a_next * b + b_next

    a, start = jnp.broadcast_to(a, b.shape), -1 if reverse else 0
    return lax.associative_scan(joined, (a, b.at[start].add(a[start] * h)), reverse=reverse)[1]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recurrence(form, reverse, a, b, h, cut):
    """hs [T, ...] of h' = a h + b from h on; no gradient goes back beyond a step of which cut [T] is true. Without a cut, a may be [H]."""
    return form(a, b, h, reverse)


def forward(form, reverse, a, b, h, cut):
    hs = form(a, b, h, reverse)
    return hs, (a, h, hs, cut)


def backward(form, reverse, kept, d_hs):
    a, h, hs, cut = kept
    nothing, first = jnp.zeros_like(h), -1 if reverse else 0
    if a.ndim < d_hs.ndim:
        d_b = form(a, d_hs, nothing, not reverse)
        d_a = jnp.sum(d_b * moved(hs, h, reverse), axis=range(d_b.ndim - 1))
        return d_a, d_b, jnp.broadcast_to(a, h.shape) * d_b[first], None
    back = (
        a
        if cut is None
        else jnp.where(cut.reshape(-1, *(1 for _ in h.shape)), jnp.zeros_like(a), a)
    )
    d_b = form(moved(back, nothing, not reverse), d_hs, nothing, not reverse)
    return d_b * moved(hs, h, reverse), d_b, back[first] * d_b[first], None


def moved(xs, x, reverse):
    """xs [T, ...] a step later (with reverse a step earlier), and x in the place that becomes free."""
    x = jnp.expand_dims(x, 0)
    return jnp.concatenate([xs[1:], x] if reverse else [x, xs[:-1]])


recurrence.defvjp(forward, backward)
