"""The engine with its own gradient, for cells of one affine map and elementwise work (form Gated).

Forward it keeps z and the carry of every step. Backward it runs one reverse scan that differentiates the elementwise work
again from these and sums the params' gradient as it goes. Reverse mode only.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax


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
        return after, (y, z, carry)

    last, (ys, zs, carries) = lax.scan(step, carry, inputs, reverse=reverse)
    return (last, ys), (params, inputs, zs, carries)


def backward(cell, reverse, kept, gradient):
    params, inputs, zs, carries = kept
    d_last, d_ys = gradient

    def step(running, at):
        d_after, d_params = running
        x, z, carry, d_y = at
        _, pull_pointwise = jax.vjp(lambda p, c, z: cell.pointwise(p, c, z, x), params, carry, z)
        params_pointwise, carry_pointwise, d_z = pull_pointwise((d_after, d_y))
        _, pull_affine = jax.vjp(lambda p, c, v: cell.affine(p, c, x._replace(x=v)), params, carry, x.x)
        params_affine, carry_affine, d_x = pull_affine(d_z)
        d_params = jax.tree.map(lambda *terms: sum(terms), d_params, params_pointwise, params_affine)
        return (jax.tree.map(jnp.add, carry_pointwise, carry_affine), d_params), d_x

    start = d_last, jax.tree.map(jnp.zeros_like, params)
    (d_carry, d_params), d_xs = lax.scan(step, start, (inputs, zs, carries, d_ys), reverse=not reverse)
    return d_params, d_carry, type(inputs)(d_xs)


gated.defvjp(forward, backward)
