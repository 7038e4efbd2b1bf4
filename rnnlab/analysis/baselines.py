"""The baselines of a forecast: the last value, the last season, and a linear model of a window.

Each takes values [N, C] in any unit and origins [O], and returns forecasts [O, horizon, C] of the
rows from each origin on, from the rows before it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rnnlab.errors import InputError

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge

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
    values: np.ndarray, targets: int, window: int, ends: tuple[int, int, int]
) -> Callable[[np.ndarray, int], np.ndarray]:
    """(origins, horizon) -> forecasts of the first `targets` columns by a linear autoregression on
    a window of all columns.

    It is fitted one step ahead on the training split, with the penalty of the lowest validation
    error. Further steps read its own forecasts.
    """
    from sklearn.linear_model import Ridge

    def windows(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """The window before each row from `begin` to `end`, flat, and the targets of the row."""
        inputs = np.lib.stride_tricks.sliding_window_view(
            values[begin - window : end - 1], window, axis=0
        )
        return inputs.reshape(end - begin, -1), values[begin:end, :targets]

    begin = max(window, ends[0])
    train, held_out = windows(window, ends[0]), windows(begin, ends[1])
    fitted = [Ridge(alpha=alpha, solver='svd').fit(*train) for alpha in ALPHAS]
    model = min(
        fitted, key=lambda model: np.mean((predict(model, held_out[0], targets) - held_out[1]) ** 2)
    )

    def forecast(origins: np.ndarray, horizon: int) -> np.ndarray:
        known = values[origins[:, None] + np.arange(-window, 0)]  # [O, window, C]
        made: list[np.ndarray] = []
        for _ in range(horizon):
            made.append(predict(model, known.swapaxes(1, 2).reshape(len(origins), -1), targets))
            if horizon > 1:  # every column is a target then
                known = np.concatenate([known[:, 1:], made[-1][:, None]], axis=1)
        return np.stack(made, axis=1)

    return forecast


def predict(model: 'Ridge', inputs: np.ndarray, targets: int) -> np.ndarray:
    """The model's predictions [rows of inputs, targets]."""
    return model.predict(inputs).reshape(len(inputs), targets)
