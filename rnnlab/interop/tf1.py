"""TF1: the variables of the cells of tf.nn.rnn_cell and tf.contrib.rnn."""

from collections.abc import Mapping

from rnnlab.errors import InputError, known
from rnnlab.interop.weights import (
    GATES,
    Array,
    CellWeights,
    Weights,
    arrays,
    assembled,
    from_joint,
    joined,
    parts_of,
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
ORDER = GATES | {  # of the gates in TF1's columns
    'lstm': 'igfo',
    'lstm_peephole': 'igfo',
    'lstm_projected': 'igfo',
    'lstm_coupled': 'gfo',
}


def from_tf1(source: object, cell: str, *, forget_bias: float = 1.0) -> Weights:
    """The variables of cells as layers and params.

    source: the arrays of one cell (traced ones too) by the ends of their names in a checkpoint, a
        tuple (forward, backward) of two, or a list of these, the lowest layer first.
    cell: the name of all of them.
        elman: BasicRNNCell, {'kernel': [D+H, H], 'bias': [H]}; irnn: with activation=tf.nn.relu
        indrnn: IndRNNCell with activation=tf.nn.relu, {'kernel_w': [D, H], 'kernel_u': [1, H],
            'bias': [H]}
        lstm: BasicLSTMCell and LSTMCell, {'kernel': [D+H, 4H], 'bias': [4H]}, gates i, j, f, o
        lstm_peephole: LSTMCell with use_peepholes, also {'w_i_diag': [H], 'w_f_diag', 'w_o_diag'}
        lstm_projected: LSTMCell with num_proj=P, {'kernel': [D+P, 4H], 'bias': [4H],
            'projection/kernel': [H, P]}
        lstm_coupled: CoupledInputForgetGateLSTMCell, {'W_0': [D+H, 3H], 'B': [3H]}, gates j, f, o
        gru_reset_before: GRUCell, {'gates/kernel': [D+H, 2H], 'gates/bias': [2H],
            'candidate/kernel': [D+H, H], 'candidate/bias': [H]}, gates r, u
        ugrnn: UGRNNCell, {'kernel': [D+H, 2H], 'bias': [2H]}
    forget_bias: that of the LSTM or UGRNN cells. TF1 adds it at every step, here it is added to
        the bias.

    Raises InputError for variables of another cell.
    """
    known('cell', cell, VARIABLES)
    return assembled(parts_of(source, lambda own: cell_of(own, cell, forget_bias)))


def cell_of(own: Mapping[str, Array], cell: str, forget_bias: float) -> CellWeights:
    if own.keys() != {*VARIABLES[cell]}:
        needed, found = ', '.join(VARIABLES[cell]), ', '.join(own)
        raise InputError(f'the variables of an {cell} of TF1 are {needed}, not {found}')
    first, second, *others = (arrays(own[name]) for name in VARIABLES[cell])
    if cell == 'indrnn':
        return CellWeights(
            kind=cell, kernel=first, recurrent_kernel=None, bias=others[0], extra=second[0]
        )
    extra = None
    if cell == 'gru_reset_before':
        first, second = joined([first, others[0]]), joined([second, others[1]])
    elif cell == 'lstm_peephole':
        extra = joined([part[None] for part in others], axis=0)
    elif cell == 'lstm_projected':
        (extra,) = others
    return from_joint(cell, first, second, order=ORDER[cell], added=forget_bias, extra=extra)
