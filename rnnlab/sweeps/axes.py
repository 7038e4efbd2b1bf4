"""The axes of a sweep as text: a small grammar, and the settings that axes make together.

    axis   = NAME '=' item (',' item)*          every one of these values
           | NAME '~' range                     drawn from it
           | NAME '~' value (',' value)*        drawn from these
    item   = value | range | 'lin(' LOW ',' HIGH ',' N ')' | 'log(' LOW ',' HIGH ',' N ')'
    range  = LOW '..' HIGH | 'lin(' LOW ',' HIGH ')' | 'log(' LOW ',' HIGH ')'

LOW..HIGH are whole numbers, both ends among them; lin and log numbers at equal distances or equal ratios. Values stay text:
what a value may be is for those to say who use it. Numbers of lin and log have six significant digits, so that they can be
typed again.
"""

import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rnnlab.errors import InputError

MOST = 100_000  # values of a range

Settings = dict[str, str]  # a value for each axis


class Grid(NamedTuple):
    """An axis of which every value is taken."""

    name: str
    values: tuple[str, ...]


class Drawn(NamedTuple):
    """An axis that is drawn from: uniformly from low to high on its scale, or one of some values."""

    name: str
    scale: str  # lin, log, whole or choice
    low: float = 0.0
    high: float = 0.0
    values: tuple[str, ...] = ()
    rounded: bool = False  # to whole numbers

    @property
    def ends(self) -> tuple[str, ...]:
        """Its lowest and highest value, or all of them."""
        return self.values or (number(self.low, self.rounded), number(self.high, self.rounded))

    def at(self, share: float) -> str:
        """The value that such a share of the range, from 0 to below 1, lies below."""
        if self.scale == 'choice':
            return self.values[int(share * len(self.values))]
        if self.scale == 'whole':
            return str(int(self.low) + int(share * (self.high - self.low + 1)))
        if self.scale == 'log':
            return number(self.low * (self.high / self.low) ** share, self.rounded)
        return number(self.low + share * (self.high - self.low), self.rounded)


def parse(spec: str, whole: Collection[str] = ()) -> Grid | Drawn:
    """An axis from its text; InputError, naming it, for what is none.

    `whole` names the axes of whole numbers: what lin and log give is rounded for these.
    """
    match = re.fullmatch(r'\s*(\w+)\s*([=~])(.*)', spec)
    if not match:
        raise InputError(
            f'{spec!r} is no axis: write NAME=VALUES, like lr=1e-3,1e-2, or NAME~RANGE, like lr~log(1e-4,1e-1)'
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
    found = ranged(spec, items[0])
    if found is None:
        return Drawn(name, 'choice', values=tuple(items))
    scale, low, high, count = found
    if len(items) > 1:
        raise InputError(f'{spec!r} draws from one range, or from single values')
    if count is not None:
        raise InputError(
            f'{spec!r} draws from {scale}({number(low)},{number(high)}), which takes no count; trials=N says how often'
        )
    return Drawn(name, scale, low, high, rounded=rounded)


def listed(spec: str, item: str, rounded: bool) -> list[str]:
    """The values that an item of a grid stands for."""
    found = ranged(spec, item)
    if found is None:
        return [item]
    scale, low, high, count = found
    if (high - low if scale == 'whole' else count or 0) > MOST:
        raise InputError(f'{spec!r}: {item} has more than {MOST} values')
    if scale == 'whole':
        return [str(value) for value in range(int(low), int(high) + 1)]
    if count is None:
        raise InputError(
            f'{spec!r} needs a count: {scale}({number(low)},{number(high)},N); or draw from it with ~'
        )
    points = np.geomspace(low, high, count) if scale == 'log' else np.linspace(low, high, count)
    return [number(value, rounded) for value in points]


def ranged(spec: str, item: str) -> tuple[str, float, float, int | None] | None:
    """(scale, low, high, count) of a range; None for a single value."""
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
        if len(arguments) not in (2, 3) or not math.isfinite(low) or not math.isfinite(high):
            raise InputError(
                f'{spec!r}: {item} should be {scale}(LOW,HIGH,N), or {scale}(LOW,HIGH) to draw from, in numbers'
            )
    elif '(' in item or ')' in item or '..' in item:
        raise InputError(
            f'{spec!r}: {item!r} is no range; there are 0..4, lin(LOW,HIGH,N), log(LOW,HIGH,N), and NAME~RANGE to draw'
        )
    else:
        return None
    if scale == 'log' and not low > 0:
        raise InputError(f'{spec!r}: a range of log must lie above zero')
    if low > high or (scale != 'whole' and low == high) or (count is not None and count < 2):
        raise InputError(
            f'{spec!r}: {item} is empty; a range goes from a lower to a higher number, with a count of 2 or more'
        )
    return scale, low, high, count


def number(value: float, rounded: bool = False) -> str:
    return str(round(value)) if rounded else f'{value:.6g}'


def product(axes: Sequence[Grid]) -> Iterator[Settings]:
    """Every combination, the last axis changing fastest; of no axes the empty one."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip((axis.name for axis in axes), values, strict=True))


def draws(axes: Sequence[Drawn], count: int, seed: int) -> Iterator[Settings]:
    """So many draws of all axes. Each axis has chance of its own: another one more or less, or more draws, change none."""
    shares = [
        np.random.default_rng([seed, zlib.crc32(axis.name.encode())]).random(count) for axis in axes
    ]
    for row in zip(*shares, strict=True):
        yield {axis.name: axis.at(float(share)) for axis, share in zip(axes, row, strict=True)}
