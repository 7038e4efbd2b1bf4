"""Forecasts of a series of numbers, a step ahead and further, beside the baselines.

python -m experiments.series --flagfile=experiments/recipes/series_lstm2x8.flags    (generated)
python -m experiments.series --csv=sales.csv --column=sold --season=7 --horizon=28 --out=runs/sales
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import experiments.runner.config as groups
from experiments.forecasts import errors, files, methods
from experiments.runner import cli, model
from experiments.runner.console import console, drawing
from experiments.runner.fields import operational, static
from experiments.runner.sweep import launch
from experiments.runner.task import Plan, Task, checksum, fractions
from rnnlab.cells.base import Params
from rnnlab.data import Dataset
from rnnlab.data.series import (
    Examples,
    Forecasting,
    examples,
    forecasting,
    mackey_glass,
    read_each,
    read_series,
)
from rnnlab.errors import InputError
from rnnlab.models import Model, network
from rnnlab.results.records import Json
from rnnlab.training.forecasts import QUANTILES, Form
from rnnlab.training.losses import Loss, absolute_error, over_horizon, pinball, squared_error
from rnnlab.training.optim import Hyper

LOSSES: dict[str, Callable[[], Loss]] = {
    'mse': squared_error,
    'mae': absolute_error,
    'quantile': partial(pinball, QUANTILES),
}
ALONE = ('season', 'backtest')  # what is for the end of one run


@dataclass(frozen=True, kw_only=True)
class Config(groups.Layers, groups.Training):
    OPEN: ClassVar = {'hidden_size': 32, 'batch_size': 32, 'epochs': 20, 'keep': 'best'}

    # the data
    csv: str | None = groups.path(
        'Table of the series, .csv, .xlsx or .parquet, the oldest row first; by default one is '
        'generated.'
    )
    id: str | None = static(
        None,
        'Column that names the series of each row, where the table has several.',
        needs=('csv', ()),
        data=True,
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
        'Time steps of a training example, and rows that the linear baseline reads; with --revin '
        'all that a forecast reads.',
        low=1,
    )
    stride: int = static(1, 'Rows from one training example to the next.', low=1)

    # the forecast
    horizon: int = static(
        1, 'Rows to forecast, from every row of the test split and past the end.', low=1
    )
    multi_step: str = static(
        'free',
        'How several rows are forecast; free: the net is trained a row ahead, and reads its own '
        'outputs; direct: it is trained for all --horizon rows at once.',
        choices=('free', 'direct'),
    )
    loss: str = static(
        'mse',
        'What is minimised: the squared or the absolute error, or the pinball loss of the '
        'quantiles 0.05, 0.5 and 0.95.',
        choices=tuple(LOSSES),
    )
    difference: bool = static(
        False, 'Read and predict the differences of successive rows; forecasts are their sums.'
    )
    revin: bool = static(
        False,
        'Reversible instance normalization: mean and standard deviation of each window are '
        'removed, and given back to its forecast.',
        needs=('multi_step', ('direct',)),
    )

    # what is shown of it
    season: int = operational(
        12, 'Rows of a season, for the baseline that repeats the last one.', low=1
    )
    backtest: int | None = operational(
        None,
        'Compare forecasts from N rows of the test split one by one, too; nothing is refitted.',
        low=1,
    )

    @property
    def direct(self) -> bool:
        return self.multi_step == 'direct'

    @property
    def trained_horizon(self) -> int:
        """Rows after a step that the net is trained to predict from it."""
        return self.horizon if self.direct else 1

    def to_json(self) -> Json:
        """The settings that decide what a run computes: a net that is trained a row ahead can be
        asked for any horizon."""
        return super().to_json() | {'horizon': self.trained_horizon}


def resolve(config: Config) -> Config:
    if config.label_smoothing is not None:
        raise InputError('--label_smoothing goes with answers that are classes, not numbers')
    alone = ALONE if config.direct else (*ALONE, 'horizon')
    if config.sweep and (given := config.changed(*alone)):
        words = f'--{given[0]} goes without --sweep'
        if given[0] == 'horizon':
            words += ' but with --multi_step=direct'
        advice = '--resume --out=DIR/best with the flags of its best trial forecasts'
        raise InputError(f'{words}; {advice}')
    if any(axis.startswith(('loss=', 'loss~')) for axis in config.sweep):
        raise InputError('--sweep=loss: values of different losses do not compare')
    if config.loss == 'quantile' and config.horizon > config.trained_horizon:
        words = '--loss=quantile with --horizon above 1 goes with --multi_step=direct'
        raise InputError(f'{words}: quantiles cannot be read as the next inputs')
    if unused := config.changed('eval_examples', 'eval_next'):
        words = 'the validation split is evaluated whole'
        raise InputError(f'--{unused[0]} has no use in this experiment: {words}')
    return config


def source(config: Config) -> Json:
    return {'csv_crc32': checksum(config.csv)} if config.csv else {}


def load(config: Config) -> list[Forecasting]:
    if config.csv and config.id:
        every, targets = read_each(config.csv, config.id, config.column, config.inputs)
    elif config.csv:
        one, targets = read_series(config.csv, config.column, config.inputs)
        every = [one]
    else:
        every, targets = [mackey_glass()], 1
    split = fractions(config.split)
    return [forecasting(series, targets, split) for series in every]


def dataset(config: Config, parts: list[Forecasting]) -> Dataset:
    first = parts[0]
    if config.horizon > config.trained_horizon and first.targets < len(first.series.columns):
        words = '--horizon above 1 with --inputs goes with --multi_step=direct'
        raise InputError(f'{words}: what is read at the next step must itself be forecast')
    data = examples(
        parts,
        window=config.window,
        stride=config.stride,
        horizon=config.trained_horizon,
        windowed=config.revin,
    )
    for part in parts:
        _, begin, end = part.ends
        of = f' of {part.series.name!r}' if part.series.name else ''
        if config.horizon > end - begin:
            words = f'--horizon={config.horizon} is more than the {end - begin} rows'
            raise InputError(f'{words} of the test split{of}')
        if config.season > begin:
            words = f'--season={config.season} is more than the {begin} rows'
            raise InputError(f'{words} before the test split{of}')
        if (config.backtest or 0) > (most := len(part.origins(2, config.horizon))):
            words = f'--backtest={config.backtest} is more than the {most} rows'
            raise InputError(f'{words} of the test split{of} that a forecast can begin with')
    windows = len(data.train.inputs)
    if windows < config.batch_size and config.stride > 1:
        words = f'--stride={config.stride} with --window={config.window} leaves {windows}'
        advice = f'fewer than --batch_size={config.batch_size}'
        raise InputError(f'{words} training example(s), {advice}: lower one of them')
    baseline = methods.memoryless_loss(parts, config.loss, config.trained_horizon)
    return replace(data, baseline=baseline)


def form(config: Config, data: Dataset) -> Form:
    """What the net's outputs are."""
    assert isinstance(data, Examples)
    return Form(
        targets=data.outputs,
        horizon=config.horizon if config.direct else None,
        quantiles=len(QUANTILES) if config.loss == 'quantile' else None,
        step_sizes=data.step_sizes if config.difference else None,
        revin=config.revin,
    )


def build(config: Config, data: Dataset, hyper: Hyper) -> Model:
    outputs = form(config, data)
    return network(
        model.make_layers(config, hyper),
        inputs=data.train.inputs.shape[-1],
        outputs=outputs.outputs,
        pool='last' if config.revin else None,
        transform=None if outputs.plain else outputs.transform,
        **model.around(config, hyper),
    )


def loss(config: Config) -> Loss:
    of_rows = LOSSES[config.loss]()
    by_step = config.direct and not config.revin
    return over_horizon(of_rows, config.horizon) if by_step else of_rows


def show_forecasts(plan: Plan[Config], params: Params, folder: Path) -> None:
    """Prints, writes and draws the errors of the net and the baselines on the test split."""
    config, parts = plan.config, plan.loaded
    nets = methods.nets(plan.model, form(config, plan.data), params, parts, config.window)
    ways = {methods.NET: methods.Method([net.forecast for net in nets])}
    settings = config.window, config.season, config.trained_horizon
    ways |= methods.baseline_methods(parts, *settings)
    record: files.ByHorizon = {}
    by_series: dict[str, files.ByHorizon] = {part.series.name: {} for part in parts}
    for horizon in sorted({1, config.horizon}):
        origins = [part.origins(2, horizon) for part in parts]
        found, alone = errors.compared(parts, ways, origins, horizon)
        words = errors.horizon_words(horizon, sum(map(len, origins)))
        console.print(f'\n{words}\n\n{errors.errors_table(found)}\n\n{errors.verdict(found)}')
        record[str(horizon)] = found
        for part, own in zip(parts, alone, strict=True):
            by_series[part.series.name][str(horizon)] = own
    files.write_errors(folder / files.ERRORS, record)
    if config.id:
        files.write_errors(folder / files.BY_SERIES, by_series)
    if config.backtest:
        tested = errors.backtest(parts, ways, config.backtest, config.horizon)
        console.print(f'\nbacktest, standardised errors\n\n{errors.backtest_table(tested)}')
        files.write_backtest(folder / files.BACKTEST, tested)
    files.write_predictions(folder, parts, nets, config.horizon, config.id)
    written = f'{files.PREDICTIONS}, {files.FORECAST} and {files.ERRORS}'
    console.print(f'\n{written} in {folder} have the numbers')
    with drawing(path := folder / files.PICTURE):
        name = Path(config.csv).name if config.csv else 'Mackey-Glass'
        title = f'{name}: {config.cell}, {config.layers} x {config.hidden_size} units'
        further = f'{config.horizon} rows ahead' if config.direct else 'on its own outputs'
        files.draw(path, parts, nets, config.horizon, config.backtest or 1, (title, further))
        console.print(f'drawn: {path}')


TASK = Task(
    name='series',
    load=load,
    dataset=dataset,
    build=build,
    resolve=resolve,
    selection='loss',
    loss=lambda config: lambda hyper: loss(config),
    finish=show_forecasts,
    source=source,
)
main = partial(launch, TASK)


if __name__ == '__main__':
    cli.run(Config, main)
