"""The baselines of a forecast: the last value, the last season, and a linear model of a window.

Each takes values [N, C] in any unit and origins [O], and returns forecasts [O, horizon, C] of the
rows from each origin on, from the rows before it.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from rnnlab.errors import InputError

ALPHAS = tuple(10.0**power for power in range(-6, 5, 2))  # ridge penalties to choose from


def last_value(values: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    """The last value before each origin, repeated."""
    return np.repeat(values[origins - 1][:, None], horizon, axis=1)


def last_season(values: np.ndarray, origins: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The values of the same time in the last season before each origin.

    Raises InputError if there is no whole season before the first origin.
    """
    if season > min(origins):
        raise InputError(
            f'`season={season}` is more than the {min(origins)} rows before the test split'
        )
    return values[origins[:, None] - season + np.arange(horizon) % season]


def ridge(
    values: np.ndarray, targets: int, window: int, ends: tuple[int, int, int], ahead: int = 1
) -> Callable[[np.ndarray, int], np.ndarray]:
    """(origins, horizon) -> forecasts of the first `targets` columns by a linear regression on a
    window of all columns.

    It is fitted `ahead` steps ahead on the training split, with the penalty of the lowest
    validation error. Further steps read its own forecasts.
    """

    def windows(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """The window before each row from `begin` on, flat, and the targets from the row on."""
        origins = np.arange(begin, end - ahead + 1)
        inputs = np.lib.stride_tricks.sliding_window_view(
            values[begin - window : origins[-1]], window, axis=0
        )
        rows = values[origins[:, None] + np.arange(ahead), :targets]
        return inputs.reshape(len(origins), -1), rows.reshape(len(origins), -1)

    begin = max(window, ends[0])
    train, held_out = windows(window, ends[0]), windows(begin, ends[1])

    def validation_error(line: Line) -> float:
        return np.mean((line.of(held_out[0]) - held_out[1]) ** 2)

    line = min(ridge_path(*train), key=validation_error)

    def forecast(origins: np.ndarray, horizon: int) -> np.ndarray:
        known = values[origins[:, None] + np.arange(-window, 0)]  # [O, window, C]
        made: list[np.ndarray] = []
        while len(made) * ahead < horizon:
            made.append(line.of(known.swapaxes(1, 2).reshape(len(origins), -1)))
            made[-1] = made[-1].reshape(len(origins), ahead, targets)
            if horizon > ahead:  # every column is a target then
                known = np.concatenate([known, made[-1]], axis=1)[:, -window:]
        return np.concatenate(made, axis=1)[:, :horizon]

    return forecast


class Line(NamedTuple):
    """A linear map with an intercept."""

    kernel: np.ndarray  # [inputs, outputs]
    bias: np.ndarray  # [outputs]

    def of(self, inputs: np.ndarray) -> np.ndarray:
        return inputs @ self.kernel + self.bias


def ridge_path(inputs: np.ndarray, outputs: np.ndarray) -> Iterator[Line]:
    """The ridge regression of outputs [n, J] on inputs [n, I] with each penalty of ALPHAS.

    It is sklearn.linear_model.Ridge(solver='svd'), with one decomposition for all penalties.
    """
    from scipy import linalg

    centre, middle = np.average(inputs, axis=0), np.average(outputs, axis=0)
    left, size, right = linalg.svd(inputs - centre, full_matrices=False)
    projected = left.T @ (outputs - middle)
    for alpha in ALPHAS:
        shrunk = np.where(size > 1e-15, size / (size**2 + alpha), 0)
        kernel = right.T @ (shrunk[:, None] * projected)
        yield Line(kernel, middle - centre @ kernel)
