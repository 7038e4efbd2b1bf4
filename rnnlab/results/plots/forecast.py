"""Pictures of a forecast: a series and its predictions."""

from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.results.plots.style import CYCLE, picture, plain

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
) -> None:
    """Draws a series and its predictions, whole and near the end, for its first four columns.

    Args:
        known: the series [N, K].
        ahead: its predictions a step ahead [N - 1, K].
        free: the forecast [horizon, K] from the first row of the test split on.
        past: the forecast [horizon, K] past the end.
        ends: of the splits train, validation and test, which is shaded.
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
    grid = figure.subplots(len(names), 2, squeeze=False)
    for at, (name, (whole, close)) in enumerate(zip(names, grid, strict=True)):
        for axes, first, last in ((whole, 0, end), (close, near, stop)):
            draw_known(axes, known[:, at], ahead[:, at], begin, first, last)
            if axes is close and free is not None and len(free):
                values, style = free[: last - begin, at], {'label': 'on its own outputs'}
                draw_free(axes, values, begin, **style)
            if len(past) > 1 and last == end:
                draw_free(axes, past[:, at], end, label='past the end', linestyle='--')
            finish(axes, name)
        whole.set_title('all rows, the test split shaded', fontsize=10)
        close.set_title(f'rows {near} to {stop}', fontsize=10)
    legend(figure)
    figure.savefig(path, dpi=150)


def draw_known(
    axes: Any, known: np.ndarray, ahead: np.ndarray, begin: int, first: int, last: int
) -> None:
    """The rows first to last of a column, its predictions, and the test split shaded."""
    dots = {'marker': '.', 'markersize': 4} if last - first <= NEAR else {}
    axes.axvspan(max(begin, first), last, color='black', alpha=0.06, linewidth=0)
    rows = np.arange(first, last)
    axes.plot(rows, known[first:last], color=CYCLE[-1], linewidth=2.5, label='series')
    made = np.arange(max(first, 1), last)
    axes.plot(made, ahead[made - 1], color=CYCLE[0], linewidth=1, label='a step ahead', **dots)


def draw_free(axes: Any, values: np.ndarray, begin: int, **style: Any) -> None:
    """A forecast from row `begin` on that reads its own outputs."""
    rows = np.arange(begin, begin + len(values))
    axes.plot(rows, values, color=CYCLE[1], linewidth=1.5, **style)


def finish(axes: Any, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel='row', ylabel=plain(name))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(x=0.01)
    axes.spines[['top', 'right']].set_visible(False)


def legend(figure: Any) -> None:
    """One legend for all panels."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        own, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, own, strict=True))
    style = {'loc': 'outside lower center', 'frameon': False}
    figure.legend(handles.values(), handles.keys(), ncols=len(handles), **style)
