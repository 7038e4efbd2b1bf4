"""The record behind every dataset, and how images become sequences."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnlab.errors import InputError, known

PERMUTATION_SEED = 92916  # names the one permutation of the view `permuted`


class Split(NamedTuple):
    """Examples. Arrays of NumPy as loaded, of JAX once on the device."""

    inputs: np.ndarray | jax.Array  # [N, T, D], or ids [N, T]
    labels: (
        np.ndarray | jax.Array
    )  # classes int [N], or [N, T] of every step; or numbers [N, K], [N, T, K]
    lengths: np.ndarray | jax.Array | None = None  # int [N]; None: every sequence is T long


def take(split: Split, index: np.ndarray) -> Split:
    """The examples at those places."""
    return Split(
        split.inputs[index],
        split.labels[index],
        None if split.lengths is None else split.lengths[index],
    )


class Dataset(NamedTuple):
    train: Any  # a Split; None where examples are made while training
    validation: Split | None
    test: Split | None
    outputs: int  # classes, or numbers
    scale: float = 1.0  # what inputs are multiplied by: bytes stay bytes until then
    vocabulary: tuple[str, ...] | None = None  # the words that ids stand for
    baseline: float | None = None  # the loss of what knows nothing of the sequence; None: not known
    classes: tuple[int | str, ...] | None = None  # their names
    standard: dict[str, dict[str, float]] | None = (
        None  # 'mean' and 'deviation' by which each input was standardised, by its name
    )


def moments(columns: Sequence[str], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean [C], deviation [C]) of rows [N, C] of the training part, by which all rows are standardised.

    Raises InputError for a column of which that cannot be: one that is constant, or has numbers beyond all measure.
    """
    with np.errstate(over='ignore', invalid='ignore'):
        mean, deviation = values.mean(axis=0), values.std(axis=0)
    for name, size, spread in zip(columns, deviation, np.ptp(values, axis=0), strict=True):
        if spread == 0:
            raise InputError(
                f'column {name!r} is constant in the training part: there is nothing to learn from it; leave it out'
            )
        if not 0 < size < math.inf:
            raise InputError(
                f'column {name!r} has numbers too large or too small to be standardised; give it in other units'
            )
    return mean, deviation


class Images(NamedTuple):
    """Labelled images as a loader gives them: bytes [N, height, width]."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    brightest: int  # the value that becomes 1
    held_out: int  # how many training images validate, the last ones, where nobody says otherwise


def rows(images: np.ndarray) -> np.ndarray:
    """A row a step, from the top: [N, height, width]."""
    return images


def pixels(images: np.ndarray) -> np.ndarray:
    """A pixel a step, row by row: [N, height * width, 1]."""
    return images.reshape(len(images), -1, 1)


def permuted(images: np.ndarray) -> np.ndarray:
    """A pixel a step in an order that is always the same: [N, height * width, 1]."""
    order = np.random.RandomState(PERMUTATION_SEED).permutation(images[0].size)
    return pixels(images)[:, order]


VIEWS = {'rows': rows, 'pixels': pixels, 'permuted': permuted}


def image_sequences(images: Images, view: str = 'rows', validation: int | None = None) -> Dataset:
    """Images as sequences; the last `validation` training images validate (None: as many as the dataset holds out)."""
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
    """How many are left to train on."""
    if not 0 <= held_out < len(labels):
        raise InputError(
            f'validation={held_out} must leave some of the {len(labels)} training examples to train on'
        )
    return len(labels) - held_out
