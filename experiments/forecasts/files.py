"""The files of forecasts: tables of them and of their errors, and the picture."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.forecasts.errors import STANDARD, Backtest, Errors, spread
from experiments.forecasts.methods import Net
from rnnlab.data.series import Forecasting
from rnnlab.results import plots, runs
from rnnlab.results.plots import Line, Panel
from rnnlab.results.plots.forecast import COLUMNS
from rnnlab.training.forecasts import QUANTILES

ERRORS, BY_SERIES = 'errors.json', 'errors_by_series.json'
BACKTEST = 'backtest.csv'
PREDICTIONS, FORECAST, PICTURE = 'predictions.csv', 'forecast.csv', 'forecast.png'

ByHorizon = dict[str, dict[str, Errors]]


def write_errors(path: Path, errors: ByHorizon | dict[str, ByHorizon]) -> None:
    """JSON has no NaN: null is written."""
    runs.write_json(path, json.loads(json.dumps(errors), parse_constant=lambda _: None))


def write_backtest(path: Path, tested: Backtest) -> None:
    """A row for each series, origin and method: the standardised errors."""
    headings = ['series', 'origin', 'forecast', 'MAE', 'MSE', 'coverage']
    rows = [
        [series, origin, name, *(errors[STANDARD].get(kind, '') for kind in headings[3:])]
        for (series, origin), by_name in tested.items()
        for name, errors in by_name.items()
    ]
    runs.write_table(path, [headings, *rows])


def write_predictions(
    folder: Path, parts: Sequence[Forecasting], nets: list[Net], horizon: int, by: str | None
) -> None:
    """Every row a step ahead beside what it was, and the rows past the end."""
    ahead, past = [], []
    for part, net in zip(parts, nets, strict=True):
        end = part.ends[2]
        made = columns(net.forecast(np.arange(net.first, end), 1)[:, 0])
        ahead.append((part, net.first, {'': part.known[net.first : end]} | made))
        after = columns(net.forecast(np.array([end]), horizon)[0])
        past.append((part, end, {'': after.pop(' predicted')} | after))
    write_rows(folder / PREDICTIONS, ahead, by)
    write_rows(folder / FORECAST, past, by)


def columns(forecast: np.ndarray) -> dict[str, np.ndarray]:
    """Forecasts [n, K], or quantiles [n, Q, K], by what is written after the names of columns."""
    if forecast.ndim == 2:
        return {' predicted': forecast}
    of = dict(zip(QUANTILES, np.moveaxis(forecast, 1, 0), strict=True))
    return {' predicted': of.pop(0.5)} | {f' {quantile}': values for quantile, values in of.items()}


def write_rows(
    path: Path, tables: list[tuple[Forecasting, int, dict[str, np.ndarray]]], by: str | None
) -> None:
    """A table with the number of each row, counted from 0, and for each part its columns."""
    first, _, of_first = tables[0]
    headings = [f'{name}{suffix}' for name in first.names for suffix in of_first]
    rows: list[list[float | str]] = []
    for part, begin, values in tables:
        written = np.stack(list(values.values()), axis=-1).reshape(-1, len(headings)).tolist()
        name = [part.series.name] if by else []
        rows += [[*name, begin + at, *row] for at, row in enumerate(written)]
    runs.write_table(path, [[*([by] if by else []), 'row', *headings], *rows])


def draw(
    path: Path,
    parts: Sequence[Forecasting],
    nets: list[Net],
    horizon: int,
    origins: int,
    words: tuple[str, str],
) -> None:
    """Draws the first columns of the first series, with forecasts from so many origins.

    words: the title, and what forecasts of several rows are called.
    """
    panels: list[Panel] = []
    for part, net in zip(parts, nets, strict=True):
        if len(panels) >= COLUMNS:
            break
        end = part.ends[2]
        first, ahead = net.first, net.forecast(np.arange(net.first, end), 1)[:, 0]
        past = net.forecast(np.array([end]), horizon)[0]
        from_rows = spread(part, origins, horizon) if horizon > 1 else np.array([], int)
        further = [net.forecast(np.array([row]), horizon)[0] for row in from_rows]
        for at, name in enumerate(part.names):
            panel = Panel(
                name=f'{part.series.name}: {name}' if part.series.name else name,
                known=part.known[:end, at],
                ahead=Line(first, ahead[..., at]),
                forecasts=[
                    Line(row, made[..., at]) for row, made in zip(from_rows, further, strict=True)
                ],
                past=Line(end, past[..., at]),
                ends=part.ends,
                times=part.series.times,
            )
            panels.append(panel)
    plots.forecast(panels[:COLUMNS], path, *words)
