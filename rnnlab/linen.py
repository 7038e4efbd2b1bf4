"""rnnlab's cells as Flax linen modules.

    cell = rnnlab.linen.Cell(rnnlab.lstm(64))
    layer = flax.linen.RNN(cell)        # Flax's own loop, one step after another
    layer = rnnlab.linen.RNN(cell)      # the same parameters and results, by rnnlab.unroll

Letters in shapes: T time steps, D inputs, H outputs; `*batch` is any number of leading axes.
"""

from typing import Any

from flax import linen as nn
from flax.linen.recurrent import flip_sequences
from jax import Array
from jax.typing import DTypeLike

from rnnlab import cells
from rnnlab.cells.base import Carry, Params
from rnnlab.cells.params import check_cell
from rnnlab.errors import InputError
from rnnlab.recurrence import unroll


class Cell(nn.RNNCellBase):
    """A cell of rnnlab, or a stack, as a linen cell: for flax.linen.RNN, Bidirectional and scan.

    It has one parameter, 'cell', the whole tree of `cell.init` (a stack's is a tuple, which linen
    takes as a value but not as a scope): `unroll(cell, variables['params']['cell']['cell'], xs)`
    runs on the parameters of an RNN, and vice versa. There is no dropout: linen's RNN gives a cell
    no mask.

    For parameters per lane, apply nn.vmap to flax.linen.RNN, not to the cell.
    """

    cell: cells.Cell
    param_dtype: DTypeLike = float

    @nn.compact
    def parameters(self, inputs: int) -> Params:
        """The params of `cell.init` for D inputs, drawn if there are none yet.

        Raises InputError for those of another cell, extra names too.
        """
        if self.has_variable('params', 'cell'):
            check_cell(self.cell, self.get_variable('params', 'cell'), inputs)
        return self.param('cell', self.cell.init, inputs, self.param_dtype)

    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]) -> Carry:
        """The initial carry [*batch, ...], for input_shape (*batch, D).

        Within init and apply it is that of the module's own params, so that a trainable one is
        trained, and rng is not used. A module that is not bound has no params: it returns the
        initial carry of new ones, drawn from rng.
        """
        *batch, inputs = input_shape
        if self.scope is None:
            params = self.cell.init(rng, inputs, self.param_dtype)
        else:
            params = self.parameters(inputs)
        return self.cell.carry(params, tuple(batch))

    def __call__(self, carry: Carry, x: Array) -> tuple[Carry, Array]:
        """One step: (carry, y [*batch, H]) for x [*batch, D]."""
        return self.cell.step(self.parameters(x.shape[-1]), carry, x)

    @property
    def num_feature_axes(self) -> int:
        return 1


class RNN(nn.Module):
    """flax.linen.RNN with rnnlab's engines and gradients: for a Cell, with the same parameters.

    It takes the arguments of flax.linen.RNN except those of its scan, works in
    flax.linen.Bidirectional and has `reset` as well; outputs in the padding are 0, and a sequence
    of length 0 returns its initial carry.
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
    ) -> Array | tuple[Carry, Array]:
        """Outputs [*batch, T, H] for inputs [*batch, T, D], both [T, *batch, ...] with time_major.

        Args:
            initial_carry: None is `cell.initialize_carry`.
            init_key: for Bidirectional; not used.
            seq_lengths: int [*batch].
            reset: bool [*batch, T], true at the first step of a new sequence.
            return_carry: whether to return (carry, outputs).
            reverse: whether to run from the end; outputs are in running order, with keep_order in
                that of the inputs.

        An option that is None is the attribute.

        Raises:
            InputError: as `unroll`, and for a cell that is not a rnnlab.linen.Cell.
        """
        check_ours(self.cell, Cell)
        params = self.cell.parameters(inputs.shape[-1])
        options = return_carry, time_major, reverse, keep_order
        return run_layer(self, params, inputs, initial_carry, seq_lengths, reset, options)


def check_ours(cell: object, kind: type) -> None:
    """Raises InputError unless the cell is one of ours."""
    if not isinstance(cell, kind):
        ours, given = kind.__module__, f'{type(cell).__module__}.{type(cell).__name__}'
        raise InputError(
            f'RNN takes {ours}.Cell(...), not a {given}; '
            f'for cells of Flax use {ours.replace("rnnlab", "flax")}.RNN'
        )


def run_layer(
    layer: Any,
    params: Params,
    inputs: Array,
    carry: Carry | None,
    lengths: Array | None,
    reset: Array | None,
    options: tuple[bool | None, ...],
) -> Array | tuple[Carry, Array]:
    """The call of an RNN, of linen or nnx.

    options: return_carry, time_major, reverse, keep_order; None is the layer's attribute.
    """
    of_layer = layer.return_carry, layer.time_major, layer.reverse, layer.keep_order
    return_carry, time_major, reverse, keep_order = (
        own if given is None else given for own, given in zip(of_layer, options, strict=True)
    )
    carry, ys = unroll(
        layer.cell.cell,
        params,
        inputs,
        carry,
        lengths=lengths,
        reset=reset,
        reverse=reverse,
        time_major=time_major,
    )
    if reverse and not keep_order:
        ys = flip_sequences(ys, lengths, ys.ndim - 2, time_major)
    return (carry, ys) if return_carry else ys
