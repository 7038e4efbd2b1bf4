"""The records that all datasets are made of, and images as sequences.

Letters in shapes: N examples, T time steps, D inputs, K outputs, C columns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnlab.errors import InputError, known

PERMUTATION_SEED = 92916  # of the one permutation of the view `permuted`
Array = np.ndarray | jax.Array


class Split(NamedTuple):
    """Examples: NumPy arrays as loaded, JAX arrays once on the device."""

    inputs: Array  # numbers [N, T, D], or ids int [N, T]
    labels: Array  # classes int [N] or [N, T], or numbers [N, K] or [N, T, K]
    lengths: Array | None = None  # int [N]; None: every sequence has T steps


def take(split: Split, index: np.ndarray) -> Split:
    """The examples with these indices."""
    lengths = None if split.lengths is None else split.lengths[index]
    return Split(split.inputs[index], split.labels[index], lengths)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    train: Any  # a Split; None if examples are generated during training
    validation: Split | None
    test: Split | None
    tests: Mapping[int, Split] = field(default_factory=dict)  # further test splits, by length
    outputs: int  # number of classes, or of predicted numbers
    scale: float = 1.0  # factor that the model applies to the inputs, so that bytes stay bytes
    vocabulary: tuple[str, ...] | None = None  # the token of each id
    baseline: float | None = None  # loss of the memoryless baseline; None: unknown
    classes: tuple[int | str, ...] | None = None  # names of the classes
    standard: dict[str, dict[str, float]] | None = None  # 'mean' and 'std' removed, by input


def moments(columns: Sequence[str], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean [C], standard deviation [C]) of the training part, rows [N, C].

    Raises InputError for a column that cannot be standardised: constant, or beyond float64.
    """
    with np.errstate(over='ignore', invalid='ignore'):
        mean, std = values.mean(axis=0), values.std(axis=0)
    for name, size, spread in zip(columns, std, np.ptp(values, axis=0), strict=True):
        if spread == 0:
            raise InputError(
                f'column {name!r} is constant in the training part and teaches nothing: '
                f'leave it out'
            )
        if not 0 < size < math.inf:
            raise InputError(
                f'column {name!r} has numbers too large or too small to be standardised: '
                f'give it in other units'
            )
    return mean, std


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Labelled images, bytes [N, height, width] and classes int [N]."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    brightest: int  # the byte that is scaled to 1
    held_out: int  # default number of training images that validate, the last ones


def rows(images: np.ndarray) -> np.ndarray:
    """A row of the image per step, from the top: [N, height, width]."""
    return images


def pixels(images: np.ndarray) -> np.ndarray:
    """A pixel per step, row by row: [N, height * width, 1]."""
    return images.reshape(len(images), -1, 1)


def permuted(images: np.ndarray) -> np.ndarray:
    """A pixel per step, in one fixed random order: [N, height * width, 1]."""
    order = np.random.RandomState(PERMUTATION_SEED).permutation(images[0].size)
    return pixels(images)[:, order]


VIEWS = {'rows': rows, 'pixels': pixels, 'permuted': permuted}


def image_sequences(images: Images, view: str = 'rows', validation: int | None = None) -> Dataset:
    """Images as sequences; the last `validation` training images validate.

    view: a name in VIEWS. validation: None is the number that the images come with.
    """
    known('view', view, VIEWS)
    kept = training_examples(
        images.train_labels, images.held_out if validation is None else validation
    )
    inputs, labels = VIEWS[view](images.train), images.train_labels
    return Dataset(
        train=Split(inputs[:kept], labels[:kept]),
        validation=Split(inputs[kept:], labels[kept:]) if kept < len(labels) else None,
        test=Split(VIEWS[view](images.test), images.test_labels),
        outputs=10,
        scale=1 / images.brightest,
    )


def training_examples(labels: np.ndarray, held_out: int) -> int:
    """The number of training examples left by `held_out` that validate."""
    if not 0 <= held_out < len(labels):
        raise InputError(
            f'`validation={held_out}` must leave some of the {len(labels)} training examples '
            f'to train on'
        )
    return len(labels) - held_out
