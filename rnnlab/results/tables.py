"""Tables as plain text and as Markdown, and lines that fit the terminal.

In a terminal that is too narrow for a table its headings fold, then its cells between their parts,
which are two blanks apart, and the labels in the first column; what still does not fit goes into
another block below, with the labels repeated. No number is cut. Output to a file or a pipe
has no width, and is complete. Cells are text as it is: no markup, no mathematics, one line each.
"""

import io
import os
import sys
import textwrap
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from rnnlab.results.characters import shown

if TYPE_CHECKING:
    from rich.table import Table

GAP = 3  # blanks between columns, and between the parts of a line


def width() -> int | None:
    """The columns of the terminal, or what COLUMNS says; None where there is neither."""
    if (columns := os.environ.get('COLUMNS', '')).isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):  # standard output is no terminal, or no file
        return None


def lines(*parts: str, indent: int = 0) -> str:
    """The parts of a line, broken between them (or at blanks) where the terminal is too narrow."""
    parts = tuple(map(shown, parts))
    whole, most = (' ' * GAP).join(parts), width()
    if most is None or cell_len(whole) <= most:
        return whole
    rows = pack([part for part in parts if part], most - indent, GAP)
    margin = ' ' * indent
    return '\n'.join(
        textwrap.fill(row, most, initial_indent=margin * (number > 0), subsequent_indent=margin)
        for number, row in enumerate(rows)
    )


def new_table(
    *headings: str, right: tuple[str, ...] = (), footer: dict[str, str] | None = None
) -> 'Table':
    """An empty table of rich, to be filled by add_row.

    right: the columns that are right-aligned; footer: the last cell of a column, by heading.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_footer=footer is not None, caption_justify='left')
    for heading in headings:
        justify: Literal['right', 'left'] = 'right' if heading in right else 'left'
        table.add_column(heading, (footer or {}).get(heading, ''), justify=justify, no_wrap=True)
    return table


def render(table: 'Table') -> str:
    """The text of a table without colours, in blocks that fit the terminal."""
    columns = [[shown(str(cell)) for cell in (c.header, *c.cells, c.footer)] for c in table.columns]
    most = width()
    if most is None or line_width(columns) <= most:
        return draw(table, columns, range(len(columns)))
    columns = [[fold_heading(head, cells), *cells] for head, *cells in columns]
    for at in sorted(range(len(columns)), key=lambda at: -widest(columns[at])):
        if (excess := line_width(columns) - most) > 0:
            target = widest(columns[at]) - excess
            columns[at] = [pack_cell(cell, target) for cell in columns[at]]
    if (excess := line_width(columns) - most) > 0:
        target = max(widest(columns[0]) - excess, 1)
        columns[0] = [fold(cell, target) for cell in columns[0]]
    return '\n\n'.join(
        draw(table, columns, block) for block in blocks(columns, labels(table, columns, most), most)
    )


def draw(table: 'Table', columns: list[list[str]], block: Sequence[int]) -> str:
    """The text of some columns of a table."""
    from rich.console import Console

    part = new_table(footer={} if table.show_footer else None)
    for at in block:
        head, *_, foot = columns[at]
        part.add_column(head, foot, justify=table.columns[at].justify, no_wrap=True)
    for number, row in enumerate(table.rows, 1):
        part.add_row(*(columns[at][number] for at in block), end_section=row.end_section)
    if block[-1] == len(columns) - 1 and table.caption:
        part.caption = lines(str(table.caption))
    out = io.StringIO()
    most = line_width([columns[at] for at in block]) + GAP
    plain = Console(
        file=out, width=most, emoji=False, color_system=None, force_jupyter=False, markup=False
    )
    plain.print(part)
    return '\n'.join(line.rstrip() for line in out.getvalue().splitlines()).strip('\n')


def line_width(columns: list[list[str]]) -> int:
    return sum(widest(column) + GAP for column in columns)


def widest(cells: Sequence[str]) -> int:
    return max(cell_len(line) for cell in cells for line in cell.split('\n'))


def cell_len(text: str) -> int:
    """The columns of a terminal that a text takes: two for each wide character."""
    from rich import cells

    return cells.cell_len(text)


def fold_heading(heading: str, cells: Sequence[str]) -> str:
    """A heading in lines as long as its longest word, or its widest cell."""
    return fold(heading, max([widest(cells), *map(cell_len, heading.split())]))


def fold(text: str, most: int) -> str:
    """A text in lines of at most that width, broken after a colon or at blanks alone."""
    name, colon, rest = text.partition(': ')
    if colon and cell_len(text) > most:
        return f'{fold(name, most)}:\n{fold(rest, most)}'
    return '\n'.join(pack(text.split() or [''], most, 1))


def pack_cell(cell: str, most: int) -> str:
    """A cell in lines of at most that width, broken between its parts alone."""
    return '\n'.join(pack(cell.split('  '), most, 2)) if '  ' in cell else cell


def pack(parts: Sequence[str], most: int, gap: int) -> list[str]:
    """The parts in lines of at most that width, a gap of blanks between them."""
    rows = [parts[0]]
    for part in parts[1:]:
        if cell_len(rows[-1]) + gap + cell_len(part) > most:
            rows.append(part)
        else:
            rows[-1] += ' ' * gap + part
    return rows


def labels(table: 'Table', columns: list[list[str]], most: int) -> int:
    """How many columns name the rows: the left-aligned ones that begin it, up to half the width."""
    lefts = [*takewhile(lambda column: column.justify == 'left', table.columns)]
    fit = (n for n in range(len(lefts), 1, -1) if 2 * line_width(columns[:n]) <= most)
    return next(fit, 1)


def blocks(columns: list[list[str]], labels: int, most: int) -> list[list[int]]:
    """The columns of each block: as many as fit beside the labels, at least one."""
    first = [*range(labels)]
    found = [first]
    for at in range(labels, len(columns)):
        together = [columns[column] for column in [*found[-1], at]]
        if len(found[-1]) > labels and line_width(together) > most:
            found.append(first)
        found[-1] = [*found[-1], at]
    return found


def number(value: float | None, beside: float | None = None) -> str:
    """A metric's value with four decimals, or with two digits if it is below 0.01; '-' for None.

    beside: the value whose format it takes, as a standard deviation that of its mean.
    """
    if value is None:
        return '-'
    size = abs(value if beside is None else beside)
    return f'{value:.4f}' if size == 0 or size >= 0.01 else f'{value:.1e}'


def markdown(heads: list[str], lines: list[list[str]]) -> str:
    """The text of a table in Markdown."""
    rows = [heads, ['---'] * len(heads), *lines]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)
