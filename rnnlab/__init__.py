"""Recurrent neural networks in JAX.

    cell = rnnlab.lstm(128)
    params = cell.init(jax.random.key(0), inputs=28)
    carry, ys = rnnlab.unroll(cell, params, xs)         # xs [T, B, 28] -> ys [T, B, 128]

Cells are in rnnlab.cells, their unrolling in rnnlab.recurrence; models, data, training, analysis,
results, sweeps and interop are imported at their first use.
"""

import importlib
from types import ModuleType

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
    'CELLS', 'Cell', 'InputError', 'Layer', 'bidirectional', 'conv_lstm', 'elman', 'gru',
    'gru_chung', 'gru_layer_norm', 'gru_reset_before', 'indrnn', 'irnn', 'lru', 'lstm',
    'lstm_coupled', 'lstm_layer_norm', 'lstm_peephole', 'lstm_projected', 'mgu', 'mingru',
    'minlstm', 'qrnn', 'recurrent', 'residual', 'rg_lru', 'rhn', 's5', 'slstm', 'sru', 'stack',
    'trainable_carry', 'ugrnn', 'unroll',
]  # fmt: skip

__version__ = '0.1.0'

SUBMODULES = (
    'analysis',
    'data',
    'initializers',
    'interop',
    'linen',
    'models',
    'nnx',
    'results',
    'sweeps',
    'testing',
    'training',
)


def __getattr__(name: str) -> ModuleType:
    """A submodule, which is imported when it is first used."""
    if name in SUBMODULES:
        return importlib.import_module(f'rnnlab.{name}')
    raise AttributeError(f'module rnnlab has no attribute {name!r}')
