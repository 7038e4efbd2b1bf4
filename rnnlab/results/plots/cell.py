"""Pictures of a cell: its gates over time, and how far gradients reach."""

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.results.plots.style import CYCLE, picture, plain


@picture
def gates(values: dict[str, np.ndarray], path: Path, title: str) -> None:
    """Draws every gate and carry [T, H] as units against time, on one colour scale around 0."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, MaxNLocator

    figure = Figure(figsize=(9, 0.9 + 1.25 * len(values)), layout='constrained')
    figure.suptitle(plain(title), fontsize=11)
    panels = figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0]
    limit = max(float(np.max(np.abs(value))) for value in values.values()) or 1.0
    for axes, (name, value) in zip(panels, values.items(), strict=True):
        image = axes.imshow(
            value.T, aspect='auto', cmap='RdBu_r', vmin=-limit, vmax=limit, interpolation='nearest'
        )
        axes.set_ylabel(plain(name), rotation=0, ha='right', va='center', fontsize=12)
        for axis, size in ((axes.xaxis, len(value)), (axes.yaxis, value.shape[1])):
            axis.set_major_locator(
                FixedLocator(range(size)) if size <= 8 else MaxNLocator(8, integer=True)
            )
    panels[-1].set_xlabel('time step (rows: units)')
    figure.colorbar(image, ax=list(panels), shrink=0.6, label='value')
    figure.savefig(path, dpi=150)


@picture
def reach(norms: dict[str, dict[str, np.ndarray]], path: Path, title: str) -> None:
    """Draws how far gradients reach: the geometric mean over sequences, by lag.

    norms: [T, B] of gradient_reach for each cell, by its label, and field of its carry.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout='constrained')
    axes = figure.subplots()
    for (cell, fields), colour in zip(norms.items(), cycle(CYCLE), strict=False):
        for field, values in fields.items():
            logs = np.log(np.maximum(np.asarray(values, np.float64), 1e-30))
            mean = np.exp(np.mean(logs, axis=1))
            lags = np.arange(len(mean))
            shown = mean > 1e-12
            style: dict[str, Any] = {'color': colour, 'linestyle': '-' if field == 'h' else '--'}
            axes.plot(lags[shown], mean[shown], label=plain(f'{cell}, {field}'), **style)
    axes.set(
        xlabel=r'lag  $T - t$  (time steps)',
        ylabel=r'spectral norm of  $\partial h_T\,/\,\partial s_t$,  s = h or c',
        yscale='log',
        ylim=(1e-12, None),
        title='\n'.join(map(plain, title.split('\n'))),
    )
    axes.title.set_fontsize(11)
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
