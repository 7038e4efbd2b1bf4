"""Labelled sequences of numbers, of any length and width: read from arrays or a table, split by label, standardised."""

import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnlab.data.dataset import Dataset, Split, moments, take
from rnnlab.data.table import FIRST, column, complete, numbers, read_table
from rnnlab.errors import InputError, first_line

SHUFFLE_SEED = 0  # names the one order that is split
TEST = '_test'  # what the arrays of a test part end in
OBJECTS = {  # what to do with an array of Python objects
    'x': 'np.concatenate the sequences, and give their lengths beside them',
    'y': 'y.astype(str) makes texts of them',
    'lengths': 'lengths.astype(int) makes numbers of them',
}


class Sequences(NamedTuple):
    """Sequences as a file has them, one behind the other."""

    values: np.ndarray  # float64 [steps of all, D]
    lengths: np.ndarray  # int [N], steps of each
    columns: tuple[str, ...]  # the names of the D inputs
    names: list[Any]  # what a table calls each sequence, or its place in the arrays
    labels: list[int | str] | None  # of each sequence; None: not asked for


class Labelled(NamedTuple):
    dataset: Dataset
    test_names: list[Any]  # of the sequences in its test part


def read_npz(path: str | Path, labelled: bool = True) -> tuple[Sequences, Sequences | None]:
    """(sequences of an .npz file, those of its own test part or None). Its arrays are

    x: numbers [N, T, D], or [N, T] where D = 1. With `lengths` [N], what stands behind a sequence's end is padding, whatever it is.
        Or all sequences one behind the other, [steps, D] or [steps], with `lengths` [N] that add up to the steps. An x of two axes
        is the latter if its `lengths` add up to its rows, and else [N, T].
    y: the labels [N], whole numbers or texts.
    x_test, y_test, lengths_test: the same of a test part, where there is one.

    Inputs are called x0, x1 and so on. Not `labelled`: x and lengths alone are read. Raises InputError for all that is none of this,
    and a number that is not finite.
    """
    names = [
        name + part
        for part in (('', TEST) if labelled else ('',))
        for name in OBJECTS
        if labelled or name != 'y'
    ]
    arrays = load(Path(path), names)
    whole = of_arrays(path, arrays, '', labelled)
    if not any(name.endswith(TEST) for name in arrays):
        return whole, None
    test = of_arrays(path, arrays, TEST, labelled)
    if test.columns != whole.columns:
        raise InputError(
            f'{path}: x has {len(whole.columns)} numbers a step, and x_test {len(test.columns)}'
        )
    return whole, test


def load(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Those of the arrays that there are in an .npz file."""
    if not path.is_file():
        raise InputError(f'there is no file {path}')
    if not zipfile.is_zipfile(path):
        raise InputError(f'{path} is no .npz file, as np.savez writes one; a table goes with --csv')
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            if strange := {*file.files} - {name + part for name in OBJECTS for part in ('', TEST)}:
                arrays_read = f'{", ".join(OBJECTS)}, and these with {TEST} of a test part'
                raise InputError(
                    f'{path} has an array {min(strange)!r}, which is not read: {arrays_read}; name it so or leave it out'
                )
            for name in names:
                if name in file.files:
                    arrays[name] = np.asarray(file[name])
    except ValueError as error:
        if 'Object arrays' not in str(error):
            raise InputError(f'{path} cannot be read: {first_line(error)}') from error
        raise InputError(
            f'{path}: {name} holds Python objects, which are not read; {OBJECTS[name.removesuffix(TEST)]}'
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f'{path} is damaged: {first_line(error)}') from error
    return arrays


def of_arrays(
    path: str | Path, arrays: dict[str, np.ndarray], part: str, labelled: bool
) -> Sequences:
    for name in ('x', 'y') if labelled else ('x',):
        if name + part not in arrays:
            raise InputError(
                f'{path} has no array {name}{part}; it takes x{part} and y{part}, and lengths{part} where these differ'
            )
    x, lengths = arrays[f'x{part}'], arrays.get(f'lengths{part}')
    where = f'{path}: x{part}'
    if x.dtype.kind not in 'biuf' or not x.size:
        raise InputError(f'{where} should hold numbers, and holds {x.size} of {x.dtype}')
    values, lengths = one_behind_the_other(where, x, lengths)
    values = values.astype(np.float64)
    if len(strange := np.argwhere(~np.isfinite(values))):
        row, feature = strange[0]
        number = np.searchsorted(np.cumsum(lengths), row, side='right')
        place = f'sequence {number}, step {row - lengths[:number].sum()}, column {feature} (counted from 0)'
        raise InputError(
            f'{where} has {values[row, feature]} in {place}: mend it, or leave the sequence out'
        )
    labels = None
    if labelled:
        y = arrays[f'y{part}']
        if y.shape != lengths.shape:
            hint = (
                ''
                if f'lengths{part}' in arrays
                else f'; sequences one behind the other need lengths{part}'
            )
            raise InputError(
                f'{path}: y{part} {list(y.shape)} should have a label for each of {len(lengths)} sequences{hint}'
            )
        labels = plain(f'{path}: y{part}', y.tolist())
    return Sequences(
        values,
        lengths,
        tuple(f'x{at}' for at in range(values.shape[1])),
        list(range(len(lengths))),
        labels,
    )


def one_behind_the_other(
    where: str, x: np.ndarray, lengths: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(the steps of all sequences [steps, D], lengths [N]) of an x as read_npz takes it."""
    shape = f'{where} {list(x.shape)}'
    if lengths is None:
        if x.ndim not in (2, 3):
            raise InputError(
                f'{shape} should be [N, T, D] or [N, T]; sequences one behind the other, [steps, D], need lengths too'
            )
        lengths = np.full(len(x), x.shape[1])
    if lengths.ndim != 1 or lengths.dtype.kind not in 'iu' or not len(lengths):
        raise InputError(
            f'{shape} has lengths {list(lengths.shape)} of {lengths.dtype}, which should be whole numbers [N]'
        )
    if lengths.min() < 1:
        raise InputError(
            f'{shape}: sequence {lengths.argmin()} (counted from 0) has length {lengths.min()}; leave it out'
        )
    lengths, steps = lengths.astype(np.int64), int(lengths.sum())
    if x.ndim <= 2 and len(x) == steps:
        return x.reshape(steps, -1), lengths
    if x.ndim not in (2, 3) or len(x) != len(lengths):
        there = f'there are {len(lengths)} lengths, {steps} steps in all'
        raise InputError(
            f'{shape}: {there}; it should be padded, [N, T, D] or [N, T], or one sequence behind the other, [steps, D]'
        )
    if lengths.max() > x.shape[1]:
        raise InputError(
            f'{shape}: sequence {lengths.argmax()} (counted from 0) has length {lengths.max()}, more than there are steps'
        )
    return x.reshape(*x.shape[:2], -1)[within(lengths, x.shape[1])], lengths


def within(lengths: np.ndarray, time_steps: int) -> np.ndarray:
    """Which steps are a sequence's own, bool [N, T]."""
    return np.arange(time_steps) < lengths[:, None]


def read_rows(
    path: str | Path, name: str, label: str | None, inputs: Sequence[str] = ()
) -> Sequences:
    """Sequences of a table in a .csv, .xlsx or .parquet file, a row a time step.

    name: the column that says which sequence a row belongs to; its rows are in order of time, and others may stand between them.
    label: the column with its label, the same in all of its rows; None: labels are not asked for.
    inputs: the columns with its numbers; none: all others.

    Raises InputError, mostly with the line, for a file that cannot be read or is none of this.
    """
    table = read_table(Path(path))
    ids = column(path, table, name, '; --id=NAME says which one names the sequence')
    complete(path, name, ids)
    if not ids:
        raise InputError(f'{path} has no rows')
    given = (
        None
        if label is None
        else column(path, table, label, '; --label=NAME says which one has the label')
    )
    uses: dict[str | None, str] = {}
    for flag, of in (
        ('id', name),
        ('label', label),
        *(('inputs', of) for of in dict.fromkeys(inputs)),
    ):
        if of in uses:
            raise InputError(f'--{uses[of]} and --{flag} both name {of!r}; a column has one use')
        uses[of] = flag
    columns = tuple(
        dict.fromkeys(inputs or [other for other in table if other not in (name, label)])
    )
    if not columns:
        raise InputError(
            f'{path} has {", ".join(table)}: there should be columns of numbers beside {name!r} and {label!r}'
        )
    try:
        values = np.stack(
            [numbers(path, other, column(path, table, other)) for other in columns], axis=1
        )
    except InputError as error:
        raise (
            error if inputs else InputError(f'{error}; --inputs=A,B reads those columns alone')
        ) from error

    places: dict[Any, int] = {}
    number = np.array([places.setdefault(of, len(places)) for of in ids])
    order = np.argsort(number, kind='stable')
    lengths = np.bincount(number)
    labels = None
    if given is not None:
        assert label is not None
        complete(path, label, given)
        first = order[np.cumsum(lengths) - lengths]
        for row, sequence in enumerate(number):
            if given[row] != given[first[sequence]]:
                lines = f'{given[first[sequence]]!r} in line {first[sequence] + FIRST} and {given[row]!r} in line {row + FIRST}'
                raise InputError(
                    f'{path}: sequence {ids[row]!r} has the label {lines}; it should have one'
                )
        labels = plain(path, [given[row] for row in first])
    return Sequences(values[order], lengths, columns, list(places), labels)


def plain(where: str | Path, labels: list[Any]) -> list[int | str]:
    """Whole numbers, if all are, and else texts."""
    for label in labels:
        if not isinstance(label, int | str):
            raise InputError(f'{where} has the label {label!r}; labels are whole numbers or texts')
    return (
        labels if all(type(label) is int for label in labels) else [str(label) for label in labels]
    )


def labelled_sequences(
    whole: Sequences, test: Sequences | None = None, *, split: Sequence[float] = (0.8, 0.1, 0.1)
) -> Labelled:
    """Sequences split by label, into classes in sorted order, with mean 0 and deviation 1 in the training part.

    split: how much of each label trains, validates and tests, in proportion; with a test part of its own the first two. Who is in which
        part follows from one fixed shuffle; each has every label.

    Raises InputError for a split that is none, a single label, one with fewer sequences than there are parts, a label that the test
    part alone has, and an input that is constant in the training part.
    """
    assert whole.labels is not None
    if len(split) != 3 or not all(0 < part < math.inf for part in split):
        raise InputError(
            f'--split={",".join(f"{part:g}" for part in split)} should be three numbers above zero: train, validation, test'
        )
    shares = split if test is None else split[:2]
    counts = Counter(whole.labels)
    classes = tuple(sorted(counts))
    if len(classes) == 1:
        raise InputError(
            f'every sequence has the label {classes[0]!r}; there should be two or more labels to tell apart'
        )
    for label in classes:
        if counts[label] < len(shares):
            raise InputError(
                f'label {label!r} has {counts[label]} sequence(s), and each of the {len(shares)} parts needs one of it'
            )
    place = {label: number for number, label in enumerate(classes)}
    labels = np.array([place[label] for label in whole.labels], np.int32)
    parts = stratified(labels, shares)
    steps = np.repeat(np.isin(np.arange(len(labels)), parts[0]), whole.lengths)
    figures = zip(
        whole.columns,
        *(part.tolist() for part in moments(whole.columns, whole.values[steps])),
        strict=True,
    )
    standard = {name: {'mean': mean, 'deviation': deviation} for name, mean, deviation in figures}
    inputs, lengths = standardised(whole, standard)
    train, validation, *rest = (take(Split(inputs, labels, lengths), part) for part in parts)
    names = [whole.names[at] for at in parts[-1]]
    if test is not None:
        assert test.labels is not None
        if alien := [label for label in test.labels if label not in counts]:
            raise InputError(
                f'the test part has the label {alien[0]!r}, which no other sequence has'
            )
        inputs, lengths = standardised(test, standard)
        rest, names = (
            [Split(inputs, np.array([place[label] for label in test.labels], np.int32), lengths)],
            test.names,
        )
    return Labelled(
        Dataset(train, validation, rest[0], len(classes), classes=classes, standard=standard), names
    )


def stratified(labels: np.ndarray, shares: Sequence[float]) -> list[np.ndarray]:
    """The places of each part's examples: of every class, which has as many or more of them as there are parts, its share, at least one."""
    order = np.random.RandomState(SHUFFLE_SEED).permutation(len(labels))
    part = np.empty(len(labels), int)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        counts = np.maximum(1, np.round(len(members) * np.array(shares) / sum(shares))).astype(int)
        counts[counts.argmax()] += len(members) - counts.sum()
        part[members] = np.repeat(np.arange(len(shares)), counts)
    return [order[part[order] == number] for number in range(len(shares))]


def standardised(
    sequences: Sequences, standard: dict[str, dict[str, float]]
) -> tuple[np.ndarray, np.ndarray | None]:
    """(inputs [N, T, D] with zeros behind what is shorter, lengths [N] or None where all are T long)."""
    mean, deviation = (
        np.array([figures[kind] for figures in standard.values()]) for kind in ('mean', 'deviation')
    )
    inside = within(sequences.lengths, max(sequences.lengths))
    inputs = np.zeros((*inside.shape, len(standard)))
    inputs[inside] = (sequences.values - mean) / deviation
    return inputs, None if inside.all() else sequences.lengths.astype(np.int32)
