"""Pictures of sweeps: a metric against each axis, its curves, and a map of two axes."""

from collections.abc import Collection, Iterable
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnlab.results.axes import FEW, MOST_PANELS, best_at, best_first, colour_axis, ordered
from rnnlab.results.plots.axes import norm_of, panels_for, scale, scale_losses, shades, shown
from rnnlab.results.plots.run import line, thin_lines
from rnnlab.results.plots.style import CYCLE, SHADES, LineStyle, new_figure, picture, plain
from rnnlab.results.ranking import Setting, label
from rnnlab.results.records import Outcome, Trial, points
from rnnlab.results.trials import Curves
from rnnlab.training.losses import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

RUNG_END: LineStyle = {'color': 'grey', 'linewidth': 0.8, 'linestyle': '--', 'zorder': 0}

Style = tuple[str, str]  # a colour and a line style
Styles = dict[str, Style]  # of each static configuration
Placed = list[tuple[float, Setting]]  # settings and their positions on an axis


@picture
def sweep_axes(
    settings: list[Setting],
    outcome: Outcome,
    static: list[str],
    linear: Collection[str],
    path: Path,
    title: str,
) -> None:
    """Draws a panel for each axis, and in it a colour for each static configuration.

    Dots are trials, circles those that were stopped, crosses at the bottom settings with diverged
    seeds, lines the best setting at each value of the axis. `linear` names axes that are never
    logarithmic.
    """
    names = list(settings[0].settings)
    styles = styles_of(label(setting.settings, static) for setting in settings)
    figure, panels = panels_for(len(names), title, outcome.metric, sharey=True)
    values = [value for setting in settings for value in setting.values(outcome)]
    worst = 0.0 if outcome.metric.higher_is_better else max(values, default=0.0)
    for axes, name in zip(panels, names, strict=False):
        place = scale(axes, name, [setting.settings[name] for setting in settings], name in linear)
        for kind, style in styles.items():
            own = [s for s in settings if label(s.settings, static) == kind]
            placed = [(place(s.settings[name]), s) for s in own]
            draw_trials(axes, placed, outcome, style)
            draw_diverged(axes, placed, outcome, style, worst)
            draw_best(axes, placed, outcome, style)
    panels[0].set_ylabel(outcome.words)
    scale_losses(panels, outcome.metric, values)
    if len(styles) > 1:
        styles_legend(figure, panels[0], styles)
    figure.savefig(path, dpi=150)


def draw_trials(axes: 'Axes', placed: Placed, outcome: Outcome, style: Style) -> None:
    """A dot for each trial, a circle where it was stopped."""
    kinds: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for x, setting in placed:
        for trial, value in setting.by_trial(outcome):
            kinds[trial.summary.stopped_at is not None].append((x, value))
    dots, circles = (np.reshape(xy, (-1, 2)).T for xy in kinds.values())
    axes.plot(*dots, '.', color=style[0], alpha=0.3, markeredgewidth=0)
    axes.plot(*circles, 'o', color=style[0], alpha=0.3, markersize=3, fillstyle='none')


def draw_diverged(
    axes: 'Axes', placed: Placed, outcome: Outcome, style: Style, worst: float
) -> None:
    """A cross at the worst value for each setting of which a trial diverged."""
    lost = [(x, worst) for x, s in placed if len(s.values(outcome)) < len(s.trials)]
    xy = np.reshape(lost, (-1, 2)).T
    axes.plot(*xy, 'x', color=style[0], markersize=5, clip_on=not lost)


def draw_best(axes: 'Axes', placed: Placed, outcome: Outcome, style: Style) -> None:
    """A line through the best setting at each position, with bars of its standard deviation.

    Of a sweep with rungs it has the settings that reached the last one. There is none through
    values drawn at random, where each has one trial.
    """
    last = max((setting.reached for _, setting in placed), default=1)
    best = best_at(((x, setting) for x, setting in placed if setting.reached == last), outcome)
    if len(best) >= FEW:
        return
    bars = sorted(
        (x, setting.mean(outcome) or 0, setting.deviation(outcome) or 0)
        for x, setting in best.items()
        if setting.values(outcome)
    )
    x, mean, std = np.reshape(np.asarray(bars, float), (-1, 3)).T
    colour, dashes = style
    bars_of = std if std.any() else None
    axes.errorbar(
        x, mean, bars_of, color=colour, linestyle=dashes, marker='o', markersize=4, capsize=3
    )


@picture
def sweep_curves(
    trials: list[Trial],
    curves: Curves,
    split: str,
    metric: Metric,
    static: list[str],
    linear: Collection[str],
    path: Path,
    title: str,
) -> None:
    """Draws a metric over the epochs, a panel for each static configuration, at most the best six.

    Each trial is a line, the best of a panel a thick one, coloured by the first axis of numbers.
    Dashed lines are the ends of rungs, bars where --patience stopped a trial.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import MaxNLocator

    groups = best_first(trials, curves, split, metric, static)
    panel_groups = sorted(
        list(groups.items())[:MOST_PANELS], key=lambda item: min(trial.number for trial in item[1])
    )
    axis = colour_axis(trials, static)
    norm = norm_of([trial.settings.get(axis, 0) for trial in trials], axis in linear)
    if len(groups) > MOST_PANELS:
        title += f', the best {MOST_PANELS} of {len(groups)} static configurations'
    stopped = [trial for trial in trials if trial.rung and trial.summary.stopped_at]
    last = (points(curves.get(trial.number, []), 'epoch', split, metric)[-1:] for trial in stopped)
    rung_ends = {epoch for end in last for epoch, _ in end}
    figure, panels = panels_for(len(panel_groups), title, metric, sharey=True, sharex=True)
    for axes, (kind, members) in zip(panels, panel_groups, strict=True):
        own = [points(curves.get(trial.number, []), 'epoch', split, metric) for trial in members]
        values = [float(trial.settings.get(axis, 0) or 0) for trial in members]
        colours = [*colormaps[SHADES](norm(values))]
        thin_lines(axes, own[:0:-1], colours[:0:-1])
        line(axes, own[0], color=colours[0], linewidth=2.5)
        early = [trial.summary.stopped_at is not None and not trial.rung for trial in members]
        ends = [curve[-1] for curve, stop in zip(own, early, strict=True) if stop and curve]
        marks = np.reshape(ends, (-1, 2)).T
        axes.plot(*marks, '|', color='black', markersize=7, markeredgewidth=0.8)
        for end in rung_ends:
            axes.axvline(end, **RUNG_END)
        if (baseline := members[0].summary.baseline) is not None:
            axes.axhline(baseline, color='black', linestyle=':', linewidth=1)
        axes.set_title(plain(kind), fontsize=10)
        axes.set_xlabel('epoch')
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels[0].set_ylabel(f'{split} {metric.name}')
    rows = [row for own in curves.values() for row in own]
    scale_losses(panels, metric, [value for _, value in points(rows, 'epoch', split, metric)])
    if axis != 'seed':
        figure.colorbar(ScalarMappable(norm, SHADES), ax=panels, label=axis)
    styles: dict[str, LineStyle] = {
        'the best trial of a panel': {'color': 'grey', 'linewidth': 2.5},
        'other trials': {'color': 'grey', 'linewidth': 0.9},
    }
    if rung_ends:
        styles['a rung ends'] = RUNG_END
        ticks = sorted({*rung_ends, max(row.epoch for row in rows)})
        panels[0].set_xscale('log')  # rungs are at equal ratios
        panels[0].set_xticks(ticks, [f'{epoch:.3g}' for epoch in ticks])
        panels[0].minorticks_off()
    if trials[0].summary.baseline is not None:
        styles['memoryless'] = {'color': 'black', 'linewidth': 1, 'linestyle': ':'}
    handles = [panels[0].plot([], [], label=name, **style)[0] for name, style in styles.items()]
    figure.legend(handles=handles, loc='outside lower center', frameon=False, ncols=len(handles))
    figure.savefig(path, dpi=150)


@picture
def sweep_map(
    settings: list[Setting],
    outcome: Outcome,
    names: tuple[str, str],
    linear: Collection[str],
    path: Path,
    title: str,
) -> None:
    """Draws the mean of the best setting at each pair of values of two axes.

    The pairs are coloured cells, or dots if most cells would be empty.
    """
    from matplotlib.ticker import FuncFormatter

    pairs = ((tuple(setting.settings[name] for name in names), setting) for setting in settings)
    scores = {at: s.score(outcome) for at, s in best_at(pairs, outcome).items()}
    best = {at: abs(value) if np.isfinite(value) else np.nan for at, value in scores.items()}
    across, up = (ordered(pair[at] for pair in best) for at in range(2))
    metric = outcome.metric
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    axes.set_title(plain(title), fontsize=11)
    image: ScalarMappable
    if 2 * len(best) >= len(across) * len(up):
        cells = np.array([[best.get((x, y), np.nan) for x in across] for y in up])
        image = draw_cells(axes, cells, metric)
        rotation = 30 if len(across) > 6 else 0
        axes.set_xticks(range(len(across)), map(shown, across), rotation=rotation)
        axes.set_yticks(range(len(up)), map(shown, up))
        axes.set(xlabel=names[0], ylabel=names[1])
    else:
        x = scale(axes, names[0], across, names[0] in linear)
        y = scale(axes, names[1], up, names[1] in linear, axis='y')
        placed = sorted((value, x(at[0]), y(at[1])) for at, value in best.items())
        values, xs, ys = zip(*placed, strict=True)  # the greatest is drawn on top
        image = axes.scatter(xs, ys, c=values, cmap=shades(metric), s=60, edgecolor='white')
    percent = FuncFormatter(lambda value, _: f'{100 * value:.4g}%')
    form = percent if metric.is_fraction else None
    figure.colorbar(image, label=outcome.words, format=form)
    figure.savefig(path, dpi=150)


def draw_cells(axes: 'Axes', cells: np.ndarray, metric: Metric) -> 'AxesImage':
    """An image of cells [Y, X], NaN if empty, with their values if these are few."""
    image = axes.imshow(cells, aspect='auto', origin='lower', cmap=shades(metric))
    if max(cells.shape) <= FEW:
        middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
        form = '.1%' if metric.is_fraction else '.3g'
        for (row, column), value in np.ndenumerate(cells):
            if np.isfinite(value):
                ink = 'white' if (value < middle) == metric.higher_is_better else 'black'
                words = f'{value:{form}}'
                axes.text(column, row, words, fontsize=9, color=ink, ha='center', va='center')
    return image


def styles_of(kinds: Iterable[str]) -> Styles:
    """A colour and a line style for each."""
    styles = ((colour, dashes) for dashes in ('-', '--', ':', '-.') for colour in CYCLE)
    return dict(zip(dict.fromkeys(kinds), cycle(styles), strict=False))


def styles_legend(figure: 'Figure', axes: 'Axes', styles: Styles) -> None:
    handles = [
        axes.plot([], [], 'o', linestyle=dashes, color=colour, label=plain(kind))[0]
        for kind, (colour, dashes) in styles.items()
    ]
    columns = int(13 * figure.get_figwidth()) // (10 + max(map(len, styles)))  # that fit
    figure.legend(handles=handles, ncols=max(1, columns), loc='outside lower center', frameon=False)
