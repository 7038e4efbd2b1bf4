"""A laboratory for recurrent neural networks in JAX.

    cell = rnnlab.lstm(128)
    params = cell.init(jax.random.key(0), inputs=28)
    carry, ys = rnnlab.unroll(cell, params, xs)         # xs [T, B, 28] -> ys [T, B, 128]

Cells are in rnnlab.cells, what runs them over time in rnnlab.recurrence; models, data, optim, train, diagnostics, checkpoint,
runs and plots are modules to import by name.
"""

from rnnlab.cells import CELLS, Cell, elman, gru, gru_reset_before, irnn, lru, lstm, mingru, minlstm, residual, stack
from rnnlab.errors import InputError
from rnnlab.recurrence import Layer, bidirectional, recurrent, unroll

__all__ = [
    'CELLS', 'Cell', 'InputError', 'Layer', 'bidirectional', 'elman', 'gru', 'gru_reset_before', 'irnn', 'lru', 'lstm', 'mingru',
    'minlstm', 'recurrent', 'residual', 'stack', 'unroll',
]  # fmt: skip
