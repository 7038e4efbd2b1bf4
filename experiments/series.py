"""Forecasts of a series of numbers, a step ahead and further, beside the baselines.

python -m experiments.series --flagfile=experiments/recipes/series_lstm2x8.flags      (a generated series)
python -m experiments.series --csv=sales.csv --column=sold --season=7 --horizon=28 --out=runs/sales
"""

import csv
import json
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

import experiments.runner.cli
from experiments.runner import model
from experiments.runner.cli import FLAGS
from experiments.runner.console import console
from experiments.runner.run import train
from experiments.runner.sweep import sweep
from experiments.runner.task import Experiment, Plan, checksum, shares
from rnnlab.analysis import baselines
from rnnlab.data import Dataset
from rnnlab.data.series import Forecasting, forecasting, mackey_glass, read_series
from rnnlab.errors import InputError
from rnnlab.models import Model, network
from rnnlab.results import plots, runs
from rnnlab.results.tables import new_table, render
from rnnlab.training import generate
from rnnlab.training.losses import Loss, squared_error
from rnnlab.training.optim import Hyper

experiments.runner.cli.series()
experiments.runner.cli.layers()
experiments.runner.cli.training()
flags.DEFINE_integer(
    'season', 12, 'Rows of a season, for the baseline that repeats the last one.', lower_bound=1
)
flags.DEFINE_integer(
    'horizon',
    1,
    'Rows to forecast, from every row of the test part on and past the end.',
    lower_bound=1,
)
experiments.runner.cli.set_defaults(
    {'hidden_size': 32, 'batch_size': 32, 'epochs': 20, 'keep': 'best'}
)
flags.adopt_module_key_flags(experiments.runner.cli)

ERRORS, PREDICTIONS, FORECAST, PICTURE = (
    'errors.json',
    'predictions.csv',
    'forecast.csv',
    'forecast.png',
)
STANDARD = 'standardised'
WIDE = 4  # columns that a table of errors has room for

Names = tuple[str, ...]
Forecast = Callable[
    [np.ndarray, int], np.ndarray
]  # (rows [O], horizon) -> [O, horizon, K], from each of these rows on


def main() -> None:
    experiment = Experiment(
        'series', settle, load, build, 'loss', loss, finish=show_forecasts, source=source
    )
    (sweep if FLAGS.sweep else train)(experiment)


def settle() -> None:
    model.check()
    if FLAGS.label_smoothing is not None:
        raise InputError('--label_smoothing goes with answers that are classes, not numbers')
    for name in ('column', 'inputs'):
        if FLAGS[name].value and not FLAGS.csv:
            raise InputError(
                f'--{name} goes with --csv=FILE; without it the series is generated and has one column'
            )
    for name in ('season', 'horizon'):
        if FLAGS[name].present and FLAGS.sweep:
            raise InputError(
                f'--{name} goes without --sweep; --resume --out=DIR/best with the flags of its best trial forecasts'
            )
    for name in ('eval_examples', 'eval_next'):
        if FLAGS[name].present:
            raise InputError(
                f'--{name} has no use here: the part that validates is evaluated whole'
            )


def source() -> dict[str, Any]:
    return {'csv_crc32': checksum(FLAGS.csv)} if FLAGS.csv else {}


def load() -> Dataset:
    own = prepared()
    if FLAGS.horizon > 1 and own.targets < len(own.series.columns):
        raise InputError(
            '--horizon above 1 goes without --inputs: what is read at the next step must itself have been forecast'
        )
    rows = own.ends[2] - own.ends[1]
    if FLAGS.horizon > rows:
        raise InputError(f'--horizon={FLAGS.horizon} is more than the {rows} rows of the test part')
    if FLAGS.season > own.ends[1]:
        raise InputError(
            f'--season={FLAGS.season} is more than the {own.ends[1]} rows before the test part'
        )
    return own.dataset


def prepared() -> Forecasting:
    column, inputs = (tuple(FLAGS[name].value or ()) for name in ('column', 'inputs'))
    return prepare(FLAGS.csv, column, inputs, FLAGS.window, FLAGS.stride, shares())


@lru_cache(maxsize=1)  # the groups of a sweep share it
def prepare(
    path: str | None,
    targets: Names,
    inputs: Names,
    window: int,
    stride: int,
    split: tuple[float, ...],
) -> Forecasting:
    series, number = read_series(path, targets, inputs) if path else (mackey_glass(), 1)
    return forecasting(series, number, window=window, stride=stride, split=split)


def build(data: Dataset, hyper: Hyper) -> Model:
    options: dict[str, Any] = {
        'dense': FLAGS.dense,
        'dropout': hyper.dropout,
        'init': FLAGS.init or 'keras',
    }
    return network(
        model.layers(hyper), inputs=data.train.inputs.shape[-1], outputs=data.outputs, **options
    )


def loss(hyper: Hyper) -> Loss:
    return squared_error()


def show_forecasts(plan: Plan, params: Any, folder: Path) -> None:
    """What the net and the baselines make of the test part, in the data's own units; and the picture."""
    own = prepared()
    net = net_forecast(plan.model, params, own)
    everyone = ways(own, net)
    _, begin, end = own.ends
    record = {}
    for horizon in sorted({1, FLAGS.horizon}):
        rows = np.arange(begin, end - horizon + 1)
        truth = own.known[rows[:, None] + np.arange(horizon)]
        errors = {
            name: errors_of(own, forecast(rows, horizon), truth)
            for name, forecast in everyone.items()
        }
        console.print(
            f'\n{horizon_words(horizon, len(rows))}\n\n{errors_table(errors)}\n\n{verdict(errors)}'
        )
        record[str(horizon)] = json.loads(
            json.dumps(errors), parse_constant=lambda _: None
        )  # a NaN is no JSON
    runs.write_json(folder / ERRORS, record)

    ahead = net(np.arange(1, end), 1)[:, 0]
    past = net(np.array([end]), FLAGS.horizon)[0]
    write_rows(folder / PREDICTIONS, own, {'': own.known[1:end], ' predicted': ahead}, 1)
    write_rows(folder / FORECAST, own, {'': past}, end)
    free = net(np.array([begin]), min(FLAGS.horizon, end - begin))[0] if FLAGS.horizon > 1 else None
    title = f'{Path(FLAGS.csv).name if FLAGS.csv else "Mackey-Glass"}: {FLAGS.cell}, {FLAGS.layers} x {FLAGS.hidden_size} units'
    plots.forecast(own.names, own.known[:end], ahead, free, past, own.ends, folder / PICTURE, title)
    console.print(
        f'\n{PREDICTIONS}, {FORECAST} and {ERRORS} in {folder} have the numbers; drawn: {folder / PICTURE}'
    )


def net_forecast(net: Model, params: Any, own: Forecasting) -> Forecast:
    """The net reads the series from its beginning, a row at a time; from any row on it goes on with its own outputs."""
    rows = own.standard[: own.ends[2]].astype(jax.tree.leaves(params)[0].dtype)
    carries, outputs = jax.jit(partial(generate.read, net))(params, rows[None])

    def forecast(origins: np.ndarray, horizon: int) -> np.ndarray:
        if horizon == 1:
            return own.in_units(np.asarray(outputs)[0, origins - 1][:, None])
        carry = jax.tree.map(lambda leaf: leaf[origins - 1, 0], carries)
        return own.in_units(
            np.asarray(
                jax.jit(partial(generate.forecast, net, horizon=horizon))(
                    params, carry, rows[origins - 1]
                )
            )
        )

    return forecast


def ways(own: Forecasting, net: Forecast) -> dict[str, Forecast]:
    known, end = own.known[: own.ends[2]], own.ends[2]
    linear = baselines.ridge(own.standard[:end], own.targets, FLAGS.window, own.ends)
    return {
        'net': net,
        'last value': partial(baselines.last_value, known),
        f'last season, {FLAGS.season} rows': partial(
            baselines.last_season, known, season=FLAGS.season
        ),
        f'ridge on {FLAGS.window} rows': lambda rows, horizon: own.in_units(linear(rows, horizon)),
    }


def errors_of(
    own: Forecasting, forecast: np.ndarray, truth: np.ndarray
) -> dict[str, dict[str, float]]:
    """The mean absolute error and the root of the mean squared one, of every column in its units; of all columns together in units of
    their deviation in the training part, with the mean square that papers give."""
    error = forecast - truth
    columns = {
        name: {'MAE': float(np.mean(np.abs(part))), 'RMSE': float(np.sqrt(np.mean(part**2)))}
        for name, part in zip(own.names, np.moveaxis(error, -1, 0), strict=True)
    }
    standard = error / own.std[: own.targets]
    return columns | {
        STANDARD: {'MAE': float(np.mean(np.abs(standard))), 'MSE': float(np.mean(standard**2))}
    }


def horizon_words(horizon: int, rows: int) -> str:
    return (
        f'a step ahead, {rows} rows of the test part'
        if horizon == 1
        else f'1 to {horizon} steps ahead, from {rows} rows on'
    )


def errors_table(errors: dict[str, dict[str, dict[str, float]]]) -> str:
    columns = list(errors['net'])
    shown = columns if len(columns) <= WIDE else [STANDARD]  # errors.json has all
    kinds = [(column, kind) for column in shown for kind in errors['net'][column]]
    headings = [f'{column}: {kind}' for column, kind in kinds]
    table = new_table('forecast', *headings, right=tuple(headings))
    for name, figures in errors.items():
        table.add_row(name, *(f'{figures[column][kind]:.4g}' for column, kind in kinds))
    return render(table)


def verdict(errors: dict[str, dict[str, dict[str, float]]]) -> str:
    """Which baselines the net does not beat, and by which figure."""
    lost = []
    for name in list(errors)[1:]:
        kinds = [
            kind
            for kind, value in errors['net'][STANDARD].items()
            if not value < errors[name][STANDARD][kind]
        ]
        if kinds:
            lost.append(f'{name} ({" and ".join(kinds)})')
    return f'the net does not beat {", ".join(lost)}' if lost else 'the net beats every baseline'


def write_rows(path: Path, own: Forecasting, parts: dict[str, np.ndarray], first: int) -> None:
    """A table with the number of each row, counted from 0, and for each part its columns."""
    headings = [f'{name}{suffix}' for name in own.names for suffix in parts]
    columns = np.stack(list(parts.values()), axis=-1).reshape(-1, len(headings)).tolist()
    with path.open('w', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows(
            [['row', *headings], *([first + at, *row] for at, row in enumerate(columns))]
        )


if __name__ == '__main__':
    experiments.runner.cli.run(main)
