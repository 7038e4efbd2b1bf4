"""The engine with its own gradient, for cells of one affine map and elementwise work (form Gated).

Forward it keeps z and the carry of every step. Backward it runs one reverse scan that differentiates the elementwise work
again from these and sums the params' gradient as it goes, at every step or of many at once. Reverse mode only. In bfloat16
it keeps them as that, though the carry itself goes on in full.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from rnnlab.precision import halved, restored
from rnnlab.recurrence.engines.parts import in_parts


@partial(jax.custom_vjp, nondiff_argnums=(0, 4))
def gated(cell, params, carry, inputs, reverse):
    """(carry, ys [T, *batch, H]) of a Masked cell over Inputs."""

    def step(carry, x):
        return cell.pointwise(params, carry, cell.affine(params, carry, x), x)

    return lax.scan(step, carry, inputs, reverse=reverse)


def forward(cell, params, carry, inputs, reverse):
    def step(carry, x):
        z = cell.affine(params, carry, x)
        after, y = cell.pointwise(params, carry, z, x)
        return after, (y, halved(z), halved(carry))

    last, (ys, zs, carries) = lax.scan(step, carry, inputs, reverse=reverse)
    return (last, ys), (params, inputs, zs, carries)


def backward(cell, reverse, kept, gradient):
    params, inputs, zs, carries = kept
    d_last, d_ys = gradient

    def whole(at):
        x, z, carry, d_y = at
        return x, *restored((z, carry), params), d_y

    def step(running, at):
        """One step back, with what it gives to the gradients of params and input."""
        x, _, carry, _ = at = whole(at)
        (through_pointwise, d_params), d_z = pointwise_step(running, at)
        _, pull = jax.vjp(lambda p, c, v: cell.affine(p, c, x._replace(x=v)), params, carry, x.x)
        of_params, through_affine, d_x = pull(d_z)
        return (
            jax.tree.map(jnp.add, through_pointwise, through_affine),
            jax.tree.map(jnp.add, d_params, of_params),
        ), d_x

    def pointwise_step(running, at):
        d_after, d_params = running
        x, z, carry, d_y = at
        _, pull = jax.vjp(lambda p, c, z: cell.pointwise(p, c, z, x), params, carry, z)
        of_params, through_pointwise, d_z = pull((d_after, d_y))
        return (through_pointwise, jax.tree.map(jnp.add, d_params, of_params)), d_z

    def carry_step(running, at):
        """One step back, without them."""
        x, _, carry, _ = at = whole(at)
        (through_pointwise, d_params), d_z = pointwise_step(running, at)
        _, pull = jax.vjp(lambda c: cell.affine(params, c, x), carry)
        (through_affine,) = pull(d_z)
        return (jax.tree.map(jnp.add, through_pointwise, through_affine), d_params), d_z

    def part(running, stacked):
        """Some steps back, then what they give together."""
        (d_carry, d_params), d_zs = lax.scan(carry_step, running, stacked, reverse=not reverse)
        inputs, _, carries, _ = whole(stacked)
        _, pull = jax.vjp(
            lambda p, x: cell.affine(p, carries, inputs._replace(x=x)), params, inputs.x
        )
        of_params, d_xs = pull(d_zs)
        return (d_carry, jax.tree.map(jnp.add, d_params, of_params)), d_xs

    start, stacked = (d_last, jax.tree.map(jnp.zeros_like, params)), (inputs, zs, carries, d_ys)
    if (size := steps_at_once(params, zs)) == 1:
        (d_carry, d_params), d_xs = lax.scan(step, start, stacked, reverse=not reverse)
    else:
        (d_carry, d_params), d_xs = in_parts(part, size, start, stacked, not reverse)
    return d_params, d_carry, type(inputs)(d_xs)


def steps_at_once(params, zs) -> int:
    """Of how many steps the params' gradient is summed at once.

    A product of few rows that adds to a large matrix is slow, one over many steps needs their z again. Measured on two cores (LSTM,
    milliseconds a gradient at every step and of all steps at once): 3.3 and 3.8 at 28 steps, batch 32, kernel 92 x 256; 6.4 and 5.2 at
    28, 25, 128 x 400; 43 and 71 at 500, 64, 64 x 128; 1060 and 670 at 128, 32, 1024 x 2048. Where a step has next to nothing to do and
    many stay in the cache, the calls themselves count: 0.84 and 0.62 at 96, 7, 16 x 32.
    """
    time_steps = max(len(jax.tree.leaves(zs)[0]), 1)
    kernel = sum(leaf.size for leaf in jax.tree.leaves(params[0]))
    width = (
        sum(leaf.size for leaf in jax.tree.leaves(zs)) // time_steps
    )  # numbers in the z of a step
    if width <= 1024:
        most = min(2**16 // max(width, 1), time_steps)
    else:
        most = min(4 * kernel // width, time_steps) if kernel >= 3 * width else 1
    return max(
        size for size in range(1, most + 1) if time_steps % size == 0
    )  # parts as long as each other copy nothing


gated.defvjp(forward, backward)
