"""Errors that a user can fix: one line that says what is wrong and what to do."""

from collections.abc import Iterable
from typing import SupportsIndex


class InputError(ValueError):
    """An argument, flag, file or folder that cannot be used; it needs no stack trace."""


def known(kind: str, name: str, names: Iterable[str]) -> None:
    """Raises InputError, listing the known names, unless `name` is one of `names`."""
    if name not in names:
        raise InputError(f'unknown {kind} {name!r}; the known ones are {", ".join(sorted(names))}')


def positive(what: str, value: object) -> None:
    """Raises InputError unless `value` is a positive whole number, of Python or NumPy."""
    if not isinstance(value, SupportsIndex) or value.__index__() < 1:
        raise InputError(f'{what} must be a whole number above zero, not {value!r}')


def fraction(what: str, value: object) -> None:
    """Raises InputError for a number outside [0, 1); arrays, which may be traced, are not
    checked."""
    if isinstance(value, int | float) and not 0 <= value < 1:
        raise InputError(f'{what} must be at least 0 and below 1, not {value!r}')


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none; the first two lines if
    the first ends with a colon."""
    first, second, *_ = [line.strip() for line in str(error).splitlines() if line.strip()] + [
        type(error).__name__,
        '',
    ]
    return f'{first} {second}' if first.endswith(':') else first


def listed(names: Iterable[str], most: int = 10) -> str:
    """The names in one line; of more than `most` the first ones, and how many there are."""
    shown = [' '.join(name.split()) for name in names]
    more = f' and {len(shown) - most:,} more' if len(shown) > most else ''
    return ', '.join(shown[:most]) + more
