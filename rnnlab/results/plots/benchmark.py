"""Pictures of the benchmark: the race, and time against length."""

from itertools import cycle
from pathlib import Path

from rnnlab.results.plots.style import CYCLE, light, new_figure, picture

TICKS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)


@picture
def bench(rows: list[tuple[str, dict[str, float]]], ours: str, path: Path) -> None:
    """Draws a line for each piece of work: the time of each library relative to ours."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = new_figure(9, 1.6 + 0.26 * len(rows))
    axes = figure.subplots()
    names = list(dict.fromkeys(name for _, times in rows for name in times if name != ours))
    axes.axvline(1, color='black', linewidth=1.5, label=ours)
    for name, colour in zip(names, cycle(CYCLE), strict=False):
        places = [index for index, (_, times) in enumerate(rows) if name in times]
        ratios = [rows[index][1][name] / rows[index][1][ours] for index in places]
        axes.plot(ratios, places, 'o', markersize=5, color=colour, label=name)
    axes.set(xscale='log', xlabel=f'time, {ours} = 1', ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in TICKS if low <= tick <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.xaxis.set_minor_locator(NullLocator())
    light(axes)
    figure.legend(loc='outside lower center', frameon=False, ncols=len(names) + 1)
    figure.savefig(path, dpi=150)


@picture
def length(seconds: dict[str, dict[int, float]], path: Path, title: str) -> None:
    """Draws the seconds of each cell/engine over the time steps, both logarithmic.

    A cell has a colour, an engine a line style.
    """
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    cells, engines = zip(*(name.split('/') for name in seconds), strict=True)
    colours = dict(zip(dict.fromkeys(cells), cycle(CYCLE), strict=False))
    styles = dict(zip(dict.fromkeys(engines), cycle(('-', '--', ':', '-.')), strict=False))
    # The legend lists the lines as they end, from the top.
    for name, times in sorted(seconds.items(), key=lambda item: -max(item[1].values())):
        cell, engine = name.split('/')
        style = {'color': colours[cell], 'linestyle': styles[engine]}
        milliseconds = [1e3 * value for value in times.values()]
        axes.plot(list(times), milliseconds, marker='o', markersize=4, label=name, **style)
    axes.set(xscale='log', yscale='log', xlabel='time steps', ylabel='milliseconds', title=title)
    axes.title.set_fontsize(11)
    axes.set_xticks(list(dict.fromkeys(at for times in seconds.values() for at in times)))
    axes.xaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,g}'))
    light(axes)
    figure.legend(loc='outside right upper', frameon=False)
    figure.savefig(path, dpi=150)
