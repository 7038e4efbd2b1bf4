"""Pictures of the benchmark: the race, and time against length."""

from itertools import cycle
from pathlib import Path

from rnnlab.results.plots.style import CYCLE


def bench(rows: list[tuple[str, dict[str, float]]], ours: str, path: Path) -> None:
    """For each piece of work, how many times as long as ours every contender takes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = Figure(figsize=(9, 1.6 + 0.26 * len(rows)), layout='constrained')
    axes = figure.subplots()
    names = list(dict.fromkeys(name for _, times in rows for name in times if name != ours))
    axes.axvline(1, color='black', linewidth=1.5, label=ours)
    for name, colour in zip(names, cycle(CYCLE), strict=False):
        points = [
            (times[name] / times[ours], at) for at, (_, times) in enumerate(rows) if name in times
        ]
        axes.plot(
            *zip(*points, strict=True),
            linestyle='',
            marker='o',
            markersize=5,
            color=colour,
            label=name,
        )
    axes.set(xscale='log', xlabel=f'time, {ours} = 1', ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64) if low <= tick <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside lower center', frameon=False, ncols=len(names) + 1)
    figure.savefig(path, dpi=150)


def length(seconds: dict[str, dict[int, float]], path: Path, title: str) -> None:
    """The seconds over the time steps, both logarithmic: a colour for each cell, a line style for each engine, by cell/engine."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = Figure(figsize=(8, 4.5), layout='constrained')
    axes = figure.subplots()
    cells, engines = (
        list(dict.fromkeys(parts))
        for parts in zip(*(name.split('/') for name in seconds), strict=True)
    )
    colours, styles = (
        dict(zip(cells, cycle(CYCLE), strict=False)),
        dict(zip(engines, cycle(('-', '--', ':', '-.')), strict=False)),
    )
    for name, own in sorted(
        seconds.items(), key=lambda item: -max(item[1].values())
    ):  # as the lines end, from the top
        cell, engine = name.split('/')
        milliseconds = [1e3 * figure for figure in own.values()]
        axes.plot(
            list(own),
            milliseconds,
            color=colours[cell],
            linestyle=styles[engine],
            marker='o',
            markersize=4,
            label=name,
        )
    axes.set(xscale='log', yscale='log', xlabel='time steps', ylabel='milliseconds', title=title)
    axes.title.set_fontsize(11)
    axes.set_xticks(list(dict.fromkeys(at for own in seconds.values() for at in own)))
    axes.xaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,g}'))
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside right upper', frameon=False)
    figure.savefig(path, dpi=150)
