"""unroll, its engines, dropout masks, recurrent layers, and blocks around them."""

from rnnlab.recurrence.blocks import NORMS, Block
from rnnlab.recurrence.dropout import dropout_mask
from rnnlab.recurrence.layers import MERGES, Layer, bidirectional, recurrent
from rnnlab.recurrence.pools import POOLS
from rnnlab.recurrence.unroll import ENGINES, engines, unroll

__all__ = [
    'ENGINES',
    'MERGES',
    'NORMS',
    'POOLS',
    'Block',
    'Layer',
    'bidirectional',
    'dropout_mask',
    'engines',
    'recurrent',
    'unroll',
]
