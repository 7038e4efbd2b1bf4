"""Recurrent cells. CELLS maps a name to what makes a cell of a hidden size; a new cell is a file here and a line there."""

from rnnlab.cells.cell import Cell, Chain, Gated, gated, residual, stack
from rnnlab.cells.elman import ElmanCarry, elman, irnn
from rnnlab.cells.gru import GRUCarry, gru, gru_reset_before
from rnnlab.cells.lstm import LSTMCarry, lstm

CELLS = {
    'elman': elman,
    'irnn': irnn,
    'lstm': lstm,
    'gru': gru,
    'gru_reset_before': gru_reset_before,
}

__all__ = [
    'CELLS', 'Cell', 'Chain', 'ElmanCarry', 'GRUCarry', 'Gated', 'LSTMCarry',
    'elman', 'gated', 'gru', 'gru_reset_before', 'irnn', 'lstm', 'residual', 'stack',
]  # fmt: skip
