"""A laboratory for recurrent neural networks in JAX.

    cell = rnnlab.lstm(128)
    params = cell.init(jax.random.key(0), inputs=28)
    carry, ys = rnnlab.unroll(cell, params, xs)         # xs [T, B, 28] -> ys [T, B, 128]

Cells are in rnnlab.cells, what runs them over time in rnnlab.recurrence; models, data, optim, train, diagnostics, checkpoint,
runs and plots are modules to import by name.
"""

from rnnlab.cells import (  # fmt: skip
    CELLS,
    Cell,
    conv_lstm,
    elman,
    gru,
    gru_chung,
    gru_layer_norm,
    gru_reset_before,
    indrnn,
    irnn,
    lru,
    lstm,
    lstm_coupled,
    lstm_layer_norm,
    lstm_peephole,
    lstm_projected,
    mgu,
    mingru,
    minlstm,
    qrnn,
    residual,
    rg_lru,
    rhn,
    s5,
    slstm,
    sru,
    stack,
    trainable_carry,
    ugrnn,
)
from rnnlab.errors import InputError
from rnnlab.recurrence import Layer, bidirectional, recurrent, unroll

__all__ = [
    'CELLS', 'Cell', 'InputError', 'Layer', 'bidirectional', 'conv_lstm', 'elman', 'gru', 'gru_chung', 'gru_layer_norm',
    'gru_reset_before', 'indrnn', 'irnn', 'lru', 'lstm', 'lstm_coupled', 'lstm_layer_norm', 'lstm_peephole', 'lstm_projected', 'mgu',
    'mingru', 'minlstm', 'qrnn', 'recurrent', 'residual', 'rg_lru', 'rhn', 's5', 'slstm', 'sru', 'stack', 'trainable_carry', 'ugrnn',
    'unroll',
]  # fmt: skip
