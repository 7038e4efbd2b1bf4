"""Series of numbers: read from a table or generated, split by time, cut into windows.

Letters in shapes: N rows, C columns, K predicted columns.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnlab.data.dataset import Dataset, Split, moments
from rnnlab.data.table import Table, decimal_comma, number, read_table
from rnnlab.errors import InputError, listed, positive

ALL = 'all'  # in place of column names: every column of numbers


class Series(NamedTuple):
    values: np.ndarray  # float64 [N, C], a row per time step
    columns: tuple[str, ...]
    times: np.ndarray | None = None  # datetime64 [N], the dates of the rows
    name: str = ''  # where a file has several


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecasting:
    """A series prepared for forecasting: row t is predicted from the rows before it."""

    series: Series  # in its own units
    targets: int  # K; the first columns are predicted
    ends: tuple[int, int, int]  # row after the training, validation and test part
    mean: np.ndarray  # [C], of the training part
    std: np.ndarray  # [C], of the training part

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the predicted columns."""
        return self.series.columns[: self.targets]

    @property
    def known(self) -> np.ndarray:
        """The predicted columns in their own units, [N, K]."""
        return self.series.values[:, : self.targets]

    @cached_property
    def standard(self) -> np.ndarray:
        """All columns, [N, C], of mean 0 and standard deviation 1 in the training part."""
        return (self.series.values - self.mean) / self.std

    def in_units(self, standard: np.ndarray) -> np.ndarray:
        """Standardised predictions [..., K] in the units of the series."""
        return standard * self.std[: self.targets] + self.mean[: self.targets]

    def origins(self, part: int, horizon: int = 1) -> np.ndarray:
        """The rows of the validation (1) or test part (2) from which `horizon` rows are in it."""
        return np.arange(self.ends[part - 1], self.ends[part] - horizon + 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples(Dataset):
    """The examples of one or several series."""

    step_sizes: np.ndarray  # [C], root mean square of the differences of successive training rows


def mackey_glass(rows: int = 3000, every: float = 6.0, delay: float = 17.0) -> Series:
    """The chaotic series of Mackey and Glass 1977, a row every 6 time units.

    x' = 0.2 x(t - delay) / (1 + x(t - delay)^10) - 0.1 x, solved by the classic Runge-Kutta method
    with steps of 0.1 from x = 1.2, without the first 100 rows.
    """
    step, skipped = 0.1, 100
    back, stride = round(delay / step), round(every / step)
    x = np.full((rows + skipped) * stride + back + 1, 1.2)

    def slope(now: float, before: float) -> float:
        return 0.2 * before / (1 + before**10) - 0.1 * now

    for t in range(back, len(x) - 1):
        first, last = x[t - back], x[t - back + 1]
        middle = (first + last) / 2
        k1 = slope(x[t], first)
        k2 = slope(x[t] + step / 2 * k1, middle)
        k3 = slope(x[t] + step / 2 * k2, middle)
        k4 = slope(x[t] + step * k3, last)
        x[t + 1] = x[t] + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return Series(x[back + skipped * stride :: stride][:rows, None], ('x',))


def read_series(
    path: str | Path, column: Sequence[str] = (), inputs: Sequence[str] = ()
) -> tuple[Series, int]:
    """(columns of a .csv, .xlsx or .parquet table, oldest row first, number of predicted columns).

    column: those to predict, which come first; [ALL] is every column of numbers; empty: the only
        one with numbers.
    inputs: further ones that are read.

    Raises InputError for a file that cannot be read, an unknown column, and a column with a string
    or nothing in place of a number.
    """
    table = read_table(Path(path))
    names, targets = chosen_columns(table, column, inputs)
    return series_of(table, names), targets


def read_each(
    path: str | Path, by: str, column: Sequence[str] = (), inputs: Sequence[str] = ()
) -> tuple[list[Series], int]:
    """(the series of a table in which the column `by` names that of each row, number of predicted
    columns); see read_series."""
    table = read_table(Path(path))
    rows: dict[Hashable, list[int]] = {}
    for at, name in enumerate(table.names(by)):
        rows.setdefault(name, []).append(at)
    others = table.with_columns(name for name in table.columns if name != by)
    names, targets = chosen_columns(others, column, inputs)
    return [series_of(others.with_rows(at), names, str(name)) for name, at in rows.items()], targets


def chosen_columns(
    table: Table, column: Sequence[str], inputs: Sequence[str]
) -> tuple[list[str], int]:
    """(names of the columns to read, those to predict first, and how many these are)."""
    numeric = [
        name
        for name, values in table.columns.items()
        if any(number(value) is not None or decimal_comma(value) for value in values)
    ]
    if not numeric:
        raise InputError(
            f'{table.path} has no column of numbers: {len(table.lines)} rows of '
            f'{listed(table.columns)}'
        )
    if not column and len(numeric) > 1:
        raise InputError(
            f'{table.path} has {len(numeric)} columns of numbers: choose by `column` from '
            f'{listed(numeric)}'
        )
    targets = list(dict.fromkeys(numeric if ALL in column or not column else column))
    return list(dict.fromkeys([*targets, *(numeric if ALL in inputs else inputs)])), len(targets)


def series_of(table: Table, columns: Sequence[str], name: str = '') -> Series:
    values = [table.numbers(column) for column in columns]
    return Series(np.stack(values, axis=1), tuple(columns), table.dates(), name)


def forecasting(series: Series, targets: int, split: Sequence[float]) -> Forecasting:
    """The first `targets` columns of a series to be predicted from all columns.

    split: training, validation and test part, in this order: fractions of the rows, or numbers of
        rows.

    Raises InputError for a bad split and a constant column.
    """
    ends = part_ends(len(series.values), split)
    mean, std = moments(series.columns, series.values[: ends[0]])
    return Forecasting(series=series, targets=targets, ends=ends, mean=mean, std=std)


def examples(
    parts: Sequence[Forecasting],
    *,
    window: int,
    stride: int,
    horizon: int = 1,
    windowed: bool = False,
) -> Examples:
    """The examples of prepared series, one series after the other.

    Training examples are windows of the training part, `stride` rows apart. Their labels are rows
    [window + horizon - 1, K], `horizon` of them after each step. The validation and test split are
    each series read once from its beginning, with NaN labels outside the part.

    windowed: all examples are windows instead, those before each row of a part, and the labels are
        the `horizon` rows [horizon, K] after the window.

    Raises InputError for too few rows for one window and its labels.
    """
    positive('window', window)
    positive('stride', stride)
    for part in parts:
        check_rows(part, window, horizon)
    train = [training_windows(part, window, stride, horizon, windowed) for part in parts]

    def held_out(at: int) -> Split:
        if windowed:
            return joined([origin_windows(part, at, window, horizon) for part in parts])
        rows = max(part.ends[at] for part in parts)
        return joined([whole_series(part, at, rows, horizon) for part in parts])

    steps = np.concatenate([np.diff(part.standard[: part.ends[0]], axis=0) for part in parts])
    return Examples(
        train=joined(train),
        validation=held_out(1),
        test=held_out(2),
        outputs=parts[0].targets,
        step_sizes=np.sqrt(np.mean(steps**2, axis=0)),
    )


def check_rows(part: Forecasting, window: int, horizon: int) -> None:
    """Raises InputError unless a series has a training window, and a forecast in each part."""
    train, middle, end = part.ends
    of = f' of {part.series.name!r}' if part.series.name else ''
    if train < window + horizon:
        need = f'`window={window}` needs {window + 1}'
        if horizon > 1:
            need = f'`window={window}` and `horizon={horizon}` need {window + horizon}'
        raise InputError(f'the training part{of} has {train} rows, and {need}')
    for name, rows in (('validation', middle - train), ('test', end - middle)):
        if rows < horizon:
            raise InputError(
                f'`horizon={horizon}` is more than the {rows} rows of the {name} split{of}'
            )


def training_windows(
    part: Forecasting, window: int, stride: int, horizon: int, windowed: bool
) -> Split:
    """Windows of the training part, and the rows after each step, or after the last one."""
    rows = part.standard[: part.ends[0]]
    view = np.lib.stride_tricks.sliding_window_view(rows, window + horizon, axis=0)
    windows = view[::stride].swapaxes(1, 2)
    labels = windows[:, window if windowed else 1 :, : part.targets]
    return Split(windows[:, :window], labels)


def whole_series(part: Forecasting, at: int, rows: int, horizon: int) -> Split:
    """A series read once to the end of a part, zeros up to `rows`; NaN labels outside the part."""
    begin, end = part.ends[at - 1 : at + 1]
    inputs = np.zeros((1, rows - 1, part.standard.shape[1]))
    inputs[0, : end - 1] = part.standard[: end - 1]
    labels = np.full((1, rows + horizon - 2, part.targets), np.nan)
    labels[0, begin - 1 : end - 1] = part.standard[begin:end, : part.targets]
    return Split(inputs, labels)


def origin_windows(part: Forecasting, at: int, window: int, horizon: int) -> Split:
    """The windows before the rows of a part, and the rows after each."""
    origins, rows = part.origins(at, horizon)[:, None], part.standard
    labels = rows[origins + np.arange(horizon), : part.targets]
    return Split(rows[origins + np.arange(-window, 0)], labels)


def joined(splits: Sequence[Split]) -> Split:
    """The examples of all splits, one after the other."""
    if len(splits) == 1:
        return splits[0]
    inputs, labels = (np.concatenate([split[n] for split in splits]) for n in (0, 1))
    return Split(inputs, labels)


def part_ends(rows: int, split: Sequence[float]) -> tuple[int, int, int]:
    """The row after each of the three parts; see forecasting."""
    given = f'`split={",".join(f"{part:g}" for part in split)}`'
    if len(split) != 3 or not all(0 < part < math.inf for part in split):
        raise InputError(f'{given} should be three numbers above zero: train, validation, test')
    first, second, _ = split
    fractions = sum(split) <= 1 + 1e-9
    if not fractions and any(part % 1 for part in split):
        raise InputError(f'{given} adds up to more than 1, so it should be whole numbers of rows')
    whole = rows if fractions else 1
    begin, middle, end = (round(whole * end) for end in (first, first + second, sum(split)))
    if end > rows or not 0 < begin < middle < end:
        raise InputError(f'{given} does not divide {rows} rows into three parts')
    return begin, middle, end
