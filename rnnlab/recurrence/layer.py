"""Recurrent layers: what a model is stacked from. Unlike a cell, a layer sees the whole sequence and has no step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnlab.cells.cell import Cell
from rnnlab.recurrence.unroll import unroll


class Layer(NamedTuple):
    """init: (key, D, dtype=float) -> params, a dict with the params of each of the cells.

    apply: (params, xs [T, *batch, D], *, lengths=None, last=False) -> (carries, ys [T, *batch, H], [*batch, H] with last).
    cells: the cells inside, by the name of their params.
    """

    init: Callable
    apply: Callable
    cells: dict[str, Cell]


def recurrent(cell: Cell) -> Layer:
    """The cell over time."""

    def init(key, inputs, dtype=float):
        return {'cell': cell.init(key, inputs, dtype)}

    def apply(params, xs, *, lengths=None, last=False):
        return unroll(cell, params['cell'], xs, lengths=lengths, last=last)

    return Layer(init, apply, {'cell': cell})


def bidirectional(forward: Cell, backward: Cell) -> Layer:
    """One cell from the front and one from the back, outputs side by side [.., H_forward + H_backward].

    `last` joins what each cell put out last: the forward one at the end, the backward one at the beginning.
    """

    def init(key, inputs, dtype=float):
        key_forward, key_backward = jax.random.split(key)
        return {'forward': forward.init(key_forward, inputs, dtype), 'backward': backward.init(key_backward, inputs, dtype)}

    def apply(params, xs, *, lengths=None, last=False):
        carry, ys = unroll(forward, params['forward'], xs, lengths=lengths, last=last)
        carry_back, ys_back = unroll(backward, params['backward'], xs, lengths=lengths, last=last, reverse=True)
        return (carry, carry_back), jnp.concatenate([ys, ys_back], axis=-1)

    return Layer(init, apply, {'forward': forward, 'backward': backward})
