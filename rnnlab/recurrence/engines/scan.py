"""The default engine: a scan that keeps the affine results and the carries, and computes the rest again for the gradient.

It serves every cell, forward mode too, and keeps about a third of what plain automatic differentiation would.
"""

import jax
from jax import lax


def scan(cell, params, carry, inputs, reverse):
    """(carry, ys [T, *batch, H]) of a Masked cell over Inputs."""
    keep = jax.checkpoint_policies.save_only_these_names('z')
    step = jax.checkpoint(cell.step, policy=keep, prevent_cse=False)
    return lax.scan(lambda carry, x: step(params, carry, x), carry, inputs, reverse=reverse)
