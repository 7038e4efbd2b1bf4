"""The timed work in Flax linen."""

from collections.abc import Callable

from flax import linen
from jax import Array

from experiments.benchmark.peers import functional
from experiments.benchmark.work import CLASSES, Shape, Work, make_data, make_weights
from rnnlab.cells.base import Params
from rnnlab.interop import to_flax

CELLS: dict[str, Callable[..., linen.RNNCellBase]] = {
    'elman': linen.SimpleCell,
    'lstm': linen.OptimizedLSTMCell,
    'gru': linen.GRUCell,
}


class Classifier(linen.Module):
    cell: str
    shape: Shape

    def setup(self) -> None:
        shape = self.shape
        embedding = [linen.Embed(shape.vocabulary, shape.inputs)] if shape.vocabulary else []
        recurrences = [linen.RNN(CELLS[self.cell](shape.hidden)) for _ in range(shape.layers)]
        self.parts = [*embedding, *recurrences]
        self.readout = linen.Dense(CLASSES)

    def __call__(self, inputs: Array) -> Array:
        xs = inputs
        for part in self.parts:
            xs = part(xs)
        return self.readout(xs[:, -1])


def prepare(cell: str, shape: Shape, kind: str) -> Work:
    model = Classifier(cell, shape)
    *parts, readout = to_flax(*make_weights(cell, shape))
    params = {f'parts_{number}': part for number, part in enumerate(parts)} | {'readout': readout}

    def apply(params: Params, inputs: Array) -> Array:
        return model.apply({'params': params}, inputs)  # type: ignore[return-value]

    return functional.prepare(apply, params, make_data(shape, kind), shape, kind)
