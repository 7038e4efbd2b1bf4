"""Pictures of sweeps: the figure against each axis, curves, a map of two axes."""

from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.results.plots.run import Row, line
from rnnlab.results.plots.style import CYCLE, SHADES, wide
from rnnlab.results.trials import Setting, Trial, is_share, label, score

FEW = 13  # values of an axis that can be told apart as such


def sweep_axes(
    settings: list[Setting],
    field: str,
    structure: list[str],
    linear: set[str],
    path: Path,
    title: str,
) -> None:
    """A panel for each axis: every trial a dot, crosses at the bottom for those that diverged, and at each value the best that the
    other axes allow, mean and deviation over its seeds; a colour for each structure. `linear` names axes to draw as such."""
    names = list(settings[0].settings)
    kinds = styles_of(label(setting.settings, structure) for setting in settings)
    figure, panels = panels_for(len(names), title, field, sharey=True)
    worst = (
        0.0
        if is_share(field)
        else max((value for setting in settings for value in setting.values(field)), default=0.0)
    )
    for axes, name in zip(panels, names, strict=False):
        place = scale(axes, name, [setting.settings[name] for setting in settings], name in linear)
        for kind, (colour, style) in kinds.items():
            own = [setting for setting in settings if label(setting.settings, structure) == kind]
            dots = [
                (place(setting.settings[name]), value)
                for setting in own
                for value in setting.values(field)
            ]
            lost = [
                (place(setting.settings[name]), worst)
                for setting in own
                if len(setting.values(field)) < len(setting.trials)
            ]
            axes.plot(*np.reshape(dots, (-1, 2)).T, '.', color=colour, alpha=0.3, markeredgewidth=0)
            axes.plot(
                *np.reshape(lost, (-1, 2)).T, 'x', color=colour, markersize=5, clip_on=not lost
            )
            best: dict[Any, Setting] = {}
            for setting in own:
                rival = best.setdefault(setting.settings[name], setting)
                best[setting.settings[name]] = max(
                    rival, setting, key=lambda setting: setting.score(field)
                )
            if (
                len(best) < FEW
            ):  # of values drawn at random each has a trial of its own, and a line through them says nothing
                alive = [setting for setting in best.values() if setting.values(field)]
                bars = sorted(
                    (place(s.settings[name]), s.mean(field) or 0, s.deviation(field) or 0)
                    for s in alive
                )
                x, mean, deviation = np.reshape(np.asarray(bars, float), (-1, 3)).T
                style_of = {
                    'color': colour,
                    'linestyle': style,
                    'marker': 'o',
                    'markersize': 4,
                    'capsize': 3,
                }
                axes.errorbar(x, mean, deviation if deviation.any() else None, **style_of)
    panels[0].set_ylabel(field.replace('_', ' '))
    scale_losses(panels, field, [value for setting in settings for value in setting.values(field)])
    if len(kinds) > 1:
        handles = [
            panels[0].plot([], [], 'o', linestyle=style, color=colour, label=kind)[0]
            for kind, (colour, style) in kinds.items()
        ]
        width = int(13 * figure.get_figwidth()) // (10 + max(map(len, kinds)))  # columns that fit
        figure.legend(
            handles=handles, loc='outside lower center', ncols=max(1, width), frameon=False
        )
    figure.savefig(path, dpi=150)


def sweep_curves(
    trials: list[Trial],
    rows: list[Row],
    metric: str,
    structure: list[str],
    linear: set[str],
    path: Path,
    title: str,
) -> None:
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
    best = {
        number: max((score(metric, row[metric]) for row in own), default=-np.inf)
        for number, own in curves.items()
    }
    for trial in sorted(trials, key=lambda trial: -best[trial['trial']]):
        groups.setdefault(label(trial['settings'], structure), []).append(trial)
    first = sorted(
        list(groups.items())[:6], key=lambda item: min(trial['trial'] for trial in item[1])
    )
    inside = [name for name in trials[0]['settings'] if name not in (*structure, 'seed')]
    axis = next(
        (name for name in inside if measured([trial['settings'][name] for trial in trials])), 'seed'
    )
    norm = norm_of([trial['settings'].get(axis, 0) for trial in trials], axis in linear)
    if len(groups) > len(first):
        title += f', the best {len(first)} of {len(groups)} structures'
    figure, panels = panels_for(len(first), title, metric, sharey=True, sharex=True)
    for axes, (kind, members) in zip(panels, first, strict=True):
        for trial in reversed(members):
            style = {'linewidth': 2.5} if trial is members[0] else {'linewidth': 0.9, 'alpha': 0.8}
            line(
                axes,
                curves[trial['trial']],
                'epoch',
                metric,
                color=colormaps[SHADES](norm(trial['settings'].get(axis, 0))),
                **style,
            )
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


def sweep_map(
    settings: list[Setting],
    field: str,
    names: tuple[str, str],
    linear: set[str],
    path: Path,
    title: str,
) -> None:
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
                axes.text(
                    column, row, f'{value:{form}}', ha='center', va='center', fontsize=9, color=ink
                )
        axes.set_xticks(
            range(len(across)),
            [shown(value) for value in across],
            rotation=30 if len(across) > 6 else 0,
        )
        axes.set_yticks(range(len(up)), [shown(value) for value in up])
        axes.set(xlabel=names[0], ylabel=names[1])
    else:
        x = scale(axes, names[0], across, names[0] in linear)
        y = scale(axes, names[1], up, names[1] in linear, axis='y')
        places = sorted(
            (value, x(where[0]), y(where[1])) for where, value in best.items()
        )  # the greatest on top
        values, xs, ys = zip(*places, strict=True)
        image = axes.scatter(xs, ys, c=values, cmap=shades, s=60, edgecolor='white')
    figure.colorbar(
        image,
        label=field.replace('_', ' '),
        format=PercentFormatter(1, decimals=0) if is_share(field) else None,
    )
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


def scale(
    axes: Any, name: str, values: Iterable[Any], linear: bool, axis: str = 'x'
) -> Callable[[Any], float]:
    """Where each value stands: numbers at their own place, of wide ranges on a logarithmic scale, others side by side."""
    values = ordered(values)
    axes.set(**{f'{axis}label': name})
    if measured(values):
        if wide(values) and not linear:
            axes.set(**{f'{axis}scale': 'log'})
        return float
    axes.set(
        **{
            f'{axis}ticks': range(len(values)),
            f'{axis}ticklabels': [shown(value) for value in values],
        }
    )
    axes.set(**{f'{axis}lim': (-0.5, len(values) - 0.5)})
    return lambda value: float(values.index(value))


def ordered(values: Iterable[Any]) -> list[Any]:
    """Each value once; numbers by size, others as they come."""
    values = list(dict.fromkeys(values))
    return sorted(values) if measured(values) else values


def measured(values: list[Any]) -> bool:
    """Whether all are numbers (of JSON, in which infinity is a word)."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def norm_of(values: list[float], linear: bool) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    return (Normalize if linear or not wide(values) else LogNorm)(min(values), max(values))


def shown(value: Any) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)
