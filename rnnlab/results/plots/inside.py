"""Pictures of the inside of a trained net: coloured words, fixed points, Lyapunov exponents."""

from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from rnnlab.results.plots.style import CYCLE, light, new_figure, picture, plain

COLUMNS = 100  # characters of a line of words


def shade(strength: float) -> tuple[int, int, int]:
    """The colour of a strength from -1 (blue) over 0 (white) to 1 (red), as bytes."""
    low, high = np.array([33, 102, 172]), np.array([178, 24, 43])
    part = min(abs(float(strength)), 1.0)
    mixed = (1 - part) * 247 + part * (high if strength > 0 else low)
    red, green, blue = (int(value) for value in mixed)
    return red, green, blue


@picture
def words(texts: Sequence[str], strength: np.ndarray, limit: float, path: Path, title: str) -> None:
    """Draws words as running text, each on the colour of its strength; `limit` is full colour."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    lines = list(wrapped(texts, COLUMNS))
    figure = new_figure(10, 1.3 + 0.27 * len(lines), title)
    axes = figure.subplots()
    axes.set(xlim=(0, COLUMNS), ylim=(len(lines), 0))
    axes.axis('off')
    at = 0
    for row, line in enumerate(lines):
        column = 0
        for text in line:
            red, green, blue = shade(strength[at] / limit)
            colour, width = (red / 255, green / 255, blue / 255), len(text)
            ink = 'black' if red + green + blue > 380 else 'white'
            axes.fill_between(
                [column - 0.3, column + width + 0.3],
                row + 0.06,
                row + 0.94,
                color=colour,
                linewidth=0,
            )
            for offset, character in enumerate(plain(text).strip()):
                place = column + offset + 0.5, row + 0.52
                axes.text(
                    *place,
                    character,
                    ha='center',
                    va='center',
                    fontsize=7.5,
                    color=ink,
                    family='monospace',
                )
            column += width + 1
            at += 1
    shades = ListedColormap([np.array(shade(s)) / 255 for s in np.linspace(-1, 1, 255)])
    scale = ScalarMappable(Normalize(-limit, limit), shades)
    bar = figure.colorbar(scale, ax=axes, orientation='horizontal', aspect=60, shrink=0.6, pad=0.02)
    bar.set_label('how much the word moves the logit')
    figure.savefig(path, dpi=150)


def wrapped(texts: Sequence[str], columns: int) -> Iterator[list[str]]:
    """The texts in lines of at most so many characters."""
    line: list[str] = []
    for text in texts:
        if line and sum(map(len, line)) + len(line) + len(text) > columns:
            yield line
            line = []
        line.append(text[:columns])
    if line:
        yield line


@picture
def points(
    lines: np.ndarray,
    at: np.ndarray,
    unstable: np.ndarray,
    fixed: np.ndarray,
    eigenvalues: np.ndarray,
    fractions: np.ndarray,
    path: Path,
    title: str,
) -> None:
    """Draws trajectories and points in the plane of largest variance, and the eigenvalues.

    Args:
        lines: trajectories [B, T, 2].
        at: the points [N, 2]; unstable, fixed: [N], eigenvalues [N, S].
        fractions: of the variance, along both axes.
    """
    figure = new_figure(11, 5, title)
    plane, circle = figure.subplots(1, 2)
    for line in lines:
        plane.plot(*line.T, color=CYCLE[-1], linewidth=0.5, alpha=0.6, zorder=1)
    angle = np.linspace(0, 2 * np.pi, 200)
    circle.plot(np.cos(angle), np.sin(angle), color='black', linewidth=0.8)
    kinds = [(True, number) for number in sorted({*unstable[fixed].tolist()})]
    kinds += [(False, -1)] if not fixed.all() else []
    for (whole, number), colour in zip(kinds, cycle(CYCLE[:-1]), strict=False):
        own = (fixed & (unstable == number)) if whole else ~fixed
        name = f'{number} unstable direction{"" if number == 1 else "s"}' if number else 'stable'
        style = {'color': colour, 'label': f'{name if whole else "slow"} ({own.sum()})'}
        face = colour if number == 0 or not whole else 'white'
        marker = 'o' if whole else 'x'
        plane.plot(*at[own].T, marker, markersize=7, zorder=3, markerfacecolor=face, **style)
        values = eigenvalues[own].ravel()
        circle.plot(values.real, values.imag, '.', color=colour, markersize=4, alpha=0.5)
    share = [f'{100 * fraction:.0f}% of the variance' for fraction in fractions]
    plane.set(xlabel=f'first component, {share[0]}', ylabel=f'second component, {share[1]}')
    circle.set(xlabel='real part', ylabel='imaginary part', aspect='equal')
    circle.set_title('eigenvalues of the Jacobians, and the unit circle', fontsize=10)
    plane.set_title('states on test data, and points', fontsize=10)
    for axes in (plane, circle):
        light(axes)
    handles, labels = plane.get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=4, frameon=False)
    figure.savefig(path, dpi=150)


@picture
def exponents(values: dict[str, np.ndarray], path: Path, title: str) -> None:
    """Draws Lyapunov exponents [B, S] by rank: the mean over sequences and their range."""
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    axes.axhline(0, color='black', linewidth=0.8)
    for (name, own), colour in zip(values.items(), cycle(CYCLE), strict=False):
        own = np.where(np.isfinite(own), own, np.nan)
        index = np.arange(1, own.shape[1] + 1)
        axes.fill_between(
            index, own.min(axis=0), own.max(axis=0), color=colour, alpha=0.2, linewidth=0
        )
        axes.plot(index, own.mean(axis=0), '.-', color=colour, linewidth=1, label=name)
    axes.set(xlabel='exponent', ylabel='nats a step', title=plain(title))
    axes.title.set_fontsize(11)
    light(axes)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
