"""Recurrent cells. CELLS maps a name to what makes a cell of a hidden size; a new cell is a file here and a line there."""

from collections.abc import Callable

from rnnlab.cells.cell import Cell, Chain, Gated, Linear, LinearCarry, gated, linear, residual, stack
from rnnlab.cells.elman import ElmanCarry, elman, irnn
from rnnlab.cells.gru import GRUCarry, gru, gru_reset_before
from rnnlab.cells.lru import lru
from rnnlab.cells.lstm import LSTMCarry, lstm
from rnnlab.cells.minimal import mingru, minlstm

CELLS: dict[str, Callable[..., Cell]] = {
    'elman': elman,
    'irnn': irnn,
    'lstm': lstm,
    'gru': gru,
    'gru_reset_before': gru_reset_before,
    'mingru': mingru,
    'minlstm': minlstm,
    'lru': lru,
}

__all__ = [
    'CELLS', 'Cell', 'Chain', 'ElmanCarry', 'GRUCarry', 'Gated', 'LSTMCarry', 'Linear', 'LinearCarry',
    'elman', 'gated', 'gru', 'gru_reset_before', 'irnn', 'linear', 'lru', 'lstm', 'mingru', 'minlstm', 'residual', 'stack',
]  # fmt: skip
