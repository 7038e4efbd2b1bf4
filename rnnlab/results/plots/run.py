"""Pictures of runs: curves, runs side by side, a forecast."""

from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from rnnlab.results.plots.style import CYCLE, wide
from rnnlab.results.trials import is_share

Row = dict[str, Any]

COLOURS = dict(zip(('train', 'validation', 'test'), CYCLE, strict=False))
FEW_COLUMNS, NEAR = 4, 150  # of a forecast that are drawn: columns, and rows near the end
UNITS = {'accuracy': 'nats', 'mae': 'mean squared error'}  # of the loss beside that figure


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
    figure, panels = loss_and_figure(
        'epoch', [row for group in groups.values() for rows in group for row in rows]
    )
    for axes, metric in panels:
        for (name, group), colour in zip(groups.items(), cycle(CYCLE), strict=False):
            for rows in group:
                held_out = 'validation' if any('validation_loss' in row for row in rows) else 'test'
                line(
                    axes, rows, 'epoch', f'train_{metric}', color=colour, linestyle='--', alpha=0.4
                )
                line(axes, rows, 'epoch', f'{held_out}_{metric}', color=colour)
            axes.plot([], [], color=colour, label=name)
        axes.plot([], [], color='grey', linestyle='--', label='training')
    handles, labels = panels[0][0].get_legend_handles_labels()
    labels = [fill(label, 120) for label in labels]
    figure.set_size_inches(10, 4 + 0.22 * sum(1 + label.count('\n') for label in labels))
    figure.legend(handles, labels, loc='outside lower center', frameon=False)
    finish(figure, panels, path)


def loss_and_figure(xlabel: str, rows: list[Row]) -> tuple[Any, list[tuple[Any, str]]]:
    """A picture with its two panels, each with its metric."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

    figure = Figure(figsize=(10, 4), layout='constrained')
    second = next(
        (name for name in UNITS if any(f'train_{name}' in row for row in rows)), 'accuracy'
    )
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
        axes.plot(
            *zip(*points, strict=True),
            **{'marker': 'o' if len(points) <= 40 else None, 'markersize': 3, 'linewidth': 1.5}
            | style,
        )


def finish(figure: Any, panels: list[tuple[Any, str]], path: Path) -> None:
    for axes, metric in panels:
        heights = [height for line in axes.lines for height in line.get_ydata() if height > 0]
        if metric == 'loss' and UNITS['mae'] in axes.get_ylabel() and heights and wide(heights):
            axes.set_yscale('log')
        elif metric == 'loss':
            axes.set_ylim(bottom=0)
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
    for at, (name, panels) in enumerate(
        zip(names, figure.subplots(len(names), 2, squeeze=False), strict=True)
    ):
        for axes, first, last in zip(panels, (0, near), (end, stop), strict=True):
            rows = np.arange(first, last)
            dots = {'marker': '.', 'markersize': 4} if last - first <= NEAR else {}
            axes.axvspan(max(begin, first), last, color='black', alpha=0.06, linewidth=0)
            axes.plot(rows, known[first:last, at], color=CYCLE[-1], linewidth=2.5, label='series')
            made = np.arange(max(first, 1), last)
            axes.plot(
                made, ahead[made - 1, at], color=CYCLE[0], linewidth=1, label='a step ahead', **dots
            )
            if free is not None and len(free) and axes is panels[1]:
                shown = free[: last - begin, at]
                axes.plot(
                    np.arange(begin, begin + len(shown)),
                    shown,
                    color=CYCLE[1],
                    linewidth=1.5,
                    label='on its own outputs',
                )
            if len(past) > 1 and last == end:
                axes.plot(
                    np.arange(end, end + len(past)),
                    past[:, at],
                    color=CYCLE[1],
                    linestyle='--',
                    linewidth=1.5,
                    label='past the end',
                )
            axes.set(xlabel='row', ylabel=name)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.margins(x=0.01)
            axes.spines[['top', 'right']].set_visible(False)
        panels[0].set_title('all rows, the test part shaded', fontsize=10)
        panels[1].set_title(f'rows {near} to {stop}', fontsize=10)
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc='outside lower center',
        ncols=len(handles),
        frameon=False,
    )
    figure.savefig(path, dpi=150)
