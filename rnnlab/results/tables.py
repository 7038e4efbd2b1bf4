"""Tables as plain text and as Markdown."""

import io
from typing import Any


def new_table(
    *headings: str, right: tuple[str, ...] = (), footer: dict[str, str] | None = None
) -> Any:
    """An empty table of rich, to be filled by add_row.

    right: the columns that are right-aligned; footer: the last cell of a column, by heading.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_footer=footer is not None, caption_justify='left')
    for heading in headings:
        justify: Any = 'right' if heading in right else 'left'
        table.add_column(heading, (footer or {}).get(heading, ''), justify=justify, no_wrap=True)
    return table


def render(table: Any) -> str:
    """The text of a table without colours, as wide as it needs to be."""
    from rich.console import Console

    out = io.StringIO()
    plain: dict[str, Any] = {'color_system': None, 'force_jupyter': False, 'markup': False}
    Console(file=out, width=1000, emoji=False, **plain).print(table)
    return '\n'.join(line.rstrip() for line in out.getvalue().splitlines()).strip('\n')


def markdown(heads: list[str], lines: list[list[str]]) -> str:
    """The text of a table in Markdown."""
    rows = [heads, ['---'] * len(heads), *lines]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)
