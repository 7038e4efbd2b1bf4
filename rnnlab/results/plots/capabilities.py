"""The picture of what each cell can do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rnnlab.results.plots.style import SHADES, new_figure, picture, plain


@picture
def capabilities(
    values: Mapping[tuple[str, str], tuple[float, str]],
    lengths: Sequence[str],
    path: Path,
    title: str,
) -> None:
    """Draws a coloured cell for each pair of a recurrent cell and a task.

    values: by (cell, task) how many of the lengths are solved, in the mean of the seeds, and words.
    lengths: that were tested, as multiples of the trained one.
    """
    cells, tasks = ([*dict.fromkeys(pair[at] for pair in values)] for at in range(2))
    grid = np.full((len(cells), len(tasks)), np.nan)
    figure = new_figure(4 + 0.8 * len(tasks), 2.2 + 0.3 * len(cells))
    axes = figure.subplots()
    for (cell, task), (reach, words) in values.items():
        row, column = cells.index(cell), tasks.index(task)
        grid[row, column] = reach
        ink = 'white' if reach < len(lengths) / 2 else 'black'
        axes.text(column, row, words, ha='center', va='center', fontsize=8, color=ink)
    image = axes.imshow(grid, aspect='auto', cmap=SHADES, vmin=0, vmax=len(lengths))
    axes.set_xticks(range(len(tasks)), map(plain, tasks), rotation=30, ha='right')
    axes.set_yticks(range(len(cells)), map(plain, cells))
    words = 'seeds that solve it, and the length that the median solves; where none does, accuracy'
    axes.set_title(f'{plain(title)}:\n{words}', fontsize=10)
    bar = figure.colorbar(image, label='length, times the trained')
    bar.set_ticks(range(len(lengths) + 1), labels=['none', *lengths])
    figure.savefig(path, dpi=150)
