"""What all pictures share: how matplotlib is used, names in pictures, colours, scales."""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from rnnlab.results.characters import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CYCLE = ('#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#bbbbbb')
SHADES = 'viridis'

P = ParamSpec('P')
LineStyle = dict[str, Any]  # keywords of matplotlib's `plot`


def picture(draw: Callable[P, None]) -> Callable[P, None]:
    """A function that draws a picture into a file, which needs no backend and no LaTeX."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        if 'matplotlib' not in sys.modules:
            import_matplotlib()
        from matplotlib import rc_context

        options = rc_context({'text.usetex': False, 'text.parse_math': True})
        with options, warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Glyph')  # which the font lacks: a box is drawn
            draw(*args, **kwargs)

    return drawn


def import_matplotlib() -> None:
    """Imports matplotlib where MPLBACKEND, as Jupyter sets it, names what is not installed too."""
    backend = os.environ.pop('MPLBACKEND', None)
    import matplotlib

    if backend is not None:
        os.environ['MPLBACKEND'] = backend
        with suppress(ValueError):
            matplotlib.rcParams['backend'] = backend


def new_figure(width: float, height: float, title: str | None = None) -> 'Figure':
    """An empty picture in inches, with a title above its panels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout='constrained')
    if title is not None:
        figure.suptitle(plain(title), fontsize=11)
    return figure


def light(axes: 'Axes') -> None:
    """A faint grid and no frame."""
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)


def plain(name: str) -> str:
    """A name as text of a picture, on one line: `$` begins no mathematics, `_` hides no label."""
    text = printable(name).replace('$', r'\$')
    return f' {text}' if text.startswith('_') else text


def wide(values: Sequence[float]) -> bool:
    """Whether a range is drawn on a logarithmic scale: positive, its ends a factor of 10 apart."""
    return min(values) > 0 and max(values) / min(values) >= 10
