"""TF1: the variables of the cells of tf.nn.rnn_cell and tf.contrib.rnn."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnlab.errors import InputError, known
from rnnlab.interop.weights import (
    GATES,
    Part,
    Sides,
    Weights,
    arrays,
    assembled,
    joined,
    ordered,
    parted,
)

VARIABLES = {
    'elman': ('kernel', 'bias'),
    'irnn': ('kernel', 'bias'),
    'indrnn': ('kernel_w', 'kernel_u', 'bias'),
    'lstm': ('kernel', 'bias'),
    'lstm_peephole': ('kernel', 'bias', 'w_i_diag', 'w_f_diag', 'w_o_diag'),
    'lstm_coupled': ('W_0', 'B'),
    'lstm_projected': ('kernel', 'bias', 'projection/kernel'),
    'gru_reset_before': ('gates/kernel', 'gates/bias', 'candidate/kernel', 'candidate/bias'),
    'ugrnn': ('kernel', 'bias'),
}
ORDER = {'lstm_coupled': 'gfo'} | dict.fromkeys(
    ('lstm', 'lstm_peephole', 'lstm_projected'), 'igfo'
)  # where it is not ours


def from_tf1(source: Any, cell: str, *, forget_bias: float = 1.0) -> Weights:
    """The arrays of cells, by the ends of their names in a checkpoint (traced ones too), as layers and params.

        elman: BasicRNNCell, {'kernel': [D+H, H], 'bias': [H]}; irnn: with activation=tf.nn.relu
        indrnn: IndRNNCell with activation=tf.nn.relu, {'kernel_w': [D, H], 'kernel_u': [1, H], 'bias': [H]}
        lstm: BasicLSTMCell and LSTMCell, {'kernel': [D+H, 4H], 'bias': [4H]}, gates i, j, f, o
        lstm_peephole: LSTMCell with use_peepholes, besides {'w_i_diag': [H], 'w_f_diag', 'w_o_diag'}
        lstm_projected: LSTMCell with num_proj=P, {'kernel': [D+P, 4H], 'bias': [4H], 'projection/kernel': [H, P]}
        lstm_coupled: CoupledInputForgetGateLSTMCell, {'W_0': [D+H, 3H], 'B': [3H]}, gates j, f, o
        gru_reset_before: GRUCell, {'gates/kernel': [D+H, 2H], 'gates/bias', 'candidate/kernel': [D+H, H], 'candidate/bias'},
            gates r, u
        ugrnn: UGRNNCell, {'kernel': [D+H, 2H], 'bias': [2H]}

    The forget bias, which TF1 adds at every step, is added to the stored bias. The GRU's kernels are split in that of x and that
    of h, and gates and candidate joined.

    Args:
        source: one cell's dict, a tuple (forward, backward) of two, or a list of these, the lowest layer first.
        cell: one of those names, what all of them are.
        forget_bias: what the LSTM or UGRNN cells were made with.

    Raises InputError for variables of another cell.
    """
    known('cell', cell, VARIABLES)

    def sides(own: Mapping[str, Any]) -> Sides:
        if own.keys() != {*VARIABLES[cell]}:
            raise InputError(
                f'an {cell} of TF1 has {", ".join(VARIABLES[cell])}, and not {", ".join(own)}'
            )
        first, second, *others = (arrays(own[name]) for name in VARIABLES[cell])
        if cell == 'indrnn':
            return Sides(cell, first, None, others[0], more=second[0])
        if cell == 'gru_reset_before':
            return split(cell, joined([first, others[0]]), joined([second, others[1]]))
        more = (
            joined([part[None] for part in others], axis=0)
            if cell == 'lstm_peephole'
            else others[0]
            if others
            else None
        )
        return split(cell, first, second, ORDER.get(cell, GATES[cell]), forget_bias, more)

    def part(own: Any) -> Part:
        return (sides(own[0]), sides(own[1])) if isinstance(own, tuple) else sides(own)

    return assembled([part(own) for own in (source if isinstance(source, list) else [source])])


def split(
    kind: str,
    kernel: Any,
    bias: Any,
    gates: str | None = None,
    forget_bias: float = 0.0,
    more: Any = None,
) -> Sides:
    """The cell of a kernel [D + H, N] with its gates in that order, which adds the forget bias at every step."""
    own = GATES[kind]
    kernel, bias = (ordered(array, gates or own, own) for array in (kernel, bias))
    forget = np.array(
        [forget_bias if gate == ('g' if kind == 'ugrnn' else 'f') else 0 for gate in own],
        bias.dtype,
    )
    kernel, recurrent_kernel = parted(kind, kernel, more)
    return Sides(
        kind,
        kernel,
        recurrent_kernel,
        bias + np.repeat(forget, bias.shape[0] // len(own)),
        more=more,
    )
