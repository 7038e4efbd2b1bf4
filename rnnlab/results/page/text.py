"""Parts of a page as HTML: every text is escaped, every table can be read and scrolled by keys."""

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rnnlab.results.characters import printable

if TYPE_CHECKING:
    from rich.table import Table


def escape(value: object) -> str:
    """A value as text of HTML, or of a label of Plotly, which reads some HTML too."""
    return html.escape(printable(str(value)))


def paragraph(text: str) -> str:
    return f'<p>{escape(text)}</p>'


def command(text: str) -> str:
    return f'<pre tabindex="0">{escape(text)}</pre>'


def table(
    name: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    right: Iterable[str] = (),
    items: Sequence[str] = (),
) -> str:
    """A table; its name is for those who cannot see it.

    right: the headings of right-aligned columns. items: what a click on each row shows, see
    `write`; its first cell is then a button.
    """
    ends = [' class="right"' if heading in {*right} else '' for heading in headings]
    heads = ''.join(
        f'<th scope="col"{end}>{escape(heading)}</th>'
        for heading, end in zip(headings, ends, strict=True)
    )
    lines = []
    for number, row in enumerate(rows):
        first, *cells = map(escape, row)
        begin = '<tr>'
        if items:
            begin = f'<tr data-item="{escape(items[number])}">'
            first = f'<button type="button" tabindex="{-1 if number else 0}">{first}</button>'
        others = ''.join(f'<td{end}>{cell}</td>' for cell, end in zip(cells, ends[1:], strict=True))
        lines.append(f'{begin}<th scope="row"{ends[0]}>{first}</th>{others}</tr>')
    body = '\n'.join(lines)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}"><table>'
        f'<thead><tr>{heads}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    )


def of_table(name: str, printed: 'Table', items: Sequence[str] = ()) -> str:
    """A table of `rnnlab.results.tables.new_table`, as `table`."""
    headings = [str(column.header) for column in printed.columns]
    right = [str(column.header) for column in printed.columns if column.justify == 'right']
    rows = zip(*(column.cells for column in printed.columns), strict=True)
    return table(name, headings, rows, right, items)


def definitions(name: str, values: Iterable[tuple[str, object]]) -> str:
    """Names and their values."""
    return table(name, ('name', 'value'), values)


def coloured(words: Iterable[str], strengths: Iterable[float], limit: float) -> str:
    """Words as running text, each on the colour of its strength; `limit` is full colour.

    Red and an underline raise, blue and dots lower. The paper shines through, so that the text can
    be read on light and on dark paper.
    """
    spans = []
    for word, strength in zip(words, strengths, strict=True):
        part = min(abs(strength) / limit, 1.0)
        colour = '178 24 43' if strength > 0 else '33 102 172'
        kind = ('up' if strength > 0 else 'down') if part > 0.25 else 'weak'
        spans.append(
            f'<span class="{kind}" style="background:rgb({colour} / {0.6 * part:.2f})"'
            f' title="{strength:+.2f}">{escape(word)}</span>'
        )
    return f'<p class="words">{" ".join(spans)}</p>'


def folded(summary: str, body: str) -> str:
    """What a click unfolds."""
    return f'<details><summary>{escape(summary)}</summary>\n{body}\n</details>'
