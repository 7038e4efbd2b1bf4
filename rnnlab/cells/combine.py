"""Cells made of cells: stack, residual, trainable_carry."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from rnnlab.cells.base import Blocks, Carry, Cell, Chain, Mask, Params, maker, output, take_step
from rnnlab.errors import InputError


@maker
def stack(*cells: Cell) -> Cell:
    """The cell of these cells on top of each other; its params and carry are tuples with one entry
    for each."""
    return chain(cells, lambda x, y: y)


@maker
def residual(cell: Cell) -> Cell:
    """The cell with outputs x + y, for a cell with as many outputs as inputs.

    Raises InputError at init when they differ.
    """

    def join(x: Array, y: Array) -> Array:
        if x.shape[-1] != y.shape[-1]:
            raise InputError(
                f'residual adds outputs to inputs, but there are {y.shape[-1]} outputs and '
                f'{x.shape[-1]} inputs; choose a hidden size of {x.shape[-1]}'
            )
        return x + y

    return chain((cell,), join)


@maker
def trainable_carry(cell: Cell) -> Cell:
    """The cell with a learned initial carry; for a stack, of each of its cells.

    params has an initial_h [H], and so on for every field of the carry; a complex field is kept as
    real and imaginary part [2, H]. They are initialized to the cell's own initial carry.
    """
    if isinstance(cell.form, Chain):
        return chain(tuple(map(trainable_carry, cell.form.cells)), cell.form.join)

    def init(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        params = cell.init(key, inputs, dtype)
        first = cell.carry(params, ())._asdict()
        return params | {
            f'initial_{name}': jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x
            for name, x in first.items()
        }

    def carry(params: Params, batch_shape: tuple[int, ...]) -> Carry:
        def learned(name: str, own: Array) -> Array:
            first = params[f'initial_{name}']
            return jnp.broadcast_to(
                lax.complex(*first) if jnp.iscomplexobj(own) else first, own.shape
            )

        own = cell.carry(params, batch_shape)
        return type(own)(**{name: learned(name, leaf) for name, leaf in own._asdict().items()})

    layout = cell.layout
    if layout is not None:  # where a gate is the carry itself, as in an Elman cell
        layout = dict(layout) | {
            f'initial_{gate}': Blocks(columns=(gate,)) for gate in cell.gates if gate == 'h'
        }
    return replace(cell, init=init, carry=carry, layout=layout)


def chain(cells: tuple[Cell, ...], join: Callable[[Array, Array], Array]) -> Cell:
    """The cell of these cells on top of each other: join(x, y) of each is the next one's input."""
    if not cells:
        raise InputError('stack takes at least one cell')

    def init(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        params: list[Params] = []
        for cell, cell_key in zip(cells, jax.random.split(key, len(cells)), strict=True):
            params.append(cell.init(cell_key, inputs, dtype))
            y = output(cell, params[-1], inputs)
            inputs = jax.eval_shape(join, jax.ShapeDtypeStruct((inputs,), y.dtype), y).shape[-1]
        return tuple(params)

    def carry(params: Params, batch_shape: tuple[int, ...]) -> Carry:
        return tuple(cell.carry(p, batch_shape) for cell, p in zip(cells, params, strict=True))

    def step(params: Params, carries: Carry, x: Array, mask: Mask = None) -> tuple[Carry, Array]:
        after: list[Carry] = []
        masks = mask or [None] * len(cells)
        for cell, p, before, cell_mask in zip(cells, params, carries, masks, strict=True):
            new, y = take_step(cell, p, before, x, cell_mask)
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
