"""What a user can mend: raised with one line that says what is wrong and what to do."""


class InputError(ValueError):
    """An argument, flag, file or folder that cannot be used as it is; no stack trace is needed to mend it."""


def known(kind: str, name: str, names) -> None:
    """Raises InputError, naming the known ones, unless `name` is one of `names`."""
    if name not in names:
        raise InputError(f'unknown {kind} {name!r}; the known ones are {", ".join(sorted(names))}')


def positive(what: str, value) -> None:
    """Raises InputError unless `value` is a whole number above zero, of Python or NumPy."""
    if not hasattr(value, '__index__') or value < 1:
        raise InputError(f'{what} must be a whole number above zero, not {value!r}')


def share(what: str, value) -> None:
    """Raises InputError for a number that is not at least 0 and below 1; arrays, which a trace may hold, are taken as they are."""
    if isinstance(value, int | float) and not 0 <= value < 1:
        raise InputError(f'{what} must be at least 0 and below 1, not {value!r}')


def first_line(error: BaseException) -> str:
    """What an error of some library says, as far as it fits into a line of ours; what stands before a colon alone says nothing."""
    first, second, *_ = [line.strip() for line in str(error).splitlines() if line.strip()] + [
        type(error).__name__,
        '',
    ]
    return f'{first} {second}' if first.endswith(':') else first
