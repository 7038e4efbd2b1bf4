"""What a cell is held against, and how: two bidirectional layers over sequences of unequal lengths, from weights laid out as the other
side has them.

A counterpart is (cell, image) -> Peer; None where a library has no such function. Here are NumPy's and TF1's, experiments/parity/libraries.py
has the others. Carries are lists with those of layer 1's two directions, then layer 2's, each a tuple in the order of our own carry.
Everything is in float64; nothing is 0.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnlab import interop
from rnnlab.cells import CELLS
from rnnlab.cells.reference import REFERENCES, sigmoid
from rnnlab.models import output_size
from rnnlab.recurrence import MERGES, bidirectional, unroll

T, B, D, H, PROJECTION = 4, 2, 6, 3, 2
SIDES = 'forward', 'backward'
LENGTHS = (T, 2)
TOLERANCE = 1e-10  # relative to each array's greatest entry
FORGET_BIAS = 0.7  # what TF1's cells add at every step
STEPS, WEIGHTS = (
    (8e-3, 4e-3, 2e-3, 1e-3, 5e-4, 2.5e-4),
    (3 / 4, -3 / 20, 1 / 60),
)  # of central differences of the sixth order

Image = tuple[int, ...]  # of a conv_lstm the places, of other cells ()
IMAGES: dict[str, dict[str, Image]] = {
    'conv_lstm': {'conv_lstm, 6 places': (6,), 'conv_lstm, 2 x 3 places': (2, 3)}
}  # by row


class Peer(NamedTuple):
    """weights: as the library has them.

    ours: weights -> (layers, params), by rnnlab.interop where it takes them.
    results: (weights, xs [T, B, D], carries) -> outputs, carries and the gradients of half their sum of squares, by name.
    lengths: of the sequences.
    """

    weights: Any
    ours: Callable
    results: Callable
    lengths: tuple[int, ...] = LENGTHS


def claims(name: str, image: Image, peer: Peer) -> list[tuple[str, Any, Any]]:
    """What is compared, what the library here gives for the peer's weights, and what the peer gives."""
    at = point(peer.weights, peer.ours)
    ours, theirs = by_jax(partial(run, peer.ours, name), peer.lengths)(*at), peer.results(*at)
    if 'derivatives' in theirs:
        gradients = [ours.pop(what) for what in ('d weights', 'd inputs', 'd carry')]
        ours['derivatives'] = np.array(
            [along(gradients, direction) for direction in directions(at)]
        )
    return [(what, ours[what], theirs[what]) for what in theirs]


def point(weights, take: Callable) -> tuple[Any, np.ndarray, list[tuple]]:
    """Where values and gradients are taken: the weights, xs and carries."""
    rng = np.random.default_rng(1)
    layers, params = take(weights)
    xs, carries = rng.normal(0, 1, (T, B, D)), []
    for number, layer in enumerate(layers, 1):
        for side, cell in layer.cells.items():
            start = jax.eval_shape(
                partial(cell.carry, batch_shape=(B,)), params[f'layer_{number}'][side]
            )
            carries.append(
                tuple(rng.uniform(0.5, 1.5, part.shape).astype(part.dtype) for part in start)
            )
    return weights, xs, carries


def run(take: Callable, name: str, weights, xs, carries, lengths):
    """Layers here from given carries; a bidirectional layer takes none, so its directions are unrolled one by one."""
    layers, params = take(weights)
    after, carries = [], iter(carries)
    for number, layer in enumerate(layers, 1):
        both = []
        for side, cell in layer.cells.items():
            own = params[f'layer_{number}'][side]
            start = type(cell.carry(own, ()))(*next(carries))
            end, ys = unroll(
                cell, own, xs, start, lengths=jnp.array(lengths), reverse=side == 'backward'
            )
            both.append(ys)
            after.append((*end,))
        xs = MERGES[merge(name)](*both) if len(both) > 1 else both[0]
    return xs, after


def merge(name: str) -> str:
    """Side by side, channels of an image would lie otherwise in a library that keeps the image's axes."""
    return 'sum' if name == 'conv_lstm' else 'concat'


def half_squares(tree) -> Any:
    return sum((leaf.real**2 + leaf.imag**2).sum() for leaf in jax.tree.leaves(tree)) / 2


def by_jax(apply: Callable, lengths) -> Callable:
    """The results of a function (weights, xs, carries, lengths) -> (ys, carries) of JAX arrays, whatever it leaves in the padding."""
    within = np.arange(T)[:, None] < np.array(lengths)

    def value(weights, xs, carries):
        ys, after = apply(weights, xs, carries, lengths)
        ys = jnp.where(np.broadcast_to(within[..., None], ys.shape), ys, jnp.zeros_like(ys))
        return half_squares((ys, after)), (ys, after)

    gradient = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True))

    def results(*at):
        (_, (ys, after)), (weights, xs, carries) = gradient(*at)
        return {
            'outputs': ys,
            'carry': after,
            'd weights': weights,
            'd inputs': xs,
            'd carry': carries,
        }

    return results


def by_numpy(name: str, step: Callable) -> Callable:
    """The results of a loop over step(own, x, *carry) -> (carry, y), derivatives along two random directions by central differences."""

    def loop(own, series, carry):
        ys = []
        for x in series:
            carry, y = step(own, x, *carry)
            ys.append(y)
        return carry, np.stack(ys)

    def apply(weights, xs, carries):
        after: list[Any] = []
        for number, layer in enumerate(weights):
            rows = []
            for row, length in enumerate(LENGTHS):
                first, second = (
                    tuple(part[row] for part in carries[2 * number + side]) for side in (0, 1)
                )
                end, ys = loop(layer[0], xs[:length, row], first)
                end_back, back = loop(layer[1], xs[:length, row][::-1], second)
                both = (
                    ys + back[::-1]
                    if merge(name) == 'sum'
                    else np.concatenate([ys, back[::-1]], axis=-1)
                )
                rows.append((np.pad(both, [(0, T - length), (0, 0)]), end, end_back))
            xs, *ends = jax.tree.map(lambda *parts: np.stack(parts, axis=0), *rows)
            xs, after = xs.swapaxes(0, 1), [*after, *ends]
        return xs, after

    def results(*at):
        ys, after = apply(*at)

        def moved(direction, size):
            return half_squares(apply(*jax.tree.map(lambda x, t: x + size * t, at, direction)))

        derivatives = [derivative(partial(moved, direction)) for direction in directions(at)]
        return {'outputs': ys, 'carry': after, 'derivatives': np.array(derivatives)}

    return results


def derivative(function: Callable[[float], float]) -> float:
    """At 0, by the step that agrees best with the one before: longer ones miss what bends or has a kink, shorter ones round."""

    def by(step):
        return (
            sum(
                weight * (function(k * step) - function(-k * step))
                for k, weight in enumerate(WEIGHTS, 1)
            )
            / step
        )

    return min(pairwise(map(by, STEPS)), key=lambda pair: abs(pair[1] - pair[0]))[1]


def directions(point) -> list[Any]:
    """Two random directions of unit length from a point, a tree of arrays."""
    rng, found = np.random.default_rng(3), []
    for _ in range(2):
        direction = jax.tree.map(
            lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), point
        )
        size = np.sqrt(2 * half_squares(direction))
        found.append(jax.tree.map(lambda leaf, size=size: leaf / size, direction))
    return found


def along(gradients, direction) -> float:
    pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(direction), strict=True)
    return sum(float(np.sum(np.asarray(g) * t).real) for g, t in pairs)


def normal(shapes: Any, seed: int = 0) -> Any:
    """A tree of random arrays from one of arrays or of shapes."""
    rng = np.random.default_rng(seed)

    def is_leaf(like):
        return hasattr(like, 'shape') or (
            isinstance(like, list | tuple) and all(isinstance(size, int) for size in like)
        )

    return jax.tree.map(
        lambda like: rng.normal(0, 0.5, getattr(like, 'shape', like)), shapes, is_leaf=is_leaf
    )


def numpy(name: str, image: Image, layers: int = 2) -> Peer:
    """rnnlab/cells/reference.py; forward cells have Keras's start, backward ones torch's, which has two biases."""
    options: dict[str, Any] = {'image': image} if image else {}
    sizes = {'projection': PROJECTION} if name == 'lstm_projected' else options
    starts = [
        {'init': start} if 'init' in CELLS[name](H).hyperparameters else {}
        for start in ('keras', 'torch')
    ]
    forward, backward = (CELLS[name](H, **sizes, **start) for start in starts)
    layer, weights, width = bidirectional(forward, backward, merge=merge(name)), [], D
    rng = np.random.default_rng(0)
    for number in range(layers):
        own = layer.init(jax.random.key(number), width)
        own = jax.tree.map(lambda leaf: np.asarray(leaf) + rng.normal(0, 0.3, leaf.shape), own)
        weights.append((own['forward'], own['backward']))
        width = output_size(layer, own, width)

    def step(own, x, *carry):
        carry, _, y = REFERENCES[name](own, x, *carry, **options)
        return carry, y

    def ours(weights):
        return [layer] * layers, {
            f'layer_{number}': dict(zip(SIDES, pair, strict=True))
            for number, pair in enumerate(weights, 1)
        }

    return Peer(weights, ours, by_numpy(name, step))


def tf1(name: str, image: Image) -> Peer | None:
    """Its definitions (tf.nn.rnn_cell, tf.contrib.rnn), run as bidirectional_dynamic_rnn does with a sequence_length."""
    outputs = PROJECTION if name == 'lstm_projected' else H

    def variables(width):
        both = width + outputs
        lstm = {'kernel': (both, 4 * H), 'bias': (4 * H,)}
        return {
            'elman': {'kernel': (both, H), 'bias': (H,)},
            'irnn': {'kernel': (both, H), 'bias': (H,)},
            'indrnn': {'kernel_w': (width, H), 'kernel_u': (1, H), 'bias': (H,)},
            'lstm': lstm,
            'lstm_peephole': lstm | {'w_i_diag': (H,), 'w_f_diag': (H,), 'w_o_diag': (H,)},
            'lstm_coupled': {'W_0': (both, 3 * H), 'B': (3 * H,)},
            'lstm_projected': lstm | {'projection/kernel': (H, PROJECTION)},
            'gru_reset_before': {
                'gates/kernel': (both, 2 * H), 'gates/bias': (2 * H,), 'candidate/kernel': (both, H), 'candidate/bias': (H,),
            },
            'ugrnn': {'kernel': (both, 2 * H), 'bias': (2 * H,)},
        }.get(name)  # fmt: skip

    if variables(D) is None:
        return None
    weights = [
        (normal(variables(width), 0), normal(variables(width), 1)) for width in (D, 2 * outputs)
    ]
    take = partial(interop.from_tf1, cell=name, forget_bias=FORGET_BIAS)
    return Peer(weights, take, by_numpy(name, partial(tf1_step, name)))


def tf1_step(name: str, own: dict[str, Any], x, *carry):
    """One step of the cell as TF1 defines it, from the state c, h or h: the new state and the output."""
    h = carry[-1]
    xh = np.concatenate([x, h])
    if name == 'indrnn':
        h = np.maximum(x @ own['kernel_w'] + own['kernel_u'][0] * h + own['bias'], 0)
        return (h,), h
    if name == 'gru_reset_before':
        r, u = np.split(sigmoid(xh @ own['gates/kernel'] + own['gates/bias']), 2)
        candidate = np.tanh(
            np.concatenate([x, r * h]) @ own['candidate/kernel'] + own['candidate/bias']
        )
        h = u * h + (1 - u) * candidate
        return (h,), h
    if name == 'lstm_coupled':
        j, f, o = np.split(xh @ own['W_0'] + own['B'], 3)
        f = sigmoid(f + FORGET_BIAS)
        c = f * carry[0] + (1 - f) * np.tanh(j)
        h = sigmoid(o) * np.tanh(c)
        return (c, h), h
    z = xh @ own['kernel'] + own['bias']
    if name in ('elman', 'irnn'):
        h = np.tanh(z) if name == 'elman' else np.maximum(z, 0)
        return (h,), h
    if name == 'ugrnn':
        g, candidate = np.split(z, 2)
        g = sigmoid(g + FORGET_BIAS)
        h = g * h + (1 - g) * np.tanh(candidate)
        return (h,), h
    i, j, f, o = np.split(z, 4)
    see_i, see_f, see_o = (own.get(f'w_{gate}_diag', 0) for gate in 'ifo')
    c = sigmoid(f + FORGET_BIAS + see_f * carry[0]) * carry[0] + sigmoid(
        i + see_i * carry[0]
    ) * np.tanh(j)
    h = sigmoid(o + see_o * c) * np.tanh(c)
    if name == 'lstm_projected':
        h = h @ own['projection/kernel']
    return (c, h), h
