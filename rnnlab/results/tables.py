"""Tables as plain text, as wide as they need to be, and as Markdown."""

import io
from typing import Any


def new_table(
    *headings: str, right: tuple[str, ...] = (), footer: dict[str, str] | None = None
) -> Any:
    """A table of rich: fill it by add_row. `right` names the columns that stand to the right, footer what ends a column."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_footer=footer is not None, caption_justify='left')
    for heading in headings:
        table.add_column(
            heading,
            (footer or {}).get(heading, ''),
            justify='right' if heading in right else 'left',
            no_wrap=True,
        )
    return table


def render(table: Any) -> str:
    """The text, the same everywhere: without colours, and whatever the width of the terminal."""
    from rich.console import Console

    out = io.StringIO()
    Console(
        file=out, width=1000, color_system=None, force_jupyter=False, markup=False, emoji=False
    ).print(table)
    return '\n'.join(line.rstrip() for line in out.getvalue().splitlines()).strip('\n')


def markdown(heads: list[str], lines: list[list[str]]) -> str:
    return '\n'.join(
        '| ' + ' | '.join(line) + ' |' for line in [heads, ['---'] * len(heads), *lines]
    )
