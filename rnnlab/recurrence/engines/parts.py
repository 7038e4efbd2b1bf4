"""Time cut into parts: a scan of scans."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def in_parts(run: Callable, size: int, state: Any, inputs: Any, reverse: bool) -> tuple[Any, Any]:
    """What run(state, inputs) -> (state, ys) gives for all inputs [T, ...], run on parts of that many steps, and on one of what is
    left over at the end of time."""
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
    return state, ys if ys_rest is None else jax.tree.map(
        lambda *ends: jnp.concatenate(ends), ys, ys_rest
    )
