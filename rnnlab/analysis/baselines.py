"""What every forecast is held against: the last value, the last season, and a linear model of the same window.

Each takes values [N, C] in any unit, and origins [O]: for each of them the rows before it are known, and [O, horizon, C] rows
from it on are forecast.
"""

from collections.abc import Callable

import numpy as np

from rnnlab.errors import InputError

ALPHAS = tuple(
    10.0**power for power in range(-6, 5, 2)
)  # ridge penalties, of which the one that validates best is taken


def last_value(values: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    return np.repeat(values[origins - 1][:, None], horizon, axis=1)


def last_season(values: np.ndarray, origins: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The same time of the last season that is known. Raises InputError where the first origin has no whole season before it."""
    if season > min(origins):
        raise InputError(
            f'--season={season} is more than the {min(origins)} rows before the test part'
        )
    return values[origins[:, None] - season + np.arange(horizon) % season]


def ridge(
    values: np.ndarray, targets: int, window: int, ends: tuple[int, int, int]
) -> Callable[[np.ndarray, int], np.ndarray]:
    """(origins, horizon) -> forecasts of the first `targets` columns by a linear autoregression on a window of all columns.

    Fitted a step ahead on the training part, with the penalty that validates best. Further steps read its own forecasts.
    """
    from sklearn.linear_model import Ridge

    def windows(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows that end before each row from `begin` to `end`, and that row's targets."""
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
        made = []
        for _ in range(horizon):
            made.append(predict(model, known.swapaxes(1, 2).reshape(len(origins), -1), targets))
            if horizon > 1:  # every column is a target then
                known = np.concatenate([known[:, 1:], made[-1][:, None]], axis=1)
        return np.stack(made, axis=1)

    return forecast


def predict(model, inputs: np.ndarray, targets: int) -> np.ndarray:
    return model.predict(inputs).reshape(len(inputs), targets)
