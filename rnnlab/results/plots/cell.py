"""Pictures of a cell: its gates over time, and how far gradients reach."""

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnlab.results.axes import MOST_PANELS
from rnnlab.results.plots.axes import panels_for
from rnnlab.results.plots.style import CYCLE, SHADES, LineStyle, light, new_figure, picture, plain
from rnnlab.results.records import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

FADED = 1e-12  # norms below are not drawn


@picture
def gates(
    values: dict[str, np.ndarray],
    path: Path,
    title: str,
    norms: dict[str, np.ndarray] | None = None,
) -> None:
    """Draws every gate and carry [T, H] as units against time.

    Gates between 0 and 1 have a scale of their own, all others one around 0.

    norms: of the gradient of the loss with respect to each field of the carry [T], drawn below.
    """
    number = len(values) + (norms is not None)
    figure = new_figure(9, 0.9 + 1.25 * number, title)
    panels = figure.subplots(number, 1, sharex=True, squeeze=False)[:, 0]
    signed = [value for name, value in values.items() if not is_open_or_closed(name, value)]
    limit = max((float(np.max(np.abs(value))) for value in signed), default=0.0) or 1.0
    images: dict[str, AxesImage] = {}
    for axes, (name, value) in zip(panels, values.items(), strict=False):
        gate = is_open_or_closed(name, value)
        scale = (0.0, 1.0, SHADES) if gate else (-limit, limit, 'RdBu_r')
        image = draw_units(axes, name, value, *scale)
        images.setdefault('gate' if gate else 'value', image)
    if norms is not None:
        draw_norms(panels[-1], norms)
    panels[-1].set_xlabel('time step (rows: units)')
    for label, image in images.items():
        figure.colorbar(image, ax=list(panels), shrink=0.6, label=label)
    figure.savefig(path, dpi=150)


def is_open_or_closed(name: str, value: np.ndarray) -> bool:
    """Whether it is a gate between 0 and 1; new carries have a prime."""
    return not name.endswith("'") and bool(np.min(value) >= 0 and np.max(value) <= 1)


def draw_units(
    axes: 'Axes', name: str, value: np.ndarray, least: float, most: float, colours: str
) -> 'AxesImage':
    """An image of the units [T, H] against time."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    image = axes.imshow(
        value.T, aspect='auto', interpolation='nearest', cmap=colours, vmin=least, vmax=most
    )
    axes.set_ylabel(plain(name), rotation=0, ha='right', va='center', fontsize=12)
    for axis, size in ((axes.xaxis, len(value)), (axes.yaxis, value.shape[1])):
        few = size <= 8
        axis.set_major_locator(FixedLocator(range(size)) if few else MaxNLocator(8, integer=True))
    return image


def draw_norms(axes: 'Axes', norms: dict[str, np.ndarray]) -> None:
    """Lines of the norms [T] of gradients, on a logarithmic scale."""
    for (field, norm), colour in zip(norms.items(), cycle(CYCLE), strict=False):
        values = np.where(norm > FADED, norm, np.nan)
        label = rf'$\partial\,$loss$\,/\,\partial {field}$' if len(field) == 1 else plain(field)
        axes.plot(values, color=colour, label=label, linewidth=1.2)
    axes.set(yscale='log')
    axes.set_ylabel('norm', rotation=0, ha='right', va='center')
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, ncols=len(norms))


@picture
def reach(norms: dict[str, dict[str, np.ndarray]], path: Path, title: str) -> None:
    """Draws how far gradients reach: the geometric mean over sequences, by lag.

    norms: [T, B] of gradient_reach for each cell, by its label, and field of its carry.
    """
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for (cell, fields), colour in zip(norms.items(), cycle(CYCLE), strict=False):
        for field, values in fields.items():
            logs = np.log(np.maximum(np.asarray(values, np.float64), 1e-30))
            mean = np.exp(np.mean(logs, axis=1))
            lags = np.arange(len(mean))
            shown = mean > FADED
            style: LineStyle = {'color': colour, 'linestyle': '-' if field == 'h' else '--'}
            axes.plot(lags[shown], mean[shown], label=plain(f'{cell}, {field}'), **style)
    axes.set(
        xlabel=r'lag  $T - t$  (time steps)',
        ylabel=r'spectral norm of  $\partial h_T\,/\,\partial s_t$,  s = h or c',
        yscale='log',
        ylim=(FADED, None),
        title='\n'.join(map(plain, title.split('\n'))),
    )
    axes.title.set_fontsize(11)
    light(axes)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


@picture
def gradients(runs: dict[str, list[Row]], path: Path, title: str) -> None:
    """Draws the norms of --log_gradients over the time steps: a panel for each field of the carry
    of each run, at most the first six, and in it a line for each evaluation, coloured by its step.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    fields = [(run, rows, name) for run, rows in runs.items() for name in rows[0].gradients or {}]
    fields = fields[:MOST_PANELS]
    figure, panels = panels_for(len(fields), title, None, sharex=True, sharey=True)
    norm = Normalize(0, max(row.step for _, rows, _ in fields for row in rows))
    for axes, (run, rows, name) in zip(panels, fields, strict=True):
        for row in rows:
            values = np.array((row.gradients or {})[name], float)
            values[~(values > FADED)] = np.nan
            axes.plot(values, color=colormaps[SHADES](norm(row.step)), linewidth=1)
        axes.set(yscale='log', title=plain(f'{run} {name}'.strip()), xlabel='time step')
        axes.title.set_fontsize(10)
    panels[0].set_ylabel(r'norm of  $\partial\,$loss$\,/\,\partial s_t$')
    figure.colorbar(ScalarMappable(norm, SHADES), ax=panels, label='step')
    figure.savefig(path, dpi=150)
