"""Published results beside ours: lists the recipes that have one, or trains them and compares.

python -m experiments.reproduce                                  (lists them)
python -m experiments.reproduce mnist_lstm64 memory_adding600
python -m experiments.reproduce --budget=60
"""

import difflib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from experiments.reproduction import tables
from experiments.reproduction.recipes import Recipe, read_recipes
from experiments.reproduction.results import (
    RESULTS,
    ROOT,
    Result,
    read_results,
    result_of,
    verdict_of,
)
from experiments.runner import cli, fields, machine
from experiments.runner.console import console, say
from experiments.runner.run import train
from rnnlab.errors import InputError
from rnnlab.results import runs

RECIPES = ROOT / 'experiments' / 'recipes'


@dataclass(frozen=True, kw_only=True)
class Config(fields.Config):
    budget: float | None = fields.operational(
        None,
        'Minutes: take what fits by the expected minutes of the recipes, first those without a '
        'result, then those that can be compared, the shortest first.',
        check=lambda minutes: 0 < minutes < fields.INF,
        must='must be a number above zero',
    )
    data_dir: str | None = fields.operational(None, 'TFDS folder, as of mnist and imdb.', path=True)
    csv: str | None = fields.operational(None, 'The table that a recipe needs.', path=True)
    text: str | None = fields.operational(None, 'The text that a recipe needs.', path=True)
    recipes: str | None = fields.operational(
        None, "Folder of the recipes; by default this clone's.", path=True
    )
    out: str = fields.operational(
        'runs/reproduce', 'Folder of the runs; a run that is there is resumed.', path=True
    )
    record: bool = fields.operational(
        False, 'Keep the results beside the recipes, and make the tables of the pages anew.'
    )
    devices: int = fields.operational(
        machine.CORES, 'Devices of recipes that do not say how many.', low=1
    )


def main(config: Config, names: list[str]) -> None:
    """Lists the recipes, or trains those that are named or fit the budget, and compares them."""
    folder = Path(config.recipes or RECIPES)
    recipes, kept = read_recipes(folder), read_results(folder)
    if not names and config.budget is None:
        if alone := config.changed('record', 'csv', 'text', 'data_dir'):
            raise InputError(f'--{alone[0]} goes with names of recipes, or --budget')
        console.print(tables.listing(recipes, kept))
        return
    chosen = named(names, recipes) if names else [*recipes.values()]
    if config.budget is not None:
        chosen = affordable(chosen, kept, config)
    for recipe in chosen:
        for flag, what in recipe.needs.items():
            if getattr(config, flag, None) is None:
                raise InputError(f'{recipe.name} needs --{flag}=FILE, {what}')
    made: dict[str, Result] = {}
    for recipe in chosen:
        made[recipe.name] = reproduce(recipe, config)
        if config.record:
            record(made[recipe.name], folder, recipes)
    console.print(f'\n{tables.listing({name: recipes[name] for name in made}, made)}')


def named(names: Iterable[str], recipes: dict[str, Recipe]) -> list[Recipe]:
    """The recipes of these names, each once; InputError for one with nothing to reproduce."""
    for name in names:
        if name not in recipes:
            near = difflib.get_close_matches(name, recipes, cutoff=0.4) or sorted(recipes)
            raise InputError(f'there is no recipe {name!r}; do you mean {", ".join(near)}?')
        if not recipes[name].published:
            words = f'{name} has no published value to compare with'
            raise InputError(f'{words}; train it with --flagfile={recipes[name].path}')
    return [recipes[name] for name in dict.fromkeys(names)]


def affordable(recipes: Iterable[Recipe], kept: dict[str, Result], config: Config) -> list[Recipe]:
    """Those that fit the budget, most valuable first; those whose files are missing are left out.

    Recipes without a result come first, then those that can be compared, the shortest first.
    """
    assert config.budget is not None
    ready = [
        recipe
        for recipe in recipes
        if recipe.published and all(getattr(config, flag, None) for flag in recipe.needs)
    ]
    ready.sort(key=lambda recipe: (recipe.name in kept, recipe.differs != '', recipe.minutes))
    left, chosen = config.budget, []
    for recipe in ready:
        if recipe.minutes <= left:
            chosen.append(recipe)
            left -= recipe.minutes
    if not chosen:
        shortest = min(ready, key=lambda recipe: recipe.minutes, default=None)
        advice = f': {shortest.name} takes {shortest.minutes:g} minutes' if shortest else ''
        raise InputError(f'--budget={config.budget:g} is too short for any recipe{advice}')
    words = f'{config.budget - left:g} of {config.budget:g} minutes'
    say(f'{words}: {", ".join(recipe.name for recipe in chosen)}')
    return chosen


def reproduce(recipe: Recipe, config: Config) -> Result:
    """Trains a recipe with each of its seeds, or resumes that, and compares the results."""
    assert recipe.published
    module = importlib.import_module(f'experiments.{recipe.experiment}')
    folders = [Path(config.out) / recipe.name / f'seed-{seed}' for seed in recipe.seeds]
    files = {flag: getattr(config, flag) for flag in ('data_dir', *recipe.needs)}
    flags = [f'--flagfile={recipe.path}'] + [
        f'--{flag}={value}'
        for flag, value in files.items()
        if value is not None and flag in fields.specs(module.Config)
    ]
    for seed, folder in zip(recipe.seeds, folders, strict=True):
        resumed = ['--resume'] * (folder / runs.CONFIG).exists()
        argv = [recipe.experiment, *flags, f'--seed={seed}', f'--out={folder}', *resumed]
        own, _ = cli.parse(module.Config, argv)
        if own.sweep:
            raise InputError(f'{recipe.path} has --sweep; a published value is of single runs')
        train(module.TASK, own)
    command = ' '.join(
        ['./launch.sh reproduce', recipe.name, *(f'--{flag}=FILE' for flag in recipe.needs)]
    )
    result = result_of(recipe, folders, command)
    runs.write_json(Path(config.out) / recipe.name / 'result.json', result)
    ours, ends, _ = tables.compared(recipe, result)
    console.print()
    say(f'{recipe.name}: {recipe.published.metric} {ours}', f'95 % interval {ends}')
    say(f'published: {recipe.published.words} ({recipe.source})')
    why = f': {recipe.differs}' if recipe.differs else ''
    say(f'verdict: {verdict_of(recipe, result)}{why}')
    return result


def record(result: Result, folder: Path, recipes: dict[str, Recipe]) -> None:
    """Keeps a result beside the recipes, and makes the tables of their pages anew."""
    runs.write_json(folder / RESULTS / f'{result["recipe"]}.json', result)
    own = folder.resolve() == RECIPES.resolve()
    for page in [folder / 'README.md', *[ROOT / 'README.md'] * own]:
        tables.update(page, recipes, read_results(folder))


if __name__ == '__main__':
    cli.run(Config, main, takes_arguments=True)
