"""Recurrent layers: what a model is stacked from. Unlike a cell, a layer sees the whole sequence and has no step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rnnlab.cells.cell import Cell
from rnnlab.recurrence.dropout import dropout_mask, fold, recurrent_noise
from rnnlab.recurrence.unroll import unroll

Rate = float | Array | None


class Layer(NamedTuple):
    """init: (key, D, dtype=float) -> params, a dict with the params of each of the cells.

    apply: (params, xs [T, *batch, D], *, lengths=None, last=False, keys=None) -> (carries, ys [T, *batch, H], [*batch, H]
        with last). With keys [*batch], one a sequence, dropout is on.
    cells: the cells inside, by the name of their params.
    """

    init: Callable
    apply: Callable
    cells: dict[str, Cell]


def recurrent(cell: Cell, *, dropout: Rate = None, recurrent_dropout: Rate = None) -> Layer:
    """The cell over time.

    dropout is the share of the inputs, recurrent_dropout that of the carry's h as the recurrent products read it, that are
    left out of a sequence, the same ones at every step; None is off.
    """

    run = with_dropout(dropout, recurrent_dropout)

    def init(key, inputs, dtype=float):
        return {'cell': cell.init(key, inputs, dtype)}

    def apply(params, xs, *, lengths=None, last=False, keys=None):
        return run(cell, params['cell'], xs, keys, lengths=lengths, last=last)

    return Layer(init, apply, {'cell': cell})


def bidirectional(forward: Cell, backward: Cell, *, dropout: Rate = None, recurrent_dropout: Rate = None) -> Layer:
    """One cell from the front and one from the back, outputs side by side [.., H_forward + H_backward].

    `last` joins what each cell put out last: the forward one at the end, the backward one at the beginning. Dropout as
    in `recurrent`, each direction with masks of its own.
    """

    run = with_dropout(dropout, recurrent_dropout)

    def init(key, inputs, dtype=float):
        key_forward, key_backward = jax.random.split(key)
        return {'forward': forward.init(key_forward, inputs, dtype), 'backward': backward.init(key_backward, inputs, dtype)}

    def apply(params, xs, *, lengths=None, last=False, keys=None):
        ahead, back = (None, None) if keys is None else (fold(keys, 0), fold(keys, 1))
        carry, ys = run(forward, params['forward'], xs, ahead, lengths=lengths, last=last)
        carry_back, ys_back = run(backward, params['backward'], xs, back, lengths=lengths, last=last, reverse=True)
        return (carry, carry_back), jnp.concatenate([ys, ys_back], axis=-1)

    return Layer(init, apply, {'forward': forward, 'backward': backward})


def with_dropout(dropout: Rate, recurrent_dropout: Rate) -> Callable:
    """unroll that also takes keys [*batch], and with them leaves out these shares; without keys (None) nothing."""

    def run(cell: Cell, params, xs: Array, keys: Array | None, **options):
        noise = None
        if keys is not None and dropout is not None:
            xs = xs * jnp.expand_dims(dropout_mask(fold(keys, 0), dropout, xs.shape[-1], xs.dtype), 0)
        if keys is not None and recurrent_dropout is not None:
            noise = recurrent_noise(cell, params, fold(keys, 1), recurrent_dropout)
        return unroll(cell, params, xs, noise=noise, **options)

    return run
