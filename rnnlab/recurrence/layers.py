"""Recurrent layers: what a model is stacked from. Unlike a cell, a layer sees the whole sequence and has no step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rnnlab.cells.base import Cell
from rnnlab.errors import InputError, known, share
from rnnlab.recurrence.dropout import dropout_mask, fold, recurrent_noise, zoneout_shares
from rnnlab.recurrence.unroll import unroll

Rate = float | Array | None


class Layer(NamedTuple):
    """init: (key, D, dtype=float) -> params, a dict with the params of each of the cells.

    carry: (params, batch_shape) -> the carry that a sequence starts from.
    apply: (params, xs [T, *batch, D], carry=None, *, lengths=None, last=False, keys=None) -> (carry, ys [T, *batch, H],
        [*batch, H] with last). With keys [*batch], one a sequence, dropout is on.
    cells: the cells inside, by the name of their params.
    """

    init: Callable
    carry: Callable
    apply: Callable
    cells: dict[str, Cell]


def recurrent(
    cell: Cell,
    *,
    dropout: Rate = None,
    recurrent_dropout: Rate = None,
    zoneout: dict[str, float | Array] | None = None,
    bptt: int | None = None,
    remat: int | None = None,
) -> Layer:
    """The cell over time.

    dropout is the share of the inputs, recurrent_dropout that of the carry's h as the recurrent products read it, that are
    left out of a sequence, the same ones at every step; None is off. zoneout is the share of the units of a field of the carry (h; an
    LSTM has c too) that stay as they were, others at every step (Krueger et al. 2017); without keys old and new are mixed by it.
    bptt and remat are those of `unroll`. Raises InputError for a share that is not at least 0 and below 1.
    """

    run = with_dropout(dropout, recurrent_dropout, zoneout, bptt=bptt, remat=remat)

    def init(key, inputs, dtype=float):
        return {'cell': cell.init(key, inputs, dtype)}

    def carry(params, batch_shape):
        return cell.carry(params['cell'], batch_shape)

    def apply(params, xs, carry=None, *, lengths=None, last=False, keys=None):
        return run(cell, params['cell'], xs, carry, keys, lengths=lengths, last=last)

    return Layer(init, carry, apply, {'cell': cell})


def bidirectional(
    forward: Cell,
    backward: Cell,
    *,
    dropout: Rate = None,
    merge: str = 'concat',
    recurrent_dropout: Rate = None,
    zoneout: dict[str, float | Array] | None = None,
    bptt: int | None = None,
    remat: int | None = None,
) -> Layer:
    """One cell from the front and one from the back, outputs side by side [.., H_forward + H_backward], with merge 'sum' added.

    `last` joins what each cell put out last: the forward one at the end, the backward one at the beginning. Dropout and zoneout as
    in `recurrent`, each direction with masks of its own. Raises InputError where it is to go on from a carry: the backward
    cell begins at the end of the sequence; and for a sum of unequal numbers of outputs.
    """

    known('merge', merge, MERGES)
    run = with_dropout(dropout, recurrent_dropout, zoneout, bptt=bptt, remat=remat)

    def init(key, inputs, dtype=float):
        key_forward, key_backward = jax.random.split(key)
        return {
            'forward': forward.init(key_forward, inputs, dtype),
            'backward': backward.init(key_backward, inputs, dtype),
        }

    def carry(params, batch_shape):
        return forward.carry(params['forward'], batch_shape), backward.carry(
            params['backward'], batch_shape
        )

    def apply(params, xs, carry=None, *, lengths=None, last=False, keys=None):
        if carry is not None:
            raise InputError(
                'a bidirectional layer cannot go on from a carry: it needs the sequence to its end'
            )
        ahead, back = (None, None) if keys is None else (fold(keys, 0), fold(keys, 1))
        after, ys = run(forward, params['forward'], xs, None, ahead, lengths=lengths, last=last)
        after_back, ys_back = run(
            backward, params['backward'], xs, None, back, lengths=lengths, last=last, reverse=True
        )
        return (after, after_back), MERGES[merge](ys, ys_back)

    return Layer(init, carry, apply, {'forward': forward, 'backward': backward})


def side_by_side(forward: Array, backward: Array) -> Array:
    return jnp.concatenate([forward, backward], axis=-1)


def added(forward: Array, backward: Array) -> Array:
    if forward.shape != backward.shape:
        raise InputError(
            f'a sum of both directions needs as many outputs of each, not {forward.shape[-1]} and {backward.shape[-1]}'
        )
    return forward + backward


MERGES = {'concat': side_by_side, 'sum': added}


def with_dropout(
    dropout: Rate, recurrent_dropout: Rate, zoneout: dict[str, float | Array] | None, **always: Any
) -> Callable:
    """unroll that also takes keys [*batch], and with them leaves out these shares; without keys (None) nothing."""
    if zoneout is not None and not isinstance(zoneout, dict):
        raise InputError(
            f"zoneout names the fields of the carry, such as {{'h': 0.1}}, and is not {zoneout!r}"
        )
    shares = {f'zoneout of {field}': rate for field, rate in (zoneout or {}).items()}
    for what, rate in {
        'dropout': dropout,
        'recurrent_dropout': recurrent_dropout,
        **shares,
    }.items():
        share(what, rate)

    def run(cell: Cell, params, xs: Array, carry, keys: Array | None, **options):
        noise = None
        if keys is not None and dropout is not None:
            xs = xs * jnp.expand_dims(
                dropout_mask(fold(keys, 0), dropout, xs.shape[-1], xs.dtype), 0
            )
        if keys is not None and recurrent_dropout is not None:
            noise = recurrent_noise(cell, params, fold(keys, 1), recurrent_dropout)
        held = zoneout and zoneout_shares(
            cell, params, zoneout, None if keys is None else fold(keys, 2), len(xs)
        )
        return unroll(
            cell, params, xs, carry, noise=noise, zoneout=held or None, **always, **options
        )

    return run
