"""The axes of a sweep: a small grammar, and the settings that axes span.

    axis   = NAME '=' item (',' item)*          each of these values
           | NAME '~' range                     drawn from the range
           | NAME '~' value (',' value)*        drawn from the values
    item   = value | range | 'lin(' LOW ',' HIGH ',' N ')' | 'log(' LOW ',' HIGH ',' N ')'
    range  = LOW '..' HIGH | 'lin(' LOW ',' HIGH ')' | 'log(' LOW ',' HIGH ')'

LOW..HIGH are whole numbers, both ends included; lin and log are numbers at equal distances or
ratios, with six significant digits, so that they can be typed again. Values stay text: whoever
uses them checks them.
"""

import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rnnlab.errors import InputError

MOST = 100_000  # values of a range

Settings = dict[str, str]  # a value of each axis


class Grid(NamedTuple):
    """An axis of which each value is used."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """An axis that is drawn from, uniformly: low to high on its scale, or one of the values."""

    name: str
    scale: str  # lin, log, whole or choice
    low: float = 0.0
    high: float = 0.0
    values: tuple[str, ...] = ()  # of a choice
    rounded: bool = False  # to whole numbers

    @property
    def ends(self) -> tuple[str, ...]:
        """Its lowest and highest value, or all values of a choice."""
        return self.values or (number(self.low, self.rounded), number(self.high, self.rounded))

    def at(self, fraction: float) -> str:
        """The value at a fraction of the range, from 0 to below 1."""
        if self.scale == 'choice':
            return self.values[int(fraction * len(self.values))]
        if self.scale == 'whole':
            return str(int(self.low) + int(fraction * (self.high - self.low + 1)))
        if self.scale == 'log':
            return number(self.low * (self.high / self.low) ** fraction, self.rounded)
        return number(self.low + fraction * (self.high - self.low), self.rounded)


class Range(NamedTuple):
    scale: str  # lin, log or whole
    low: float
    high: float
    points: int | None  # of a grid; None: not given


def parse(spec: str, whole: Collection[str] = ()) -> Grid | Drawn:
    """The axis that a text describes; InputError, naming the text, if it describes none.

    whole: names of the axes of whole numbers, for which lin and log are rounded.
    """
    match = re.fullmatch(r'\s*(\w+)\s*([=~])(.*)', spec)
    if not match:
        raise InputError(
            f'{spec!r} is no axis: write NAME=VALUES, such as lr=1e-3,1e-2, or NAME~RANGE, such as '
            f'lr~log(1e-4,1e-1)'
        )
    name, sign, text = match.groups()
    items = [item.strip() for item in re.split(r',(?![^()]*\))', text)]
    if not all(items):
        raise InputError(f'{spec!r} has an empty value')
    if sign == '~':
        return drawn(spec, name, items, name in whole)
    values = [value for item in items for value in listed(spec, item, name in whole)]
    if len(set(values)) < len(values):
        raise InputError(f'{spec!r} has {Counter(values).most_common(1)[0][0]} twice')
    return Grid(name, tuple(values))


def drawn(spec: str, name: str, items: list[str], rounded: bool) -> Drawn:
    """The axis that is drawn from a range or from values."""
    found = parse_range(spec, items[0])
    if found is None:
        if len(set(items)) < 2:
            raise InputError(f'{spec!r} draws from one value; give several or a range, or write =')
        return Drawn(name=name, scale='choice', values=tuple(items))
    if len(items) > 1:
        raise InputError(f'{spec!r} draws from one range, or from single values')
    if found.points is not None:
        raise InputError(f'{spec!r} is drawn from a range without a count; `trials` is how often')
    return Drawn(name=name, scale=found.scale, low=found.low, high=found.high, rounded=rounded)


def listed(spec: str, item: str, rounded: bool) -> list[str]:
    """The values of an item of a grid."""
    found = parse_range(spec, item)
    if found is None:
        return [item]
    scale, low, high, count = found
    if (high - low if scale == 'whole' else count or 0) > MOST:
        raise InputError(f'{spec!r}: {item} has more than {MOST} values')
    if scale == 'whole':
        return [str(value) for value in range(int(low), int(high) + 1)]
    if count is None:
        raise InputError(f'{spec!r} needs a count: {item[:-1]},N); or draw from it with ~')
    points = np.geomspace(low, high, count) if scale == 'log' else np.linspace(low, high, count)
    return [number(value, rounded) for value in points]


def parse_range(spec: str, item: str) -> Range | None:
    """The range of an item of the axis `spec`; None for a single value."""
    count = None
    if match := re.fullmatch(r'(-?\d+)\.\.(-?\d+)', item):
        scale, (low, high) = 'whole', map(float, match.groups())
    elif match := re.fullmatch(r'(lin|log)\((.*)\)', item):
        scale, arguments = match[1], [part.strip() for part in match[2].split(',')]
        try:
            low, high = map(float, arguments[:2])
            count = int(arguments[2]) if len(arguments) == 3 else None
        except ValueError:
            arguments = []
        if len(arguments) not in (2, 3) or not math.isfinite(high - low):
            raise InputError(
                f'{spec!r}: {item} should be {scale}(LOW,HIGH,N), or {scale}(LOW,HIGH) to draw '
                f'from, in numbers'
            )
    elif '(' in item or ')' in item or '..' in item:
        raise InputError(
            f'{spec!r}: {item!r} is no range; there are 0..4, lin(LOW,HIGH,N), log(LOW,HIGH,N), '
            f'and NAME~RANGE to draw'
        )
    else:
        return None
    if scale == 'log' and not low > 0:
        raise InputError(f'{spec!r}: a range of log must be above zero')
    if low > high or (scale != 'whole' and low == high) or (count is not None and count < 2):
        raise InputError(
            f'{spec!r}: {item} is empty; a range is from a lower to a higher number, with a count '
            f'of 2 or more'
        )
    return Range(scale, low, high, count)


def number(value: float, rounded: bool = False) -> str:
    return str(round(value)) if rounded else f'{value:.6g}'


def product(axes: Sequence[Grid]) -> Iterator[Settings]:
    """All combinations of values, the last axis changing fastest; of no axes the empty one."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip((axis.name for axis in axes), values, strict=True))


def draws(axes: Sequence[Drawn], count: int, seed: int) -> Iterator[Settings]:
    """`count` draws of all axes.

    An axis is drawn with the seed and its name: other axes or more draws change none of its values.
    """
    fractions = [
        np.random.default_rng([seed, zlib.crc32(axis.name.encode())]).random(count) for axis in axes
    ]
    for row in zip(*fractions, strict=True):
        yield {axis.name: axis.at(float(at)) for axis, at in zip(axes, row, strict=True)}
