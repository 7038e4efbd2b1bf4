"""rnnlab's cells inside Flax nnx.

    cell = rnnlab.nnx.Cell(rnnlab.lstm(64), 28, rngs=flax.nnx.Rngs(0))
    layer = flax.nnx.RNN(cell)          # Flax's own loop, one step after another
    layer = rnnlab.nnx.RNN(cell)        # the same parameters and results, by rnnlab.unroll

Letters in shapes: T time steps, D inputs, H outputs; `*batch` is any leading axes, none included.
"""

from typing import Any

import jax
from flax import nnx
from jax import Array

from rnnlab import cells
from rnnlab.cells.base import Carry, Params
from rnnlab.linen import over_time, own


class Cell(nnx.RNNCellBase):
    """A cell of rnnlab, stacks included, as nnx's cells are: for flax.nnx.RNN, Bidirectional and scan.

    `params` is the tree that `cell.init` gives, with an nnx.Param for each array: `unroll(cell, module.parameters(), xs)`, and back
    with `module.params = jax.tree.map(nnx.Param, params)`. There is no dropout: nnx's RNN hands a cell no mask.
    """

    def __init__(
        self, cell: cells.Cell, in_features: int, *, param_dtype: Any = float, rngs: nnx.Rngs
    ):
        self.cell = cell
        self.params = nnx.data(
            jax.tree.map(nnx.Param, cell.init(rngs.params(), in_features, param_dtype))
        )

    def parameters(self) -> Params:
        """The params as `cell.init` gives them."""
        return jax.tree.map(
            lambda param: param[...],
            self.params,
            is_leaf=lambda leaf: isinstance(leaf, nnx.Variable),
        )

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None) -> Carry:  # type: ignore[override]
        """The carry [*batch, ...] that sequences start from, for input_shape (*batch, D): that of the module's own params, so that
        a start which is a parameter is trained too. Nothing is drawn from rngs."""
        return self.cell.carry(self.parameters(), tuple(input_shape[:-1]))

    def __call__(self, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """One step: carry and x [*batch, D] -> the carry and y [*batch, H]."""
        return self.cell.step(self.parameters(), carry, x)

    @property
    def num_feature_axes(self) -> int:
        return 1


class RNN(nnx.Module):
    """flax.nnx.RNN by rnnlab.unroll, with its engines and gradients: for a Cell, with the same parameters.

    What it takes is what flax.nnx.RNN takes, without the options of its scan, and it stands in flax.nnx.Bidirectional; but outputs
    in the padding are 0, a sequence of length 0 gives back the carry that it began with, and there is `reset`. Raises InputError
    for a cell that is no rnnlab.nnx.Cell.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
    ):
        own(cell, Cell)
        self.cell = cell
        self.time_major, self.return_carry, self.reverse, self.keep_order = (
            time_major,
            return_carry,
            reverse,
            keep_order,
        )

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Carry | None = None,
        rngs: Any = None,
        seq_lengths: Array | None = None,
        reset: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """As the call of rnnlab.linen.RNN. rngs is there for Bidirectional, and not used."""
        given = {
            'return_carry': return_carry,
            'time_major': time_major,
            'reverse': reverse,
            'keep_order': keep_order,
        }
        return over_time(
            self, self.cell.parameters(), inputs, initial_carry, seq_lengths, reset, given
        )
