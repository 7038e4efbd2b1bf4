"""Runs side by side: their settings, results and curves.

python -m experiments.compare runs/elman runs/lstm runs/gru
python -m experiments.compare runs/elman runs/lstm runs/gru --html
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean as mean
from typing import TYPE_CHECKING

from experiments.runner import cli, fields
from experiments.runner.console import console, drawing
from experiments.runner.intervals import intervals, mean_and_std, told
from experiments.runner.page import HINT, PAGE, lines_of, made
from rnnlab.errors import InputError
from rnnlab.results import page, plots, runs, trials
from rnnlab.results.page import curves as page_curves
from rnnlab.results.page import text
from rnnlab.results.records import Json, Kind, Metrics, Outcome, Row, Summary
from rnnlab.results.tables import new_table, number, render
from rnnlab.results.typed import check

if TYPE_CHECKING:
    from rich.table import Table

PICTURE = 'compare.png'
SEEDS = 'mean ± standard deviation of finished runs that differ in their seed alone'


@dataclass(frozen=True, kw_only=True)
class Config(fields.Config):
    out: str = fields.operational('.', 'Folder of the picture.', path=True)
    html: bool = fields.operational(
        False, 'Write report.html too: one page with everything, which a browser opens.'
    )


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
    if config.html:
        page.plotly()  # raises InputError where it is missing, before anything is written
    path = Path(config.out) / PICTURE
    results = [read(Path(folder)) for folder in dict.fromkeys(folders)]
    path.parent.mkdir(parents=True, exist_ok=True)
    different = runs.differing([result.config for result in results])
    console.print(render(runs_table(results, different)))
    groups = by_settings(results, [name for name in different if name != 'seed'])
    several = of_several_seeds(groups)
    if several:
        console.print(f'\n{SEEDS}\n\n{render(groups_table(several))}')
        if intervals := told(*differences(several)):
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
        with drawing(path.with_name(runs.GRADIENTS)):
            words = 'How the gradient fades over the time steps'
            plots.gradients(logged, path.with_name(runs.GRADIENTS), words)
            console.print(f'drawn: {path.with_name(runs.GRADIENTS)}')
    if config.html:
        write_page(path.with_name(PAGE), results, different, groups, several)
        console.print(f'page: {path.with_name(PAGE)}')


def write_page(
    path: Path,
    results: list[Result],
    different: list[str],
    groups: dict[str, list[Result]],
    several: dict[str, list[Result]],
) -> None:
    """Writes the tables, the curves and the settings of all runs as one page."""
    names = [result.name for result in results]
    tables = [text.of_table('Runs', runs_table(results, different), names)]
    if several:
        tables += [text.paragraph(SEEDS), text.of_table('Seeds', groups_table(several))]
        words, intervals = differences(several)
        tables += [text.paragraph(words)] if words else []
        tables += [text.of_table('Intervals', intervals)] if intervals else []
    sections = [
        page.Section('Runs', [text.paragraph(HINT), *tables]),
        page.Section('Learning curves', curve_pictures(results[0].metrics, groups)),
    ]
    if faded := [part for run in results for part in page_curves.gradients(run.name, run.rows)]:
        sections.append(page.Section('Gradients', faded))
    parts = (text.folded(run.name, '\n'.join(made(Path(run.name), run.config))) for run in results)
    sections.append(page.Section('How they were made', [*parts]))
    lead = f'{len(groups)} settings' if len(groups) > 1 else 'one setting'
    page.write(path, title(results, different), lead, sections, items(results))


def curve_pictures(metrics: Metrics, groups: dict[str, list[Result]]) -> list[page.Picture]:
    """The first two metrics over the epochs, a line for each group and a band over its seeds."""
    pictures, colours = list[page.Picture](), page_curves.categories(len(groups))
    lines = [
        page_curves.Line(name, {run.name: run.rows for run in group})
        for name, group in groups.items()
    ]
    rows = [row for result in groups.values() for run in result for row in run.rows]
    for metric in metrics.every[:2]:
        for split in ('train', 'validation', 'test'):
            if any(row.value(split, metric) is not None for row in rows):
                limits = page_curves.limits_of(lines, split, metric)
                title = f'{split} {metric.name}'
                picture = page_curves.curves(title, lines, [], split, metric, colours, limits)
                pictures.append(picture)
    return pictures


def items(results: list[Result]) -> page.Items:
    """What a click on a run shows: its settings and results, and its curve."""
    values = []
    for result in results:
        summary = result.summary.to_json(result.metrics) if result.summary else {}
        shown = (result.config | summary).items()
        values.append({name: '' if value is None else str(value) for name, value in shown})
    columns = list(dict.fromkeys(name for own in values for name in own))
    lines = lines_of(results[0].metrics, [row for result in results for row in result.rows[:1]])
    every = {
        result.name: page.Item(
            result.name,
            [own.get(column, '') for column in columns],
            page_curves.item_curve(result.rows, lines),
        )
        for result, own in zip(results, values, strict=True)
    }
    return page.Items(every=every, columns=columns, lines=lines, hint=HINT)


def of_several_seeds(groups: dict[str, list[Result]]) -> dict[str, list[Result]]:
    """The groups with more than one finished run, and those of their runs."""
    finished = {name: [run for run in group if run.summary] for name, group in groups.items()}
    return {name: group for name, group in finished.items() if len(group) > 1}


def read(folder: Path) -> Result:
    """The run in a folder; InputError for a folder that holds none."""
    if (folder / trials.SWEEP).exists():
        words = f'{folder} holds a sweep: see ./launch.sh report --out={folder}'
        raise InputError(f'{words}, or compare {folder / trials.BEST}, the run of its best trial')
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


def runs_table(results: list[Result], different: list[str]) -> 'Table':
    """A row for each run: the settings in which they differ, and its results."""
    headings = [f'--{name}' if name in COLUMNS else name for name in different]
    table = new_table('run', *headings, *COLUMNS, right=tuple(COLUMNS))
    for result in results:
        settings = (setting(result, name) for name in different)
        values = ((getattr(result, name), show) for name, show in COLUMNS.values())
        cells = ('-' if value is None else show(value) for value, show in values)
        table.add_row(result.name, *settings, *cells)
    return table


def groups_table(groups: dict[str, list[Result]]) -> 'Table':
    """A row for each group: the mean and standard deviation of the results over its seeds."""
    table = new_table('settings', 'runs', *COLUMNS, right=('runs', *COLUMNS))
    for label, group in groups.items():
        cells = []
        for name, show in COLUMNS.values():
            values = [value for run in group if (value := getattr(run, name)) is not None]
            cells.append(mean_and_std(values, show))
        table.add_row(label, str(len(group)), *cells)
    return table


def differences(groups: dict[str, list[Result]]) -> tuple[str, 'Table | None']:
    """Intervals, and differences to the best group, by the test split, else by validation.

    Returns (words, table) as `intervals`: '' for runs that are selected by different metrics.
    """
    results = [result for group in groups.values() for result in group]
    metric, *others = {result.metrics.selection for result in results}
    kind: Kind = 'best' if any(result.test is None for result in results) else 'test'
    if others or any(getattr(result, kind) is None for result in results):
        return '', None
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
    return intervals(['settings'], rows, outcome)


if __name__ == '__main__':
    cli.run(Config, main, takes_arguments=True)
