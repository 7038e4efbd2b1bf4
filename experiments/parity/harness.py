"""Runs the same two bidirectional layers here and elsewhere, and gives what is to be compared.

A counterpart is a function (cell, image) -> Peer, or None where a library has no such cell. Those
of NumPy are in reference.py, of TF1 in tf1.py, of the libraries in libraries.py.

Sequences have unequal lengths. Weights are laid out as the other side has them. Carries are a list
of tuples, each in the field order of rnnlab's carry: both directions of layer 1, then of layer 2.
Everything is in float64 and nothing is 0.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnlab.cells.base import Tree
from rnnlab.interop import Weights
from rnnlab.recurrence import MERGES, unroll

T, B, D, H, PROJECTION = 4, 2, 6, 3, 2
SIDES = 'forward', 'backward'
LENGTHS = (T, 2)
TOLERANCE = 1e-10  # relative to the greatest entry of each array

Image = tuple[int, ...]  # the shape of a conv_lstm's image; () for other cells
Point = tuple[Tree, np.ndarray, list[tuple[np.ndarray, ...]]]  # weights, xs [T, B, D], carries
Results = dict[str, Tree]
IMAGES: dict[str, dict[str, Image]] = {  # by row of the table
    'conv_lstm': {'conv_lstm, 6 places': (6,), 'conv_lstm, 2 x 3 places': (2, 3)}
}


class Peer(NamedTuple):
    """The other side of a comparison.

    weights: laid out as the library has them.
    convert: weights -> rnnlab's layers and params, by rnnlab.interop where it supports the cell.
    results: (weights, xs, carries) -> outputs, final carries and the gradients of half the sum of
        their squares, by name; derivatives along `directions` in place of gradients.
    lengths: of the sequences.
    """

    weights: Tree
    convert: Callable[[Tree], Weights]
    results: Callable[[Tree, Tree, Tree], Results]
    lengths: tuple[int, ...] = LENGTHS


def comparisons(name: str, peer: Peer) -> list[tuple[str, Tree, Tree]]:
    """What is compared, rnnlab's result for the peer's weights, and the peer's."""
    at = make_point(peer.weights, peer.convert)
    ours = by_jax(partial(run, peer.convert, name), peer.lengths)(*at)
    theirs = peer.results(*at)
    if 'derivatives' in theirs:
        gradients = [ours.pop(what) for what in ('d weights', 'd inputs', 'd carry')]
        ours['derivatives'] = np.array([dot(gradients, each) for each in directions(at)])
    return [(what, ours[what], theirs[what]) for what in theirs]


def make_point(weights: Tree, convert: Callable[[Tree], Weights]) -> Point:
    """The weights, and random inputs and initial carries."""
    rng = np.random.default_rng(1)
    layers, params = convert(weights)
    xs = rng.normal(0, 1, (T, B, D))
    carries = []
    for number, layer in enumerate(layers, 1):
        for side, cell in layer.cells.items():
            make = partial(cell.carry, params[f'layer_{number}'][side], (B,))
            shapes = jax.eval_shape(make)
            uniform = (rng.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype) for leaf in shapes)
            carries.append(tuple(uniform))
    return weights, xs, carries


def run(
    convert: Callable[[Tree], Weights],
    name: str,
    weights: Tree,
    xs: Tree,
    carries: Tree,
    lengths: Sequence[int],
) -> tuple[Tree, list[tuple[Tree, ...]]]:
    """rnnlab's layers: outputs and final carries.

    A bidirectional layer takes no initial carry, so that its directions are unrolled one by one.
    """
    layers, params = convert(weights)
    after, carries = [], iter(carries)
    for number, layer in enumerate(layers, 1):
        outputs = []
        for side, cell in layer.cells.items():
            own = params[f'layer_{number}'][side]
            initial = type(cell.carry(own, ()))(*next(carries))
            backward = side == 'backward'
            end, ys = unroll(cell, own, xs, initial, lengths=jnp.array(lengths), reverse=backward)
            outputs.append(ys)
            after.append((*end,))
        xs = MERGES[merge(name)](*outputs) if len(outputs) > 1 else outputs[0]
    return xs, after


def merge(name: str) -> str:
    """How directions are merged: concatenated, a library that keeps the axes of an image would lay
    out its channels otherwise."""
    return 'sum' if name == 'conv_lstm' else 'concat'


def by_jax(
    apply: Callable[[Tree, Tree, Tree, Sequence[int]], tuple[Tree, Tree]], lengths: Sequence[int]
) -> Callable[[Tree, Tree, Tree], Results]:
    """The results of a function (weights, xs, carries, lengths) -> (outputs, carries) of JAX.

    Outputs past a sequence's length are ignored.
    """
    within = np.arange(T)[:, None] < np.array(lengths)

    def value(weights: Tree, xs: Tree, carries: Tree) -> Tree:
        ys, after = apply(weights, xs, carries, lengths)
        ys = jnp.where(np.broadcast_to(within[..., None], ys.shape), ys, jnp.zeros_like(ys))
        return half_squares((ys, after)), (ys, after)

    gradient = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True))

    def results(weights: Tree, xs: Tree, carries: Tree) -> Results:
        (_, (ys, after)), gradients = gradient(weights, xs, carries)
        names = ('d weights', 'd inputs', 'd carry')
        return {'outputs': ys, 'carry': after, **dict(zip(names, gradients, strict=True))}

    return results


def half_squares(tree: Tree) -> Tree:
    return sum((leaf.real**2 + leaf.imag**2).sum() for leaf in jax.tree.leaves(tree)) / 2


def directions(at: Tree) -> list[Tree]:
    """Two random directions of unit length from a point."""
    rng = np.random.default_rng(3)

    def direction() -> Tree:
        tree = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(x.dtype), at)
        size = np.sqrt(2 * half_squares(tree))
        return jax.tree.map(lambda leaf: leaf / size, tree)

    return [direction(), direction()]


def dot(gradients: Tree, direction: Tree) -> float:
    """The derivative along a direction."""
    pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(direction), strict=True)
    return sum(float(np.sum(np.asarray(g) * t).real) for g, t in pairs)


def normal(shapes: Tree, seed: int = 0) -> Tree:
    """A tree of random arrays, from one of arrays or of shapes."""
    rng = np.random.default_rng(seed)

    def is_leaf(like: Tree) -> bool:
        is_shape = isinstance(like, list | tuple) and all(isinstance(size, int) for size in like)
        return is_shape or hasattr(like, 'shape')

    def array(like: Tree) -> Tree:
        return rng.normal(0, 0.5, getattr(like, 'shape', like))

    return jax.tree.map(array, shapes, is_leaf=is_leaf)
