"""Search: the next settings to try, chosen from earlier results by Optuna (an optional extra)."""

from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np

from rnnlab.errors import InputError
from rnnlab.sweeps.axes import Drawn, Settings, number

# Points are chosen by the tree-structured Parzen estimator (Bergstra, Bardenet, Bengio, Kegl 2011),
# alone or within the brackets of hyperband; a population changes its own.
ASKED = ('tpe', 'hyperband')
SEARCHES = (*ASKED, 'pbt')
ENOUGH = 10  # results from which TPE chooses; with fewer it draws at random


def optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise InputError('a search needs Optuna: pip install optuna') from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def ask(
    axes: Sequence[Drawn],
    told: Sequence[tuple[Settings, float]],
    count: int,
    seed: int,
    before: int,
) -> list[Settings]:
    """The next `count` settings to try, given earlier settings with their scores (more is better).

    before: how many were chosen so far. The answer depends on the arguments only, so that a search
    resumes from its results. TPE takes the pending settings of a call for bad ones, which keeps
    them apart, and draws settings at random until it knows of ten.
    """
    library = optuna()
    seeds = np.random.SeedSequence([seed, before]).generate_state(1)
    sampler = library.samplers.TPESampler(
        seed=int(seeds[0]), constant_liar=True, n_startup_trials=ENOUGH
    )
    study = library.create_study(direction='maximize', sampler=sampler)
    ranges = {axis.name: distribution(axis, library.distributions) for axis in axes}
    for settings, score in told:
        params = {axis.name: to_optuna(axis, settings[axis.name]) for axis in axes}
        trial = library.trial.create_trial(params=params, distributions=ranges, value=score)
        study.add_trial(trial)
    chosen = [study.ask(ranges).params for _ in range(count)]
    return [{axis.name: text(axis, params[axis.name]) for axis in axes} for params in chosen]


def comparable(told: Mapping[int, list[tuple[Settings, float]]]) -> list[tuple[Settings, float]]:
    """Of settings with their scores on each rung those that TPE is told, all on the same rung.

    That is the highest rung with enough of them (Falkner, Klein and Hutter 2018).
    """
    enough = [rung for rung, scored in told.items() if len(scored) >= ENOUGH]
    return told[max(enough)] if enough else max(told.values(), key=len, default=[])


def distribution(axis: Drawn, distributions: ModuleType) -> object:
    if axis.scale == 'choice':
        return distributions.CategoricalDistribution(axis.values)
    if axis.scale == 'whole':
        return distributions.IntDistribution(int(axis.low), int(axis.high))
    return distributions.FloatDistribution(axis.low, axis.high, log=axis.scale == 'log')


def text(axis: Drawn, value: str | float) -> str:
    return number(float(value), axis.rounded) if axis.scale in ('lin', 'log') else str(value)


def to_optuna(axis: Drawn, value: str) -> str | float:
    """The value as Optuna's; one that was rounded out of the range is moved to its end."""
    if axis.scale == 'choice':
        return value
    return int(value) if axis.scale == 'whole' else min(max(float(value), axis.low), axis.high)
