"""Runs side by side: what differs in their settings, what came out, and their curves in one picture.

python -m experiments.compare runs/elman runs/lstm runs/gru
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

import experiments.runner.cli
from experiments.runner.cli import FLAGS
from experiments.runner.console import console, figure, mean_and_deviation, noise
from rnnlab.errors import InputError
from rnnlab.results import plots, runs
from rnnlab.results.tables import new_table, render
from rnnlab.results.trials import score

experiments.runner.cli.pictures()
flags.adopt_module_key_flags(experiments.runner.cli)

PICTURE = 'compare.png'


class Result(NamedTuple):
    """A run as its folder tells it; None for what it has not, or not yet."""

    name: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    best: float | None  # of validation: its accuracy, or its loss
    last: float | None
    test: float | None
    parameters: int | None
    epoch_seconds: float | None  # evaluation and checkpoints with it


COLUMNS: dict[
    str, tuple[str, Callable[..., str]]
] = {  # heading: (field of a Result, how it is shown)
    'validation: best': ('best', figure),
    'last': ('last', figure),
    'test': ('test', figure),
    'parameters': ('parameters', '{:,.0f}'.format),
    'seconds an epoch': ('epoch_seconds', '{:.1f}'.format),
}


def main(folders: list[str]) -> None:
    if not folders:
        raise InputError('compare takes the folders of runs: compare runs/a runs/b')
    path = Path(FLAGS.out) / PICTURE
    path.parent.mkdir(parents=True, exist_ok=True)
    results = [read(Path(folder)) for folder in dict.fromkeys(folders)]
    different = runs.differing([result.config for result in results])
    console.print(runs_table(results, different))
    groups = by_settings(results, [name for name in different if name != 'seed'])
    finished = {
        label: [result for result in group if result.parameters is not None]
        for label, group in groups.items()
    }
    if several := {label: group for label, group in finished.items() if len(group) > 1}:
        console.print(
            f'\nmean ± standard deviation of finished runs that differ in their seed alone\n\n{groups_table(several)}'
        )
        if certainty := differences(several):
            console.print(f'\n{certainty}')
    if curves := {
        label: rows
        for label, group in groups.items()
        if (rows := [result.rows for result in group if result.rows])
    }:
        plots.compare(curves, path)
        console.print(f'\ndrawn: {path}')


def read(folder: Path) -> Result:
    config, rows = runs.read_json(folder / runs.CONFIG), runs.read_rows(folder)
    summary = runs.read_json(folder / runs.SUMMARY) if (folder / runs.SUMMARY).exists() else {}
    goal = config.get('goal', 'accuracy')
    field = f'validation_{goal}'
    validation = [row[field] for row in rows if field in row]
    return Result(
        name=str(folder),
        config=config,
        rows=rows,
        best=max(validation, key=partial(score, field), default=None),
        last=validation[-1] if validation else None,
        test=summary.get(f'test_{goal}'),
        parameters=summary.get('parameters'),
        epoch_seconds=epoch_seconds(rows),
    )


def epoch_seconds(rows: list[dict[str, Any]]) -> float | None:
    """Seconds an epoch, without start and compilation where there are rows enough to tell (but with those of a resumption)."""
    if not rows or not rows[-1]['epoch']:
        return None
    last, first = rows[-1], rows[0] if len(rows) > 1 else {'step': 0, 'seconds': 0.0}
    return (
        (last['seconds'] - first['seconds'])
        / (last['step'] - first['step'])
        * last['step']
        / last['epoch']
    )


def by_settings(results: list[Result], names: list[str]) -> dict[str, list[Result]]:
    """The runs that are alike in these settings, one for each seed, under a label that says how they are set."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        label = ' '.join(f'{name}={setting(result, name)}' for name in names) or 'all'
        group = groups.setdefault(label, [])
        if result.config.get('seed') in [
            other.config.get('seed') for other in group
        ]:  # the same run again: by its own name
            group = groups.setdefault(result.name, [])
        group.append(result)
    return groups


def setting(result: Result, name: str) -> str:
    value = result.config[name]
    return '-' if value is None else str(value)


def runs_table(results: list[Result], different: list[str]) -> str:
    headings = [f'--{name}' if name in COLUMNS else name for name in different]
    table = new_table('run', *headings, *COLUMNS, right=tuple(COLUMNS))
    for result in results:
        figures = (shown(getattr(result, field), show) for field, show in COLUMNS.values())
        table.add_row(result.name, *(setting(result, name) for name in different), *figures)
    return render(table)


def groups_table(groups: dict[str, list[Result]]) -> str:
    table = new_table('settings', 'runs', *COLUMNS, right=('runs', *COLUMNS))
    for label, group in groups.items():
        figures = []
        for field, show in COLUMNS.values():
            there = [value for result in group if (value := getattr(result, field)) is not None]
            figures.append(mean_and_deviation(there, show))
        table.add_row(label, str(len(group)), *figures)
    return render(table)


def differences(groups: dict[str, list[Result]]) -> str:
    """Intervals, and differences to the best group, of the test, or where there is none of validation; nothing for runs that are judged
    by different figures."""
    together = [result for group in groups.values() for result in group]
    goal, *others = {result.config.get('goal', 'accuracy') for result in together}
    name, field = 'test', f'test_{goal}'
    if any(result.test is None for result in together):
        name, field = 'best', f'best_validation_{goal}'
    if others or any(getattr(result, name) is None for result in together):
        return ''
    figures = [
        ([label], {result.config.get('seed'): getattr(result, name) for result in group})
        for label, group in groups.items()
    ]
    return noise(
        ['settings'],
        sorted(figures, key=lambda group: -score(field, statistics.fmean(group[1].values()))),
        field,
    )


def shown(value: float | None, show: Callable[[float], str]) -> str:
    return '-' if value is None else show(value)


if __name__ == '__main__':
    experiments.runner.cli.run(main, takes_arguments=True)
