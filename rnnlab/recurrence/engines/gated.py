"""The engine with its own gradient, for Gated cells: one affine map, then elementwise work.

The forward pass keeps z and the carry of every step. The backward pass differentiates the
elementwise work again from these, in one reverse scan. Reverse mode only. In bfloat16 precision
both are kept in bfloat16, the running carry is not.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from rnnlab.cells.base import Carry
from rnnlab.precision import packed, unpacked
from rnnlab.recurrence.engines.scan import in_parts
from rnnlab.recurrence.masking import Constants, Inputs, Masked, Output, Tree, Z

Running = tuple[Carry, Constants]  # the gradients (d_carry, d_constants) of the steps after
Step = tuple[Inputs, Z, Carry, Output]  # (inputs, z, carry, d_y)
Kept = tuple[Constants, Inputs, Z, Carry]


@partial(jax.custom_vjp, nondiff_argnums=(0, 4))
def gated(
    cell: Masked, constants: Constants, carry: Carry, inputs: Inputs, reverse: bool
) -> tuple[Carry, Output]:
    """(carry, ys [T, *batch, H]) of a Masked cell over Inputs."""

    def step(carry: Carry, inputs: Inputs) -> tuple[Carry, Output]:
        return cell.elementwise(constants, carry, cell.affine(constants, carry, inputs), inputs)

    return lax.scan(step, carry, inputs, reverse=reverse)


def forward(
    cell: Masked, constants: Constants, carry: Carry, inputs: Inputs, reverse: bool
) -> tuple[tuple[Carry, Output], Kept]:
    def step(carry: Carry, inputs: Inputs) -> tuple[Carry, tuple[Output, Z, Carry]]:
        z = cell.affine(constants, carry, inputs)
        after, y = cell.elementwise(constants, carry, z, inputs)
        return after, (y, packed(z), packed(carry))

    last, (ys, zs, carries) = lax.scan(step, carry, inputs, reverse=reverse)
    return (last, ys), (constants, inputs, zs, carries)


def backward(
    cell: Masked, reverse: bool, kept: Kept, gradient: tuple[Carry, Output]
) -> tuple[Constants, Carry, Inputs]:
    constants, inputs, zs, carries = kept
    d_last, d_ys = gradient
    running = d_last, jax.tree.map(jnp.zeros_like, constants)
    steps = inputs, zs, carries, d_ys
    size = steps_at_once(constants, zs)
    if size == 1:
        back = partial(step_back, cell, constants)
        (d_carry, d_constants), d_xs = lax.scan(back, running, steps, reverse=not reverse)
    else:
        back = partial(steps_back, cell, constants, reverse)
        (d_carry, d_constants), d_xs = in_parts(back, size, running, steps, not reverse)
    return d_constants, d_carry, Inputs(d_xs)


gated.defvjp(forward, backward)


def step_back(
    cell: Masked, constants: Constants, running: Running, step: Step
) -> tuple[Running, Array]:
    """((d_carry, d_constants) before the step, d_x), for those after it."""
    (direct, d_constants), d_z = vjp_elementwise(cell, constants, running, step)
    of_affine, through_z, d_x = vjp_affine(cell, constants, step, d_z)
    return (added(direct, through_z), added(d_constants, of_affine)), d_x


def steps_back(
    cell: Masked, constants: Constants, reverse: bool, running: Running, steps: Step
) -> tuple[Running, Array]:
    """The same for several steps, the gradients of the affine map for all of them at once."""

    def back(running: Running, step: Step) -> tuple[Running, Z]:
        (direct, d_constants), d_z = vjp_elementwise(cell, constants, running, step)
        _, through_z, _ = vjp_affine(cell, constants, step, d_z)
        return (added(direct, through_z), d_constants), d_z

    (d_carry, d_constants), d_zs = lax.scan(back, running, steps, reverse=not reverse)
    of_affine, _, d_xs = vjp_affine(cell, constants, steps, d_zs)
    return (d_carry, added(d_constants, of_affine)), d_xs


def vjp_elementwise(
    cell: Masked, constants: Constants, running: Running, step: Step
) -> tuple[Running, Z]:
    """((d_carry, d_constants), d_z) of elementwise, d_constants summed with later steps'."""
    inputs, z, carry, d_y = step
    d_after, d_constants = running
    z, carry = unpacked((z, carry), constants)
    _, pull = jax.vjp(lambda p, c, z: cell.elementwise(p, c, z, inputs), constants, carry, z)
    more, d_carry, d_z = pull((d_after, d_y))
    return (d_carry, added(d_constants, more)), d_z


def vjp_affine(
    cell: Masked, constants: Constants, step: Step, d_z: Z
) -> tuple[Constants, Carry, Array]:
    """(d_constants, d_carry, d_x) of affine, for one step or several."""
    inputs, _, carry, _ = step
    carry = unpacked(carry, constants)
    _, pull = jax.vjp(
        lambda p, c, x: cell.affine(p, c, inputs._replace(x=x)), constants, carry, inputs.x
    )
    return pull(d_z)


def added(tree: Tree, other: Tree) -> Tree:
    return jax.tree.map(jnp.add, tree, other)


def steps_at_once(constants: Constants, zs: Z) -> int:
    """The number of steps whose part of the parameters' gradient is summed in one product.

    One product over many steps is faster for few rows and a large kernel, and where a step has
    little to do; else it costs more to keep d_z than it saves (README.md of rnnlab/recurrence). It
    divides T: equal parts need no copies.
    """
    time_steps = max(len(jax.tree.leaves(zs)[0]), 1)
    kernel = sum(leaf.size for leaf in jax.tree.leaves(constants[0]))
    width = sum(leaf.size for leaf in jax.tree.leaves(zs)) // time_steps  # entries of z in a step
    if width <= 1024:
        most = min(2**16 // max(width, 1), time_steps)
    else:
        most = min(4 * kernel // width, time_steps) if kernel >= 3 * width else 1
    return max(size for size in range(1, most + 1) if time_steps % size == 0)
