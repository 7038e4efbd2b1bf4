"""Series of numbers: read from a table or generated, split by time, and cut into windows."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnlab.data.dataset import Dataset, Split, moments
from rnnlab.data.table import column, number, numbers, read_table
from rnnlab.errors import InputError, positive


class Series(NamedTuple):
    values: np.ndarray  # float64 [N, C], a row a time step
    columns: tuple[str, ...]


class Forecasting(NamedTuple):
    """A series made ready to be forecast: row t is predicted from the rows before it."""

    series: Series  # in its own units
    targets: int  # how many columns are predicted, the first ones
    ends: tuple[int, int, int]  # the row behind the training part, that which validates, the test
    mean: np.ndarray  # [C], of the training part
    deviation: np.ndarray
    dataset: Dataset

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns that are predicted."""
        return self.series.columns[: self.targets]

    @property
    def known(self) -> np.ndarray:
        """[N, K], the columns that are predicted, in their own units."""
        return self.series.values[:, : self.targets]

    @property
    def standard(self) -> np.ndarray:
        """[N, C], all columns with mean 0 and deviation 1 in the training part."""
        return (self.series.values - self.mean) / self.deviation

    def in_units(self, standard: np.ndarray) -> np.ndarray:
        """Predictions [..., K] in the units of the series."""
        return standard * self.deviation[: self.targets] + self.mean[: self.targets]


def mackey_glass(rows: int = 3000, every: float = 6.0, delay: float = 17.0) -> Series:
    """A chaotic series: x' = 0.2 x(t - delay) / (1 + x(t - delay)^10) - 0.1 x (Mackey and Glass 1977), a row every 6 time units.

    Solved by the classic Runge-Kutta method with steps of 0.1 from x = 1.2; the first 100 rows are left out.
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


ALL = 'all'


def read_series(
    path: str | Path, targets: Sequence[str] = (), others: Sequence[str] = ()
) -> tuple[Series, int]:
    """(columns of a table in a .csv, .xlsx or .parquet file, the oldest row first; how many of them are targets, the first ones).

    Without targets it is the only column that has numbers. `others` come behind, `all`: those that have numbers.

    Raises InputError for a file that cannot be read, an unknown column, and one with text or nothing where a number should be.
    """
    table = read_table(Path(path))
    numeric = [
        name for name, values in table.items() if any(number(value) is not None for value in values)
    ]
    if not numeric:
        rows = len(next(iter(table.values()), []))
        hint = (
            '; values are to be separated by commas'
            if len(table) == 1 and re.search('[;\t|]', next(iter(table)))
            else ''
        )
        raise InputError(
            f'{path} has no column of numbers: {rows} rows of {", ".join(table)}{hint}'
        )
    if not targets and len(numeric) > 1:
        raise InputError(
            f'{path} has {len(numeric)} columns of numbers: say by --column=NAME which of {", ".join(numeric)}'
        )
    targets = list(dict.fromkeys(numeric if ALL in targets or not targets else targets))
    columns = list(dict.fromkeys([*targets, *(numeric if ALL in others else others)]))
    return Series(
        np.stack([numbers(path, name, column(path, table, name)) for name in columns], axis=1),
        tuple(columns),
    ), len(targets)


def forecasting(
    series: Series, targets: int, *, window: int, stride: int, split: Sequence[float]
) -> Forecasting:
    """The first `targets` columns predicted a step ahead from all of them.

    Training examples are windows of the training part, `stride` rows apart, with a label at each of their steps. To validate and
    to test, the series is read once from its beginning, and the rows of that part alone are labels: those before are NaN.

    split: the training part, what validates and the test, one behind the other: shares of all rows, or numbers of rows.

    Raises InputError for parts that do not fit, too few rows for one window, and a column that is constant.
    """
    positive('window', window)
    positive('stride', stride)
    values = series.values
    ends = part_ends(len(values), split)
    train = values[: ends[0]]
    if len(train) <= window:
        raise InputError(
            f'the training part has {len(train)} rows, and --window={window} needs {window + 1}'
        )
    mean, deviation = moments(series.columns, train)
    standard = (values - mean) / deviation
    windows = np.lib.stride_tricks.sliding_window_view(standard[: ends[0]], window + 1, axis=0)[
        ::stride
    ].swapaxes(1, 2)

    def part(begin: int, end: int) -> Split:
        labels = standard[1:end, :targets].copy()
        labels[: begin - 1] = np.nan
        return Split(standard[None, : end - 1], labels[None])

    held_out = standard[ends[0] : ends[1], :targets]
    dataset = Dataset(
        train=Split(windows[:, :-1], windows[:, 1:, :targets]),
        validation=part(ends[0], ends[1]),
        test=part(ends[1], ends[2]),
        outputs=targets,
        baseline=float(np.mean(held_out**2)),
    )
    return Forecasting(series, targets, ends, mean, deviation, dataset)


def part_ends(rows: int, split: Sequence[float]) -> tuple[int, int, int]:
    given = ','.join(f'{part:g}' for part in split)
    if len(split) != 3 or not all(0 < part < math.inf for part in split):
        raise InputError(
            f'--split={given} should be three numbers above zero: train, validation, test'
        )
    first, second, third = split
    shares = sum(split) <= 1 + 1e-9
    if shares:
        ends = (
            round(rows * first),
            round(rows * (first + second)),
            round(rows * (first + second + third)),
        )
    else:
        if any(part % 1 for part in split):
            raise InputError(
                f'--split={given} adds up to more than 1, and so should be whole numbers of rows'
            )
        ends = int(first), int(first + second), int(first + second + third)
    if ends[2] > rows or not 0 < ends[0] < ends[1] < ends[2]:
        raise InputError(f'--split={given} does not divide {rows} rows into three parts')
    return ends
