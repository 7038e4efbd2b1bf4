"""Panels, scales and colours of the pictures of sweeps."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rnnlab.results.axes import all_numbers, ordered
from rnnlab.results.plots.style import SHADES, light, new_figure, plain, wide
from rnnlab.results.records import Value
from rnnlab.training.losses import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure


def shades(metric: Metric) -> str:
    """The colour map in which the best values are light."""
    return SHADES if metric.higher_is_better else f'{SHADES}_r'


def panels_for(
    number: int, title: str, metric: Metric | None, sharex: bool = False, sharey: bool = False
) -> tuple['Figure', list['Axes']]:
    """A picture with that many panels, at most three side by side, perhaps for a metric."""
    from matplotlib.ticker import PercentFormatter

    columns = min(number, 3)
    lines = -(-number // columns)
    figure = new_figure(2 + 3.2 * columns, 1 + 3 * lines, title)
    panels = (
        figure.subplots(lines, columns, squeeze=False, sharex=sharex, sharey=sharey)
        .ravel()
        .tolist()
    )
    for axes in panels:
        light(axes)
    for axes in panels[number:]:
        axes.remove()
    if metric and metric.is_fraction:
        panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    return figure, panels[:number]


def scale_losses(panels: list['Axes'], metric: Metric, values: list[float]) -> None:
    """Makes the scale that the panels share logarithmic for losses of a wide range."""
    if values and not metric.higher_is_better and wide(values):
        panels[0].set_yscale('log')


def scale(
    axes: 'Axes', name: str, values: Iterable[Value], linear: bool, axis: str = 'x'
) -> Callable[[Any], float]:
    """The position of a value on an axis, which is named and scaled for `values`.

    Numbers of a wide range get a logarithmic scale; values that are no numbers lie side by side.
    """
    values = ordered(values)
    axes.set(**{f'{axis}label': name})
    if all_numbers(values):
        if wide(values) and not linear:
            axes.set(**{f'{axis}scale': 'log'})
        return float
    ticks = {'ticks': range(len(values)), 'ticklabels': [*map(shown, values)]}
    axes.set(**{f'{axis}{key}': value for key, value in ticks.items()})
    axes.set(**{f'{axis}lim': (-0.5, len(values) - 0.5)})
    return lambda value: float(values.index(value))


def norm_of(values: Sequence[Any], linear: bool) -> 'Normalize':
    from matplotlib.colors import LogNorm, Normalize

    return (Normalize if linear or not wide(values) else LogNorm)(min(values), max(values))


def shown(value: Value) -> str:
    return f'{value:.3g}' if isinstance(value, float) else plain(str(value))
