"""rnnlab's cells as Flax nnx modules.

    cell = rnnlab.nnx.Cell(rnnlab.lstm(64), 28, rngs=flax.nnx.Rngs(0))
    layer = flax.nnx.RNN(cell)          # Flax's own loop, one step after another
    layer = rnnlab.nnx.RNN(cell)        # the same parameters and results, by rnnlab.unroll

Letters in shapes: T time steps, D inputs, H outputs; `*batch` is any number of leading axes.
"""

import jax
from flax import nnx
from jax import Array
from jax.typing import DTypeLike

from rnnlab import cells
from rnnlab.cells.base import Carry, Params
from rnnlab.cells.params import check_cell
from rnnlab.linen import check_ours, run_layer


class Cell(nnx.RNNCellBase):
    """A cell of rnnlab, or a stack, as an nnx cell: for flax.nnx.RNN, Bidirectional and scan.

    `params` is the tree of `cell.init` with an nnx.Param for each array: `unroll(cell,
    module.parameters(), xs)`, and in the other direction `module.params = jax.tree.map(nnx.Param,
    params)`. There is no dropout: nnx's RNN gives a cell no mask.
    """

    def __init__(
        self, cell: cells.Cell, in_features: int, *, param_dtype: DTypeLike = float, rngs: nnx.Rngs
    ) -> None:
        self.cell = cell
        params = cell.init(rngs.params(), in_features, param_dtype)
        self.params = nnx.data(jax.tree.map(nnx.Param, params))

    def parameters(self) -> Params:
        """The params as `cell.init` returns them."""
        return jax.tree.map(
            lambda param: param[...],
            self.params,
            is_leaf=lambda leaf: isinstance(leaf, nnx.Variable),
        )

    def checked(self, inputs: int) -> Params:
        """The params; InputError unless they are the cell's for D inputs."""
        check_cell(self.cell, params := self.parameters(), inputs)
        return params

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: nnx.Rngs | None = None) -> Carry:  # type: ignore[override]
        """The initial carry [*batch, ...], for input_shape (*batch, D); rngs is not used."""
        *batch, inputs = input_shape
        return self.cell.carry(self.checked(inputs), tuple(batch))

    def __call__(self, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """One step: (carry, y [*batch, H]) for x [*batch, D]."""
        return self.cell.step(self.checked(x.shape[-1]), carry, x)

    @property
    def num_feature_axes(self) -> int:
        return 1


class RNN(nnx.Module):
    """flax.nnx.RNN with rnnlab's engines and gradients: for a Cell, with the same parameters.

    It takes the arguments of flax.nnx.RNN except those of its scan, works in flax.nnx.Bidirectional
    and has `reset` as well; outputs in the padding are 0, and a sequence of length 0 returns its
    initial carry.

    Raises:
        InputError: for a cell that is not a rnnlab.nnx.Cell.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
    ) -> None:
        check_ours(cell, Cell)
        self.cell = cell
        self.time_major = time_major
        self.return_carry = return_carry
        self.reverse = reverse
        self.keep_order = keep_order

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Carry | None = None,
        rngs: nnx.Rngs | None = None,
        seq_lengths: Array | None = None,
        reset: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Array | tuple[Carry, Array]:
        """As the call of rnnlab.linen.RNN; rngs is for Bidirectional and not used."""
        options = return_carry, time_major, reverse, keep_order
        return run_layer(
            self, self.cell.parameters(), inputs, initial_carry, seq_lengths, reset, options
        )
