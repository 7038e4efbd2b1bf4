"""Recurrent cells. CELLS maps a name to the function that makes the cell of a hidden size; a new
cell is a file here and a line there."""

import importlib
from collections.abc import Callable

from rnnlab.cells.base import (
    Blocks,
    Cell,
    Chain,
    Gated,
    Hidden,
    Linear,
    gated,
    linear,
    maker,
    plain,
)
from rnnlab.cells.combine import residual, stack, trainable_carry
from rnnlab.cells.conv_lstm import conv_lstm
from rnnlab.cells.elman import elman, irnn
from rnnlab.cells.gru import gru, gru_chung, gru_layer_norm, gru_reset_before
from rnnlab.cells.indrnn import indrnn
from rnnlab.cells.lru import lru
from rnnlab.cells.lstm import (
    LSTMCarry,
    lstm,
    lstm_coupled,
    lstm_layer_norm,
    lstm_peephole,
    lstm_projected,
)
from rnnlab.cells.mgu import mgu
from rnnlab.cells.minimal import mingru, minlstm
from rnnlab.cells.qrnn import qrnn
from rnnlab.cells.rg_lru import rg_lru
from rnnlab.cells.rhn import rhn
from rnnlab.cells.s5 import s5
from rnnlab.cells.slstm import slstm
from rnnlab.cells.sru import sru
from rnnlab.cells.ugrnn import ugrnn
from rnnlab.errors import InputError, first_line

MAKERS: tuple[Callable[..., Cell], ...] = (
    elman, irnn, indrnn, lstm, lstm_peephole, lstm_coupled, lstm_projected, lstm_layer_norm, slstm,
    conv_lstm, gru, gru_reset_before, gru_chung, gru_layer_norm, mgu, ugrnn, rhn, qrnn, sru, mingru,
    minlstm, lru, rg_lru, s5,
)  # fmt: skip
CELLS = {make.__name__: make for make in MAKERS}


def find(name: str) -> Callable[..., Cell]:
    """The function that makes the cell of that name: an entry of CELLS, or mycell of the module
    mymodule for 'mymodule:mycell'.

    Raises InputError for a name that is neither.
    """
    module, colon, function = name.partition(':')
    if not (colon and function):
        if name not in CELLS:
            raise InputError(
                f'unknown cell {name!r}; the known ones are {", ".join(CELLS)}, '
                'and mymodule:mycell is mycell of mymodule.py'
            )
        return CELLS[name]
    try:
        made = getattr(importlib.import_module(module), function, None)
    except (Exception, SystemExit) as error:  # whatever somebody's own file does
        raise InputError(
            f'the module {module!r} of the cell {name} cannot be imported: '
            f'{type(error).__name__}: {first_line(error)}'
        ) from error
    if not callable(made):
        raise InputError(f'the module {module!r} has no function {function!r} that makes a cell')
    return maker(made, name)


__all__ = [
    'CELLS', 'Blocks', 'Cell', 'Chain', 'Gated', 'Hidden', 'LSTMCarry', 'Linear', 'conv_lstm',
    'elman', 'find', 'gated', 'gru', 'gru_chung', 'gru_layer_norm', 'gru_reset_before', 'indrnn',
    'irnn', 'linear', 'lru', 'lstm', 'lstm_coupled', 'lstm_layer_norm', 'lstm_peephole',
    'lstm_projected', 'maker', 'mgu', 'mingru', 'minlstm', 'plain', 'qrnn', 'residual', 'rg_lru',
    'rhn', 's5', 'slstm', 'sru', 'stack', 'trainable_carry', 'ugrnn',
]  # fmt: skip
