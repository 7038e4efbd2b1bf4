"""Pictures of runs, cells and sweeps."""

from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from rnnlab.trials import Setting, Trial, is_share, label, score

Row = dict[str, Any]


CYCLE = ('#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#bbbbbb')
COLOURS = dict(zip(('train', 'validation', 'test'), CYCLE, strict=False))
SHADES = 'viridis'
FEW = 13  # values of an axis that can be told apart as such
FEW_COLUMNS, NEAR = 4, 150  # of a forecast that are drawn: columns, and rows near the end


def curves(rows: list[Row], path: Path, title: str, baseline: float | None = None) -> None:
    """The loss and the figure beside it over the steps, a line for each part of the data that the rows of metrics.jsonl have; and
    the loss of what knows nothing."""
    figure, panels = loss_and_figure('step', rows)
    figure.suptitle(title, fontsize=11)
    for axes, metric in panels:
        if baseline is not None and metric == 'loss':
            axes.axhline(baseline, color='black', linestyle=':', linewidth=1, label='memoryless')
        for part, colour in COLOURS.items():
            line(axes, rows, 'step', f'{part}_{metric}', color=colour, label=part)
        if axes.lines:
            axes.legend(frameon=False)
    finish(figure, panels, path)


def compare(groups: dict[str, list[list[Row]]], path: Path) -> None:
    """The loss and the figure beside it over the epochs, a colour for each group of runs: what was evaluated on the way, and dashed
    training."""
    figure, panels = loss_and_figure('epoch', [row for group in groups.values() for rows in group for row in rows])
    for axes, metric in panels:
        for (name, group), colour in zip(groups.items(), cycle(CYCLE), strict=False):
            for rows in group:
                held_out = 'validation' if any('validation_loss' in row for row in rows) else 'test'
                line(axes, rows, 'epoch', f'train_{metric}', color=colour, linestyle='--', alpha=0.4)
                line(axes, rows, 'epoch', f'{held_out}_{metric}', color=colour)
            axes.plot([], [], color=colour, label=name)
        axes.plot([], [], color='grey', linestyle='--', label='training')
    handles, labels = panels[0][0].get_legend_handles_labels()
    labels = [fill(label, 120) for label in labels]
    figure.set_size_inches(10, 4 + 0.22 * sum(1 + label.count('\n') for label in labels))
    figure.legend(handles, labels, loc='outside lower center', frameon=False)
    finish(figure, panels, path)


UNITS = {'accuracy': 'nats', 'mae': 'mean squared error'}  # of the loss beside that figure


def loss_and_figure(xlabel: str, rows: list[Row]) -> tuple[Any, list[tuple[Any, str]]]:
    """A picture with its two panels, each with its metric."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

    figure = Figure(figsize=(10, 4), layout='constrained')
    second = next((name for name in UNITS if any(f'train_{name}' in row for row in rows)), 'accuracy')
    panels = list(zip(figure.subplots(1, 2), ('loss', second), strict=True))
    for axes, metric in panels:
        words = {'loss': f'loss ({UNITS[second]})', 'mae': 'mean absolute error'}
        axes.set(xlabel=xlabel, ylabel=words.get(metric, metric))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=''))
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    if is_share(second):
        panels[1][0].yaxis.set_major_formatter(PercentFormatter(1))
    return figure, panels


def line(axes: Any, rows: list[Row], x: str, y: str, **style: Any) -> None:
    """The rows that have both, with markers where they are few."""
    points = [(row[x], row[y]) for row in rows if y in row]
    if points:
        axes.plot(*zip(*points, strict=True), **{'marker': 'o' if len(points) <= 40 else None, 'markersize': 3, 'linewidth': 1.5} | style)


def finish(figure: Any, panels: list[tuple[Any, str]], path: Path) -> None:
    for axes, metric in panels:
        heights = [height for line in axes.lines for height in line.get_ydata() if height > 0]
        if metric == 'loss' and UNITS['mae'] in axes.get_ylabel() and heights and wide(heights):
            axes.set_yscale('log')
        elif metric == 'loss':
            axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=150)


def gates(values: dict[str, np.ndarray], path: Path, title: str) -> None:
    """Every gate and carry [T, H] as a picture of units against time, all on one scale around 0."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, MaxNLocator

    figure = Figure(figsize=(9, 0.9 + 1.25 * len(values)), layout='constrained')
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0]
    limit = max(float(np.max(np.abs(value))) for value in values.values()) or 1.0
    for axes, (name, value) in zip(panels, values.items(), strict=True):
        image = axes.imshow(value.T, aspect='auto', cmap='RdBu_r', vmin=-limit, vmax=limit, interpolation='nearest')
        axes.set_ylabel(name, rotation=0, ha='right', va='center', fontsize=12)
        for axis, size in ((axes.xaxis, len(value)), (axes.yaxis, value.shape[1])):
            axis.set_major_locator(FixedLocator(range(size)) if size <= 8 else MaxNLocator(8, integer=True))
    panels[-1].set_xlabel('time step (rows: units)')
    figure.colorbar(image, ax=list(panels), shrink=0.6, label='value')
    figure.savefig(path, dpi=150)


def reach(norms: dict[str, dict[str, np.ndarray]], path: Path, title: str) -> None:
    """For each cell, by its label, the norms [T, B] by lag of gradient_reach: the geometric mean over sequences, a line for each carry."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout='constrained')
    axes = figure.subplots()
    for (cell, fields), colour in zip(norms.items(), cycle(CYCLE), strict=False):
        for field, values in fields.items():
            mean = np.exp(np.mean(np.log(np.maximum(np.asarray(values, np.float64), 1e-30)), axis=1))
            lags = np.arange(len(mean))
            shown = mean > 1e-12
            axes.plot(lags[shown], mean[shown], color=colour, linestyle='-' if field == 'h' else '--', label=f'{cell}, {field}')
    axes.set(
        xlabel=r'lag  $T - t$  (time steps)',
        ylabel=r'spectral norm of  $\partial h_T\,/\,\partial s_t$,  s = h or c',
        yscale='log',
        ylim=(1e-12, None),
        title=title,
    )
    axes.title.set_fontsize(11)
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def forecast(
    names: tuple[str, ...],
    known: np.ndarray,
    ahead: np.ndarray,
    free: np.ndarray | None,
    past: np.ndarray,
    ends: tuple[int, int, int],
    path: Path,
    title: str,
) -> None:
    """A series [N, K] and its predictions a step ahead [N - 1, K], whole and near the end, with the test part shaded; the free-running
    forecasts [horizon, K] from its first row on, and past the end. A row of panels for each column, of many the first four."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    _, begin, end = ends
    names = names[:FEW_COLUMNS]
    figure = Figure(figsize=(12, 0.8 + 2.9 * len(names)), layout='constrained')
    figure.suptitle(title, fontsize=11)
    near = max(0, begin - 10, end - NEAR)
    if free is not None:
        near = min(near, max(0, begin - 10))
    stop = min(end, near + max(NEAR, 2 * len(past)))
    for at, (name, panels) in enumerate(zip(names, figure.subplots(len(names), 2, squeeze=False), strict=True)):
        for axes, first, last in zip(panels, (0, near), (end, stop), strict=True):
            rows = np.arange(first, last)
            dots = {'marker': '.', 'markersize': 4} if last - first <= NEAR else {}
            axes.axvspan(max(begin, first), last, color='black', alpha=0.06, linewidth=0)
            axes.plot(rows, known[first:last, at], color=CYCLE[-1], linewidth=2.5, label='series')
            made = np.arange(max(first, 1), last)
            axes.plot(made, ahead[made - 1, at], color=CYCLE[0], linewidth=1, label='a step ahead', **dots)
            if free is not None and len(free) and axes is panels[1]:
                shown = free[: last - begin, at]
                axes.plot(np.arange(begin, begin + len(shown)), shown, color=CYCLE[1], linewidth=1.5, label='on its own outputs')
            if len(past) > 1 and last == end:
                axes.plot(np.arange(end, end + len(past)), past[:, at], color=CYCLE[1], linestyle='--', linewidth=1.5, label='past the end')
            axes.set(xlabel='row', ylabel=name)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.margins(x=0.01)
            axes.spines[['top', 'right']].set_visible(False)
        panels[0].set_title('all rows, the test part shaded', fontsize=10)
        panels[1].set_title(f'rows {near} to {stop}', fontsize=10)
    handles = {label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc='outside lower center', ncols=len(handles), frameon=False)
    figure.savefig(path, dpi=150)


def sweep_axes(settings: list[Setting], field: str, structure: list[str], linear: set[str], path: Path, title: str) -> None:
    """A panel for each axis: every trial a dot, crosses at the bottom for those that diverged, and at each value the best that the
    other axes allow, mean and deviation over its seeds; a colour for each structure. `linear` names axes to draw as such."""
    names = list(settings[0].settings)
    kinds = styles_of(label(setting.settings, structure) for setting in settings)
    figure, panels = panels_for(len(names), title, field, sharey=True)
    worst = 0.0 if is_share(field) else max((value for setting in settings for value in setting.values(field)), default=0.0)
    for axes, name in zip(panels, names, strict=False):
        place = scale(axes, name, [setting.settings[name] for setting in settings], name in linear)
        for kind, (colour, style) in kinds.items():
            own = [setting for setting in settings if label(setting.settings, structure) == kind]
            dots = [(place(setting.settings[name]), value) for setting in own for value in setting.values(field)]
            lost = [(place(setting.settings[name]), worst) for setting in own if len(setting.values(field)) < len(setting.trials)]
            axes.plot(*np.reshape(dots, (-1, 2)).T, '.', color=colour, alpha=0.3, markeredgewidth=0)
            axes.plot(*np.reshape(lost, (-1, 2)).T, 'x', color=colour, markersize=5, clip_on=not lost)
            best: dict[Any, Setting] = {}
            for setting in own:
                rival = best.setdefault(setting.settings[name], setting)
                best[setting.settings[name]] = max(rival, setting, key=lambda setting: setting.score(field))
            if len(best) < FEW:  # of values drawn at random each has a trial of its own, and a line through them says nothing
                alive = [setting for setting in best.values() if setting.values(field)]
                bars = sorted((place(s.settings[name]), s.mean(field) or 0, s.deviation(field) or 0) for s in alive)
                x, mean, deviation = np.reshape(np.asarray(bars, float), (-1, 3)).T
                style_of = {'color': colour, 'linestyle': style, 'marker': 'o', 'markersize': 4, 'capsize': 3}
                axes.errorbar(x, mean, deviation if deviation.any() else None, **style_of)
    panels[0].set_ylabel(field.replace('_', ' '))
    scale_losses(panels, field, [value for setting in settings for value in setting.values(field)])
    if len(kinds) > 1:
        handles = [panels[0].plot([], [], 'o', linestyle=style, color=colour, label=kind)[0] for kind, (colour, style) in kinds.items()]
        width = int(13 * figure.get_figwidth()) // (10 + max(map(len, kinds)))  # columns that fit
        figure.legend(handles=handles, loc='outside lower center', ncols=max(1, width), frameon=False)
    figure.savefig(path, dpi=150)


def sweep_curves(trials: list[Trial], rows: list[Row], metric: str, structure: list[str], linear: set[str], path: Path, title: str) -> None:
    """A panel for each structure, of many the best six: the metric over the epochs, a line for each trial, coloured by the first
    axis of numbers inside a structure; the best trial is thick."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import MaxNLocator

    curves: dict[int, list[Row]] = {trial['trial']: [] for trial in trials}
    for row in rows:
        if row.get(metric) is not None:
            curves[row['trial']].append(row)
    groups: dict[str, list[Trial]] = {}
    best = {number: max((score(metric, row[metric]) for row in own), default=-np.inf) for number, own in curves.items()}
    for trial in sorted(trials, key=lambda trial: -best[trial['trial']]):
        groups.setdefault(label(trial['settings'], structure), []).append(trial)
    first = sorted(list(groups.items())[:6], key=lambda item: min(trial['trial'] for trial in item[1]))
    inside = [name for name in trials[0]['settings'] if name not in (*structure, 'seed')]
    axis = next((name for name in inside if measured([trial['settings'][name] for trial in trials])), 'seed')
    norm = norm_of([trial['settings'].get(axis, 0) for trial in trials], axis in linear)
    if len(groups) > len(first):
        title += f', the best {len(first)} of {len(groups)} structures'
    figure, panels = panels_for(len(first), title, metric, sharey=True, sharex=True)
    for axes, (kind, members) in zip(panels, first, strict=True):
        for trial in reversed(members):
            style = {'linewidth': 2.5} if trial is members[0] else {'linewidth': 0.9, 'alpha': 0.8}
            line(axes, curves[trial['trial']], 'epoch', metric, color=colormaps[SHADES](norm(trial['settings'].get(axis, 0))), **style)
        if (baseline := members[0].get('baseline')) is not None:
            axes.axhline(baseline, color='black', linestyle=':', linewidth=1)
        axes.set_title(kind, fontsize=10)
        axes.set_xlabel('epoch')
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels[0].set_ylabel(metric.replace('_', ' '))
    scale_losses(panels, metric, [row[metric] for own in curves.values() for row in own])
    if axis in inside:
        figure.colorbar(ScalarMappable(norm, SHADES), ax=panels, label=axis)
    figure.savefig(path, dpi=150)


def sweep_map(settings: list[Setting], field: str, names: tuple[str, str], linear: set[str], path: Path, title: str) -> None:
    """The best mean that the other axes allow, over two axes: coloured cells, or dots where most cells would be empty."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    best: dict[tuple, float] = {}
    for setting in settings:
        where = setting.settings[names[0]], setting.settings[names[1]]
        best[where] = max(best.get(where, -np.inf), setting.score(field))
    best = {where: abs(value) if np.isfinite(value) else np.nan for where, value in best.items()}
    across, up = (ordered(where[n] for where in best) for n in range(2))
    shades = SHADES if is_share(field) else f'{SHADES}_r'  # the best is light
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.subplots()
    axes.set_title(title, fontsize=11)
    image: Any
    if 2 * len(best) >= len(across) * len(up):
        cells = np.array([[best.get((x, y), np.nan) for x in across] for y in up])
        image = axes.imshow(cells, aspect='auto', origin='lower', cmap=shades)
        middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
        form = '.1%' if is_share(field) else '.3g'
        for (row, column), value in np.ndenumerate(cells):
            if len(across) <= FEW and len(up) <= FEW and np.isfinite(value):
                ink = 'white' if (value < middle) == is_share(field) else 'black'
                axes.text(column, row, f'{value:{form}}', ha='center', va='center', fontsize=9, color=ink)
        axes.set_xticks(range(len(across)), [shown(value) for value in across], rotation=30 if len(across) > 6 else 0)
        axes.set_yticks(range(len(up)), [shown(value) for value in up])
        axes.set(xlabel=names[0], ylabel=names[1])
    else:
        x = scale(axes, names[0], across, names[0] in linear)
        y = scale(axes, names[1], up, names[1] in linear, axis='y')
        places = sorted((value, x(where[0]), y(where[1])) for where, value in best.items())  # the greatest on top
        values, xs, ys = zip(*places, strict=True)
        image = axes.scatter(xs, ys, c=values, cmap=shades, s=60, edgecolor='white')
    figure.colorbar(image, label=field.replace('_', ' '), format=PercentFormatter(1, decimals=0) if is_share(field) else None)
    figure.savefig(path, dpi=150)


def styles_of(kinds: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A colour and a line style for each."""
    styles = ((colour, style) for style in ('-', '--', ':', '-.') for colour in CYCLE)
    return dict(zip(dict.fromkeys(kinds), cycle(styles), strict=False))


def panels_for(number: int, title: str, field: str, **share: Any) -> tuple[Any, list[Any]]:
    """A picture with that many panels for a figure, at most three side by side."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    columns = min(number, 3)
    lines = -(-number // columns)
    figure = Figure(figsize=(2 + 3.2 * columns, 1 + 3 * lines), layout='constrained')
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(lines, columns, squeeze=False, **share).ravel().tolist()
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    for axes in panels[number:]:
        axes.remove()
    if is_share(field):
        panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure, panels[:number]


def scale_losses(panels: list[Any], field: str, values: list[float]) -> None:
    """Losses of a wide range go on a logarithmic scale, which the panels share."""
    if values and not is_share(field) and wide(values):
        panels[0].set_yscale('log')


def scale(axes: Any, name: str, values: Iterable[Any], linear: bool, axis: str = 'x') -> Callable[[Any], float]:
    """Where each value stands: numbers at their own place, of wide ranges on a logarithmic scale, others side by side."""
    values = ordered(values)
    axes.set(**{f'{axis}label': name})
    if measured(values):
        if wide(values) and not linear:
            axes.set(**{f'{axis}scale': 'log'})
        return float
    axes.set(**{f'{axis}ticks': range(len(values)), f'{axis}ticklabels': [shown(value) for value in values]})
    axes.set(**{f'{axis}lim': (-0.5, len(values) - 0.5)})
    return lambda value: float(values.index(value))


def ordered(values: Iterable[Any]) -> list[Any]:
    """Each value once; numbers by size, others as they come."""
    values = list(dict.fromkeys(values))
    return sorted(values) if measured(values) else values


def measured(values: list[Any]) -> bool:
    """Whether all are numbers (of JSON, in which infinity is a word)."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def wide(values: list[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= 10


def norm_of(values: list[float], linear: bool) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    return (Normalize if linear or not wide(values) else LogNorm)(min(values), max(values))


def shown(value: Any) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)


def bench(rows: list[tuple[str, dict[str, float]]], ours: str, path: Path) -> None:
    """For each piece of work, how many times as long as ours every contender takes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = Figure(figsize=(9, 1.6 + 0.26 * len(rows)), layout='constrained')
    axes = figure.subplots()
    names = list(dict.fromkeys(name for _, times in rows for name in times if name != ours))
    axes.axvline(1, color='black', linewidth=1.5, label=ours)
    for name, colour in zip(names, cycle(CYCLE), strict=False):
        points = [(times[name] / times[ours], at) for at, (_, times) in enumerate(rows) if name in times]
        axes.plot(*zip(*points, strict=True), linestyle='', marker='o', markersize=5, color=colour, label=name)
    axes.set(xscale='log', xlabel=f'time, {ours} = 1', ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64) if low <= tick <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside lower center', frameon=False, ncols=len(names) + 1)
    figure.savefig(path, dpi=150)


def length(seconds: dict[str, dict[int, float]], path: Path, title: str) -> None:
    """The seconds over the time steps, both logarithmic: a colour for each cell, a line style for each engine, by cell/engine."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = Figure(figsize=(8, 4.5), layout='constrained')
    axes = figure.subplots()
    cells, engines = (list(dict.fromkeys(parts)) for parts in zip(*(name.split('/') for name in seconds), strict=True))
    colours, styles = dict(zip(cells, cycle(CYCLE), strict=False)), dict(zip(engines, cycle(('-', '--', ':', '-.')), strict=False))
    for name, own in sorted(seconds.items(), key=lambda item: -max(item[1].values())):  # as the lines end, from the top
        cell, engine = name.split('/')
        milliseconds = [1e3 * figure for figure in own.values()]
        axes.plot(list(own), milliseconds, color=colours[cell], linestyle=styles[engine], marker='o', markersize=4, label=name)
    axes.set(xscale='log', yscale='log', xlabel='time steps', ylabel='milliseconds', title=title)
    axes.title.set_fontsize(11)
    axes.set_xticks(list(dict.fromkeys(at for own in seconds.values() for at in own)))
    axes.xaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,g}'))
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside right upper', frameon=False)
    figure.savefig(path, dpi=150)
