"""Pictures of a forecast: a series and its predictions."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np

from rnnlab.results.plots.style import CYCLE, LineStyle, picture, plain

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, NEAR = 4, 150  # that are drawn: columns of the series, and rows near its end


@picture
def forecast(
    names: tuple[str, ...],
    known: np.ndarray,
    ahead: np.ndarray,
    free: np.ndarray | None,
    past: np.ndarray,
    ends: tuple[int, int, int],
    path: Path,
    title: str,
    times: np.ndarray | None = None,
) -> None:
    """Draws a series and its predictions, whole and near the end, for its first four columns.

    Args:
        known: the series [N, K].
        ahead: its predictions a step ahead [N - 1, K].
        free: the forecast [horizon, K] from the first row of the test split on.
        past: the forecast [horizon, K] past the end.
        ends: of the splits train, validation and test, which is shaded.
        times: the date of each row [N], datetime64; None shows the rows' numbers.
    """
    from matplotlib.figure import Figure

    _, begin, end = ends
    names = names[:COLUMNS]
    figure = Figure(figsize=(12, 0.8 + 2.9 * len(names)), layout='constrained')
    figure.suptitle(plain(title), fontsize=11)
    near = max(0, begin - 10, end - NEAR)
    if free is not None:
        near = min(near, max(0, begin - 10))
    stop = min(end, near + max(NEAR, 2 * len(past)))
    at_rows = dates(times, end, len(past) + 1)
    grid = figure.subplots(len(names), 2, squeeze=False)
    for at, (name, (whole, close)) in enumerate(zip(names, grid, strict=True)):
        for axes, first, last in ((whole, 0, end), (close, near, stop)):
            draw_known(axes, at_rows, known[:, at], ahead[:, at], begin, first, last)
            if axes is close and free is not None and len(free):
                values = free[: last - begin, at]
                draw_free(axes, at_rows, values, begin, label='on its own outputs')
            if len(past) > 1 and last == end:
                draw_free(axes, at_rows, past[:, at], end, label='past the end', linestyle='--')
            finish(axes, name, dated=times is not None)
        whole.set_title('all rows, the test split shaded', fontsize=10)
        close.set_title(f'rows {near} to {stop}', fontsize=10)
    legend(figure)
    figure.savefig(path, dpi=150)


def dates(times: np.ndarray | None, rows: int, more: int) -> np.ndarray:
    """Where rows, and `more` past the end, are drawn: at their dates, else at their numbers."""
    if times is None:
        return np.arange(rows + more)
    known = times[:rows]
    step = known[-1] - known[-2] if len(known) > 1 else np.timedelta64(1, 's')
    return np.concatenate([known, known[-1] + step * np.arange(1, more + 1)])


def draw_known(
    axes: 'Axes',
    at_rows: np.ndarray,
    known: np.ndarray,
    ahead: np.ndarray,
    begin: int,
    first: int,
    last: int,
) -> None:
    """The rows first to last of a column, its predictions, and the test split shaded."""
    shaded = at_rows[max(begin, first)], at_rows[last]
    axes.axvspan(*shaded, color='black', alpha=0.06, linewidth=0)
    series: LineStyle = {'color': CYCLE[-1], 'linewidth': 2.5, 'label': 'series'}
    axes.plot(at_rows[first:last], known[first:last], **series)
    made = np.arange(max(first, 1), last)
    predicted: LineStyle = {'color': CYCLE[0], 'linewidth': 1, 'label': 'a step ahead'}
    if last - first <= NEAR:
        predicted |= {'marker': '.', 'markersize': 4}
    axes.plot(at_rows[made], ahead[made - 1], **predicted)


def draw_free(
    axes: 'Axes', at_rows: np.ndarray, values: np.ndarray, begin: int, **style: Unpack[LineStyle]
) -> None:
    """A forecast from row `begin` on that reads its own outputs."""
    rows = at_rows[begin : begin + len(values)]
    axes.plot(rows, values, color=CYCLE[1], linewidth=1.5, **style)


def finish(axes: 'Axes', name: str, dated: bool) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel='' if dated else 'row', ylabel=plain(name))
    if dated:
        locator = AutoDateLocator(maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(x=0.01)
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
