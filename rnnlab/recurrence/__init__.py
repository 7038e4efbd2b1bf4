"""Cells over time: unroll, the engines behind it, and the layers made of it."""

from rnnlab.recurrence.layer import Layer, bidirectional, recurrent
from rnnlab.recurrence.unroll import ENGINES, unroll

__all__ = ['ENGINES', 'Layer', 'bidirectional', 'recurrent', 'unroll']
