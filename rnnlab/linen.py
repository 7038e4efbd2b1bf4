"""rnnlab's cells inside Flax linen.

    layer = flax.linen.RNN(rnnlab.linen.Cell(rnnlab.lstm(64)))      # Flax's own loop, one step after another
    layer = rnnlab.linen.RNN(rnnlab.linen.Cell(rnnlab.lstm(64)))    # the same parameters and results, by rnnlab.unroll

Letters in shapes: T time steps, D inputs, H outputs; `*batch` is any leading axes, none included.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.recurrent import flip_sequences
from jax import Array

from rnnlab import cells
from rnnlab.cells.base import Carry, Params
from rnnlab.errors import InputError
from rnnlab.recurrence import unroll


class Cell(nn.RNNCellBase):
    """A cell of rnnlab, stacks included, as linen's cells are: for flax.linen.RNN, Bidirectional and scan.

    It has one parameter, 'cell', whose value is the whole tree that `cell.init` gives (a stack's is a tuple, which linen takes as a
    value but not as a scope): `unroll(cell, variables['params']['cell']['cell'], xs)` with what an RNN has drawn, and back.
    There is no dropout: linen's RNN hands a cell no mask.

    Lift flax.linen.RNN over it, not the cell, with nn.vmap where each lane has parameters of its own.
    """

    cell: cells.Cell
    param_dtype: Any = float

    @nn.compact
    def parameters(self, inputs: int) -> Params:
        """The params as `cell.init` gives them for D inputs; they are drawn where there are none yet."""
        return self.param('cell', self.cell.init, inputs, self.param_dtype)

    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> Carry:
        """The carry [*batch, ...] that sequences start from, for input_shape (*batch, D).

        Within init and apply it is that of the module's own params, so that a start which is a parameter is trained too, and
        rng is not used. A module by itself has no params yet: it gives the start of new ones, drawn from rng.
        """
        *batch, inputs = input_shape
        params = (
            self.cell.init(rng, inputs, self.param_dtype)
            if self.scope is None
            else self.parameters(inputs)
        )
        return self.cell.carry(params, tuple(batch))

    def __call__(self, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """One step: carry and x [*batch, D] -> the carry and y [*batch, H]."""
        return self.cell.step(self.parameters(x.shape[-1]), carry, x)

    @property
    def num_feature_axes(self) -> int:
        return 1


class RNN(nn.Module):
    """flax.linen.RNN by rnnlab.unroll, with its engines and gradients: for a Cell, with the same parameters.

    What it takes is what flax.linen.RNN takes, without the options of its scan, and it stands in flax.linen.Bidirectional; but
    outputs in the padding are 0, a sequence of length 0 gives back the carry that it began with, and there is `reset`.
    """

    cell: Cell
    time_major: bool = False
    return_carry: bool = False
    reverse: bool = False
    keep_order: bool = False

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Carry | None = None,
        init_key: Array | None = None,
        seq_lengths: Array | None = None,
        reset: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Inputs [*batch, T, D], or [T, *batch, D] with time_major -> outputs [*batch, T, H]; (carry, outputs) with return_carry.

        seq_lengths is int [*batch]; reset, bool [*batch, T], is true where a new sequence begins. With reverse the outputs are in
        the order in which they were made, with keep_order in that of the inputs. init_key is there for Bidirectional, and not
        used. None takes the attribute. Raises InputError as `unroll` does, and for a cell that is no rnnlab.linen.Cell.
        """
        own(self.cell, Cell)
        given = {
            'return_carry': return_carry,
            'time_major': time_major,
            'reverse': reverse,
            'keep_order': keep_order,
        }
        return over_time(
            self,
            self.cell.parameters(inputs.shape[-1]),
            inputs,
            initial_carry,
            seq_lengths,
            reset,
            given,
        )


def own(cell: Any, kind: type) -> None:
    """Raises InputError unless the cell is of our kind."""
    if not isinstance(cell, kind):
        ours, given = kind.__module__, f'{type(cell).__module__}.{type(cell).__name__}'
        raise InputError(
            f'RNN takes {ours}.Cell(...), not a {given}; the cells of Flax go into {ours.replace("rnnlab", "flax")}.RNN'
        )


def over_time(
    layer: Any,
    params: Params,
    inputs: Array,
    carry: Carry | None,
    lengths: Array | None,
    reset: Array | None,
    given: dict[str, bool | None],
) -> Any:
    """What an RNN, of linen or nnx, does in a call with these params; an option that was not given (None) is its attribute."""
    option = {
        name: getattr(layer, name) if value is None else value for name, value in given.items()
    }
    time = 0 if option['time_major'] else max(inputs.ndim - 2, 0)
    reset = None if reset is None else jnp.moveaxis(reset, time, 0)
    xs, reverse = jnp.moveaxis(inputs, time, 0), option['reverse']
    carry, ys = unroll(
        layer.cell.cell, params, xs, carry, lengths=lengths, reset=reset, reverse=reverse
    )
    if reverse and not option['keep_order']:
        ys = flip_sequences(ys, lengths, ys.ndim - 2, time_major=True)
    ys = jnp.moveaxis(ys, 0, time)
    return (carry, ys) if option['return_carry'] else ys
