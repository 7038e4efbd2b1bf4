"""Labelled sequences as a dataset: split by label, standardised, padded.

Letters in shapes: N sequences, T time steps, D inputs.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnnlab.data.dataset import Dataset, Split, moments, take
from rnnlab.data.sequences import Sequences, valid
from rnnlab.errors import InputError

SHUFFLE_SEED = 0  # of the one order that is split
Classes = tuple[int | str, ...]
Standard = dict[str, dict[str, float]]  # 'mean' and 'std' of each input


class Labelled(NamedTuple):
    dataset: Dataset
    test_names: Sequence[object]  # of the sequences in its test part


def labelled_sequences(
    whole: Sequences, test: Sequences | None = None, *, split: Sequence[float] = (0.8, 0.1, 0.1)
) -> Labelled:
    """Sequences as padded inputs [N, T, D] of mean 0 and standard deviation 1 in the training part.

    split: the proportions of each label in the training, validation and test part; the third is
        not used if there are `test` sequences. One fixed shuffle decides the parts, and each part
        has every label. Classes are the labels in sorted order.

    Raises InputError for a bad split, a single label, a label with fewer sequences than there are
    parts, a label in `test` only, and an input that is constant in the training part.
    """
    if len(split) != 3 or not all(0 < part < math.inf for part in split):
        raise InputError(
            f'`split={",".join(f"{part:g}" for part in split)}` should be three numbers above '
            f'zero: train, validation, test'
        )
    fractions = split if test is None else split[:2]
    classes = find_classes(whole, len(fractions))
    parts = stratified(class_ids(whole, classes), fractions)
    standard = standard_of(whole, parts[0])
    everyone = examples(whole, classes, standard)
    splits = [take(everyone, part) for part in parts]
    names: Sequence[object] = [whole.names[at] for at in parts[-1]]
    if test is not None:
        splits.append(examples(test, classes, standard))
        names = test.names
    train, validation, test_part = splits
    dataset = Dataset(
        train=train,
        validation=validation,
        test=test_part,
        outputs=len(classes),
        classes=classes,
        standard=standard,
    )
    return Labelled(dataset, names)


def find_classes(whole: Sequences, parts: int) -> Classes:
    """The labels in sorted order; InputError if there is one, or too few sequences of one."""
    counts = Counter(whole.labels)
    classes = tuple(sorted(counts))
    if len(classes) == 1:
        raise InputError(
            f'every sequence has the label {classes[0]!r}; there should be two or more labels'
        )
    for label in classes:
        if counts[label] < parts:
            raise InputError(
                f'label {label!r} has {counts[label]} sequence(s), and each of the {parts} parts '
                f'needs one of it'
            )
    return classes


def class_ids(sequences: Sequences, classes: Classes) -> np.ndarray:
    """The class of each sequence, int [N]; InputError for a label that is no class."""
    index = {label: number for number, label in enumerate(classes)}
    labels = sequences.labels or []
    if unknown := [label for label in labels if label not in index]:
        raise InputError(f'the test part has the label {unknown[0]!r}, which no other sequence has')
    return np.array([index[label] for label in labels], np.int32)


def stratified(labels: np.ndarray, fractions: Sequence[float]) -> list[np.ndarray]:
    """Indices of the examples of each part, which has its fraction of every class.

    labels: classes int [N], of each at least as many examples as there are parts.
    """
    order = np.random.RandomState(SHUFFLE_SEED).permutation(len(labels))
    part = np.empty(len(labels), int)  # of each example
    for label in np.unique(labels):
        members = order[labels[order] == label]
        part[members] = np.repeat(np.arange(len(fractions)), part_sizes(len(members), fractions))
    return [order[part[order] == number] for number in range(len(fractions))]


def part_sizes(count: int, fractions: Sequence[float]) -> np.ndarray:
    """Sizes of the parts that `count` examples are split into, each at least 1: int [parts]."""
    sizes = np.maximum(1, np.round(count * np.array(fractions) / sum(fractions))).astype(int)
    sizes[sizes.argmax()] += count - sizes.sum()  # what rounding added or left out
    return sizes


def standard_of(sequences: Sequences, index: np.ndarray) -> Standard:
    """Mean and standard deviation of each input over the sequences with these indices."""
    inside = np.repeat(np.isin(np.arange(len(sequences.lengths)), index), sequences.lengths)
    mean, std = moments(sequences.columns, sequences.values[inside])
    names = zip(sequences.columns, mean.tolist(), std.tolist(), strict=True)
    return {name: {'mean': center, 'std': spread} for name, center, spread in names}


def standardised(sequences: Sequences, standard: Standard) -> tuple[np.ndarray, np.ndarray | None]:
    """(inputs [N, T, D], zero where padded, lengths [N] or None if all are T)."""
    mean, std = (
        np.array([moment[name] for moment in standard.values()]) for name in ('mean', 'std')
    )
    inside = valid(sequences.lengths, max(sequences.lengths))
    inputs = np.zeros((*inside.shape, len(standard)))
    inputs[inside] = (sequences.values - mean) / std
    return inputs, None if inside.all() else sequences.lengths.astype(np.int32)


def examples(sequences: Sequences, classes: Classes, standard: Standard) -> Split:
    inputs, lengths = standardised(sequences, standard)
    return Split(inputs, class_ids(sequences, classes), lengths)
