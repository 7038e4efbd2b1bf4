"""What a run or a sweep shows on the terminal: its progress, and the tables at its end."""

import math
import re
import statistics
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rnnlab.analysis.statistics import FEWEST, Interval, interval, paired
from rnnlab.data import Split
from rnnlab.errors import InputError
from rnnlab.models import Model
from rnnlab.results import plots, runs, trials
from rnnlab.results.tables import new_table, render
from rnnlab.results.trials import CHANCE, DIVERGED, Setting, score

BEST_SETTINGS = 10  # in the table of a sweep

console = Console(highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress(stop: int, step: int) -> Iterator[Callable]:
    """A bar where there is a terminal, and a line for each evaluation, at most one a second between epochs."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task, shown_at = bar.add_task('compiling', total=stop, completed=step), -math.inf

        def show(step: int, means: dict[str, float], row: dict[str, Any] | None = None) -> None:
            nonlocal shown_at
            words = '  '.join(
                f'{name} {figure(value)}' for name, value in means.items() if name != 'grad_norm'
            )
            bar.update(task, completed=step, description=words)
            now = time.perf_counter()
            if row and (row['epoch'] == int(row['epoch']) or step == stop or now - shown_at > 1):
                shown_at = now
                parts = [part for part in ('train', 'validation', 'test') if f'{part}_loss' in row]
                named = (
                    {name: figure(value) for name, value in of_part(row, part).items()}
                    for part in parts
                )
                figures = '   '.join(
                    ' '.join([part, *chain(*own.items())])
                    for part, own in zip(parts, named, strict=True)
                )
                console.print(
                    f'epoch {row["epoch"]:5.2f}  step {step:6d}   {figures}   {row["seconds"]:.1f} s'
                )

        yield show


def figure(value: float, beside: float | None = None) -> str:
    """Four decimals, or of what is so small that these say little two digits; a deviation as the mean that it stands beside."""
    size = abs(value if beside is None else beside)
    return f'{value:.4f}' if size == 0 or size >= 0.01 else f'{value:.1e}'


def of_part(row: dict[str, Any], part: str) -> dict[str, Any]:
    """The figures that a row or a summary has for a part of the data, by name."""
    return {
        name.removeprefix(f'{part}_'): value
        for name, value in row.items()
        if name.startswith(f'{part}_')
    }


def figures_of(goal: str) -> dict[str, str]:
    """The fields of a summary that are compared, with their headings."""
    return {
        f'best_validation_{goal}': 'validation: best',
        f'validation_{goal}': 'last',
        f'test_{goal}': 'test',
    }


def summary_table(summary: dict[str, Any], goal: str) -> str:
    columns = {f'test {name}': figure(value) for name, value in of_part(summary, 'test').items()}
    best, last, _ = figures_of(goal)
    if best in summary:
        columns |= {
            f'validation {goal}: best': figure(summary[best]),
            'last': figure(summary[last]),
        }
    if 'baseline' in summary:
        columns['memoryless'] = figure(summary['baseline'])
    if summary['kept_step'] != summary['steps']:
        columns['tested: step'] = f'{summary["kept_step"]:,}'
    columns |= {
        'parameters': f'{summary["parameters"]:,}',
        'steps': f'{summary["steps"]:,}',
        'seconds': f'{summary["wall_seconds"]:.1f}',
    }
    table = new_table(*columns, right=tuple(columns))
    table.add_row(*columns.values())
    return render(table)


def prediction_table(model: Model, params, test: Split) -> str:
    """The first ten test examples: what they are and what the model takes them for."""
    first = jax.tree.map(lambda leaf: leaf[:10], test)
    predicted = np.argmax(jax.jit(model.apply)(params, first.inputs, first.lengths), axis=-1)
    numbers = [str(number) for number in range(len(predicted))]
    table = new_table('test example', *numbers, right=tuple(numbers))
    table.add_row('label', *map(str, first.labels))
    table.add_row('predicted', *map(str, predicted))
    return render(table)


@contextmanager
def sweep_progress(groups: list[Any], sweep: Any) -> Iterator[Callable]:
    """A bar with the spread of all trials so far where there is a terminal, and a line at each wave's end and now and then."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        TextColumn('{task.percentage:3.0f} %'),
        TimeRemainingColumn(),
    )
    began = shown_at = time.perf_counter()
    steps_of = {number: group.steps for group in groups for number in group.numbers}
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task('compiling', total=sum(steps_of.values()))

        def show(group: Any, wave: list[Any], step: int, scores: np.ndarray | None) -> None:
            nonlocal shown_at
            before = [trial for number, trial in sweep.finished.items() if number in steps_of]
            done = sum(steps_of[trial['trial']] for trial in before) + step * len(wave)
            alive = trials.Setting({}, before).values(sweep.metric)
            alive += [] if scores is None else scores[np.isfinite(scores)].tolist()
            diverged = sum(trial['status'] == DIVERGED for trial in before) + (
                0 if scores is None else int(np.isnan(scores).sum())
            )
            spread = (
                f'best {max(alive, key=partial(score, sweep.metric)):.4f}  median {np.median(alive):.4f}  diverged {diverged}'
                if alive
                else 'no evaluation yet'
            )
            bar.update(task, completed=done, description=f'{group.label}  {spread}')
            now = time.perf_counter()
            if step == group.steps or (not console.is_terminal and now - shown_at > 5):
                shown_at = now
                ended = len(before) + (len(wave) if step == group.steps else 0)
                parts = (
                    f'{ended} of {len(steps_of)} trials',
                    group.label,
                    f'step {step} of {group.steps}',
                    spread,
                )
                console.print(
                    '   '.join(part for part in parts if part) + f'   {now - began:.1f} s'
                )

        yield show


def groups_table(groups: list[Any]) -> str:
    """The programs of a sweep, and how each one's trials are divided into lanes and waves."""
    columns = 'trials', 'lanes', 'waves', 'steps', 'MB a wave'
    table = new_table('program', *columns, right=columns)
    for number, group in enumerate(groups, 1):
        trials, waves = len(group.numbers), -(-len(group.numbers) // group.lanes)
        figures = trials, group.lanes, waves, group.steps, group.wave_bytes / 1e6
        table.add_row(group.label or str(number), *(f'{value:,.0f}' for value in figures))
    return render(table)


def settings_table(members: list[Any], names: list[str], open_names: list[str]) -> str:
    """The trials with their settings; those that a search chooses are open."""
    table = new_table('trial', *names, right=('trial', *names))
    for trial in members:
        table.add_row(
            str(trial.number),
            *('searched' if name in open_names else shown(trial.config[name]) for name in names),
        )
    return render(table)


def shown(setting: Any) -> str:
    return f'{setting:g}' if isinstance(setting, float) else str(setting)


def best_table(settings: list[Setting], names: list[str], goal: str) -> str:
    """Settings with the mean and standard deviation over their seeds, the best first."""
    figures = {
        name: heading
        for name, heading in figures_of(goal).items()
        if any(setting.values(name) for setting in settings)
    }
    columns = [*names, 'seeds', *figures.values(), 'diverged', 'chance']
    table = new_table(*columns, right=tuple(columns))
    for setting in settings:
        values = [mean_and_deviation(setting.values(name)) for name in figures]
        counts = [
            sum(trial['status'] == status for trial in setting.trials) or ''
            for status in (DIVERGED, CHANCE)
        ]
        table.add_row(
            *(shown(setting.settings[name]) for name in names),
            str(len(setting.trials)),
            *values,
            *map(str, counts),
        )
    return render(table)


def mean_and_deviation(values: Collection[float], show: Callable[..., str] = figure) -> str:
    if not values:
        return '-'
    mean = statistics.fmean(values)
    return show(mean) + (
        f' ± {show(statistics.stdev(values), mean)}' if len(set(values)) > 1 else ''
    )


def noise(names: list[str], groups: list[tuple[list[str], dict[Any, float]]], field: str) -> str:
    """How sure the means of settings are, each with its figures by seed, the best settings first: intervals, and the difference of each
    to the best, paired by seed. Nothing where there is one seed, and a line where there are two."""
    words, seeds = field.replace('_', ' '), max(len(figures) for _, figures in groups)
    if seeds < FEWEST:
        return (
            f'{words}: two seeds are too few to tell a difference from noise; it takes {FEWEST}'
            if seeds == 2
            else ''
        )
    columns = 'seeds', 'mean ± deviation', '95 % interval', 'minus the best', 'interval'
    table = new_table(*names, *columns, '', right=columns)
    best = next(figures for _, figures in groups if figures)
    size, most = statistics.fmean(best.values()), 1.0 if trials.is_share(field) else math.inf

    def change(value: float) -> str:
        return '+' * (value > 0) + figure(value, size)

    for settings, figures in groups:
        of_mean, differences = interval([*figures.values()]), paired(figures, best)
        inside = of_mean and Interval(
            max(of_mean.low, 0.0), min(of_mean.high, most)
        )  # no accuracy is above 1, no loss below 0
        cells = [str(len(figures)), mean_and_deviation(figures.values()), ends(inside, figure)]
        if figures and figures is not best:
            difference = interval(differences)
            cells += [
                change(statistics.fmean(differences)) if differences else '-',
                ends(difference, change),
                verdict(difference, field),
            ]
        table.add_row(*settings, *cells)
    return f'{words}: 95 % intervals, and each setting minus the best, paired by seed\n\n{render(table)}'


def ends(of: Interval | None, show: Callable[[float], str]) -> str:
    return f'{show(of.low)} to {show(of.high)}' if of else '-'


def verdict(difference: Interval | None, field: str) -> str:
    if difference is None:
        return 'too few seeds to tell'
    if difference.holds_zero:
        return 'within the noise'
    return 'better' if score(field, difference.low) > 0 else 'worse'


def sweep_report(folder: Path) -> None:
    """Merges what is finished of a sweep, draws it, and prints the best settings."""
    record = runs.read_json(folder / trials.SWEEP)
    if not record.keys() >= {'names', 'structure', 'trials', 'metric'}:
        raise InputError(f'{folder / trials.SWEEP} is not what a sweep writes')
    results, rows = trials.merge(folder, record['metric'])
    if not results:
        raise InputError(f'{folder} holds no finished trial yet')
    names, metric = [name for name in record['names'] if name != 'seed'], record['metric']
    goal = metric.rpartition('_')[2]
    settings = trials.by_setting(results, metric)
    console.print(f'\n{best_table(settings[:BEST_SETTINGS], names, goal)}\n')
    if len(settings) > BEST_SETTINGS:
        console.print(f'the best {BEST_SETTINGS} of {len(settings)} settings')
    groups = [
        ([shown(setting.settings[name]) for name in names], setting.by_seed(metric))
        for setting in settings[:BEST_SETTINGS]
    ]
    diverged, chance = (
        sum(trial['status'] == status for trial in results) for status in (DIVERGED, CHANCE)
    )
    if certainty := noise(names, groups, metric):
        console.print(
            f'{certainty}\n' + 'a seed that diverged is in no interval\n' * (diverged > 0)
        )
    console.print(
        f'{len(results)} of {record["trials"]} trials, {diverged} diverged, {chance} no better than chance'
    )
    if metric == f'test_{goal}':
        console.print(
            f'ranked by test {goal}, since not every trial validates: no fair estimate of the best'
        )
    if winner := trials.best(results, metric):
        chosen = ' '.join(f'{name}={shown(value)}' for name, value in winner['settings'].items())
        figures = ', '.join(
            f'{words} {figure(winner[name])}'
            for name, words in figures_of(goal).items()
            if winner.get(name) is not None
        )
        console.print(
            f'best trial: {winner["trial"]}, {chosen}: {figures}; its run is {folder / trials.BEST}'
        )
    pictures = draw_sweep(folder, record, results, rows)
    console.print(
        f'{folder / trials.TRIALS} has every trial'
        + f'; drawn: {", ".join(pictures)}' * bool(pictures)
    )


def draw_sweep(
    folder: Path, record: dict[str, Any], results: list[dict], rows: list[dict]
) -> list[str]:
    """Draws the pictures of a sweep into its folder; the result is their names."""
    field, structure = record['metric'], record['structure']
    settings = sorted(
        trials.by_setting(results, field), key=lambda setting: setting.trials[0]['trial']
    )
    what = record.get('dataset') or record.get('task') or record['experiment']
    title = f'{what}, {len(results)} trials'
    swept = {
        name.strip(): values
        for name, _, values in (re.split('([=~])', spec, maxsplit=1) for spec in record['sweep'])
    }
    linear = {name for name, values in swept.items() if 'lin(' in values}
    seeds = max(len(setting.trials) for setting in settings) > 1
    pictures = []
    if rows:
        goal = field.rpartition('_')[2]
        metric = next(
            (name for name in (f'validation_{goal}', f'test_{goal}') if name in rows[0]),
            f'train_{goal}',
        )
        plots.sweep_curves(results, rows, metric, structure, linear, folder / runs.CURVES, title)
        pictures.append(runs.CURVES)
    sizes = {
        name: len({str(setting.settings[name]) for setting in settings})
        for name in settings[0].settings
    }
    if sizes:
        words = ', the best of the other axes' * (len(sizes) > 1) + ', mean ± sd over seeds' * seeds
        plots.sweep_axes(settings, field, structure, linear, folder / 'axes.png', title + words)
        pictures.append('axes.png')
    if (
        len(axes := [name for name in sizes if name in swept]) > 1
    ):  # others, such as a size that --parameters chose, follow from these
        first, second = sorted(axes, key=lambda name: -sizes[name])[:2]
        words = ', the best of the other axes' * (len(axes) > 2) + ', mean over seeds' * seeds
        plots.sweep_map(settings, field, (first, second), linear, folder / 'map.png', title + words)
        pictures.append('map.png')
    return pictures
