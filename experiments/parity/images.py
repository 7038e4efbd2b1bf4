"""Convolutional cells: rnnlab flattens images [*image, C] to [P C], libraries keep the axes."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.harness import SIDES, D, H, Image, Tree
from rnnlab.cells import CELLS
from rnnlab.interop import Weights
from rnnlab.interop.weights import ordered
from rnnlab.recurrence import bidirectional


def input_sizes(image: Image) -> tuple[int, int]:
    """The inputs of both layers, flattened."""
    return D, math.prod(image) * H if image else 2 * H


def channels(width: int, image: Image) -> int:
    return width // math.prod(image)


def unflatten(tree: Tree, image: Image) -> Tree:
    """Arrays [..., P C] as [..., *image, C]; unchanged without an image."""
    return jax.tree.map(
        lambda x: x.reshape(*x.shape[:-1], *image, channels(x.shape[-1], image)), tree
    )


def flatten(tree: Tree, image: Image) -> Tree:
    return jax.tree.map(lambda x: x.reshape(*x.shape[: x.ndim - len(image) - 1], -1), tree)


def conv_lstm(image: Image, pairs: Sequence[Sequence[Sequence[Tree]]]) -> Weights:
    """Layers of conv_lstm with peepholes of 0.

    pairs: for each layer and direction the kernel of x, that of h and the bias, gates i, f, g, o.
    """
    layer = bidirectional(*(CELLS['conv_lstm'](H, image=image) for _ in SIDES), merge='sum')
    peephole = np.zeros((3, math.prod(image) * H))

    def params(kernel: Tree, recurrent: Tree, bias: Tree) -> dict[str, Tree]:
        joint = jnp.concatenate([kernel, recurrent], axis=-2)
        return {'kernel': joint, 'bias': bias, 'peephole': peephole}

    layers = ({s: params(*own) for s, own in zip(SIDES, pair, strict=True)} for pair in pairs)
    return Weights([layer, layer], {f'layer_{n}': own for n, own in enumerate(layers, 1)})


def convolution(
    of_input: dict[str, Tree], recurrent: dict[str, Tree], kernel: str, bias: str
) -> tuple[Tree, Tree, Tree]:
    """The kernels and the bias of two convolutions as Flax and Haiku have them: gates i, g, f, o,
    and 1 added to f at every step."""
    forget = np.repeat([0.0, 1.0, 0.0, 0.0], H)
    kernels = [ordered(each[kernel], 'igfo', 'ifgo') for each in (of_input, recurrent)]
    both = ordered(of_input[bias] + recurrent[bias], 'igfo', 'ifgo')
    return kernels[0], kernels[1], both + forget
