"""Runs side by side: what differs in their settings, what came out, and their curves in one picture.

python -m experiments.compare runs/elman runs/lstm runs/gru
"""

import statistics
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

import experiments.flags
from experiments.display import console
from experiments.flags import FLAGS
from rnnlab import plots, runs
from rnnlab.errors import InputError
from rnnlab.tables import new_table, render

experiments.flags.pictures()
flags.adopt_module_key_flags(experiments.flags)

PICTURE = 'compare.png'


class Result(NamedTuple):
    """A run as its folder tells it; None for what it has not, or not yet."""

    name: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    best: float | None  # validation accuracy
    last: float | None
    test: float | None
    parameters: int | None
    epoch_seconds: float | None  # evaluation and checkpoints with it

    def figures(self) -> tuple[float | None, ...]:
        return self.best, self.last, self.test, self.epoch_seconds


def main(folders: list[str]) -> None:
    if not folders:
        raise InputError('compare takes the folders of runs: compare runs/a runs/b')
    results = [read(Path(folder)) for folder in folders]
    different = differing([result.config for result in results])
    console.print(runs_table(results, different))
    groups = by_settings(results, [name for name in different if name != 'seed'])
    if len(groups) < len(results):
        console.print(f'\nmean ± standard deviation over runs that differ in their seed alone\n\n{groups_table(groups)}')
    path = Path(FLAGS.out) / PICTURE
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.compare({label: [result.rows for result in group] for label, group in groups.items()}, path)
    console.print(f'\ndrawn: {path}')


def read(folder: Path) -> Result:
    config, rows = runs.read_json(folder / runs.CONFIG), runs.read_rows(folder)
    summary = runs.read_json(folder / runs.SUMMARY) if (folder / runs.SUMMARY).exists() else {}
    validation = [row['validation_accuracy'] for row in rows if 'validation_accuracy' in row]
    return Result(
        name=str(folder),
        config=config,
        rows=rows,
        best=max(validation, default=None),
        last=validation[-1] if validation else None,
        test=summary.get('test_accuracy'),
        parameters=summary.get('parameters'),
        epoch_seconds=epoch_seconds(rows),
    )


def epoch_seconds(rows: list[dict[str, Any]]) -> float | None:
    """Seconds an epoch, without start and compilation where there are rows enough to tell."""
    if len(rows) < 2:
        return rows[0]['seconds'] / rows[0]['epoch'] if rows else None
    first, last = rows[0], rows[-1]
    return (last['seconds'] - first['seconds']) / (last['epoch'] - first['epoch'])


def differing(configs: list[dict[str, Any]]) -> list[str]:
    """The settings that all have, but not all alike."""
    names = [name for name in configs[0] if all(name in config for config in configs)]
    return [name for name in names if any(config[name] != configs[0][name] for config in configs)]


def by_settings(results: list[Result], names: list[str]) -> dict[str, list[Result]]:
    """The runs that are alike in these settings, under a label that says how they are set."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        label = ' '.join(f'{name}={result.config[name]}' for name in names) or 'all'
        groups.setdefault(label, []).append(result)
    return groups


FIGURES = ('validation: best', 'last', 'test', 'seconds an epoch')


def runs_table(results: list[Result], different: list[str]) -> str:
    *accuracies, seconds = FIGURES
    table = new_table('run', *different, *accuracies, 'parameters', seconds, right=(*FIGURES, 'parameters'))
    for result in results:
        settings = (str(result.config[name]) for name in different)
        *shown, epoch = (shown_number(value, digits) for value, digits in zip(result.figures(), DIGITS, strict=True))
        count = '-' if result.parameters is None else f'{result.parameters:,}'
        table.add_row(result.name, *settings, *shown, count, epoch)
    return render(table)


DIGITS = (4, 4, 4, 1)


def groups_table(groups: dict[str, list[Result]]) -> str:
    table = new_table('settings', 'runs', *FIGURES, right=('runs', *FIGURES))
    for label, group in groups.items():
        cells = []
        for values, digits in zip(zip(*(result.figures() for result in group), strict=True), DIGITS, strict=True):
            there = [value for value in values if value is not None]
            spread = f' ± {statistics.stdev(there):.{digits}f}' if len(there) > 1 else ''
            cells.append(shown_number(statistics.mean(there) if there else None, digits) + spread)
        table.add_row(label, str(len(group)), *cells)
    return render(table)


def shown_number(value: float | None, digits: int) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


if __name__ == '__main__':
    experiments.flags.run(main, takes_arguments=True)
