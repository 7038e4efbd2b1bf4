"""Sequences of numbers, of any length and width, read from an .npz file or a table.

Letters in shapes: N sequences, T time steps, D inputs, S time steps of all sequences together.
"""

import re
import zipfile
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnlab.data.table import Table, read_table
from rnnlab.errors import InputError, first_line, listed

TEST = '_test'  # suffix of the arrays of a test part
HINTS = {  # array -> what to do with one of Python objects
    'x': 'np.concatenate the sequences, and give their lengths too',
    'y': 'y.astype(str) makes strings of them',
    'lengths': 'lengths.astype(int) makes numbers of them',
}
Labels = list[int | str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    values: np.ndarray  # float64 [S, D], the sequences one after the other
    lengths: np.ndarray  # int [N], time steps of each
    columns: tuple[str, ...]  # names of the D inputs
    names: Sequence[object]  # of the sequences: ids of a table, indices of arrays
    labels: Labels | None  # of the sequences; None: not read


def read_npz(path: str | Path, labelled: bool = True) -> tuple[Sequences, Sequences | None]:
    """(sequences of an .npz file, those of its test part or None).

    Arrays of the file:
        x: numbers, padded [N, T, D] or concatenated [S, D]; [N, T] or [S] if D = 1. Padding may
            be anything. An x of two axes is [S, D] if its lengths add up to S, else [N, T].
        y: labels [N], integers or strings.
        lengths: int [N]; of a padded x optional.
        x_test, y_test, lengths_test: the same of a test part; optional.

    The inputs are named x0, x1, ... Without `labelled` only x and lengths are read. Raises
    InputError for other arrays, and for numbers that are not finite.
    """
    parts = ('', TEST) if labelled else ('',)
    names = [name + part for part in parts for name in HINTS if labelled or name != 'y']
    arrays = load(Path(path), names)
    whole = from_arrays(path, arrays, '', labelled)
    if not any(name.endswith(TEST) for name in arrays):
        return whole, None
    test = from_arrays(path, arrays, TEST, labelled)
    if test.columns != whole.columns:
        raise InputError(
            f'{path}: x has {len(whole.columns)} numbers a step, and x_test {len(test.columns)}'
        )
    return whole, test


def load(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of these names that an .npz file has; InputError if it has unknown ones."""
    if not path.is_file():
        raise InputError(f'there is no file {path}')
    if not zipfile.is_zipfile(path):
        raise InputError(f'{path} is no .npz file as np.savez writes it')
    arrays = {}
    try:
        with path.open('rb') as file, np.load(file, allow_pickle=False) as found:
            unknown = {*found.files} - {name + part for name in HINTS for part in ('', TEST)}
            for name in (name for name in names if name in found.files):
                arrays[name] = np.asarray(found[name])
            twice = len({*found.files}) < len(found.files)
    except Exception as error:  # NumPy and zipfile raise many kinds on files they cannot read
        if 'Object arrays' in str(error):
            hint = HINTS[name.removesuffix(TEST)]
            message = f'{path}: {name} holds Python objects, which are not read; {hint}'
        else:
            message = f'{path} is damaged: {first_line(error)}'
        raise InputError(message) from error
    if twice:
        raise InputError(f'{path} has two arrays of one name: leave one out')
    if unknown:
        raise InputError(
            f'{path} has an unknown array {min(unknown)!r}: rename it or leave it out; known are '
            f'{", ".join(HINTS)}, and with {TEST} those of a test part'
        )
    return arrays


def from_arrays(
    path: str | Path, arrays: dict[str, np.ndarray], part: str, labelled: bool
) -> Sequences:
    """The sequences of a part, '' or TEST, of the arrays of a file."""
    for name in ('x', 'y') if labelled else ('x',):
        if name + part not in arrays:
            raise InputError(
                f'{path} has no array {name}{part}; it needs x{part} and y{part}, '
                f'and lengths{part} if the sequences differ in length'
            )
    x, where = arrays[f'x{part}'], f'{path}: x{part}'
    if x.dtype.kind not in 'biuf' or not x.size or not x.ndim:
        raise InputError(f'{where} should hold numbers, and holds {x.size} of {x.dtype}')
    values, lengths = concatenated(where, x, arrays.get(f'lengths{part}'))
    with np.errstate(over='ignore'):
        values = values.astype(np.float64)
    check_finite(where, values, lengths)
    labels = None
    if labelled:
        y = arrays[f'y{part}']
        if y.shape != lengths.shape:
            raise InputError(
                f'{path}: y{part} {list(y.shape)} should have a label for each of {len(lengths)} '
                f'sequences (concatenated sequences need lengths{part})'
            )
        labels = check_labels(f'{path}: y{part}', y.tolist())
    return Sequences(
        values=values,
        lengths=lengths,
        columns=tuple(f'x{at}' for at in range(values.shape[1])),
        names=range(len(lengths)),
        labels=labels,
    )


def concatenated(
    where: str, x: np.ndarray, lengths: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(values [S, D], lengths [N]) of an x that may be padded."""
    shape = f'{where} {list(x.shape)}'
    if lengths is None:
        if x.ndim not in (2, 3):
            raise InputError(
                f'{shape} should be [N, T, D] or [N, T]; concatenated sequences, [S, D], '
                f'need lengths too'
            )
        lengths = np.full(len(x), x.shape[1])
    if lengths.ndim != 1 or lengths.dtype.kind not in 'iu' or not len(lengths):
        raise InputError(
            f'{shape} has lengths {list(lengths.shape)} of {lengths.dtype}, '
            f'which should be whole numbers [N]'
        )
    if lengths.min() < 1:
        raise InputError(
            f'{shape}: sequence {lengths.argmin()} (counted from 0) has length {lengths.min()}; '
            f'leave it out'
        )
    if lengths.max() > max(x.shape[:2]):  # before a sum or a signed type could overflow
        raise too_long(shape, lengths)
    lengths, steps = lengths.astype(np.int64), int(lengths.sum())
    if x.ndim <= 2 and len(x) == steps:
        return x.reshape(steps, -1), lengths
    if x.ndim not in (2, 3) or len(x) != len(lengths):
        raise InputError(
            f'{shape}: there are {len(lengths)} lengths, {steps} steps in all; it should be padded '
            f'sequences, [N, T, D] or [N, T], or concatenated ones, [S, D]'
        )
    if lengths.max() > x.shape[1]:
        raise too_long(shape, lengths)
    return x.reshape(*x.shape[:2], -1)[valid(lengths, x.shape[1])], lengths


def too_long(shape: str, lengths: np.ndarray) -> InputError:
    return InputError(
        f'{shape}: sequence {lengths.argmax()} (counted from 0) has length {lengths.max()}, '
        f'more than there are steps'
    )


def valid(lengths: np.ndarray, time_steps: int) -> np.ndarray:
    """Which time steps are not padding, bool [N, T]."""
    return np.arange(time_steps) < lengths[:, None]


def check_finite(where: str, values: np.ndarray, lengths: np.ndarray) -> None:
    """Raises InputError with the place of the first of values [S, D] that is not finite."""
    if len(infinite := np.argwhere(~np.isfinite(values))):
        row, feature = infinite[0]
        number = np.searchsorted(np.cumsum(lengths), row, side='right')
        step = row - lengths[:number].sum()
        raise InputError(
            f'{where} has {values[row, feature]} in sequence {number}, step {step}, column '
            f'{feature} (counted from 0): replace it, or leave the sequence out'
        )


def read_rows(
    path: str | Path, id: str, label: str | None, inputs: Sequence[str] = ()
) -> Sequences:
    """The sequences of a table in a .csv, .xlsx or .parquet file, a row per time step.

    id: the column that says which sequence a row belongs to. The rows of a sequence are in order
        of time; those of others may be between them.
    label: the column with the sequence's label, the same in all its rows; None: labels not read.
    inputs: the columns with its numbers; empty: all other columns.

    Ids and labels are text as it is written in a .csv file, otherwise of the file's types. Raises
    InputError, mostly with the line, for a table that is not like this.
    """
    table = read_table(Path(path))
    ids = table.names(id, '; `id` names the one that tells sequences apart')
    if not ids:
        raise InputError(f'{path} has no rows')
    labels = None if label is None else label_of_each(table, label, ids)
    columns = input_columns(table, id, label, inputs)
    try:
        values = [table.numbers(name) for name in columns]
    except InputError as error:
        hint = '' if inputs else '; `inputs` names the columns to read'
        raise InputError(f'{error}{hint}') from error

    index = {name: at for at, name in enumerate(dict.fromkeys(ids))}
    sequence = np.array([index[name] for name in ids])  # of each row
    order = np.argsort(sequence, kind='stable')
    return Sequences(
        values=np.stack(values, axis=1)[order],
        lengths=np.bincount(sequence),
        columns=columns,
        names=list(index),
        labels=labels,
    )


def input_columns(
    table: Table, id: str, label: str | None, inputs: Sequence[str]
) -> tuple[str, ...]:
    """The names of the inputs' columns; InputError if a column has two uses or none is left."""
    uses: dict[str | None, str] = {}
    for use, name in (
        ('id', id),
        ('label', label),
        *(('inputs', name) for name in dict.fromkeys(inputs)),
    ):
        if name in uses:
            raise InputError(f'`{uses[name]}` and `{use}` both name {name!r}; a column has one use')
        uses[name] = use
    columns = dict.fromkeys(inputs or [name for name in table.columns if name not in (id, label)])
    if not columns:
        raise InputError(
            f'{table.path} has no columns but {listed(table.columns)}: there should be columns of '
            f'numbers too'
        )
    return tuple(columns)


def label_of_each(table: Table, label: str, ids: Sequence[Hashable]) -> Labels:
    """The label of each sequence; InputError if it is missing or differs between its rows.

    Text of an untyped table that is whole numbers throughout, as Python writes them, is numbers:
    so classes are in the same order as in a table with types.
    """
    labels = table.names(label, '; `label` names the one with the labels')
    first: dict[Hashable, int] = {}  # row of each sequence
    for row, name in enumerate(ids):
        before = first.setdefault(name, row)
        if labels[row] != labels[before]:
            raise InputError(
                f'{table.path}: sequence {name!r} has the label {labels[before]!r} in line '
                f'{table.lines[before]} and {labels[row]!r} in line {table.lines[row]}; '
                f'it should have one'
            )
    each = check_labels(table.path, [labels[row] for row in first.values()])
    if not table.typed and all(re.fullmatch('0|-?[1-9][0-9]{0,17}', str(text)) for text in each):
        return [*map(int, each)]
    return each


def check_labels(where: str | Path, labels: Sequence[object]) -> Labels:
    """The labels as they are if all are whole numbers, else all as strings."""
    checked: Labels = []
    for label in labels:
        if not isinstance(label, int | str):
            raise InputError(
                f'{where} has the label {label!r}; labels are whole numbers or strings'
            )
        if re.search('[\ud800-\udfff]', str(label)):  # half a character: no file can hold it
            raise InputError(f'{where} has the label {label!r}, which is not Unicode text')
        checked.append(label)
    if all(type(label) is int for label in checked):
        return checked
    types = {str(label): type(label) for label in checked}
    for label in checked:
        if types[str(label)] is not type(label):
            raise InputError(
                f'{where} has the label {label} both as a number and as text: choose one'
            )
    return [*map(str, checked)]
