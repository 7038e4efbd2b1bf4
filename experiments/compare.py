"""Runs side by side: their settings, results and curves.

python -m experiments.compare runs/elman runs/lstm runs/gru
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean as mean

from experiments.runner import cli, fields
from experiments.runner.console import console, drawing, number
from experiments.runner.report import intervals_table, mean_and_std
from rnnlab.errors import InputError
from rnnlab.results import plots, runs
from rnnlab.results.records import Json, Kind, Metrics, Outcome, Row, Summary
from rnnlab.results.tables import new_table, render
from rnnlab.results.typed import check

PICTURE = 'compare.png'


@dataclass(frozen=True, kw_only=True)
class Config(fields.Config):
    out: str = fields.operational('.', 'Folder of the picture.', path=True)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run as its folder records it; its properties are None for what it lacks, or lacks yet."""

    name: str
    config: Json
    metrics: Metrics
    rows: list[Row]
    summary: Summary | None  # of a finished run

    def values(self) -> list[float]:
        """The selection metric of the validation split, by evaluation."""
        values = (row.value('validation', self.metrics.selection) for row in self.rows)
        return [value for value in values if value is not None]

    @property
    def best(self) -> float | None:
        return max(self.values(), key=self.metrics.selection.score, default=None)

    @property
    def last(self) -> float | None:
        return self.values()[-1] if self.values() else None

    @property
    def test(self) -> float | None:
        return self.summary.test.get(self.metrics.selection.name) if self.summary else None

    @property
    def parameters(self) -> int | None:
        return self.summary.parameters if self.summary else None

    @property
    def epoch_seconds(self) -> float | None:
        """Seconds an epoch, with evaluation and checkpoints.

        Start and compilation are left out where there are two rows; those of a resumption are not.
        """
        if not self.rows or not self.rows[-1].epoch:
            return None
        last, first = self.rows[-1], self.rows[0]
        steps, seconds = (first.step, first.seconds) if len(self.rows) > 1 else (0, 0.0)
        return (last.seconds - seconds) / (last.step - steps) * last.step / last.epoch


# heading: (property of a Result, how it is shown)
COLUMNS: dict[str, tuple[str, Callable[..., str]]] = {
    'validation: best': ('best', number),
    'last': ('last', number),
    'test': ('test', number),
    'parameters': ('parameters', '{:,.0f}'.format),
    'seconds an epoch': ('epoch_seconds', '{:.1f}'.format),
}


def main(config: Config, folders: list[str]) -> None:
    """Prints the tables of the runs in these folders, and draws their curves."""
    if not folders:
        raise InputError('compare takes the folders of runs: compare runs/a runs/b')
    path = Path(config.out) / PICTURE
    results = [read(Path(folder)) for folder in dict.fromkeys(folders)]
    path.parent.mkdir(parents=True, exist_ok=True)
    different = runs.differing([result.config for result in results])
    console.print(runs_table(results, different))
    groups = by_settings(results, [name for name in different if name != 'seed'])
    finished = {name: [run for run in group if run.summary] for name, group in groups.items()}
    if several := {name: group for name, group in finished.items() if len(group) > 1}:
        words = 'mean ± standard deviation of finished runs that differ in their seed alone'
        console.print(f'\n{words}\n\n{groups_table(several)}')
        if intervals := differences(several):
            console.print(f'\n{intervals}')
    if len(groups) == 1:  # a colour for each run
        groups = {label_alone(result, results): [result] for result in results}
    curves = {name: [run.rows for run in group if run.rows] for name, group in groups.items()}
    if curves := {name: rows for name, rows in curves.items() if rows}:
        with drawing(path):
            plots.compare(curves, results[0].metrics, path, title(results, different))
            console.print(f'\ndrawn: {path}')
    logged = {r.name: r.rows for r in results if r.rows and r.rows[0].gradients}
    if logged:
        path = path.with_name(runs.GRADIENTS)
        with drawing(path):
            plots.gradients(logged, path, 'How the gradient fades over the time steps')
            console.print(f'drawn: {path}')


def read(folder: Path) -> Result:
    """The run in a folder; InputError for a folder that holds none."""
    config = runs.read_json(folder / runs.CONFIG)
    with runs.located(f'{folder / runs.CONFIG} is not of a run that this version can read'):
        metrics = Metrics.from_json(config)
        check(config.get('seed'), int | None, 'seed')
    finished = (folder / runs.SUMMARY).exists()
    return Result(
        name=str(folder),
        config={name: value for name, value in config.items() if name not in metrics.to_json()},
        metrics=metrics,
        rows=runs.read_rows(folder, metrics),
        summary=runs.read_summary(folder, metrics) if finished else None,
    )


def by_settings(results: list[Result], names: list[str]) -> dict[str, list[Result]]:
    """The runs with equal values of these settings, one for each seed, under their label."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        label = ' '.join(f'{name}={setting(result, name)}' for name in names) or 'all'
        group = groups.setdefault(label, [])
        if result.config.get('seed') in [other.config.get('seed') for other in group]:
            group = groups.setdefault(result.name, [])  # the same run again
        group.append(result)
    return groups


def label_alone(result: Result, results: list[Result]) -> str:
    """What tells a run from others with equal settings: its seed, or else its folder."""
    seeds = [other.config.get('seed') for other in results]
    return f'seed={result.config.get("seed")}' if len({*seeds}) == len(seeds) else result.name


def title(results: list[Result], different: list[str]) -> str:
    """What is compared, and by what settings."""
    experiments = ', '.join(dict.fromkeys(str(r.config.get('experiment')) for r in results))
    by = f' by {", ".join(different)}' if 0 < len(different) <= 4 else ''
    return f'{experiments}: {len(results)} {"run" if len(results) == 1 else "runs"}{by}'


def setting(result: Result, name: str) -> str:
    value = result.config[name]
    return '-' if value is None else str(value)


def runs_table(results: list[Result], different: list[str]) -> str:
    """A row for each run: the settings in which they differ, and its results."""
    headings = [f'--{name}' if name in COLUMNS else name for name in different]
    table = new_table('run', *headings, *COLUMNS, right=tuple(COLUMNS))
    for result in results:
        settings = (setting(result, name) for name in different)
        values = ((getattr(result, name), show) for name, show in COLUMNS.values())
        cells = ('-' if value is None else show(value) for value, show in values)
        table.add_row(result.name, *settings, *cells)
    return render(table)


def groups_table(groups: dict[str, list[Result]]) -> str:
    """A row for each group: the mean and standard deviation of the results over its seeds."""
    table = new_table('settings', 'runs', *COLUMNS, right=('runs', *COLUMNS))
    for label, group in groups.items():
        cells = []
        for name, show in COLUMNS.values():
            values = [value for run in group if (value := getattr(run, name)) is not None]
            cells.append(mean_and_std(values, show))
        table.add_row(label, str(len(group)), *cells)
    return render(table)


def differences(groups: dict[str, list[Result]]) -> str:
    """Intervals, and differences to the best group, by the test split, else by validation.

    Returns '' for runs that are selected by different metrics.
    """
    results = [result for group in groups.values() for result in group]
    metric, *others = {result.metrics.selection for result in results}
    kind: Kind = 'best' if any(result.test is None for result in results) else 'test'
    if others or any(getattr(result, kind) is None for result in results):
        return ''
    outcome = Outcome(kind, metric)
    means = {label: mean(getattr(r, kind) for r in group) for label, group in groups.items()}
    ranked = sorted(groups, key=lambda label: -outcome.score(means[label]))
    rows = [
        (
            [label],
            outcome.sample({r.config.get('seed'): r.summary for r in groups[label] if r.summary}),
        )
        for label in ranked
    ]
    return intervals_table(['settings'], rows, outcome)


if __name__ == '__main__':
    cli.run(Config, main, takes_arguments=True)
