"""The work that the race times, the same for every library: a classifier, its parameters, its data.

The classifier has an embedding if there is a vocabulary, recurrent layers, and a dense readout of
the last output into ten classes. The loss is cross-entropy, the optimizer Adam.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from rnnlab.cells import find
from rnnlab.data import Split
from rnnlab.interop import Weights
from rnnlab.models import Model, classifier
from rnnlab.recurrence import recurrent

CLASSES, LR, EPSILON, SEED = 10, 1e-3, 1e-8, 0
KINDS = ('forward', 'gradient', 'train_step', 'epoch')

# Does the work Shape.times times and waits for it; the numbers are compared between libraries.
Work = Callable[[], list[float]]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of the model and the data."""

    time_steps: int
    batch: int
    inputs: int  # features of a time step; of the embedding if there is a vocabulary
    hidden: int
    layers: int = 1
    vocabulary: int | None = None
    steps: int = 10  # timed together
    epoch: int = 50  # batches

    def __str__(self) -> str:
        words = f' ({self.vocabulary:,} words)' if self.vocabulary else ''
        layers = f', {self.layers} layers' if self.layers > 1 else ''
        return f'{self.time_steps}, {self.batch}, {self.inputs}{words}, {self.hidden}{layers}'

    def times(self, kind: str) -> int:
        """Steps that are timed together, enough for the clock."""
        return self.epoch if kind == 'epoch' else self.steps

    def operations(self, cell: str, kind: str) -> int:
        """Floating-point operations in the recurrent layers' matrix products for one timing."""
        model = make_model(cell, self)
        params = jax.eval_shape(model.init, jax.random.key(0))
        leaves = jax.tree.leaves([params[name] for name in model.layers])
        forward = 2 * self.time_steps * self.batch * sum(x.size for x in leaves if x.ndim > 1)
        passes = 1 if kind == 'forward' else 3
        return forward * passes * (self.epoch if kind == 'epoch' else 1)


SHAPES = {
    'rows64': Shape(time_steps=28, batch=64, inputs=28, hidden=64, steps=100),
    'rows100': Shape(time_steps=28, batch=50, inputs=28, hidden=100, steps=100),
    'rows150': Shape(time_steps=28, batch=128, inputs=28, hidden=150, steps=20),
    'reviews': Shape(  # 20,000 of IMDB
        time_steps=500, batch=128, inputs=32, hidden=32, vocabulary=10_000, epoch=157
    ),
    'series': Shape(time_steps=96, batch=7, inputs=1, hidden=8, layers=2, steps=100),
    'pixels': Shape(time_steps=784, batch=128, inputs=1, hidden=128, steps=2, epoch=4),
    'large': Shape(time_steps=128, batch=64, inputs=512, hidden=512, steps=1, epoch=2),
}


def make_model(cell: str, shape: Shape) -> Model:
    """The classifier in rnnlab."""
    layers = [recurrent(find(cell)(shape.hidden)) for _ in range(shape.layers)]
    return classifier(layers, inputs=shape.inputs, classes=CLASSES, vocabulary=shape.vocabulary)


def make_weights(cell: str, shape: Shape) -> Weights:
    """Its layers and initial parameters, NumPy arrays; no bias is 0."""
    rng = np.random.default_rng(SEED)
    model = make_model(cell, shape)

    def array(leaf: jax.Array) -> np.ndarray:
        random = leaf.ndim == 1
        return rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype) if random else np.asarray(leaf)

    params = jax.tree.map(array, model.init(jax.random.key(SEED)))
    return Weights([*model.layers.values()], params)


def make_data(shape: Shape, kind: str) -> Split:
    """Random inputs and labels: one batch, or those of an epoch."""
    rng = np.random.default_rng(SEED)
    number = shape.batch * (shape.epoch if kind == 'epoch' else 1)
    if shape.vocabulary:
        inputs: np.ndarray = rng.integers(0, shape.vocabulary, (number, shape.time_steps), np.int32)
    else:
        inputs = rng.normal(0, 1, (number, shape.time_steps, shape.inputs)).astype(np.float32)
    return Split(inputs, rng.integers(0, CLASSES, number).astype(np.int32))
