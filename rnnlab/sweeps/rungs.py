"""Rungs: the steps at which the trials of a sweep are compared, and how many continue from each.

Successive halving (Jamieson and Talwalkar 2016) has one bracket of trials that are compared with
each other, hyperband (Li et al. 2018) one of each length.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import NamedTuple

from rnnlab.errors import InputError


class Bracket(NamedTuple):
    """Settings that are compared with each other."""

    first: int  # the rung on which they begin, from 1
    counts: list[int]  # of settings on each rung from there


def halving(rungs: int, eta: int) -> list[Fraction]:
    """The part of a training after which each rung ends: `eta` times less for each before."""
    return [Fraction(1, eta**rung) for rung in range(rungs - 1, -1, -1)]


def evenly(rungs: int) -> list[Fraction]:
    """The part of a training after which each of equally long rungs ends."""
    return [Fraction(rung, rungs) for rung in range(1, rungs + 1)]


def rung_steps(parts: Sequence[Fraction], steps: int, every: int) -> list[int]:
    """The last step of each rung, of a training of `steps`.

    Rounded down to a multiple of `every`, the steps between evaluations. Raises InputError where
    the first rung ends before the first evaluation.
    """
    ends = [int(part * steps / every) * every for part in parts[:-1]]
    if ends and not ends[0]:
        first = float(steps * parts[0])
        words = f'`rungs={len(parts)}`: the first rung ends at step {first:.4g} of {steps}, before'
        raise InputError(
            f'{words} the first evaluation at step {every}; take a lower `eval_every`, more '
            f'epochs or steps, or fewer rungs'
        )
    return [*ends, steps]


def survivors(count: int, eta: int, rungs: int) -> list[int]:
    """How many of `count` settings are in each rung; InputError where none is left."""
    left = [count // eta**rung for rung in range(rungs)]
    if not left[-1]:
        words = f'`rungs={rungs}` with `eta={eta}` needs {eta ** (rungs - 1)} settings'
        raise InputError(f'{words} or more, not {count} (the seeds of one are together)')
    return left


def brackets(count: int, eta: int, rungs: int) -> list[Bracket]:
    """The brackets of hyperband, the longest first; InputError where one has too few settings.

    A bracket of n rungs has a share of eta^(n-1) / n, so that all do about the same work, and ends
    on the last rung.
    """
    lengths = range(rungs, 0, -1)
    shares = [Fraction(eta ** (n - 1), n) for n in lengths]
    ends = [round(count * end / sum(shares)) for end in accumulate(shares)]
    made = []
    for n, (begin, end) in zip(lengths, pairwise([0, *ends]), strict=True):
        if (own := end - begin) < eta ** (n - 1):
            words = f'`trials={count}` gives {own} to the bracket of {n} rungs'
            raise InputError(f'{words}, which needs {eta ** (n - 1)} with `eta={eta}`')
        made.append(Bracket(rungs - n + 1, survivors(own, eta, n)))
    return made
