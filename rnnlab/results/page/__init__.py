"""One page of HTML that needs nothing else: text, tables, pictures, and what a click shows.

The pictures are of Plotly. page.html is the frame, page.css the look, and page.js connects a click
with what it shows.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from string import Template
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from rnnlab.errors import InputError
from rnnlab.results import runs
from rnnlab.results.page.text import escape, folded
from rnnlab.results.records import Json
from rnnlab.training.losses import Metric

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

ItemCurve = tuple[list[float], list[list[float | None]]]  # epochs, and values by Items.lines


class Picture(NamedTuple):
    """A figure of Plotly, and the table of its numbers."""

    title: str
    figure: 'Figure'
    table: str


Part = str | Picture  # HTML or a picture


class Section(NamedTuple):
    title: str
    parts: Sequence[Part]


class Item(NamedTuple):
    """A trial or a run: what a click on it shows."""

    name: str
    values: Sequence[str]  # by Items.columns
    curve: ItemCurve


@dataclass(frozen=True, kw_only=True)
class Items:
    """What clicks show, by the keys in tables and in `customdata` of figures."""

    every: Mapping[str, Item]
    columns: Sequence[str]
    lines: Sequence[tuple[Metric, str]]  # of the curves: a metric and its split
    hint: str  # what can be clicked

    def to_json(self) -> Json:
        every = {key: [item.name, item.values, *item.curve] for key, item in self.every.items()}
        lines = [(metric.name, split, metric.is_fraction) for metric, split in self.lines]
        return {'items': every, 'columns': self.columns, 'lines': lines}


def plotly() -> ModuleType:
    """Plotly's figures; InputError where it is not installed."""
    try:
        import plotly.graph_objects as figures
    except ImportError as error:
        raise InputError('a page needs Plotly: pip install plotly') from error
    return figures


def write(
    path: Path, title: str, lead: str, sections: Sequence[Section], items: Items | None = None
) -> None:
    """Writes a page of these sections; with items it has their pictures and a panel for clicks."""
    pictures = [part for section in sections for part in section.parts if isinstance(part, Picture)]
    numbers = {id(picture): number for number, picture in enumerate(pictures)}
    scripts, panel = [], ''
    if items:
        from plotly.offline import get_plotlyjs

        scripts = [get_plotlyjs(), source('page.js')]
        panel = Template(source('panel.html')).substitute(hint=escape(items.hint))
    data: Json = {'figures': [plain(picture.figure) for picture in pictures]}
    data |= items.to_json() if items else {}
    page = Template(source('page.html')).substitute(
        title=escape(title),
        lead=escape(lead),
        policy=policy(scripts),
        style=source('page.css'),
        contents=contents(sections) if len(sections) > 1 else '',
        sections='\n'.join(section_html(section, numbers) for section in sections),
        panel=panel,
        data=script_json(data),
        scripts='\n'.join(f'<script>{script}</script>' for script in scripts),
    )
    runs.write_text(path, page)


def source(name: str) -> str:
    return (files('rnnlab.results.page') / name).read_text(encoding='utf-8')


def policy(scripts: Sequence[str]) -> str:
    """What the page may do: run these scripts and no other, and load nothing from anywhere."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = ' '.join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    script = f"script-src {allowed} 'unsafe-eval'; " if scripts else ''  # Plotly compiles shaders
    rest = "style-src 'unsafe-inline'; img-src data: blob:; form-action 'none'; base-uri 'none'"
    return f"default-src 'none'; {script}{rest}"


def contents(sections: Sequence[Section]) -> str:
    links = (f'<li><a href="#{anchor(each)}">{escape(each.title)}</a></li>' for each in sections)
    return f'<nav aria-label="Sections"><ul>{"".join(links)}</ul></nav>'


def section_html(section: Section, numbers: Mapping[int, int]) -> str:
    """A section; pictures that follow each other lie side by side where there is room."""
    parts = list[str]()
    for _, group in groupby(section.parts, lambda part: isinstance(part, Picture)):
        own = [*group]
        figures = [picture_html(p, numbers[id(p)]) for p in own if isinstance(p, Picture)]
        parts += [part for part in own if isinstance(part, str)]
        parts += ['<div class="grid">' + '\n'.join(figures) + '</div>'] if figures else []
    heading = f'<h2 id="{anchor(section)}">{escape(section.title)}</h2>'
    body = '\n'.join(parts)
    return f'<section aria-labelledby="{anchor(section)}">{heading}\n{body}\n</section>'


def anchor(section: Section) -> str:
    return ''.join(c if c.isascii() and c.isalnum() else '-' for c in section.title.lower())


def picture_html(picture: Picture, number: int) -> str:
    title = escape(picture.title)
    height = picture.figure.layout.height
    style = f' style="height:{height}px"' if height else ''
    plot = f'<div class="plot"{style} data-figure="{number}" role="img" aria-label="{title}"></div>'
    table = folded('the numbers', picture.table)
    return f'<figure><figcaption>{title}</figcaption>{plot}{table}</figure>'


def plain(figure: 'Figure') -> Json:
    """The JSON of a figure, without the look that Plotly gives it."""
    value = json.loads(figure.to_json())
    value['layout'].pop('template', None)
    return value


def script_json(value: Json) -> str:
    """JSON that ends no script element, whatever texts it holds."""
    text = json.dumps(value, separators=(',', ':'), allow_nan=False)
    return text.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026')
