"""The page of a sweep: what its report prints and draws, every trial, and how it was made."""

from collections import Counter
from pathlib import Path

from experiments.runner.intervals import intervals, mean_interval
from experiments.runner.report import Report, best_table
from rnnlab.results import page, runs, trials
from rnnlab.results.axes import MOST_PANELS, colour_axis, ordered
from rnnlab.results.page import Item, Items, Part, Section, curves, sweep, text
from rnnlab.results.ranking import Setting, best, label
from rnnlab.results.records import (
    CHANCE,
    DIVERGED,
    FAILED,
    SPLITS,
    Json,
    Metrics,
    Row,
    Trial,
    outcomes,
)
from rnnlab.results.tables import number
from rnnlab.training.losses import Metric

PAGE = 'report.html'
MOST_LINES = 8  # with a band in one picture; the others are thin
HINT = 'Click a point or a row, or press Enter on a row, to see its settings and its curve.'
MEANINGS = {
    DIVERGED: 'a loss or gradient, or the test loss, was not finite',
    CHANCE: 'at the end no better than a guess that learns nothing of the inputs',
    FAILED: 'the processes that trained it ended three times',
    'stopped': 'before its last step, by --rungs or --patience',
    'finished': 'trained to its last step',
    'not finished': 'not trained yet, or not to its end',
}


def sweep_page(report: Report) -> Path:
    """Writes report.html into the folder of a sweep."""
    record, every = report.record, report.results
    sections = [
        Section('Ranking', ranking(report)),
        Section('Learning curves', learning_curves(report)),
        Section('Axes', axes(report)),
        Section('Trials', trials_table(report)),
        Section('How it was made', made(report.folder, shared(report))),
    ]
    if faded := gradients(report):
        sections.insert(2, Section('Gradients', faded))
    path = report.folder / PAGE
    title = f'{record.title}: {len(every)} trials'
    lead = f'{", ".join(record.sweep)}; ranked by {report.outcome.words}'
    page.write(path, title, lead, sections, items(report))
    return path


def ranking(report: Report) -> list[Part]:
    names, outcome = report.names, report.outcome
    known = [setting for setting in report.compared if setting.values(outcome)]
    means = [mean_interval(setting.sample(outcome), outcome) for setting in known]
    title = f'The best {len(known)} settings by {outcome.words}'
    parts: list[Part] = [text.paragraph(words) for words in report.words]
    parts += [sweep.ranking(title, known, names, means, outcome)] if known else []
    parts.append(text.of_table('Best settings', best_table(report.best, names, outcome)))
    words, table = intervals(names, report.interval_rows, outcome)
    parts += [text.paragraph(words)] if words else []
    parts += [text.of_table('Intervals', table)] if table else []
    return parts


def line_of(report: Report, setting: Setting, names: list[str]) -> curves.Line:
    own = {name: sweep.short(setting.settings[name]) for name in names}
    every = {str(trial.number): report.curves.get(trial.number, []) for trial in setting.trials}
    return curves.Line(label(own, own) or 'all', every)


def learning_curves(report: Report) -> list[Part]:
    """A picture for each of the best static configurations, a line for each of their settings."""
    if not report.split:
        return [text.paragraph('No trial was evaluated.')]
    record, metric = report.record, report.outcome.metric
    kinds: dict[str, list[Setting]] = {}
    for setting in report.settings:
        kinds.setdefault(label(setting.settings, record.static), []).append(setting)
    shown = dict([*kinds.items()][:MOST_PANELS])
    inner = [name for name in report.names if name not in record.static]
    axis = colour_axis(report.results, record.static)
    baselines = (trial.summary.baseline for trial in report.results)
    baseline = next((value for value in baselines if value is not None), None)
    drawn = [s for own in shown.values() for s in own[:MOST_LINES]]
    limits = curves.limits_of([line_of(report, s, inner) for s in drawn], report.split, metric)
    words = 'Lines are means over the seeds of a setting, bands go from the lowest to the highest.'
    if len(kinds) > len(shown):
        words += f' The best {len(shown)} of {len(kinds)} static configurations.'
    parts: list[Part] = [text.paragraph(words)]
    for kind, own in shown.items():
        places = ordered(s.settings.get(axis) for s in own)
        lines = sorted(own[:MOST_LINES], key=lambda s: places.index(s.settings.get(axis)))
        bands, others = (
            [line_of(report, s, inner) for s in part] for part in (lines, own[MOST_LINES:])
        )
        colours = curves.shades(len(bands))
        known = baseline if metric.name == 'loss' else None
        title = kind or record.title
        parts.append(
            curves.curves(title, bands, others, report.split, metric, colours, limits, known)
        )
    return parts


def gradients(report: Report) -> list[Part]:
    """Of the best trial, as far as --log_gradients has recorded them."""
    winner = best(report.results, report.outcome)
    rows = report.curves.get(winner.number, []) if winner else []
    title = f'Trial {winner.number}, the best:' if winner else ''
    return [*curves.gradients(title, rows)]


def axes(report: Report) -> list[Part]:
    outcome, linear, static = report.outcome, report.linear, report.record.static
    known = [setting for setting in report.settings if setting.values(outcome)]
    if not known or not report.names:
        return [text.paragraph('There is no axis to show.')]
    numbers = text.of_table('All settings', best_table(report.settings, report.names, outcome))
    title = 'All axes at once: a line for each setting (drag along an axis to choose)'
    args = outcome, static, linear
    parts: list[Part] = [sweep.parallel(title, known, report.names, outcome, linear, numbers)]
    parts.append(
        text.paragraph(
            'Points are trials, crosses diverged or failed ones, lines the best setting.'
        )
    )
    parts += [sweep.axis_picture(name, report.settings, *args) for name in report.names]
    if report.pair:
        title = f'{outcome.words}: the best setting at each {report.pair[0]} and {report.pair[1]}'
        parts.append(sweep.map_of(title, known, outcome, report.pair, linear))
    return parts


def status(trial: Trial) -> str:
    stopped = trial.summary.stopped_at is not None and trial.status == 'finished'
    return 'stopped' if stopped else trial.status


def reason(trial: Trial, rows: list[Row], metric: Metric) -> str:
    """Why a trial has its status."""
    summary, words = trial.summary, []
    if trial.status == DIVERGED:
        steps = [row.step for row in rows if row.value('train', metric) is not None]
        words.append(f'not finite after step {max(steps, default=0):,}')
    elif trial.status == CHANCE:
        guess = 'the most frequent label' if summary.baseline is None else 'the memoryless baseline'
        words.append(f'no better than {guess}')
    elif trial.status == FAILED:
        words.append(trial.error or '')
    if summary.stopped_at is not None:
        by = f'at the end of rung {trial.rung}' if trial.rung else 'by --patience'
        words.append(f'stopped at step {summary.stopped_at:,} of {summary.steps:,}, {by}')
    return '; '.join(words) or f'{summary.steps:,} steps'


def trials_table(report: Report) -> list[Part]:
    """How the trials ended, and all of them, the best first."""
    every, metric, names = report.results, report.outcome.metric, report.record.names
    numbers = Counter(map(status, every))
    if left := report.record.trials - len(every):
        numbers['not finished'] = left
    ended = [(kind, total, MEANINGS.get(kind, '')) for kind, total in numbers.items()]
    headings = ['status', 'trials', 'meaning']
    parts: list[Part] = [text.table('How the trials ended', headings, ended, ['trials'])]
    shown = [o for o in outcomes(metric) if any(o.of(t.summary) is not None for t in every)]

    def rank(trial: Trial) -> tuple[int, float]:
        value = None if trial.lost else report.outcome.of(trial.summary)
        return -trial.reached, float('inf') if value is None else -report.outcome.score(value)

    rows, ranked = [], sorted(every, key=rank)
    for trial in ranked:
        settings = (sweep.short(trial.settings[name]) for name in names)
        values = (number(outcome.of(trial.summary)) for outcome in shown)
        why = reason(trial, report.curves.get(trial.number, []), metric)
        rows.append([trial.number, *settings, *values, status(trial), why])
    results = [outcome.heading for outcome in shown]
    headings = ['trial', *(f'--{n}' if n in results else n for n in names), *results]
    keys = [str(trial.number) for trial in ranked]
    headings += ['status', 'reason']
    parts += [text.paragraph(HINT), text.table('Trials', headings, rows, results, keys)]
    return parts


def items(report: Report) -> Items:
    """What a click on a trial shows: its row of trials.csv, and its curve."""
    metrics, every = report.record.metrics, {}
    lines = lines_of(metrics, [row for rows in report.curves.values() for row in rows[:1]])
    table = trials.table([trial.to_json(metrics) for trial in report.results])
    columns, *rows = [['' if value is None else str(value) for value in row] for row in table]
    for trial, row in zip(report.results, rows, strict=True):
        curve = curves.item_curve(report.curves.get(trial.number, []), lines)
        every[str(trial.number)] = Item(f'Trial {trial.number}', row, curve)
    return Items(every=every, columns=columns, lines=lines, hint=HINT)


def lines_of(metrics: Metrics, rows: list[Row]) -> list[tuple[Metric, str]]:
    """The selection metric and the loss, of each split that there is."""
    chosen = dict.fromkeys([metrics.selection, metrics.every[0]])
    splits = [split for split in SPLITS if any(split in row.splits for row in rows)]
    return [(metric, split) for metric in chosen for split in splits]


def shared(report: Report) -> Json:
    """The settings that all trials share."""
    record = runs.read_json(report.folder / trials.SWEEP)
    return {n: value for n, value in record.items() if n not in report.record.to_json()}


def made(folder: Path, settings: Json) -> list[str]:
    """The command, the versions, the machine and the settings of a run or sweep."""
    parts, path = [], folder / runs.ENVIRONMENT
    if path.exists():
        there = runs.read_json(path, runs.Environment)
        machine = [*there['versions'].items(), *there['machine'].items()]
        parts += [text.command(there['command']), text.definitions('Versions, machine', machine)]
    else:
        parts.append(text.paragraph(f'There is no {runs.ENVIRONMENT} with its command.'))
    return [*parts, text.folded('all settings', text.definitions('Settings', settings.items()))]
