"""Forecasts of a series of numbers, a step ahead and further, beside the baselines.

python -m experiments.series --flagfile=experiments/recipes/series_lstm2x8.flags    (generated)
python -m experiments.series --csv=sales.csv --column=sold --season=7 --horizon=28 --out=runs/sales
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

import experiments.runner.config as groups
from experiments.runner import cli, model
from experiments.runner.console import console, drawing
from experiments.runner.fields import operational, static
from experiments.runner.run import train
from experiments.runner.sweep import sweep
from experiments.runner.task import Plan, Task, checksum, fractions
from rnnlab.analysis import baselines
from rnnlab.cells.base import Params
from rnnlab.data import Dataset
from rnnlab.data.series import Forecasting, forecasting, mackey_glass, read_series
from rnnlab.errors import InputError
from rnnlab.models import Model, network
from rnnlab.results import plots, runs
from rnnlab.results.records import Json
from rnnlab.results.tables import new_table, render
from rnnlab.training import generate
from rnnlab.training.losses import squared_error
from rnnlab.training.optim import Hyper

ERRORS, PREDICTIONS = 'errors.json', 'predictions.csv'
FORECAST, PICTURE = 'forecast.csv', 'forecast.png'
STANDARD = 'standardised'
WIDE = 4  # columns that a table of errors has room for

Forecast = Callable[[np.ndarray, int], np.ndarray]  # (rows [O], horizon) -> [O, horizon, K]
Errors = dict[str, dict[str, float]]  # by column and kind


@dataclass(frozen=True, kw_only=True)
class Config(groups.Layers, groups.Training):
    OPEN: ClassVar = {'hidden_size': 32, 'batch_size': 32, 'epochs': 20, 'keep': 'best'}

    csv: str | None = groups.path(
        'Table of the series, .csv, .xlsx or .parquet, the oldest row first; by default one is '
        'generated.'
    )
    column: tuple[str, ...] = static(
        (),
        'Columns to forecast, or all; by default the only one with numbers.',
        needs=('csv', ()),
        data=True,
    )
    inputs: tuple[str, ...] = static(
        (), 'Columns that are read beside those, or all.', needs=('csv', ()), data=True
    )
    split: tuple[str, ...] = static(
        ('0.8', '0.1', '0.1'),
        'Training, validation and test, in this order: fractions, or numbers of rows.',
        data=True,
    )
    window: int = static(
        96,
        'Time steps of a training example, and rows that the linear baseline reads.',
        low=1,
        data=True,
    )
    stride: int = static(1, 'Rows from one training example to the next.', low=1, data=True)
    season: int = operational(
        12, 'Rows of a season, for the baseline that repeats the last one.', low=1
    )
    horizon: int = operational(
        1, 'Rows to forecast, from every row of the test split and past the end.', low=1
    )


def resolve(config: Config) -> Config:
    if config.label_smoothing is not None:
        raise InputError('--label_smoothing goes with answers that are classes, not numbers')
    if config.sweep and (alone := config.changed('season', 'horizon')):
        words = f'--{alone[0]} goes without --sweep'
        advice = '--resume --out=DIR/best with the flags of its best trial forecasts'
        raise InputError(f'{words}; {advice}')
    if unused := config.changed('eval_examples', 'eval_next'):
        words = 'the validation split is evaluated whole'
        raise InputError(f'--{unused[0]} has no use in this experiment: {words}')
    return config


def source(config: Config) -> Json:
    return {'csv_crc32': checksum(config.csv)} if config.csv else {}


def load(config: Config) -> Forecasting:
    if config.csv:
        series, targets = read_series(config.csv, config.column, config.inputs)
    else:
        series, targets = mackey_glass(), 1
    split = fractions(config.split)
    return forecasting(series, targets, window=config.window, stride=config.stride, split=split)


def dataset(config: Config, loaded: Forecasting) -> Dataset:
    if config.horizon > 1 and loaded.targets < len(loaded.series.columns):
        words = '--horizon above 1 goes without --inputs'
        raise InputError(f'{words}: what is read at the next step must itself be forecast')
    rows = loaded.ends[2] - loaded.ends[1]
    if config.horizon > rows:
        raise InputError(
            f'--horizon={config.horizon} is more than the {rows} rows of the test split'
        )
    if config.season > loaded.ends[1]:
        words = f'--season={config.season} is more than the {loaded.ends[1]} rows'
        raise InputError(f'{words} before the test split')
    windows = len(loaded.dataset.train.inputs)
    if windows < config.batch_size and config.stride > 1:
        words = f'--stride={config.stride} with --window={config.window} leaves {windows}'
        advice = f'fewer than --batch_size={config.batch_size}'
        raise InputError(f'{words} training example(s), {advice}: lower one of them')
    return loaded.dataset


def build(config: Config, data: Dataset, hyper: Hyper) -> Model:
    return network(
        model.make_layers(config, hyper),
        inputs=data.train.inputs.shape[-1],
        outputs=data.outputs,
        **model.around(config, hyper),
    )


def show_forecasts(plan: Plan[Config], params: Params, folder: Path) -> None:
    """Prints, writes and draws the errors of the net and the baselines on the test split."""
    config, loaded = plan.config, plan.loaded
    net = net_forecast(plan.model, params, loaded)
    forecasts = {'net': net} | baseline_forecasts(config, loaded)
    _, begin, end = loaded.ends
    record = {}
    for horizon in sorted({1, config.horizon}):
        rows = np.arange(begin, end - horizon + 1)
        truth = loaded.known[rows[:, None] + np.arange(horizon)]
        errors = {n: errors_of(loaded, f(rows, horizon), truth) for n, f in forecasts.items()}
        words = horizon_words(horizon, len(rows))
        console.print(f'\n{words}\n\n{errors_table(errors)}\n\n{verdict(errors)}')
        text = json.dumps(errors)
        record[str(horizon)] = json.loads(text, parse_constant=lambda _: None)  # JSON has no NaN
    runs.write_json(folder / ERRORS, record)

    ahead = net(np.arange(1, end), 1)[:, 0]
    past = net(np.array([end]), config.horizon)[0]
    parts = {'': loaded.known[1:end], ' predicted': ahead}
    write_rows(folder / PREDICTIONS, loaded, parts, 1)
    write_rows(folder / FORECAST, loaded, {'': past}, end)
    free = None
    if config.horizon > 1:
        free = net(np.array([begin]), min(config.horizon, end - begin))[0]
    name = Path(config.csv).name if config.csv else 'Mackey-Glass'
    title = f'{name}: {config.cell}, {config.layers} x {config.hidden_size} units'
    path, series = folder / PICTURE, loaded.known[:end]
    console.print(f'\n{PREDICTIONS}, {FORECAST} and {ERRORS} in {folder} have the numbers')
    with drawing(path):
        plots.forecast(
            loaded.names, series, ahead, free, past, loaded.ends, path, title, loaded.series.times
        )
        console.print(f'drawn: {path}')


def net_forecast(net: Model, params: Params, loaded: Forecasting) -> Forecast:
    """The forecasts of a net that reads the series from its beginning, row by row.

    From each row it continues with its own outputs.
    """
    rows = loaded.standard[: loaded.ends[2]].astype(jax.tree.leaves(params)[0].dtype)
    carries, outputs = jax.jit(partial(generate.read, net))(params, rows[None])

    def forecast(origins: np.ndarray, horizon: int) -> np.ndarray:
        if horizon == 1:
            return loaded.in_units(np.asarray(outputs)[0, origins - 1][:, None])
        carry = jax.tree.map(lambda leaf: leaf[origins - 1, 0], carries)
        continued = jax.jit(partial(generate.forecast, net, horizon=horizon))
        return loaded.in_units(np.asarray(continued(params, carry, rows[origins - 1])))

    return forecast


def baseline_forecasts(config: Config, loaded: Forecasting) -> dict[str, Forecast]:
    known, end = loaded.known[: loaded.ends[2]], loaded.ends[2]
    linear = baselines.ridge(loaded.standard[:end], loaded.targets, config.window, loaded.ends)
    season = partial(baselines.last_season, known, season=config.season)
    return {
        'last value': partial(baselines.last_value, known),
        f'last season, {config.season} rows': season,
        f'ridge on {config.window} rows': lambda rows, h: loaded.in_units(linear(rows, h)),
    }


def errors_of(loaded: Forecasting, forecast: np.ndarray, truth: np.ndarray) -> Errors:
    """The mean absolute error (MAE) and the root mean squared error (RMSE) of each column.

    They are in its units. Those of all columns together are in units of their standard deviations
    in the training split, with the mean squared error (MSE) that papers give.
    """
    error = forecast - truth
    columns = {
        name: {'MAE': float(np.mean(np.abs(part))), 'RMSE': float(np.sqrt(np.mean(part**2)))}
        for name, part in zip(loaded.names, np.moveaxis(error, -1, 0), strict=True)
    }
    standard = error / loaded.std[: loaded.targets]
    together = {'MAE': float(np.mean(np.abs(standard))), 'MSE': float(np.mean(standard**2))}
    return columns | {STANDARD: together}


def horizon_words(horizon: int, rows: int) -> str:
    if horizon == 1:
        return f'a step ahead, {rows} rows of the test split'
    return f'1 to {horizon} steps ahead, from {rows} rows on'


def errors_table(errors: dict[str, Errors]) -> str:
    columns = list(errors['net'])
    shown = columns if len(columns) <= WIDE else [STANDARD]  # errors.json has all
    kinds = [(column, kind) for column in shown for kind in errors['net'][column]]
    headings = [f'{column}: {kind}' for column, kind in kinds]
    table = new_table('forecast', *headings, right=tuple(headings))
    for name, values in errors.items():
        table.add_row(name, *(f'{values[column][kind]:.4g}' for column, kind in kinds))
    return render(table)


def verdict(errors: dict[str, Errors]) -> str:
    """Which baselines the net does not beat, and in which error."""
    own, lost = errors['net'][STANDARD], []
    for name in list(errors)[1:]:
        kinds = [k for k, value in own.items() if not value < errors[name][STANDARD][k]]
        if kinds:
            lost.append(f'{name} ({" and ".join(kinds)})')
    return f'the net does not beat {", ".join(lost)}' if lost else 'the net beats every baseline'


def write_rows(path: Path, loaded: Forecasting, parts: dict[str, np.ndarray], first: int) -> None:
    """A table with the number of each row, counted from 0, and for each part its columns."""
    headings = [f'{name}{suffix}' for name in loaded.names for suffix in parts]
    columns = np.stack(list(parts.values()), axis=-1).reshape(-1, len(headings)).tolist()
    rows = ([first + at, *row] for at, row in enumerate(columns))
    runs.write_table(path, [['row', *headings], *rows])


TASK = Task(
    name='series',
    load=load,
    dataset=dataset,
    build=build,
    resolve=resolve,
    selection='loss',
    loss=lambda config: lambda hyper: squared_error(),
    finish=show_forecasts,
    source=source,
)


def main(config: Config) -> None:
    (sweep if config.sweep else train)(TASK, config)


if __name__ == '__main__':
    cli.run(Config, main)
