"""Pictures of runs: the curves of one, and those of several in one picture."""

from itertools import cycle
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnlab.results.plots.style import CYCLE, LineStyle, light, new_figure, picture, plain, wide
from rnnlab.results.records import SPLITS, Metrics, Row, points
from rnnlab.training.losses import SQUARED, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = dict(zip(SPLITS, CYCLE, strict=False))
FEW_POINTS = 40  # that are drawn with markers

Colour = tuple[float, float, float, float]
Points = list[tuple[float, float]]
Panels = list[tuple['Axes', Metric]]  # the axes of each metric


@picture
def curves(
    rows: list[Row], metrics: Metrics, path: Path, title: str, baseline: float | None = None
) -> None:
    """Draws the loss and the metric after it over the steps, a line for each split.

    baseline: the loss of the memoryless baseline, a dotted line.
    """
    figure, panels = metric_panels('step', metrics, title)
    for axes, metric in panels:
        if baseline is not None and metric.name == 'loss':
            axes.axhline(baseline, color='black', linestyle=':', linewidth=1, label='memoryless')
        for split, colour in COLOURS.items():
            line(axes, points(rows, 'step', split, metric), color=colour, label=split)
        if axes.lines:
            axes.legend(frameon=False)
    save(figure, panels, path)


@picture
def compare(groups: dict[str, list[list[Row]]], metrics: Metrics, path: Path, title: str) -> None:
    """Draws the curves of runs over the epochs, a colour for each group of runs.

    Solid lines are of the validation split, or of the test split if there is none; dashed ones are
    of training.
    """
    figure, panels = metric_panels('epoch', metrics, title)
    for axes, metric in panels:
        for (name, group), colour in zip(groups.items(), cycle(CYCLE), strict=False):
            for rows in group:
                validated = any('validation' in row.splits for row in rows)
                held_out = points(rows, 'epoch', 'validation' if validated else 'test', metric)
                train = points(rows, 'epoch', 'train', metric)
                line(axes, train, color=colour, linestyle='--', alpha=0.4)
                line(axes, held_out, color=colour)
            label = '\n'.join(map(plain, wrap(name, 120)))
            axes.plot([], [], color=colour, label=label)
        axes.plot([], [], color='grey', linestyle='--', label='training')
    handles, labels = panels[0][0].get_legend_handles_labels()
    widest = max(len(part) for label in labels for part in label.split('\n'))
    columns = max(1, min(len(labels), 120 // (8 + widest)))  # that fit side by side
    tallest = max(1 + label.count('\n') for label in labels)
    figure.set_size_inches(10, 4 + 0.22 * tallest * -(-len(labels) // columns))
    figure.legend(handles, labels, loc='outside lower center', frameon=False, ncols=columns)
    save(figure, panels, path)


def metric_panels(xlabel: str, metrics: Metrics, title: str) -> tuple['Figure', Panels]:
    """A picture with a panel for each of the first two metrics."""
    from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

    figure = new_figure(10, 4, title)
    panels = list(zip(figure.subplots(1, 2), metrics.every, strict=False))
    for axes, metric in panels:
        axes.set(xlabel=xlabel, ylabel=metric.label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=''))
        light(axes)
        if metric.is_fraction:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure, panels


def line(axes: 'Axes', points: Points, **style: Any) -> None:
    if points:
        marker = 'o' if len(points) <= FEW_POINTS else None
        own: LineStyle = {'marker': marker, 'markersize': 3, 'linewidth': 1.5} | style
        axes.plot(*zip(*points, strict=True), **own)


def thin_lines(axes: 'Axes', curves: list[Points], colours: list[Colour]) -> None:
    """Draws lines like `line`, but all at once, since a sweep may have a thousand of them."""
    from matplotlib.collections import LineCollection

    drawn = [pair for pair in zip(curves, colours, strict=True) if pair[0]]
    segments, own = [points for points, _ in drawn], [colour for _, colour in drawn]
    axes.add_collection(LineCollection(segments, colors=own, linewidths=0.9, alpha=0.8, zorder=2))
    few = [(points, colour) for points, colour in drawn if len(points) <= FEW_POINTS]
    xs, ys = np.reshape([at for points, _ in few for at in points], (-1, 2)).T
    shades = [colour for points, colour in few for _ in points]
    axes.scatter(xs, ys, s=9, c=shades, alpha=0.8, zorder=2)
    axes.autoscale_view()


def save(figure: 'Figure', panels: Panels, path: Path) -> None:
    """Scales the losses, squared errors of a wide range logarithmically, and writes the picture."""
    for axes, metric in panels:
        ys = (float(y) for line in axes.lines for y in np.asarray(line.get_ydata()))
        heights = [height for height in ys if height > 0]
        if metric == SQUARED and heights and wide(heights):
            axes.set_yscale('log')
        elif metric.name == 'loss':
            axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=150)
