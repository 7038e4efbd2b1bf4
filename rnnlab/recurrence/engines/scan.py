"""The engine that runs every cell, by a scan.

For the gradient it keeps the results of affine maps and the carries and recomputes the rest: about
a third of what plain automatic differentiation keeps. Forward mode works too.
"""

import jax
from jax import lax

from rnnlab.cells.base import Carry
from rnnlab.recurrence.masking import Constants, Inputs, Masked, Output


def scan(
    cell: Masked, constants: Constants, carry: Carry, inputs: Inputs, reverse: bool
) -> tuple[Carry, Output]:
    """(carry, ys [T, *batch, H]) of a Masked cell over Inputs."""
    keep = jax.checkpoint_policies.save_only_these_names('z')
    step = jax.checkpoint(cell.step, policy=keep, prevent_cse=False)
    return lax.scan(lambda carry, x: step(constants, carry, x), carry, inputs, reverse=reverse)
