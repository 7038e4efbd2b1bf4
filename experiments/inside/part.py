"""A cell of a trained network, and what it reads."""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from rnnlab.analysis.diagnostics import trace
from rnnlab.cells import Cell
from rnnlab.cells.base import Arrays, Carry, Gates, Params


class Part(NamedTuple):
    """A cell of a network on some sequences; times are in the cell's own order."""

    name: str  # 'layer_1', 'layer_1.backward'
    cell: Cell
    params: Params
    xs: Array  # [T, B, D]
    lengths: Arrays | None = None  # int [B]; None: no padding
    backward: bool = False  # padding is then in front

    @property
    def valid(self) -> np.ndarray:
        """bool [T, B]: what is no padding."""
        steps, number = self.xs.shape[:2]
        if self.lengths is None:
            return np.ones((steps, number), bool)
        time = np.arange(steps)[:: -1 if self.backward else 1, None]
        return time < np.asarray(self.lengths)

    def longest(self, number: int) -> Array:
        """xs [T, number, D] of the longest sequences, cut to what none of them pads."""
        order = np.argsort(-self.valid.sum(axis=0), kind='stable')[:number]
        return self.xs[self.valid[:, order].all(axis=1)][:, order]

    def trace(self) -> tuple[Carry, Array, Gates]:
        """Carries, outputs and gates, as of rnnlab.analysis.diagnostics."""
        return jax.jit(partial(trace, self.cell))(self.params, self.xs)
