"""Pictures of a page that show runs over time: learning curves with their bands, and gradients."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from rnnlab.results.page import ItemCurve, Picture, plotly
from rnnlab.results.page.text import escape, table
from rnnlab.results.plots.cell import FADED
from rnnlab.results.plots.style import SHADES, wide
from rnnlab.results.records import Json, Row, points
from rnnlab.results.tables import number
from rnnlab.training.losses import Metric

if TYPE_CHECKING:
    from plotly.graph_objects import Scatter

# Okabe and Ito (2008): told apart by people with any kind of colour vision
COLOURS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00')
GREY = '#8c8c8c'
MOST_POINTS = 50  # of a curve
MOST_COLUMNS = 8  # of its table
MOST_ROWS = 12  # evaluations whose gradients are drawn
MOST_STEPS = 200  # time steps of these

Shade = dict[str, str]  # a colour on light and on dark paper
T = TypeVar('T')


class Line(NamedTuple):
    """Runs that differ in their seed alone."""

    name: str
    runs: Mapping[str, Sequence[Row]]  # by the key of what a click on it shows, the first one's


class Point(NamedTuple):
    """Of a curve: the mean over seeds, the lowest and the highest."""

    x: float
    mean: float
    low: float
    high: float


def item_curve(rows: Sequence[Row], lines: Sequence[tuple[Metric, str]]) -> ItemCurve:
    """What a click shows: the epochs, and the values of each metric and split."""
    shown = thinned(sorted(rows, key=lambda row: row.step), MOST_POINTS)
    ys = [rounded(row.value(split, metric) for row in shown) for metric, split in lines]
    return [row.epoch for row in shown], ys


def thinned(values: Sequence[T], most: int) -> list[T]:
    """At most so many of the values, evenly spaced, the first and the last among them."""
    if len(values) <= most:
        return [*values]
    return [values[round(at)] for at in np.linspace(0, len(values) - 1, most)]


def shades(many: int) -> list[Shade]:
    """Colours in their order, which light and dark paper both leave visible."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    def between(low: float, high: float) -> list[str]:
        middle = (low + high) / 2
        places = np.linspace(low, high, many) if many > 1 else [middle]
        return [to_hex(colormaps[SHADES](place)) for place in places]

    pairs = zip(between(0.0, 0.8), between(0.3, 1.0), strict=True)
    return [{'light': light, 'dark': dark} for light, dark in pairs]


def categories(many: int) -> list[Shade]:
    """Colours that say no order."""
    own = (COLOURS[at % len(COLOURS)] for at in range(many))
    return [{'light': colour, 'dark': colour} for colour in own]


def curve_of(line: Line, split: str, metric: Metric) -> list[Point]:
    values: dict[float, list[float]] = {}
    for rows in line.runs.values():
        for at, value in points(rows, 'epoch', split, metric):
            values.setdefault(at, []).append(value)
    return [Point(x, fmean(own), min(own), max(own)) for x, own in sorted(values.items())]


def curves(
    title: str,
    lines: Sequence[Line],
    others: Sequence[Line],
    split: str,
    metric: Metric,
    colours: Sequence[Shade],
    limits: tuple[float, float] | None = None,
    baseline: float | None = None,
) -> Picture:
    """The lines in their colours with the band from the lowest to the highest seed, others thin.

    limits: of the vertical axis.
    """
    figures, traces = plotly(), []
    if others:
        traces.append(thin_lines(others, split, metric))
    found = [curve_of(line, split, metric) for line in (*lines, *others)]
    for line, curve, colour in zip(lines, found, colours, strict=False):
        traces += band(line, thinned(curve, MOST_POINTS), colour)
    if baseline is not None:
        ends = [point.x for curve in found for point in curve]
        style = {'color': GREY, 'dash': 'dot'}
        span = {'x': [min(ends), max(ends)], 'y': [baseline, baseline]} if ends else {}
        traces.append(figures.Scatter(mode='lines', name='memoryless', line=style, **span))
    axes = {'xaxis': {'title': {'text': 'epoch'}}, 'yaxis': value_axis(metric, split, limits)}
    layout = axes | {'height': 300 + 14 * len(lines)}  # room for the legend
    figure = figures.Figure(traces, layout)
    return Picture(title, figure, curves_table(title, [*lines, *others], found))


def band(line: Line, curve: Sequence[Point], colour: Shade) -> list['Scatter']:
    figures, key = plotly(), next(iter(line.runs))
    name = escape(line.name)
    common = {'name': name, 'legendgroup': name, 'meta': colour}
    style = {'color': colour['light'], 'width': 2}
    mode = 'lines+markers' if len(curve) < MOST_COLUMNS else 'lines'
    own = {'mode': mode, 'line': style, 'marker': {'size': 5}, 'customdata': [key] * len(curve)}
    x = [point.x for point in curve]
    traces = [figures.Scatter(x=x, y=rounded(point.mean for point in curve), **own, **common)]
    if len(line.runs) > 1:
        ends = [*(point.high for point in curve), *(point.low for point in reversed(curve))]
        around = {'x': x + x[::-1], 'y': rounded(ends)}
        style = {'fill': 'toself', 'line': {'width': 0}, 'mode': 'lines', 'hoverinfo': 'skip'}
        traces.insert(0, figures.Scatter(showlegend=False, **around, **style, **common))
    return traces


def thin_lines(lines: Sequence[Line], split: str, metric: Metric) -> 'Scatter':
    """The curves of all runs as one thin line with gaps, which is quickly drawn."""
    x, y, keys = list[float | None](), list[float | None](), list[str | None]()
    for line in lines:
        for key, rows in line.runs.items():
            own = thinned(sorted(points(rows, 'epoch', split, metric)), MOST_POINTS // 2)
            x += [*(at for at, _ in own), None]
            y += [*rounded(value for _, value in own), None]
            keys += [*[key] * len(own), None]
    name = f'{len(lines)} other settings' if len(lines) > 1 else '1 other setting'
    style = {'color': GREY, 'width': 0.6}
    return plotly().Scatter(
        x=x, y=y, customdata=keys, name=name, mode='lines', line=style, opacity=0.6
    )


def value_axis(metric: Metric, what: str, limits: tuple[float, float] | None = None) -> Json:
    """The vertical axis of a metric, logarithmic for losses of a wide range."""
    axis: Json = {'title': {'text': escape(f'{what} {metric.label}'.strip())}}
    if metric.is_fraction:
        axis['tickformat'] = '~%'
    if limits is None:
        return axis
    low, high = limits
    if not metric.higher_is_better and wide([low, high]):
        low, high = np.log10(low), np.log10(high)
        axis['type'] = 'log'
    margin = 0.05 * (high - low) or 0.05
    return axis | {'range': [float(low - margin), float(high + margin)]}


def limits_of(lines: Iterable[Line], split: str, metric: Metric) -> tuple[float, float] | None:
    """The lowest and the highest value of all lines."""
    rows = [row for line in lines for own in line.runs.values() for row in own]
    values = [value for _, value in points(rows, 'epoch', split, metric)]
    return (min(values), max(values)) if values else None


def curves_table(title: str, lines: Sequence[Line], found: Sequence[Sequence[Point]]) -> str:
    """The means over seeds by epoch."""
    epochs = thinned(sorted({point.x for curve in found for point in curve}), MOST_COLUMNS)
    headings = [f'epoch {epoch:g}' for epoch in epochs]
    rows = []
    for line, curve in zip(lines, found, strict=True):
        means = {point.x: point.mean for point in curve}
        rows.append([line.name, *(number(means.get(epoch)) for epoch in epochs)])
    return table(f'{title}: mean over seeds by epoch', ['', *headings], rows, headings)


def gradients(title: str, rows: Sequence[Row]) -> list[Picture]:
    """How gradients fade over the time steps, a picture for each field of a carry."""
    figures, pictures = plotly(), []
    shown = thinned([row for row in rows if row.gradients], MOST_ROWS)
    for name in shown[0].gradients or {} if shown else {}:
        traces, lines = [], []
        for row, colour in zip(shown, shades(len(shown)), strict=True):
            norms = (row.gradients or {})[name]
            steps = thinned(range(len(norms)), MOST_STEPS)
            values = [visible(norms[step]) for step in steps]
            style: Json = {'mode': 'lines', 'line': {'color': colour['light']}}
            label = f'step {row.step:,}'
            traces.append(figures.Scatter(x=steps, y=values, name=label, meta=colour, **style))
            few = thinned(values, MOST_COLUMNS)
            lines.append([label, *('-' if value is None else f'{value:.1e}' for value in few)])
        layout = {
            'xaxis': {'title': {'text': 'time step'}},
            'yaxis': {'title': {'text': 'norm of ∂loss/∂s'}, 'type': 'log', 'exponentformat': 'e'},
        }
        headings = [f'time step {step}' for step in thinned(steps, MOST_COLUMNS)]
        words = f'{title} {name}'.strip()
        numbers = table(words, ['', *headings], lines, headings)
        pictures.append(Picture(words, figures.Figure(traces, layout), numbers))
    return pictures


def visible(norm: float | None) -> float | None:
    return norm if norm is not None and norm > FADED else None


def rounded(values: Iterable[float | None]) -> list[float | None]:
    """Five digits: more than a picture shows."""
    return [None if value is None else float(f'{value:.5g}') for value in values]
