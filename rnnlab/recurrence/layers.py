"""Recurrent layers: unlike a cell, a layer reads whole sequences and has no step."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from rnnlab.cells.base import Carry, Cell, Params, Rate
from rnnlab.cells.params import check_cell
from rnnlab.errors import InputError, fraction, known
from rnnlab.recurrence.dropout import dropout_mask, fold, recurrent_masks, zoneout_masks
from rnnlab.recurrence.unroll import unroll


class Layer(NamedTuple):
    """init: (key, D, dtype=float) -> params, a dict with the params of each of the cells.

    carry: (params, batch_shape) -> the initial carry of a sequence.
    apply: (params, xs [T, *batch, D], carry=None, *, keys=None, lengths=None, last=False,
        perturbation=None) -> (carry, ys [T, *batch, H], [*batch, H] with last). With keys
        [*batch], one per sequence, dropout and zoneout are on. The perturbation is unroll's.
    cells: the cells inside, by the name of their params.
    """

    init: Callable[..., Params]
    carry: Callable[[Params, tuple[int, ...]], Carry]
    apply: Callable[..., tuple[Carry, Array]]
    cells: dict[str, Cell]


def recurrent(
    cell: Cell,
    *,
    dropout: Rate | None = None,
    recurrent_dropout: Rate | None = None,
    zoneout: Mapping[str, Rate] | None = None,
    bptt: int | None = None,
    remat: int | None = None,
) -> Layer:
    """The layer of one cell over time.

    Args:
        dropout: the rate at which inputs are dropped, the same ones at every step of a sequence;
            None is off.
        recurrent_dropout: the same of h where recurrent products read it.
        zoneout: per field of the carry (h; of an LSTM also c) the rate at which units keep their
            old value, others at every step (Krueger et al. 2017); without keys the mean of old and
            new, weighted by the rate.
        bptt, remat: as in `unroll`.

    Raises:
        InputError: a rate below 0, or 1 and above.
    """
    run = with_dropout(dropout, recurrent_dropout, zoneout, bptt=bptt, remat=remat)
    cells = {'cell': cell}

    def init(key: Array, inputs: int, dtype: DTypeLike = float) -> dict[str, Params]:
        return {'cell': cell.init(key, inputs, dtype)}

    def carry(params: Params, batch_shape: tuple[int, ...]) -> Carry:
        return cell.carry(params['cell'], batch_shape)

    def apply(
        params: Params, xs: Array, carry: Carry = None, *, keys: Array | None = None, **options: Any
    ) -> tuple[Carry, Array]:
        check_entries(params, cells)
        return run(cell, params['cell'], xs, carry, keys, **options)

    return Layer(init, carry, apply, cells)


def bidirectional(
    forward: Cell,
    backward: Cell,
    *,
    dropout: Rate | None = None,
    merge: str = 'concat',
    recurrent_dropout: Rate | None = None,
    zoneout: Mapping[str, Rate] | None = None,
    bptt: int | None = None,
    remat: int | None = None,
) -> Layer:
    """The layer of two cells, one in each direction of time; outputs [..., H_forward + H_backward].

    `last` takes the last output of each direction in its running order: at the end of the sequence,
    and at its beginning.

    Args:
        merge: 'concat', or 'sum' for the sum of both outputs.
        dropout, recurrent_dropout, zoneout, bptt, remat: as in `recurrent`, with other masks for
            each direction.

    Raises:
        InputError: when applied with a carry, since the backward cell begins at the end of the
            sequence; a sum of unequal numbers of outputs; rates as in `recurrent`.
    """
    known('merge', merge, MERGES)
    run = with_dropout(dropout, recurrent_dropout, zoneout, bptt=bptt, remat=remat)
    cells = {'forward': forward, 'backward': backward}

    def init(key: Array, inputs: int, dtype: DTypeLike = float) -> dict[str, Params]:
        key_forward, key_backward = jax.random.split(key)
        return {
            'forward': forward.init(key_forward, inputs, dtype),
            'backward': backward.init(key_backward, inputs, dtype),
        }

    def carry(params: Params, batch_shape: tuple[int, ...]) -> Carry:
        return tuple(cell.carry(params[name], batch_shape) for name, cell in cells.items())

    def apply(
        params: Params,
        xs: Array,
        carry: Carry = None,
        *,
        keys: Array | None = None,
        perturbation: Carry = None,
        **options: Any,
    ) -> tuple[Carry, Array]:
        check_entries(params, cells)
        if carry is not None:
            raise InputError(
                'a bidirectional layer takes no carry: its backward cell begins at the end'
            )
        own_keys = (None, None) if keys is None else (fold(keys, 0), fold(keys, 1))
        moves = perturbation or (None, None)
        outcomes = [
            run(cell, params[name], xs, None, k, reverse=back, perturbation=move, **options)
            for (name, cell), k, back, move in zip(
                cells.items(), own_keys, (False, True), moves, strict=True
            )
        ]
        carries, outputs = zip(*outcomes, strict=True)
        return carries, MERGES[merge](*outputs)

    return Layer(init, carry, apply, cells)


def check_entries(params: Params, cells: Mapping[str, Cell]) -> None:
    """Raises InputError unless params have an entry for each of the cells, and no other."""
    given = [*params] if isinstance(params, Mapping) else type(params).__name__
    if not isinstance(params, Mapping) or params.keys() != cells.keys():
        raise InputError(f'params of this layer must have the entries {[*cells]}, not {given}')


def concatenated(forward: Array, backward: Array) -> Array:
    return jnp.concatenate([forward, backward], axis=-1)


def added(forward: Array, backward: Array) -> Array:
    if forward.shape != backward.shape:
        raise InputError(
            'the sum of both directions needs equal numbers of outputs, '
            f'not {forward.shape[-1]} and {backward.shape[-1]}'
        )
    return forward + backward


MERGES = {'concat': concatenated, 'sum': added}


def with_dropout(
    dropout: Rate | None,
    recurrent_dropout: Rate | None,
    zoneout: Mapping[str, Rate] | None,
    **options: Any,
) -> Callable[..., tuple[Carry, Array]]:
    """unroll that takes keys [*batch] after the carry, for dropout; None turns dropout off."""
    if zoneout is not None and not isinstance(zoneout, Mapping):
        raise InputError(
            f"zoneout must map fields of the carry to rates, as {{'h': 0.1}}, not be {zoneout!r}"
        )
    fraction('dropout', dropout)
    fraction('recurrent_dropout', recurrent_dropout)
    for field, rate in (zoneout or {}).items():
        fraction(f'zoneout of {field}', rate)

    def run(
        cell: Cell, params: Params, xs: Array, carry: Carry | None, keys: Array | None, **more: Any
    ) -> tuple[Carry, Array]:
        if recurrent_dropout is not None or zoneout:
            check_cell(cell, params, xs.shape[-1])  # before masks of their shapes are drawn
        mask = None
        if keys is not None and dropout is not None:
            kept = dropout_mask(fold(keys, 0), dropout, xs.shape[-1], xs.dtype)
            xs = xs * jnp.expand_dims(kept, 0)
        if keys is not None and recurrent_dropout is not None:
            mask = recurrent_masks(cell, params, fold(keys, 1), recurrent_dropout)
        rates = None
        if zoneout:
            zoneout_keys = None if keys is None else fold(keys, 2)
            rates = zoneout_masks(cell, params, zoneout, zoneout_keys, len(xs))
        return unroll(
            cell, params, xs, carry, recurrent_dropout_mask=mask, zoneout=rates, **options, **more
        )

    return run
