"""The errors of forecasts on the test split: tables, and a backtest from a few origins."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.forecasts.methods import NET, Method
from rnnlab.data.series import Forecasting
from rnnlab.results.tables import new_table, render

STANDARD = 'standardised'
WIDE = 4  # columns that a table of errors has room for
LONG = 20  # origins of a backtest that it has room for

Errors = dict[str, dict[str, float]]  # by column and kind


def median(forecast: np.ndarray) -> np.ndarray:
    """The forecast [O, horizon, K] that is compared: of quantiles [O, horizon, Q, K] the middle."""
    return forecast if forecast.ndim == 3 else forecast[:, :, forecast.shape[2] // 2]


def errors_of(
    parts: Sequence[Forecasting], forecasts: Sequence[np.ndarray], origins: Sequence[np.ndarray]
) -> Errors:
    """The mean absolute error (MAE) and the root mean squared error (RMSE) of each column, over all
    series, in its units.

    Those of all columns together are in units of each series' standard deviations in the training
    split, with the mean squared error (MSE) that papers give. Quantiles have their coverage too:
    the fraction of values from the lowest to the highest.
    """
    errors, scaled, inside = [], [], []
    for part, forecast, rows in zip(parts, forecasts, origins, strict=True):
        truth = part.known[rows[:, None] + np.arange(forecast.shape[1])]
        errors.append(median(forecast) - truth)
        scaled.append(errors[-1] / part.std[: part.targets])
        if forecast.ndim == 4:
            inside.append((forecast[:, :, 0] <= truth) & (truth <= forecast[:, :, -1]))
    error, standard = np.concatenate(errors), np.concatenate(scaled)
    found: Errors = {}
    for at, name in enumerate(parts[0].names):
        own = error[..., at]
        found[name] = {'MAE': float(np.mean(np.abs(own))), 'RMSE': float(np.sqrt(np.mean(own**2)))}
    found[STANDARD] = {'MAE': float(np.mean(np.abs(standard))), 'MSE': float(np.mean(standard**2))}
    if inside:
        covered = np.concatenate(inside)
        for at, name in enumerate(parts[0].names):
            found[name]['coverage'] = float(np.mean(covered[..., at]))
        found[STANDARD]['coverage'] = float(np.mean(covered))
    return found


def compared(
    parts: Sequence[Forecasting],
    methods: Mapping[str, Method],
    origins: Sequence[np.ndarray],
    horizon: int,
) -> tuple[dict[str, Errors], list[dict[str, Errors]]]:
    """(the errors of each method from origins of each series, the same for each series alone)."""
    together: dict[str, Errors] = {}
    alone: list[dict[str, Errors]] = [{} for _ in parts]
    for name, method in methods.items():
        if not method.suits(horizon):
            continue
        own = zip(method.forecasts, origins, strict=True)
        made = [forecast(rows, horizon) for forecast, rows in own]
        together[name] = errors_of(parts, made, origins)
        for at, part in enumerate(parts):
            alone[at][name] = errors_of([part], [made[at]], [origins[at]])
    return together, alone


def horizon_words(horizon: int, rows: int) -> str:
    if horizon == 1:
        return f'a step ahead, {rows} rows of the test split'
    return f'1 to {horizon} steps ahead, from {rows} rows on'


def errors_table(errors: dict[str, Errors]) -> str:
    columns = list(errors[NET])
    shown = columns if len(columns) <= WIDE else [STANDARD]  # errors.json has all
    kinds = [(column, kind) for column in shown for kind in errors[NET][column]]
    headings = [f'{column}: {kind}' for column, kind in kinds]
    table = new_table('forecast', *headings, right=tuple(headings))
    for name, values in errors.items():
        cells = (values[column].get(kind) for column, kind in kinds)
        table.add_row(name, *('-' if cell is None else f'{cell:.4g}' for cell in cells))
    return render(table)


def verdict(errors: dict[str, Errors]) -> str:
    """Which baselines the net does not beat, and in which error."""
    own, lost = errors[NET][STANDARD], []
    for name in list(errors)[1:]:
        theirs = errors[name][STANDARD]
        if kinds := [kind for kind in theirs if not own[kind] < theirs[kind]]:
            lost.append(f'{name} ({" and ".join(kinds)})')
    return f'the net does not beat {", ".join(lost)}' if lost else 'the net beats every baseline'


Backtest = dict[tuple[str, int], dict[str, Errors]]  # by series and origin


def backtest(
    parts: Sequence[Forecasting], methods: Mapping[str, Method], number: int, horizon: int
) -> Backtest:
    """The errors of forecasts from so many origins, at equal distances over the test split."""
    found: Backtest = {}
    for at, part in enumerate(parts):
        own = {name: m._replace(forecasts=[m.forecasts[at]]) for name, m in methods.items()}
        for origin in spread(part, number, horizon):
            errors, _ = compared([part], own, [np.array([origin])], horizon)
            found[part.series.name, int(origin)] = errors
    return found


def spread(part: Forecasting, number: int, horizon: int) -> np.ndarray:
    """So many origins of the test split, the first and, of several, the last of them included."""
    origins = part.origins(2, horizon)
    return origins[np.linspace(0, len(origins) - 1, number).round().astype(int)]


def backtest_table(tested: Backtest) -> str:
    """The standardised mean absolute error from each origin, its mean and standard deviation."""
    names = list(next(iter(tested.values())))
    headings = [f'{name}: MAE' for name in names]
    table = new_table('origin', *headings, right=('origin', *headings))
    values = np.array([[by[name][STANDARD]['MAE'] for name in names] for by in tested.values()])
    if len(tested) <= LONG:  # backtest.csv has all
        for (series, origin), row in zip(tested, values, strict=True):
            table.add_row(f'{series} {origin}'.strip(), *(f'{value:.4g}' for value in row))
        table.add_section()
    table.add_row('mean', *(f'{value:.4g}' for value in values.mean(axis=0)))
    if len(tested) > 1:
        spread = values.std(axis=0, ddof=1)
        table.add_row('standard deviation', *(f'{value:.4g}' for value in spread))
    return render(table)
