"""Series of numbers: read from a table or generated, split by time, cut into windows.

Letters in shapes: N rows, C columns, K predicted columns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnlab.data.dataset import Dataset, Split, moments
from rnnlab.data.table import decimal_comma, number, read_table
from rnnlab.errors import InputError, listed, positive

ALL = 'all'  # in place of column names: every column of numbers


class Series(NamedTuple):
    values: np.ndarray  # float64 [N, C], a row per time step
    columns: tuple[str, ...]
    times: np.ndarray | None = None  # datetime64 [N], the dates of the rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecasting:
    """A series prepared for forecasting: row t is predicted from the rows before it."""

    series: Series  # in its own units
    targets: int  # K; the first columns are predicted
    ends: tuple[int, int, int]  # row after the training, validation and test part
    mean: np.ndarray  # [C], of the training part
    std: np.ndarray  # [C], of the training part
    dataset: Dataset

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the predicted columns."""
        return self.series.columns[: self.targets]

    @property
    def known(self) -> np.ndarray:
        """The predicted columns in their own units, [N, K]."""
        return self.series.values[:, : self.targets]

    @property
    def standard(self) -> np.ndarray:
        """All columns, [N, C], of mean 0 and standard deviation 1 in the training part."""
        return (self.series.values - self.mean) / self.std

    def in_units(self, standard: np.ndarray) -> np.ndarray:
        """Standardised predictions [..., K] in the units of the series."""
        return standard * self.std[: self.targets] + self.mean[: self.targets]


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
    numeric = [
        name
        for name, values in table.columns.items()
        if any(number(value) is not None or decimal_comma(value) for value in values)
    ]
    if not numeric:
        raise InputError(
            f'{path} has no column of numbers: {len(table.lines)} rows of {listed(table.columns)}'
        )
    if not column and len(numeric) > 1:
        raise InputError(
            f'{path} has {len(numeric)} columns of numbers: choose by `column` from '
            f'{listed(numeric)}'
        )
    targets = list(dict.fromkeys(numeric if ALL in column or not column else column))
    names = list(dict.fromkeys([*targets, *(numeric if ALL in inputs else inputs)]))
    values = [table.numbers(name) for name in names]
    return Series(np.stack(values, axis=1), tuple(names), table.dates()), len(targets)


def forecasting(
    series: Series, targets: int, *, window: int, stride: int, split: Sequence[float]
) -> Forecasting:
    """The first `targets` columns predicted one step ahead from all columns.

    Training examples are windows of the training part, `stride` rows apart, labelled at every
    step. The validation and test split are the series read once from its beginning, with NaN
    labels before the part.

    split: training, validation and test part, in this order: fractions of the rows, or numbers of
        rows.

    Raises InputError for a bad split, too few rows for one window, and a constant column.
    """
    positive('window', window)
    positive('stride', stride)
    ends = part_ends(len(series.values), split)
    train = series.values[: ends[0]]
    if len(train) <= window:
        raise InputError(
            f'the training part has {len(train)} rows, and `window={window}` needs {window + 1}'
        )
    mean, std = moments(series.columns, train)
    standard = (series.values - mean) / std
    view = np.lib.stride_tricks.sliding_window_view(standard[: ends[0]], window + 1, axis=0)
    windows = view[::stride].swapaxes(1, 2)

    def part(begin: int, end: int) -> Split:
        labels = standard[1:end, :targets].copy()
        labels[: begin - 1] = np.nan
        return Split(standard[None, : end - 1], labels[None])

    dataset = Dataset(
        train=Split(windows[:, :-1], windows[:, 1:, :targets]),
        validation=part(ends[0], ends[1]),
        test=part(ends[1], ends[2]),
        outputs=targets,
        baseline=float(np.mean(standard[ends[0] : ends[1], :targets] ** 2)),
    )
    return Forecasting(
        series=series, targets=targets, ends=ends, mean=mean, std=std, dataset=dataset
    )


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
