"""ListOps: nested operations on lists of digits in prefix notation, each with its value.

The grammar is that of Nangia and Bowman 2018, with the depth, the number of arguments and the
lengths of the Long Range Arena (Tay et al. 2021). Expressions are drawn here, many at once, level
by level of their trees.

Letters in shapes: N expressions, M nodes of one level of all trees, the children of a node side by
side and in the order of their parents.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rnnlab.data.cache import Arrays, cached
from rnnlab.data.dataset import Dataset, Split, take
from rnnlab.errors import InputError, positive

DIGITS = 10
OPERATIONS = ('MIN', 'MAX', 'MED', 'SM')  # minimum, maximum, median (rounded down), sum modulo 10
TOKENS = (*map(str, range(DIGITS)), *(f'[{name}' for name in OPERATIONS), ']')
PADDING, FIRST = 0, 1  # FIRST: the id of the first token
IDS = FIRST + len(TOKENS)
END = FIRST + TOKENS.index(']')

RATE = 0.25  # probability that a node above the last level is an operation
DEPTH, ARGUMENTS = 10, 10  # at most; an operation has at least two arguments
LEAST = 4  # tokens of an operation on two digits
HELD_OUT = 2_000  # expressions that validate, and as many that test
SEED = 2018

ROOTS = 5_000  # trees that are drawn at once
ROUNDS = 40  # of them without a new expression, before there are taken to be no more


class Level(NamedTuple):
    """One level of many trees; a node is a digit, or an operation on the nodes below it."""

    arguments: np.ndarray  # int [M], of each node; 0 for a digit
    sizes: np.ndarray  # int [M], tokens of each node with all below it

    @property
    def ends(self) -> np.ndarray:
        """int [M]: the end of each node's children among the nodes of the level below."""
        return np.cumsum(self.arguments)


class Expressions(NamedTuple):
    tokens: np.ndarray  # uint8 ids, one expression after the other
    lengths: np.ndarray  # int [N], tokens of each
    values: np.ndarray  # int [N], 0 to 9


def listops(*, examples: int, shortest: int, longest: int) -> Dataset:
    """`examples` expressions of `shortest` to `longest` tokens to train on, and 2,000 others each
    to validate and test, which do not depend on `examples`.

    No expression is there twice. Raises InputError for lengths with fewer expressions.
    """
    positive('examples', examples)
    if shortest < LEAST:
        raise InputError(
            f'`length` must be at least {LEAST}, the tokens of [MIN 1 2 ], not {shortest}'
        )
    number = 2 * HELD_OUT + examples

    def draw() -> Arrays:
        return distinct(number, shortest, longest, np.random.RandomState(SEED))._asdict()

    name = f'listops-{number}-{shortest}-{longest}'
    every = Expressions(**cached(name, f'{SEED} {DEPTH} {ARGUMENTS} {RATE}', draw))
    whole = padded(every, longest)
    validation, test, train = (
        take(whole, np.arange(begin, end))
        for begin, end in ((0, HELD_OUT), (HELD_OUT, 2 * HELD_OUT), (2 * HELD_OUT, number))
    )
    return Dataset(train=train, validation=validation, test=test, outputs=DIGITS)


def padded(every: Expressions, longest: int) -> Split:
    """The expressions as ids uint8 [N, longest], with PADDING after their ends."""
    ids = np.full((len(every.lengths), longest), PADDING, np.uint8)
    ids[np.arange(longest) < every.lengths[:, None]] = every.tokens
    return Split(ids, every.values.astype(np.int32), every.lengths.astype(np.int32))


def distinct(number: int, shortest: int, longest: int, rng: np.random.RandomState) -> Expressions:
    """So many expressions that all differ, the first of those drawn."""
    seen, since = dict[bytes, int](), 0
    while len(seen) < number:
        drawn, before = expressions(ROOTS, shortest, longest, rng), len(seen)
        ends = np.cumsum(drawn.lengths)
        for end, length, value in zip(ends, drawn.lengths, drawn.values, strict=True):
            seen.setdefault(drawn.tokens[end - length : end].tobytes(), int(value))
        since = 0 if len(seen) > before else since + 1
        if since == ROUNDS:
            words = f'`length={shortest}..{longest}` has too few expressions'
            raise InputError(f'{words}: {len(seen)} were found, not {number}')
    texts = [*seen][:number]
    return Expressions(
        tokens=np.frombuffer(b''.join(texts), np.uint8),
        lengths=np.array([len(text) for text in texts]),
        values=np.array([seen[text] for text in texts]),
    )


def expressions(
    roots: int,
    shortest: int,
    longest: int,
    rng: np.random.RandomState,
    depth: int = DEPTH,
    arguments: int = ARGUMENTS,
) -> Expressions:
    """Those of so many random expressions that have `shortest` to `longest` tokens."""
    levels = trees(roots, longest, rng, depth, arguments)
    levels = fitting(levels, shortest, longest)
    lengths = levels[0].sizes
    tokens = np.empty(lengths.sum(), np.uint8)
    starts = [np.cumsum(lengths) - lengths]
    for level, below in pairwise(levels):
        before = np.cumsum(below.sizes) - below.sizes  # tokens of the nodes to the left
        first = np.minimum(level.ends - level.arguments, max(len(before) - 1, 0))
        begin = starts[-1] + 1 - (before[first] if len(before) else 0)
        starts.append(np.repeat(begin, level.arguments) + before)
    values = np.empty(0, np.int8)
    for level, start in zip(reversed(levels), reversed(starts), strict=True):
        values = write(tokens, level, start, values, rng)
    return Expressions(tokens, lengths, values)


def trees(
    roots: int, longest: int, rng: np.random.RandomState, depth: int, arguments: int
) -> list[Level]:
    """The levels of random trees, the roots first; trees of more tokens are left incomplete."""
    tree, tokens, below = np.arange(roots), np.zeros(roots, int), list[np.ndarray]()
    for number in range(depth):
        own = np.where(
            (rng.random_sample(len(tree)) < RATE) & (number < depth - 1),
            rng.randint(2, arguments + 1, len(tree)),
            0,
        )
        tokens += np.bincount(tree, 1 + (own > 0), roots).astype(int)
        own[tokens[tree] > longest] = 0
        below.append(own)
        tree = np.repeat(tree, own)
    levels, sizes = list[Level](), np.zeros(0, int)
    for own in reversed(below):
        ends, sums = np.cumsum(own), np.concatenate([[0], np.cumsum(sizes)])
        sizes = 1 + (own > 0) + sums[ends] - sums[ends - own]
        levels.append(Level(own, sizes))
    levels = levels[::-1]
    levels[0] = levels[0]._replace(sizes=tokens)  # those of incomplete trees, too
    return levels


def fitting(levels: list[Level], shortest: int, longest: int) -> list[Level]:
    """The levels of the trees that have `shortest` to `longest` tokens."""
    kept = (levels[0].sizes >= shortest) & (levels[0].sizes <= longest)
    chosen = []
    for level in levels:
        chosen.append(Level(level.arguments[kept], level.sizes[kept]))
        kept = np.repeat(kept, level.arguments)
    return chosen


def write(
    tokens: np.ndarray,
    level: Level,
    start: np.ndarray,
    below: np.ndarray,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Draws the digits and operations of a level, writes their tokens, and returns the values of
    its nodes, for the values `below` of the nodes of the level below."""
    digits = rng.randint(0, DIGITS, len(start)).astype(np.int8)
    kinds = rng.randint(0, len(OPERATIONS), len(start))
    inner = level.arguments > 0
    tokens[start] = np.where(inner, FIRST + DIGITS + kinds, FIRST + digits)
    tokens[(start + level.sizes - 1)[inner]] = END
    number, first = level.arguments[inner], (level.ends - level.arguments)[inner]
    digits[inner] = results(kinds[inner], number, first, below)
    return digits


def results(
    kinds: np.ndarray, number: np.ndarray, first: np.ndarray, below: np.ndarray
) -> np.ndarray:
    """The values of operations, of `number` arguments each from `first` on among those below."""
    if not len(kinds):
        return np.empty(0, np.int8)
    column = np.arange(number.max())
    there = column < number[:, None]
    own = below[np.where(there, first[:, None] + column, 0)]
    rising = np.sort(np.where(there, own, DIGITS), axis=1)
    every = np.arange(len(kinds))
    middle = rising[every, (number - 1) // 2] + rising[every, number // 2]
    of_kind = (
        rising[:, 0],
        np.where(there, own, 0).max(axis=1),
        middle // 2,
        np.where(there, own, 0).sum(axis=1, dtype=int) % DIGITS,
    )
    return np.stack(of_kind, axis=1)[every, kinds].astype(np.int8)
