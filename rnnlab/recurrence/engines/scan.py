"""The engine that runs every cell, by a scan.

For the gradient it keeps the results of affine maps and the carries and recomputes the rest: about
a third of what plain automatic differentiation keeps. Forward mode works too.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from rnnlab.cells.base import Carry
from rnnlab.recurrence.masking import Constants, Inputs, Masked, Output

State = TypeVar('State')
Xs = TypeVar('Xs')
Ys = TypeVar('Ys')


def scan(
    cell: Masked, constants: Constants, carry: Carry, inputs: Inputs, reverse: bool
) -> tuple[Carry, Output]:
    """(carry, ys [T, *batch, H]) of a Masked cell over Inputs."""
    keep = jax.checkpoint_policies.save_only_these_names('z')
    step = jax.checkpoint(cell.step, policy=keep, prevent_cse=False)
    return lax.scan(lambda carry, x: step(constants, carry, x), carry, inputs, reverse=reverse)


def in_parts(
    run: Callable[[State, Xs], tuple[State, Ys]], size: int, state: State, inputs: Xs, reverse: bool
) -> tuple[State, Ys]:
    """(state, ys) of run(state, inputs) for inputs [T, ...], computed on parts of `size` steps.

    The last T % size steps are a part by themselves.
    """
    time_steps = len(jax.tree.leaves(inputs)[0])
    size = min(size, time_steps)
    whole = time_steps - time_steps % size
    if whole == size == time_steps:
        return run(state, inputs)
    parts = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, size, *leaf.shape[1:]), inputs)
    rest = jax.tree.map(lambda leaf: leaf[whole:], inputs)
    ys_rest = None
    if whole < time_steps and reverse:
        state, ys_rest = run(state, rest)
    state, ys = lax.scan(run, state, parts, reverse=reverse)
    ys = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), ys)
    if whole < time_steps and not reverse:
        state, ys_rest = run(state, rest)
    if ys_rest is None:
        return state, ys
    return state, jax.tree.map(lambda *ends: jnp.concatenate(ends), ys, ys_rest)
