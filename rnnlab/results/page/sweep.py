"""Pictures of a page that show a sweep: its ranking, its axes, and a map of two of them."""

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from rnnlab.results.axes import FEW, all_numbers, best_at, ordered
from rnnlab.results.page import Picture, plotly
from rnnlab.results.page.curves import COLOURS, GREY, rounded, shades, value_axis
from rnnlab.results.page.text import escape, table
from rnnlab.results.plots.axes import shades as colour_map
from rnnlab.results.plots.style import wide
from rnnlab.results.ranking import Setting, label
from rnnlab.results.records import Json, Outcome, Trial, Value
from rnnlab.results.statistics import Interval
from rnnlab.results.tables import number

Place = Callable[[Any], float | str]  # of a value, on an axis

SYMBOLS = 'circle', 'square', 'diamond', 'triangle-up', 'star', 'hexagon'


def ranking(
    title: str,
    settings: Sequence[Setting],
    names: Sequence[str],
    intervals: Sequence[Interval | None],
    outcome: Outcome,
) -> Picture:
    """The best settings: each seed a dot, the mean with its interval a diamond."""
    labels = [' '.join(short(setting.settings[name]) for name in names) for setting in settings]
    labels = [escape(f'{place}. {text}') for place, text in enumerate(labels, 1)]
    placed = [
        (at, *pair) for at, s in zip(labels, settings, strict=True) for pair in s.by_trial(outcome)
    ]
    dots = plotly().Scatter(
        x=rounded(value for *_, value in placed),
        y=[at for at, *_ in placed],
        customdata=[str(trial.number) for _, trial, _ in placed],
        mode='markers',
        name='a trial',
        marker={'color': COLOURS[1], 'size': 7, 'opacity': 0.8},
    )
    means = [setting.mean(outcome) for setting in settings]
    ends = [
        (mean or 0.0, mean or 0.0) if interval is None else interval
        for mean, interval in zip(means, intervals, strict=True)
    ]
    bars = {
        'type': 'data',
        'symmetric': False,
        'array': [high - (mean or 0.0) for mean, (_, high) in zip(means, ends, strict=True)],
        'arrayminus': [(mean or 0.0) - low for mean, (low, _) in zip(means, ends, strict=True)],
    }
    known = any(intervals)
    diamonds = plotly().Scatter(
        x=rounded(means),
        y=labels,
        mode='markers',
        name='mean, 95 % interval' if known else 'mean',
        error_x=bars if known else None,
        marker={'color': COLOURS[0], 'size': 10, 'symbol': 'diamond'},
    )
    axis = value_axis(outcome.metric, '') | {'title': {'text': escape(outcome.words)}}
    layout = {
        'xaxis': axis,
        'yaxis': {'type': 'category', 'autorange': 'reversed', 'categoryarray': labels},
        'height': 130 + 30 * len(labels),
    }
    none = None, None
    rows = [
        [place, *(s.settings[n] for n in names), number(mean), *map(number, interval or none)]
        for place, (s, mean, interval) in enumerate(zip(settings, means, intervals, strict=True), 1)
    ]
    right = 'rank', 'mean', 'from', 'to'
    numbers = table(title, ['rank', *names, 'mean', 'from', 'to'], rows, right)
    return Picture(title, plotly().Figure([dots, diamonds], layout), numbers)


def axis_picture(
    name: str,
    settings: Sequence[Setting],
    outcome: Outcome,
    static: Sequence[str],
    linear: Collection[str],
) -> Picture:
    """The metric against an axis: a point for each trial, the best setting at each value a line.

    Points that are not filled are trials that were stopped, crosses diverged or failed ones.
    """
    axis, place = scale(name, [setting.settings[name] for setting in settings], name in linear)
    kinds: dict[str, list[Setting]] = {}
    for setting in settings:
        kinds.setdefault(label(setting.settings, static), []).append(setting)
    values = [value for setting in settings for value in setting.values(outcome)]
    worst = 0.0 if outcome.metric.higher_is_better else max(values, default=0.0)
    traces, rows = [], []
    for at, (kind, own) in enumerate(kinds.items()):
        colour = COLOURS[at % len(COLOURS)]
        common = dict.fromkeys(('legendgroup', 'name'), escape(kind))
        marker = {'color': colour, 'size': 7, 'opacity': 0.55}
        marker['symbol'] = [symbol(t, SYMBOLS[at % len(SYMBOLS)]) for s in own for t in s.trials]
        points = trial_points(own, name, place, outcome, worst)
        shown = {'showlegend': len(kinds) > 1, 'mode': 'markers', 'marker': marker}
        traces.append(plotly().Scatter(**points, **shown, **common))
        last = max(setting.reached for setting in own)
        ended = [s for s in own if s.reached == last and s.values(outcome)]
        best = best_at(((setting.settings[name], setting) for setting in ended), outcome)
        every = [(value, best[value]) for value in ordered(best)]
        for value, s in every:
            cells = number(s.mean(outcome)), number(s.deviation(outcome)), len(s.trials)
            rows.append([short(value), kind, *cells])
        if len(every) < FEW:  # of values drawn at random each has one trial
            line = {'mode': 'lines', 'line': {'color': colour, 'width': 2}, 'showlegend': False}
            bars = {'type': 'data', 'array': [s.deviation(outcome) or 0 for _, s in every]}
            x, y = [place(value) for value, _ in every], [s.mean(outcome) for _, s in every]
            traces.append(plotly().Scatter(x=x, y=rounded(y), error_y=bars, **line, **common))
    log = values and not outcome.metric.higher_is_better and wide(values)
    limits = (min(values), max(values)) if log else None  # else Plotly leaves room for crosses
    layout = {'xaxis': axis, 'yaxis': value_axis(outcome.metric, '', limits)}
    headings = [name, 'static settings', 'mean', 'sd', 'seeds']
    title = f'{outcome.words} against {name}'
    numbers = table(f'{title}: the best setting at each value', headings, rows, headings[2:])
    return Picture(title, plotly().Figure(traces, layout), numbers)


def trial_points(
    settings: Sequence[Setting], name: str, place: Place, outcome: Outcome, worst: float
) -> Json:
    """The place of each trial: lost ones at the worst value, None without a value."""
    every = [trial for setting in settings for trial in setting.trials]
    values = [worst if t.lost else outcome.of(t.summary) for t in every]
    x, keys = [place(trial.settings[name]) for trial in every], [str(t.number) for t in every]
    return {'x': x, 'y': rounded(values), 'customdata': keys}


def symbol(trial: Trial, filled: str) -> str:
    if trial.lost:
        return 'x'
    return filled if trial.summary.stopped_at is None else f'{filled}-open'


def parallel(
    title: str,
    settings: Sequence[Setting],
    names: Sequence[str],
    outcome: Outcome,
    linear: Collection[str],
    numbers: str,
) -> Picture:
    """A line for each setting through its values on all axes and its metric, which colours it."""
    known = [setting for setting in settings if setting.values(outcome)]
    known.sort(key=lambda setting: setting.score(outcome))  # the best is drawn on top
    means = rounded(setting.mean(outcome) for setting in known)
    columns = {name: [setting.settings[name] for setting in known] for name in names}
    dimensions = [dimension(name, values, name in linear) for name, values in columns.items()]
    metric = outcome.metric
    form = {'tickformat': '~%'} if metric.is_fraction else {}
    last = dimension(metric.name, means, metric.higher_is_better) | form
    colours = shades(9)[:: 1 if metric.higher_is_better else -1]
    scales = {
        paper: [(at / 8, colour[paper]) for at, colour in enumerate(colours)]
        for paper in ('light', 'dark')
    }
    lines = {'color': means, 'colorscale': scales['light'], 'showscale': True}
    lines['colorbar'] = {'thickness': 12, **form}
    axes = {'dimensions': [*dimensions, last], 'labelangle': -12, 'labelfont': {'size': 12}}
    figure = plotly().Parcoords(line=lines, meta=scales, **axes)
    layout = {'margin': {'l': 56, 'r': 16, 't': 70, 'b': 24}}
    return Picture(title, plotly().Figure([figure], layout), numbers)


def dimension(name: str, values: Sequence[Any], linear: bool) -> Json:
    """An axis of parallel coordinates: numbers of a wide range by their logarithm."""
    each = ordered(values)
    own: Json = {'label': escape(name)}
    if not all_numbers(each):
        texts = [escape(short(value)) for value in each]
        places = {'tickvals': [*range(len(each))], 'ticktext': texts}
        return own | places | {'values': [each.index(value) for value in values]}
    if not linear and wide(each):
        shown = decades(each) if len(each) >= FEW else each
        places = {'tickvals': [*map(float, np.log10(shown))], 'ticktext': [*map(short, shown)]}
        return own | places | {'values': [*map(float, np.log10(values))]}
    if len(each) < FEW:
        own |= {'tickvals': each, 'ticktext': [*map(short, each)]}
    return own | {'values': values}


def map_of(
    title: str,
    settings: Sequence[Setting],
    outcome: Outcome,
    names: tuple[str, str],
    linear: Collection[str],
) -> Picture:
    """The mean of the best setting at each pair of values: cells, or dots where most are empty."""
    pairs = (((s.settings[names[0]], s.settings[names[1]]), s) for s in settings)
    best = {at: s for at, s in best_at(pairs, outcome).items() if s.values(outcome)}
    values = {at: s.mean(outcome) for at, s in best.items()}
    across, up = (ordered(pair[at] for pair in values) for at in range(2))
    metric = outcome.metric
    bar = {'thickness': 12, 'tickformat': '~%' if metric.is_fraction else ''}
    look: Json = {'colorscale': colour_map(metric), 'colorbar': bar}
    if 2 * len(best) >= len(across) * len(up):
        texts = [[*map(escape, map(short, axis))] for axis in (across, up)]
        form = '.1%' if metric.is_fraction else '.3g'
        cells = [[values.get((x, y)) for x in across] for y in up]
        figure = plotly().Heatmap(
            x=texts[0],
            y=texts[1],
            z=[rounded(line) for line in cells],
            customdata=[[key_at(best, (x, y)) for x in across] for y in up],
            text=[['' if v is None else format(v, form) for v in line] for line in cells],
            texttemplate='%{text}' if max(len(across), len(up)) <= FEW else None,
            xgap=2,
            ygap=2,
            **look,
        )
        axes = [{'type': 'category', 'title': {'text': escape(name)}} for name in names]
    else:
        columns = [*zip(*best, strict=True)]
        scales = [scale(n, own, n in linear) for n, own in zip(names, columns, strict=True)]
        axes = [axis for axis, _ in scales]
        placed = sorted(best, key=lambda at: best[at].score(outcome))  # the best is drawn on top
        look['color'] = rounded(values[at] for at in placed)
        figure = plotly().Scatter(
            x=[scales[0][1](x) for x, _ in placed],
            y=[scales[1][1](y) for _, y in placed],
            customdata=[key_at(best, at) for at in placed],
            mode='markers',
            marker={'size': 10, 'showscale': True, 'line': {'color': GREY, 'width': 1}, **look},
        )
    full = (at for at in itertools.product(across, up) if at in best)
    rows = [[*map(short, at), number(values[at])] for at in full]
    numbers = table(title, [*names, outcome.words], rows, [outcome.words])
    layout = dict(zip(('xaxis', 'yaxis'), axes, strict=True))
    return Picture(title, plotly().Figure([figure], layout), numbers)


def key_at(best: dict[tuple[Value, Value], Setting], at: tuple[Value, Value]) -> str | None:
    """What a click on a setting shows: its first trial."""
    return str(best[at].trials[0].number) if at in best else None


def scale(name: str, values: Sequence[Value], linear: bool) -> tuple[Json, Place]:
    """(an axis, the position of a value on it): logarithmic for numbers of a wide range."""
    axis: Json = {'title': {'text': escape(name)}}
    each = ordered(values)
    if not all_numbers(each):
        texts = [escape(short(value)) for value in each]
        return axis | {'type': 'category', 'categoryarray': texts}, lambda v: escape(short(v))
    if not linear and wide(each):
        axis |= {'type': 'log', 'tickvals': decades(each)}
        axis['ticktext'] = [*map(short, axis['tickvals'])]
    return axis, float


def decades(values: Sequence[float]) -> list[float]:
    """The powers of ten within positive values, and those beside them."""
    low, high = np.floor(np.log10(min(values))), np.ceil(np.log10(max(values)))
    return [10.0**power for power in range(int(low), int(high) + 1)]


def short(value: Value) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)
