"""The forecasts that are compared: the network's and the baselines', each in a series' units."""

from functools import partial
from typing import NamedTuple

import numpy as np

from rnnlab.analysis import baselines
from rnnlab.cells.base import Params
from rnnlab.data.series import Forecasting
from rnnlab.models import Model
from rnnlab.training.forecasts import QUANTILES, Forecast, Form, forecaster

NET = 'net'


class Method(NamedTuple):
    """A way to forecast."""

    forecasts: list[Forecast]  # for each series
    least: int = 1  # horizons that it is for
    most: int | None = None

    def suits(self, horizon: int) -> bool:
        return self.least <= horizon and (self.most is None or horizon <= self.most)


class Net(NamedTuple):
    """The forecasts of a network for one series."""

    first: int  # the first origin
    forecast: Forecast  # [origins, horizon, K], with quantiles [origins, horizon, Q, K]


def nets(
    model: Model, form: Form, params: Params, parts: list[Forecasting], window: int
) -> list[Net]:
    """The forecasts of a network for each series."""

    def of(part: Forecasting) -> Net:
        rows = part.standard[: part.ends[2]]
        first, standard = forecaster(model, form, params, rows, window)
        return Net(first, lambda origins, horizon: part.in_units(standard(origins, horizon)))

    return [of(part) for part in parts]


def baseline_methods(
    parts: list[Forecasting], window: int, season: int, horizon: int
) -> dict[str, Method]:
    """The baselines by name, each fitted to each series alone.

    Above a horizon of 1 there is also a ridge regression of all rows at once. That of a row reads
    its own forecasts where every column is forecast.
    """
    repeated: list[Forecast] = [partial(baselines.last_value, known(part)) for part in parts]
    seasonal: list[Forecast] = [
        partial(baselines.last_season, known(part), season=season) for part in parts
    ]
    all_columns = parts[0].targets == len(parts[0].series.columns)
    own_outputs = Method([ridge(p, window) for p in parts], most=None if all_columns else 1)
    methods = {
        'last value': Method(repeated),
        f'last season, {season} rows': Method(seasonal),
        f'ridge on {window} rows': own_outputs,
    }
    if horizon > 1:
        at_once = Method([ridge(part, window, horizon) for part in parts], least=2)
        methods[f'direct ridge on {window} rows'] = at_once
    return methods


def memoryless_loss(parts: list[Forecasting], loss: str, horizon: int) -> float:
    """The validation loss of always forecasting the mean of the training part, for the absolute
    error the median, for the pinball loss the quantiles."""
    losses = []
    for part in parts:
        rows, begin = part.standard[:, : part.targets], part.ends[0]
        labels = rows[part.origins(1, horizon)[:, None] + np.arange(horizon)]
        if loss == 'mse':
            losses.append(labels**2)
            continue
        levels = np.array(QUANTILES if loss == 'quantile' else (0.5,))
        above = labels[..., None, :] - np.quantile(rows[:begin], levels, axis=0)
        both = np.maximum(levels[:, None] * above, (levels[:, None] - 1) * above)
        losses.append(both if loss == 'quantile' else 2 * both)
    return float(np.mean(np.concatenate(losses)))


def known(part: Forecasting) -> np.ndarray:
    return part.known[: part.ends[2]]


def ridge(part: Forecasting, window: int, ahead: int = 1) -> Forecast:
    rows = part.standard[: part.ends[2]]
    linear = baselines.ridge(rows, part.targets, window, part.ends, ahead)
    return lambda origins, horizon: part.in_units(linear(origins, horizon))
