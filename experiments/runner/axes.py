"""The axes of a sweep, as --sweep describes them, and the settings of its trials."""

import math
from collections import Counter
from difflib import get_close_matches

from experiments.runner.fields import Config, Kind, parsed, specs, swept, types_of
from experiments.runner.training import Training
from rnnlab.errors import InputError
from rnnlab.sweeps import search
from rnnlab.sweeps.axes import Drawn, Grid, Settings, draws, parse, product
from rnnlab.sweeps.population import FEWEST

INITIAL = ('seed', 'forget_bias', 'init_scale')  # what decides the initial parameters


def read_axes(config: Training) -> list[Grid | Drawn]:
    """The axes of --sweep; InputError for one that cannot be."""
    kinds = types_of(type(config))
    whole = [name for name, kind in kinds.items() if kind is int]
    try:
        axes = [parse(spec, whole) for spec in config.sweep]
    except InputError as error:
        raise InputError(f'--sweep: {error}') from error
    for number, axis in enumerate(axes):
        if axis.name in (other.name for other in axes[:number]):
            raise InputError(f'--sweep has {axis.name} twice; write all its values into one')
        check_axis(config, axis)
    drawn = [axis for axis in axes if isinstance(axis, Drawn)]
    if drawn and not config.trials:
        raise InputError(f'--sweep={drawn[0].name}~ is drawn from; say how often by --trials=N')
    if not drawn and (config.trials or config.search):
        name = 'search' if config.search else 'trials'
        raise InputError(
            f'--{name} goes with an axis to draw from, like --sweep="lr~log(1e-4,1e-1)"'
        )
    if config.search:
        if fixed := [axis.name for axis in drawn if not is_dynamic(config, axis.name)]:
            words = f'--search={config.search} draws within one static configuration'
            raise InputError(f'{words}, and {fixed[0]} makes others; write --sweep={fixed[0]}=...')
        if config.asks:
            search.optuna()
        elif early := [axis.name for axis in drawn if axis.name in INITIAL]:
            words = f'--search=pbt changes what is drawn, but after step 0 no {early[0]}'
            raise InputError(f'{words}; write --sweep={early[0]}=...')
        for axis in drawn:
            for value in axis.ends:  # a later batch may reach them
                parsed(type(config), axis.name, value)
    count = math.prod(len(axis.values) for axis in axes if isinstance(axis, Grid))
    if (count := count * config.draws) > config.max_trials:
        raise InputError(f'these are {count} trials, more than --max_trials={config.max_trials}')
    return axes


def check_axis(config: Config, axis: Grid | Drawn) -> None:
    """Raises InputError for an axis that is no setting, or has values that the setting lacks."""
    cls, name = type(config), axis.name
    if name not in swept(cls):
        near = get_close_matches(name, swept(cls), 1)
        hint = 'is no flag' + (f'; did you mean {near[0]}?' if near else '')
        if name in specs(cls):
            hint = 'is no setting of the training'
        raise InputError(f'--sweep={name}: {name} {hint}')
    if types_of(cls)[name] is tuple:
        raise InputError(f'--sweep={name}: --{name} is a list, which cannot be swept')
    try:
        values = [parsed(cls, name, value) for value in axis.values]
    except InputError as error:
        raise InputError(f'--sweep={name}: {error}') from error
    if len(set(values)) < len(values):
        raise InputError(f'--sweep={name} has {Counter(values).most_common(1)[0][0]} twice')


def settings_of(config: Training, axes: list[Grid | Drawn]) -> list[Settings]:
    """The swept settings of every trial: for each draw all combinations of the rest, each once.

    In a search by earlier results the draw is any one point. Raises InputError for a population
    that is too small.
    """
    drawn = [axis for axis in axes if isinstance(axis, Drawn)]
    points: list[Settings] = [{}]
    if config.asks:
        points = [{axis.name: axis.at(0.5) for axis in drawn}]
    elif drawn:
        points = list(draws(drawn, config.draws, config.sweep_seed))
    grids = list(product([axis for axis in axes if isinstance(axis, Grid)]))
    every = [point | grid for point in points for grid in grids]
    ordered = [{axis.name: trial[axis.name] for axis in axes} for trial in every]
    unique = list({tuple(trial.values()): trial for trial in ordered}.values())
    if config.search == 'pbt' and (members := len(unique) // len(grids)) < FEWEST:
        words = f'--search=pbt replaces a quarter of a population, so of {FEWEST} or more'
        raise InputError(f'{words}; --trials={config.trials} makes {members}')
    return unique


def is_dynamic(config: Config, name: str) -> bool:
    spec = specs(type(config)).get(name)
    return spec is not None and spec.kind is Kind.DYNAMIC
