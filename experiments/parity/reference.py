"""The equations in NumPy as a counterpart, with gradients by finite differences, without JAX."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import jax
import numpy as np

from experiments.parity.harness import (
    LENGTHS,
    PROJECTION,
    SIDES,
    D,
    H,
    Image,
    Peer,
    Results,
    T,
    Tree,
    directions,
    half_squares,
    merge,
)
from rnnlab.cells import CELLS
from rnnlab.cells.reference import REFERENCES
from rnnlab.interop import Weights
from rnnlab.models import output_size
from rnnlab.recurrence import bidirectional

# Step sizes and weights of central differences of sixth order
STEPS, FACTORS = (8e-3, 4e-3, 2e-3, 1e-3, 5e-4, 2.5e-4), (3 / 4, -3 / 20, 1 / 60)

# (params, x, *carry) -> (carry, y)
Step = Callable[..., tuple[tuple[np.ndarray, ...], np.ndarray]]


def numpy_reference(name: str, image: Image, layers: int = 2) -> Peer:
    """The loop over a cell of rnnlab/cells/reference.py.

    Forward cells have Keras's initializer, backward ones torch's, which has two biases.
    """
    options: dict[str, Image] = {'image': image} if image else {}
    sizes = {'projection': PROJECTION} if name == 'lstm_projected' else options
    presets = ('keras', 'torch') if 'init' in CELLS[name](H).hyperparameters else ()
    cells = [CELLS[name](H, **sizes, init=preset) for preset in presets]
    forward, backward = cells or [CELLS[name](H, **sizes)] * 2
    layer, width = bidirectional(forward, backward, merge=merge(name)), D
    rng = np.random.default_rng(0)
    weights = []
    for number in range(layers):
        params = layer.init(jax.random.key(number), width)
        params = jax.tree.map(lambda x: np.asarray(x) + rng.normal(0, 0.3, x.shape), params)
        weights.append(tuple(params[side] for side in SIDES))
        width = output_size(layer, params, width)

    def step(params: Tree, x: np.ndarray, *carry: np.ndarray) -> Tree:
        carry, _, y = REFERENCES[name](params, x, *carry, **options)
        return carry, y

    def convert(weights: Tree) -> Weights:
        named = (dict(zip(SIDES, pair, strict=True)) for pair in weights)
        return Weights([layer] * layers, {f'layer_{n}': own for n, own in enumerate(named, 1)})

    return Peer(weights, convert, by_numpy(name, step))


def by_numpy(name: str, step: Step) -> Callable[[Tree, Tree, Tree], Results]:
    """The results of a loop over a step, with derivatives along two random directions."""

    def results(*at: Tree) -> Results:
        ys, after = apply(name, step, *at)

        def moved(direction: Tree, size: float) -> float:
            there = jax.tree.map(lambda x, t: x + size * t, at, direction)
            return half_squares(apply(name, step, *there))

        derivatives = [derivative(partial(moved, each)) for each in directions(at)]
        return {'outputs': ys, 'carry': after, 'derivatives': np.array(derivatives)}

    return results


def apply(name: str, step: Step, weights: Tree, xs: Tree, carries: Tree) -> tuple[Tree, list[Tree]]:
    """Outputs and final carries of bidirectional layers: each sequence alone, zero past its end."""
    after: list[Tree] = []
    for number, (forward, backward) in enumerate(weights):
        rows = []
        for row, length in enumerate(LENGTHS):
            first, last = (
                tuple(leaf[row] for leaf in carries[2 * number + side]) for side in (0, 1)
            )
            series = xs[:length, row]
            end, ys = loop(step, forward, series, first)
            end_back, back = loop(step, backward, series[::-1], last)
            if merge(name) == 'sum':
                both = ys + back[::-1]
            else:
                both = np.concatenate([ys, back[::-1]], axis=-1)
            rows.append((np.pad(both, [(0, T - length), (0, 0)]), end, end_back))
        xs, *ends = jax.tree.map(lambda *leaves: np.stack(leaves, axis=0), *rows)
        xs, after = xs.swapaxes(0, 1), [*after, *ends]
    return xs, after


def loop(step: Step, params: Tree, series: np.ndarray, carry: Tree) -> tuple[Tree, np.ndarray]:
    ys = []
    for x in series:
        carry, y = step(params, x, *carry)
        ys.append(y)
    return carry, np.stack(ys)


def derivative(function: Callable[[float], float]) -> float:
    """The derivative at 0, by the step size that agrees best with the one before.

    Larger ones see curvature and kinks, smaller ones round.
    """

    def estimate(step: float) -> float:
        pairs = ((function(k * step), function(-k * step)) for k in range(1, len(FACTORS) + 1))
        return sum(w * (high - low) for w, (high, low) in zip(FACTORS, pairs, strict=True)) / step

    return min(pairwise(map(estimate, STEPS)), key=lambda pair: abs(pair[1] - pair[0]))[1]
