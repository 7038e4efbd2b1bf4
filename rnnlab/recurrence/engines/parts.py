"""A scan over parts of the time axis, each of which is a scan."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

State = TypeVar('State')
Xs = TypeVar('Xs')
Ys = TypeVar('Ys')


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
