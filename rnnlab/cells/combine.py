"""Cells made of cells: stack, residual, trainable_carry."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from rnnlab.cells.base import Cell, Chain, maker, output, take_step
from rnnlab.errors import InputError


@maker
def stack(*cells: Cell) -> Cell:
    """Cells one above the other, again a cell; its params and its carry are tuples with one entry a cell."""
    return chain(cells, lambda x, y: y)


@maker
def residual(cell: Cell) -> Cell:
    """x + y of a cell whose outputs are as many as its inputs, again a cell.

    Raises InputError at init when they are not.
    """

    def join(x, y):
        if x.shape[-1] != y.shape[-1]:
            raise InputError(
                f'residual adds outputs to inputs, but there are {y.shape[-1]} outputs and {x.shape[-1]} inputs; '
                f'choose a hidden size of {x.shape[-1]}'
            )
        return x + y

    return chain((cell,), join)


@maker
def trainable_carry(cell: Cell) -> Cell:
    """The cell, or each one of a stack, with a learned start of the carry: params has initial_h [H] and so on for every field besides, of a
    complex one both parts [2, H]. They begin where the cell's own sequences do."""
    if isinstance(cell.form, Chain):
        return chain(tuple(map(trainable_carry, cell.form.cells)), cell.form.join)

    def init(key, inputs, dtype=float):
        params = cell.init(key, inputs, dtype)
        first = cell.carry(params, ())._asdict()
        return params | {
            f'initial_{name}': jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x
            for name, x in first.items()
        }

    def carry(params, batch_shape):
        def learned(name, own):
            start = params[f'initial_{name}']
            return jnp.broadcast_to(
                lax.complex(*start) if jnp.iscomplexobj(own) else start, own.shape
            )

        own = cell.carry(params, batch_shape)
        return type(own)(**{name: learned(name, leaf) for name, leaf in own._asdict().items()})

    return dataclasses.replace(cell, init=init, carry=carry)


def chain(cells: tuple[Cell, ...], join) -> Cell:
    if not cells:
        raise InputError('stack takes at least one cell')

    def init(key, inputs, dtype=float):
        params = []
        for cell, cell_key in zip(cells, jax.random.split(key, len(cells)), strict=True):
            params.append(cell.init(cell_key, inputs, dtype))
            y = output(cell, params[-1], inputs)
            inputs = jax.eval_shape(join, jax.ShapeDtypeStruct((inputs,), y.dtype), y).shape[-1]
        return tuple(params)

    def carry(params, batch_shape):
        return tuple(cell.carry(p, batch_shape) for cell, p in zip(cells, params, strict=True))

    def step(params, carries, x, mask=None):
        after = []
        for cell, p, before, part in zip(
            cells, params, carries, mask or [None] * len(cells), strict=True
        ):
            new, y = take_step(cell, p, before, x, part)
            after.append(new)
            x = join(x, y)
        return tuple(after), x

    return Cell(
        init,
        carry,
        step,
        form=Chain(cells, join),
        takes_mask=all(cell.takes_mask for cell in cells),
        zoneout=tuple(
            name for name in cells[0].zoneout if all(name in cell.zoneout for cell in cells)
        ),
    )
