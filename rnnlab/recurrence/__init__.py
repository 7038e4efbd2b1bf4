"""unroll, its engines, dropout masks, and recurrent layers."""

from rnnlab.recurrence.dropout import dropout_mask
from rnnlab.recurrence.layers import MERGES, Layer, bidirectional, recurrent
from rnnlab.recurrence.unroll import ENGINES, engines, unroll

__all__ = [
    'ENGINES',
    'MERGES',
    'Layer',
    'bidirectional',
    'dropout_mask',
    'engines',
    'recurrent',
    'unroll',
]
