"""The results of the race and the page bench.md that shows them."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.benchmark.peers import OURS
from experiments.benchmark.timing import spread
from experiments.benchmark.work import SHAPES
from rnnlab.results.tables import markdown

WIDE = 64  # units, below which a fraction of the rate of matrix products says little
BEST, FRACTION = 'best peer, relative', 'of the matmul rate'


@dataclass(frozen=True, kw_only=True)
class Row:
    """The times of one piece of work: `seconds` by library, one a turn."""

    what: str
    shape: str
    cell: str
    seconds: dict[str, list[float]]
    operations: float  # floating-point operations of the recurrent layers' matrix products

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    @property
    def best_peer(self) -> str | None:
        return min((name for name in self.seconds if name != OURS), key=self.median, default=None)

    @property
    def ratio(self) -> float | None:
        """The best peer's time relative to rnnlab's."""
        return self.median(self.best_peer) / self.median(OURS) if self.best_peer else None

    def fraction(self, rate: float) -> float:
        """Fraction of the rate of matrix products that rnnlab reaches."""
        return self.operations / rate / self.median(OURS)


def page(
    heading: str, rows: list[Row], kinds: Sequence[str], names: Sequence[str], rate: float
) -> str:
    """The text of bench.md. `rate` is that of matrix products, in floating-point operations a
    second; columns of work that is not timed yet are empty."""
    parts = [
        heading,
        short_table(rows, kinds, rate),
        *summary(rows, kinds, rate),
        full_table(rows, names, rate),
    ]
    return '\n\n'.join(parts) + '\n'


def short_table(rows: list[Row], kinds: Sequence[str], rate: float) -> str:
    """A line for each shape and cell: rnnlab's median and the best peer's relative time."""
    heads = ['shape (T, batch, inputs, units)', 'cell']
    for what in kinds:
        heads += [f'{what}, ms', BEST, *([FRACTION] if what == 'gradient' else [])]
    found = {(row.shape, row.cell, row.what): row for row in rows}
    lines, above = [], ''
    for shape, cell in dict.fromkeys((row.shape, row.cell) for row in rows):
        line = [f'`{shape}` ({SHAPES[shape]})' if shape != above else '', cell]
        for what in kinds:
            row = found.get((shape, cell, what))
            line.append(f'{1e3 * row.median(OURS):.3g}' if row else '')
            line.append(f'{row.ratio:.2f} ({row.best_peer})' if row and row.ratio else '')
            if what == 'gradient':
                line.append(f'{row.fraction(rate):.0%}' if row and wide(row) else '')
        lines.append(line)
        above = shape
    return markdown(heads, lines)


def summary(rows: list[Row], kinds: Sequence[str], rate: float) -> Iterator[str]:
    """For each kind of work, the relative times and the fractions over all shapes and cells."""
    for what in kinds:
        own = [row for row in rows if row.what == what]
        if ratios := [row.ratio for row in own if row.ratio]:
            mean = statistics.geometric_mean(ratios)
            least = f'{min(ratios):.2f} at least, {mean:.2f} in the geometric mean'
            yield f'{what}: relative time of the best peer {least}'
        if fractions := [row.fraction(rate) for row in own if wide(row)]:
            reached = f'{min(fractions):.0%} to {max(fractions):.0%} of the matmul rate'
            yield f'{what}: {reached} from {WIDE} units on'


def full_table(rows: list[Row], names: Sequence[str], rate: float) -> str:
    """Each library's milliseconds, the median and in parentheses the range."""
    lines = []
    for row in rows:
        times = [milliseconds(row.seconds[name]) if name in row.seconds else '' for name in names]
        ratio = f'{row.ratio:.2f}' if row.ratio else ''
        lines.append([row.what, row.shape, row.cell, *times, ratio, f'{row.fraction(rate):.0%}'])
    return markdown(['what', 'shape', 'cell', *names, BEST, FRACTION], lines)


def wide(row: Row) -> bool:
    return SHAPES[row.shape].hidden >= WIDE


def milliseconds(seconds: list[float]) -> str:
    return '{:.3g} ({:.3g} to {:.3g})'.format(*(1e3 * value for value in spread(seconds)))
