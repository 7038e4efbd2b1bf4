"""The picture of a population: its settings over the steps, and who copied whom."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.results.plots.axes import norm_of, scale, shades
from rnnlab.results.plots.style import LineStyle, new_figure, picture, plain
from rnnlab.results.ranking import best, label
from rnnlab.results.records import Outcome, Place, Trial
from rnnlab.results.schedule import lineage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POPULATIONS = 3  # side by side
COPY: LineStyle = {'color': 'grey', 'linewidth': 0.7, 'zorder': 1}
LINEAGE: LineStyle = {'color': 'black', 'linewidth': 1, 'zorder': 3}

Members = dict[Place, Trial]


@picture
def sweep_population(
    trials: Mapping[Place, Trial],
    names: Sequence[str],
    outcome: Outcome,
    linear: Collection[str],
    path: Path,
    title: str,
) -> None:
    """Draws the settings `names` over the steps, a row for each, a column for each population.

    A bar is a trial on a rung, coloured by its value at the end of it; a thin line leads to it from
    the trial that it copied. The black line is what the state of the best trial was trained with.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    populations: dict[str, Members] = {}
    for place, trial in trials.items():
        common = [name for name in trial.settings if name not in names]
        populations.setdefault(label(trial.settings, common), {})[place] = trial
    if (number := len(populations)) > MOST_POPULATIONS:
        title += f', the first {MOST_POPULATIONS} of {number} populations'
    columns = list(populations.items())[:MOST_POPULATIONS]
    last = Outcome('last', outcome.metric)
    values = {place: last.of(trial.summary) for place, trial in trials.items()}
    norm = norm_of([value for value in values.values() if value is not None], False)
    colour = ScalarMappable(norm, shades(outcome.metric))
    figure = new_figure(2.2 + 2.8 * len(columns), 1.4 + 2.3 * len(names), title)
    panels = figure.subplots(len(names), len(columns), squeeze=False, sharex=True, sharey='row')
    for axes, (kind, _) in zip(panels[0], columns, strict=True):
        axes.set_title(plain(kind), fontsize=10)
    for axes in panels[-1]:
        axes.set_xlabel('step')
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for row, name in zip(panels, names, strict=True):
        every = [trial.settings[name] for trial in trials.values()]
        for axes, (_, members) in zip(row, columns, strict=True):
            height = scale(axes, name, every, name in linear, axis='y')
            draw_members(axes, members, name, height, values, colour)
            draw_lineage(axes, members, name, height, outcome)
            axes.spines[['top', 'right']].set_visible(False)
            axes.label_outer()
    percent = FuncFormatter(lambda value, _: f'{100 * value:.4g}%')
    form = percent if outcome.metric.is_fraction else None
    words = f'{last.words} at the end of a rung'
    figure.colorbar(colour, ax=panels, label=words, format=form)
    styles = {'settings of the best trial': LINEAGE, 'copied': COPY}
    handles = [panels[0, 0].plot([], [], label=name, **s)[0] for name, s in styles.items()]
    figure.legend(handles=handles, loc='outside lower center', frameon=False, ncols=2)
    figure.savefig(path, dpi=150)


def draw_members(
    axes: 'Axes',
    members: Members,
    name: str,
    height: Callable[[Any], float],
    values: Mapping[Place, float | None],
    colour: Any,
) -> None:
    """A bar for each trial on each rung, grey if it diverged, and lines to those that copied."""
    for place, trial in members.items():
        before, value = members.get(trial.source), values[place]
        begin, y = before.summary.end if before else 0, height(trial.settings[name])
        shade = 'lightgrey' if value is None else colour.to_rgba(value)
        axes.plot([begin, trial.summary.end], [y, y], color=shade, linewidth=3, zorder=2)
        if before and trial.copied_from is not None:
            xy = [begin, begin], [height(before.settings[name]), y]
            axes.plot(*xy, **COPY)


def draw_lineage(
    axes: 'Axes', members: Members, name: str, height: Callable[[Any], float], outcome: Outcome
) -> None:
    """The settings that led to the best trial."""
    if (winner := best(members.values(), outcome)) is None:
        return
    parts = lineage(winner, members)
    steps = [0, *(part['until'] for part in parts)]
    heights = [height(part[name]) for part in parts]
    axes.stairs(heights, steps, baseline=None, **LINEAGE)
