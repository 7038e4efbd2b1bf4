"""The tables of results: on the terminal, and those of pages, which are made from the results."""

import csv
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from experiments.reproduction.recipes import Recipe
from experiments.reproduction.results import RESULTS, ROOT, Result, Values, verdict_of
from rnnlab.errors import InputError
from rnnlab.results import runs
from rnnlab.results.tables import markdown, new_table, render

MARK = re.compile(r'<!-- results: (\w+) -->\n(?:\n?(?:\|.*\n)+)?')  # the table below it is replaced
Recipes = Mapping[str, Recipe]
Results = Mapping[str, Result]


def shown(value: float, beside: float | None = None, digits: int = 4) -> str:
    """A value with so many significant digits, or two if it is below 0.01.

    beside: the value whose decimals it takes, as a standard deviation those of its mean.
    """
    size = abs(value if beside is None else beside)
    if 0 < size < 0.01:
        return f'{value:.1e}'
    whole = math.floor(math.log10(size)) if size else 0
    return f'{value:.{max(digits - 1 - whole, 0)}f}'


def mean_and_sd(found: Values, digits: int = 4) -> str:
    mean = shown(found['mean'], digits=digits)
    if found['sd'] is None:
        return mean
    return f'{mean} ± {shown(found["sd"], found["mean"], digits)}'


def by_seed(found: Values) -> str:
    """The mean, the standard deviation and, in brackets, the values, where they are known."""
    values = found['values'] or []
    each = ', '.join(shown(value, found['mean']) for value in values)
    return mean_and_sd(found) + (f' ({each})' if len(values) > 1 else '')


def compared(recipe: Recipe, result: Result | None) -> tuple[str, str, str]:
    """Ours, its interval, and the verdict; for a recipe that was not run, how long it takes."""
    assert recipe.published
    if result is None:
        return '-', '-', f'not run ({duration(recipe.minutes)})'
    found = result['metrics'][recipe.published.metric]
    bounds = found['interval']
    ends = ' to '.join(shown(end, found['mean']) for end in bounds) if bounds else '-'
    return mean_and_sd(found), ends, verdict_of(recipe, result)


def duration(minutes: float) -> str:
    return f'{minutes:g} min' if minutes < 90 else f'{minutes / 60:.0f} h'


def listing(recipes: Recipes, results: Results) -> str:
    """A line for each recipe with a published value, for the terminal."""
    heads = 'recipe', 'metric', 'published', 'ours', '95 % interval', 'verdict', 'minutes', 'source'
    table = new_table(*heads, right=('minutes',))
    for name, recipe in recipes.items():
        if recipe.published:
            ours, ends, told = compared(recipe, results.get(name))
            where, minutes = recipe.published, f'{recipe.minutes:g}'
            cells = where.metric, where.words, ours, ends, told, minutes, recipe.source
            table.add_row(name, *cells)
    return render(table)


def beside_published(recipes: Recipes, results: Results) -> str:
    heads = ['recipe', 'metric', 'here', '95 % interval', 'published', 'verdict', 'source']
    lines = []
    for name, recipe in recipes.items():
        if recipe.published:
            ours, ends, told = compared(recipe, results.get(name))
            told += f': {recipe.differs}' if recipe.differs else ''
            there = recipe.published.words
            lines.append(
                [f'`{name}`', recipe.published.metric, ours, ends, there, told, recipe.source]
            )
    return markdown(heads, lines)


def front(recipes: Recipes, results: Results) -> str:
    """The short table of the front page: what was run, by task."""
    heads = ['task', 'model', 'here, mean ± sd of three seeds', 'published', 'verdict']
    lines, above = [], ''
    for name, recipe in recipes.items():
        if recipe.published and name in results:
            where, found = recipe.published, results[name]['metrics'][recipe.published.metric]
            task = '' if recipe.task == above else f'{recipe.task}, {where.metric}'
            told, above = verdict_of(recipe, results[name]), recipe.task
            lines.append([task, recipe.model, mean_and_sd(found, 3), where.words, told])
    return markdown(heads, lines)


def seeds_table(prefix: str, recipes: Recipes, results: Results) -> str:
    """All metrics of the recipes whose names begin so, with the values of their seeds."""
    names = [name for name in recipes if name.startswith(prefix) and name in results]
    metrics = [*dict.fromkeys(metric for name in names for metric in results[name]['metrics'])]
    lines = []
    for name in names:
        result = results[name]
        found = result['metrics']
        cells = [by_seed(found[metric]) if metric in found else '-' for metric in metrics]
        seconds = ', '.join(f'{value:.0f}' for value in result['seconds'])
        made = f'{result["date"]}, {result["processor"]}, JAX {result["versions"]["jax"]}'
        lines.append([f'`{name}`', recipes[name].model, *cells, seconds, made])
    return markdown(['recipe', 'model', *metrics, 'seconds a run', 'made'], lines)


def capabilities(recipes: Recipes, results: Results) -> str:
    """A line for each cell and a column for each task, of a table that `capabilities` wrote.

    Where a seed solves a task: how many do, and up to which length their median, bold if that is
    the longest. Else the mean accuracy at the trained length.
    """
    with (ROOT / 'experiments' / 'recipes' / RESULTS / 'capabilities.csv').open() as file:
        columns, *rows = csv.reader(file)
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        own = dict(zip(columns, row, strict=True))
        words = f'{own["solved"]}, {own["reaches"]}'
        if own['reaches'] == columns[-1]:
            words = f'**{words}**'
        elif own['solved'].startswith('0'):
            words = own['1x'].partition(' ')[0]
        found.setdefault(own['cell'], {})[own['task']] = words
    tasks = [*dict.fromkeys(task for line in found.values() for task in line)]
    lines = [
        [f'`{cell}`', *(line.get(task, '-') for task in tasks)] for cell, line in found.items()
    ]
    return markdown(['cell', *(f'`{task}`' for task in tasks)], lines)


TABLES: dict[str, Callable[[Recipes, Results], str]] = {
    'published': beside_published,
    'front': front,
    'capabilities': capabilities,
    **{name: partial(seeds_table, name) for name in ('imdb', 'mnist', 'series', 'text')},
}


def updated(page: str, recipes: Recipes, results: Results) -> str:
    """The text of a page, with the table below each mark `<!-- results: NAME -->` made anew."""

    def made(match: re.Match[str]) -> str:
        if match[1] not in TABLES:
            raise InputError(f'a page has the mark <!-- results: {match[1]} -->, of no table')
        return f'<!-- results: {match[1]} -->\n\n{TABLES[match[1]](recipes, results)}\n'

    return MARK.sub(made, page)


def update(page: Path, recipes: Recipes, results: Results) -> None:
    """Writes a page with its tables made anew."""
    if page.exists():
        runs.write_text(page, updated(page.read_text(), recipes, results))
