"""The result of a recipe, as JSON beside it, and its verdict."""

import datetime
import platform
import statistics
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, TypedDict

import jax

from experiments.forecasts.errors import STANDARD
from experiments.forecasts.files import ERRORS
from experiments.reproduction.recipes import Published, Recipe
from experiments.runner.machine import processor_name
from rnnlab import __version__
from rnnlab.errors import InputError
from rnnlab.results import runs
from rnnlab.results.records import Metrics, outcomes
from rnnlab.results.statistics import Interval, interval

Verdict = Literal['reproduced', 'better', 'short', 'not comparable']
RESULTS = 'results'  # the folder beside the recipes
ROOT = Path(__file__).parent.parent.parent


class Values(TypedDict):
    """One metric over the seeds."""

    mean: float
    sd: float | None
    values: list[float] | None  # by seed; None where only the mean was kept
    interval: list[float] | None  # of the mean, 95 %


class Result(TypedDict):
    """Field by field a file of the folder `results`."""

    recipe: str
    command: str
    seeds: list[int]
    metrics: dict[str, Values]
    seconds: list[float]  # by seed
    processor: str
    versions: dict[str, str]
    date: str
    commit: str | None


def verdict(
    mean: float, of_mean: Sequence[float] | None, published: Published, differs: str = ''
) -> Verdict:
    """What a mean, and its interval where there is one, says of a published value.

    Reproduced: the value, or a part of its range, lies in the interval, or within the tolerance of
    the mean. Otherwise the mean is better or short.
    """
    if differs:
        return 'not comparable'
    low, high = published.low, published.high
    inside = of_mean is not None and of_mean[0] <= high and low <= of_mean[1]
    if inside or low - published.tolerance <= mean <= high + published.tolerance:
        return 'reproduced'
    return 'better' if (mean > high) == published.higher_is_better else 'short'


def verdict_of(recipe: Recipe, result: Result) -> Verdict:
    assert recipe.published
    found = result['metrics'][recipe.published.metric]
    return verdict(found['mean'], found['interval'], recipe.published, recipe.differs)


def values(by_seed: Sequence[float]) -> Values:
    several = len(by_seed) > 1
    of_mean: Interval | None = interval(by_seed)
    return {
        'mean': statistics.fmean(by_seed),
        'sd': statistics.stdev(by_seed) if several else None,
        'values': [*by_seed],
        'interval': [*of_mean] if of_mean else None,
    }


def measured(folder: Path) -> dict[str, float]:
    """The results of the finished run in a folder, by the words that heads have for them."""
    if (path := folder / ERRORS).exists():
        by_horizon = runs.read_json(path).items()
        return {f'test MSE {ahead} ahead': e['net'][STANDARD]['MSE'] for ahead, e in by_horizon}
    metrics = Metrics.from_json(runs.read_json(folder / runs.CONFIG))
    summary = runs.read_summary(folder, metrics)
    found = {outcome.words: outcome.of(summary) for outcome in outcomes(metrics.selection)}
    return {words: value for words, value in found.items() if value is not None}


def result_of(recipe: Recipe, folders: Sequence[Path], command: str) -> Result:
    """The result of finished runs, one for each seed of the recipe, made now on this machine."""
    assert recipe.published
    by_run = [measured(folder) for folder in folders]
    if (metric := recipe.published.metric) not in by_run[0]:
        words = f'Published: {metric} is not among {", ".join(by_run[0])}'
        raise InputError(f'{recipe.path}: {words}, the results of its runs')
    seconds = [runs.read_json(folder / runs.SUMMARY)['seconds'] for folder in folders]
    return {
        'recipe': recipe.name,
        'command': command,
        'seeds': [*recipe.seeds],
        'metrics': {name: values([run[name] for run in by_run]) for name in by_run[0]},
        'seconds': [round(value, 1) for value in seconds],
        'processor': processor_name(),
        'versions': {
            'python': platform.python_version(),
            'jax': jax.__version__,
            'rnnlab': __version__,
        },
        'date': datetime.date.today().isoformat(),
        'commit': commit(),
    }


@cache
def commit() -> str | None:
    """The commit of the clone, with -dirty where files differ from it; None outside of one."""
    command = ['git', 'describe', '--always', '--dirty', '--exclude=*']
    try:
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def read_results(folder: Path) -> dict[str, Result]:
    """The results beside the recipes of a folder, by recipe."""
    paths = sorted((folder / RESULTS).glob('*.json'))
    return {path.stem: runs.read_json(path, Result) for path in paths}
