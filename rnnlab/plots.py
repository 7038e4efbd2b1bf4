"""Pictures of runs."""

from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

Row = dict[str, Any]


CYCLE = ('#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#bbbbbb')
COLOURS = dict(zip(('train', 'validation', 'test'), CYCLE, strict=False))


def curves(rows: list[Row], path: Path, title: str) -> None:
    """Loss and accuracy over the steps, a line for each part of the data that the rows of metrics.jsonl have."""
    figure, panels = loss_and_accuracy('step')
    figure.suptitle(title, fontsize=11)
    for axes, metric in panels:
        for part, colour in COLOURS.items():
            line(axes, rows, 'step', f'{part}_{metric}', color=colour, label=part)
        if axes.lines:
            axes.legend(frameon=False)
    finish(figure, panels, path)


def compare(groups: dict[str, list[list[Row]]], path: Path) -> None:
    """Loss and accuracy over the epochs, a colour for each group of runs: what was evaluated on the way, and dashed training."""
    figure, panels = loss_and_accuracy('epoch')
    for axes, metric in panels:
        for (label, group), colour in zip(groups.items(), cycle(CYCLE), strict=False):
            for rows in group:
                held_out = 'validation' if any('validation_loss' in row for row in rows) else 'test'
                line(axes, rows, 'epoch', f'train_{metric}', color=colour, linestyle='--', alpha=0.4)
                line(axes, rows, 'epoch', f'{held_out}_{metric}', color=colour)
            axes.plot([], [], color=colour, label=label)
        axes.plot([], [], color='grey', linestyle='--', label='training')
    handles, labels = panels[0][0].get_legend_handles_labels()
    labels = [fill(label, 120) for label in labels]
    figure.set_size_inches(10, 4 + 0.22 * sum(1 + label.count('\n') for label in labels))
    figure.legend(handles, labels, loc='outside lower center', frameon=False)
    finish(figure, panels, path)


def loss_and_accuracy(xlabel: str) -> tuple[Any, list[tuple[Any, str]]]:
    """A figure with its two panels, each with its metric."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

    figure = Figure(figsize=(10, 4), layout='constrained')
    panels = list(zip(figure.subplots(1, 2), ('loss', 'accuracy'), strict=True))
    for axes, metric in panels:
        axes.set(xlabel=xlabel, ylabel='loss (nats)' if metric == 'loss' else 'accuracy')
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=''))
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    panels[1][0].yaxis.set_major_formatter(PercentFormatter(1))
    return figure, panels


def line(axes: Any, rows: list[Row], x: str, y: str, **style: Any) -> None:
    """The rows that have both, with markers where they are few."""
    points = [(row[x], row[y]) for row in rows if y in row]
    if points:
        axes.plot(*zip(*points, strict=True), marker='o' if len(points) <= 40 else None, markersize=3, linewidth=1.5, **style)


def finish(figure: Any, panels: list[tuple[Any, str]], path: Path) -> None:
    for axes, metric in panels:
        if metric == 'loss':
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
