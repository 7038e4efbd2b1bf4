"""What the head of a recipe says: the comment lines before its first flag."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rnnlab.errors import InputError
from rnnlab.results.runs import located

NUMBER = r'\d+(?:\.\d+)?(?:e-?\d+)?'
# The entries of a head, '# Task: ...', each with its form and an example. A line indented by five
# or more continues the entry above it.
ENTRIES = {
    'Command': (r'\./launch\.sh (\w+) .*', './launch.sh mnist --flagfile=...'),
    'Task': (r'(.+)', 'MNIST by rows'),
    'Model': (r'(.+)', 'LSTM 64'),
    'Published': (
        rf'(.+?) ((?:about )?({NUMBER})(?: to ({NUMBER}))?), tolerance ({NUMBER})',
        'test accuracy about 0.95 to 0.97, tolerance 0.01',
    ),
    'Source': (r'(.+)', 'Table 1 of arXiv 1603.09025'),
    'Minutes': (rf'({NUMBER})', '12'),
    'Seeds': (r'(\d+(?:, \d+)*)', '0, 1, 2'),
    'Needs': (r'--(\w+), (.+)', '--csv, the file ETTh1.csv'),
    'Differs': (r'(.+)', 'the published model is trained on all horizons at once'),
    'Time': (r'(.+)', '15 minutes on two cores'),
    'Test': (r'(.+)', 'accuracy 0.95'),
    'Accuracy': (r'(.+)', 'validation 0.86'),
}
REQUIRED = ('Command', 'Task', 'Model', 'Published', 'Source', 'Minutes')  # of a published value


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published value, or the range of several: low to high."""

    metric: str  # as results name it: 'test accuracy'
    low: float
    high: float
    tolerance: float
    words: str  # 'about 0.97'

    @property
    def higher_is_better(self) -> bool:
        return self.metric.endswith('accuracy')


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A file of flags, and what its head says."""

    path: Path
    experiment: str
    task: str
    model: str
    published: Published | None  # None: what follows says nothing
    source: str
    minutes: float  # expected on two cores, for all seeds
    seeds: tuple[int, ...]
    needs: dict[str, str] = field(default_factory=dict)  # flags that name a file, and which one
    differs: str  # why the result is not comparable with the published one

    @property
    def name(self) -> str:
        return self.path.stem


def read_recipes(folder: Path) -> dict[str, Recipe]:
    """The recipes of a folder by name; numbers in names are sorted by their values."""
    if not (paths := sorted(folder.glob('*.flags'), key=natural)):
        raise InputError(f'there are no recipes, files *.flags, in {folder}')
    return {path.stem: read_recipe(path) for path in paths}


def natural(path: Path) -> list[tuple[str, int]]:
    return [(text, int(number or 0)) for text, number in re.findall(r'(\D+)(\d*)', path.stem)]


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file; InputError, naming file and line, for a head of another form."""
    found: dict[str, re.Match[str]] = {}
    line = 1
    for line, name, text in head(path):
        with located(f'{path}, line {line}: {name}'):
            if name not in ENTRIES:
                raise InputError(f'unknown entry; there are {", ".join(ENTRIES)}')
            if name in found:
                raise InputError('this entry is there twice')
            form, example = ENTRIES[name]
            if not (match := re.fullmatch(form, text)):
                raise InputError(f'{text!r} should have the form of {example!r}')
            found[name] = match
    missing = [name for name in REQUIRED if name not in found]
    if 'Published' in found and missing:
        raise InputError(f'{path}, line {line}: the head has Published but no {missing[0]}')

    def entry(name: str, default: str = '') -> str:
        return found[name][1] if name in found else default

    return Recipe(
        path=path,
        experiment=entry('Command'),
        task=entry('Task'),
        model=entry('Model'),
        published=published(found['Published']) if 'Published' in found else None,
        source=entry('Source'),
        minutes=float(entry('Minutes', '0')),
        seeds=tuple(map(int, entry('Seeds', '0, 1, 2').split(', '))),
        needs={found['Needs'][1]: found['Needs'][2]} if 'Needs' in found else {},
        differs=entry('Differs'),
    )


def head(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, name, text) of each entry of a head."""
    begun: tuple[int, str, str] | None = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.startswith('#'):
            break
        entry, more = re.fullmatch(r'# (\w+): +(.*)', line), re.fullmatch(r'# {5,}(.*)', line)
        if begun and more:
            begun = (*begun[:2], f'{begun[2]} {more[1]}')
        elif entry:
            if begun:
                yield begun
            begun = number, entry[1], entry[2]
    if begun:
        yield begun


def published(match: re.Match[str]) -> Published:
    metric, words, first, last, tolerance = match.groups()
    low, high = sorted([float(first), float(last or first)])
    return Published(metric=metric, low=low, high=high, tolerance=float(tolerance), words=words)
