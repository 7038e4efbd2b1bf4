"""Pictures of runs."""

from pathlib import Path
from typing import Any

COLOURS = {'train': '#4477aa', 'validation': '#ee6677', 'test': '#228833'}


def curves(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Loss and accuracy over the steps, a line for each part of the data that the rows of metrics.jsonl have."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

    figure = Figure(figsize=(10, 4), layout='constrained')
    figure.suptitle(title, fontsize=11)
    for axes, metric, label in zip(figure.subplots(1, 2), ('loss', 'accuracy'), ('loss (nats)', 'accuracy'), strict=True):
        for part, colour in COLOURS.items():
            points = [(row['step'], row[f'{part}_{metric}']) for row in rows if f'{part}_{metric}' in row]
            if points:
                marker = 'o' if len(points) <= 40 else None
                axes.plot(*zip(*points, strict=True), color=colour, label=part, marker=marker, markersize=3, linewidth=1.5)
        axes.set(xlabel='step', ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=''))
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
        if metric == 'loss':
            axes.set_ylim(bottom=0)
        else:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        if axes.lines:
            axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
