"""Pictures of forecasts: series, what was predicted of them, and bands of quantiles."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnnlab.results.plots.style import CYCLE, LineStyle, new_figure, picture, plain

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, NEAR = 4, 150  # that are drawn: series, and rows near the end of one
GREY, BLUE, RED = '#888888', CYCLE[0], CYCLE[1]


class Line(NamedTuple):
    """Predicted values of successive rows [n], or quantiles [n, Q] in increasing order."""

    begin: int  # the first row
    values: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        return self.values if self.values.ndim == 1 else self.values[:, self.values.shape[1] // 2]

    @property
    def end(self) -> int:
        return self.begin + len(self.values)


class Panel(NamedTuple):
    """A column of a series, and its predictions."""

    name: str
    known: np.ndarray  # [N]
    ahead: Line  # each row predicted from those before it
    forecasts: Sequence[Line]  # of several rows
    past: Line  # past the end
    ends: tuple[int, int, int]  # of the splits train, validation and test, which is shaded
    times: np.ndarray | None = None  # the date of each row [N], datetime64; None: rows' numbers


@picture
def forecast(panels: Sequence[Panel], path: Path, title: str, further: str) -> None:
    """Draws a line of two panels for each of them: the whole series, and the test split.

    further: what the forecasts of several rows are called in the legend.
    """
    red: LineStyle = {'color': RED, 'linewidth': 1.6}
    figure = new_figure(12, 1 + 2.8 * len(panels))
    figure.suptitle(plain(title), fontsize=12)
    grid = figure.subplots(len(panels), 2, squeeze=False, width_ratios=(2, 3))
    for panel, (whole, close) in zip(panels, grid, strict=True):
        at_rows = dates(panel.times, len(panel.known), len(panel.past.values) + 1)
        near, stop = close_rows(panel)
        for axes, first, last in ((whole, 0, len(panel.known)), (close, near, stop)):
            draw_known(axes, at_rows, panel, first, last)
            if axes is close:
                for line in panel.forecasts:
                    draw_line(axes, at_rows, line, last, red | {'label': plain(further)})
            if len(panel.past.values) > 1 and last == len(panel.known):
                after = red | {'label': 'past the end', 'linestyle': '--'}
                draw_line(axes, at_rows, panel.past, panel.past.end, after)
            finish(axes, panel)
        close.set_ylabel('')
    grid[0, 0].set_title('all rows, the test split shaded', fontsize=10)
    grid[0, 1].set_title('forecasts of the test split', fontsize=10)
    legend(figure)
    figure.savefig(path, dpi=150)


def close_rows(panel: Panel) -> tuple[int, int]:
    """First and last row of the closer panel: the end, or the forecasts of several rows."""
    _, begin, end = panel.ends
    near = max(0, begin - 10, end - NEAR)
    if not panel.forecasts:
        return near, end
    longest = max(len(line.values) for line in panel.forecasts)
    near = max(0, min(near, begin - max(10, longest // 2)))
    last = max(line.end for line in panel.forecasts)
    return near, min(end, max(near + max(NEAR, 2 * longest), last))


def dates(times: np.ndarray | None, rows: int, more: int) -> np.ndarray:
    """Where rows, and `more` past the end, are drawn: at their dates, else at their numbers."""
    if times is None:
        return np.arange(rows + more)
    known = times[:rows]
    step = known[-1] - known[-2] if len(known) > 1 else np.timedelta64(1, 's')
    return np.concatenate([known, known[-1] + step * np.arange(1, more + 1)])


def draw_known(axes: 'Axes', at_rows: np.ndarray, panel: Panel, first: int, last: int) -> None:
    """The rows first to last of a series, their predictions, and the test split shaded."""
    shaded = at_rows[max(panel.ends[1], first)], at_rows[last]
    axes.axvspan(*shaded, color='black', alpha=0.06, linewidth=0)
    known = panel.known[first:last]
    axes.plot(at_rows[first:last], known, color=GREY, linewidth=2, label='series')
    begin = max(first, panel.ahead.begin)
    shown = Line(begin, panel.ahead.values[begin - panel.ahead.begin :])
    ahead: LineStyle = {'color': BLUE, 'linewidth': 1, 'label': 'a step ahead'}
    draw_line(axes, at_rows, shown, last, ahead)


def draw_line(axes: 'Axes', at_rows: np.ndarray, line: Line, last: int, style: LineStyle) -> None:
    """A prediction up to row `last`, in the band of its quantiles."""
    rows = at_rows[line.begin : min(line.end, last)]
    values = line.values[: len(rows)]
    if values.ndim == 2:
        ends, label = (values[:, 0], values[:, -1]), f'{style["label"]}: band'
        axes.fill_between(rows, *ends, color=style['color'], alpha=0.2, linewidth=0, label=label)
    axes.plot(rows, line.middle[: len(rows)], **style)


def finish(axes: 'Axes', panel: Panel) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    dated = panel.times is not None
    axes.set(xlabel='' if dated else 'row', ylabel=plain(panel.name))
    if dated:
        locator = AutoDateLocator(minticks=3, maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(x=0.01)
    axes.grid(axis='y', color='black', alpha=0.1, linewidth=0.6)
    axes.spines[['top', 'right']].set_visible(False)


def legend(figure: 'Figure') -> None:
    """One legend for all panels."""
    handles: dict[str, Artist] = {}
    for axes in figure.axes:
        own, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, own, strict=True))
    figure.legend(
        [*handles.values()],
        [*handles],
        loc='outside lower center',
        frameon=False,
        ncols=len(handles),
    )
