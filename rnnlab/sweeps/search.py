"""Search: what to draw from axes next, by what came out before (Optuna, an optional extra)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnlab.errors import InputError
from rnnlab.sweeps.axes import Drawn, Settings, number

SAMPLERS = ('tpe',)  # tree-structured Parzen estimator (Bergstra, Bardenet, Bengio, Kegl 2011)


def optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError('a search needs Optuna: pip install optuna') from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def ask(
    axes: Sequence[Drawn], told: Sequence[tuple[Settings, float]], count: int, seed: int
) -> list[Settings]:
    """The next `count` points to try, in the light of the points told with how good each was; more is better.

    The answer depends on these arguments alone, so that whoever keeps what was told can go on at any time. TPE takes what was
    asked in the same call for bad, so that the points of one call lie apart; its first ten points are drawn at random.
    """
    library = optuna()
    sampler = library.samplers.TPESampler(
        seed=int(np.random.SeedSequence([seed, len(told)]).generate_state(1)[0]), constant_liar=True
    )
    study = library.create_study(direction='maximize', sampler=sampler)
    ranges = {axis.name: distribution(axis, library.distributions) for axis in axes}
    for settings, value in told:
        params = {axis.name: within(axis, settings[axis.name]) for axis in axes}
        study.add_trial(
            library.trial.create_trial(params=params, distributions=ranges, value=value)
        )
    return [
        {axis.name: text(axis, params[axis.name]) for axis in axes}
        for params in (study.ask(ranges).params for _ in range(count))
    ]


def distribution(axis: Drawn, distributions: Any) -> Any:
    if axis.scale == 'choice':
        return distributions.CategoricalDistribution(axis.values)
    if axis.scale == 'whole':
        return distributions.IntDistribution(int(axis.low), int(axis.high))
    return distributions.FloatDistribution(axis.low, axis.high, log=axis.scale == 'log')


def text(axis: Drawn, value: Any) -> str:
    return number(value, axis.rounded) if axis.scale in ('lin', 'log') else str(value)


def within(axis: Drawn, value: str) -> Any:
    """The value as Optuna knows it; digits that were rounded away must not push it out of its range."""
    if axis.scale == 'choice':
        return value
    return min(max(float(value), axis.low), axis.high) if axis.scale != 'whole' else int(value)
