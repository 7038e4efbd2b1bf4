"""TF1: the variables of BasicRNNCell, BasicLSTMCell, LSTMCell and GRUCell (tf.nn.rnn_cell)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnlab.errors import InputError, known
from rnnlab.interop.weights import Part, Sides, Weights, arrays, assembled, joined, ordered

CELLS = ('elman', 'lstm', 'gru_reset_before')
PARTS = ('gates', 'candidate')


def from_tf1(source: Any, cell: str, *, forget_bias: float = 1.0) -> Weights:
    """The arrays of cells, by the ends of their names in a checkpoint (traced ones too), as layers and params.

        elman: BasicRNNCell, {'kernel': [D+H, H], 'bias': [H]}
        lstm: BasicLSTMCell and LSTMCell without peepholes and projection, {'kernel': [D+H, 4H], 'bias': [4H]}, gates i, j, f, o
        gru_reset_before: GRUCell, {'gates/kernel': [D+H, 2H], 'gates/bias', 'candidate/kernel': [D+H, H], 'candidate/bias'},
            gates r, u

    The forget bias, which TF1 adds at every step, is added to the stored bias. The GRU's kernels are split in that of x and that
    of h, and gates and candidate joined.

    Args:
        source: one cell's dict, a tuple (forward, backward) of two, or a list of these, the lowest layer first.
        cell: elman, lstm or gru_reset_before, what all of them are.
        forget_bias: what the LSTM cells were made with.

    Raises InputError for variables of another cell.
    """
    known('cell', cell, CELLS)

    def sides(own: Mapping[str, Any]) -> Sides:
        wanted = [f'{part}/{name}' for part in PARTS for name in ('kernel', 'bias')] if cell == 'gru_reset_before' else ['kernel', 'bias']
        if own.keys() != {*wanted}:
            raise InputError(f'an {cell} of TF1 has {", ".join(wanted)}, and not {", ".join(own)}')
        own = arrays(dict(own))
        if cell == 'gru_reset_before':
            kernel, bias = (joined([own[f'{part}/{name}'] for part in PARTS]) for name in ('kernel', 'bias'))
        else:
            kernel, bias = own['kernel'], own['bias']
        if cell == 'lstm':
            return plus_one(kernel, bias, forget_bias)
        return split(cell, kernel, bias, hidden=bias.shape[0] // (3 if cell == 'gru_reset_before' else 1))

    def part(own: Any) -> Part:
        return (sides(own[0]), sides(own[1])) if isinstance(own, tuple) else sides(own)

    return assembled([part(own) for own in (source if isinstance(source, list) else [source])])


def split(kind: str, kernel: Any, bias: Any, hidden: int) -> Sides:
    """The cell of a kernel [D + H, N]."""
    inputs = kernel.shape[0] - hidden
    return Sides(kind, kernel[:inputs], kernel[inputs:], bias)


def plus_one(kernel: Any, bias: Any, forget_bias: float) -> Sides:
    """An LSTM with gates i, g, f, o that adds the forget bias at every step."""
    hidden = bias.shape[0] // 4
    kernel, bias = (ordered(array, 'igfo', 'ifgo') for array in (kernel, bias))
    return split('lstm', kernel, bias + np.repeat(np.array([0, forget_bias, 0, 0], bias.dtype), hidden), hidden)
