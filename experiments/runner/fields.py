"""A configuration is a frozen dataclass whose fields say their kind; flags are made from them."""

import dataclasses
import enum
import functools
import math
import os
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, get_args, get_origin

from rnnlab.errors import InputError

if TYPE_CHECKING:
    from rnnlab.results.records import Json

INF = math.inf
LARGEST = 2**31 - 1  # of whole numbers: steps and sizes are int32 on a device
Value = bool | int | float | str | tuple[str, ...] | None  # of a field; None: it is open
RANGE = re.compile('([0-9]{1,9})[.][.]([0-9]{1,9})')


class Kind(enum.Enum):
    DYNAMIC = 'an array of the compiled program: an axis that lanes can share'
    STATIC = 'another value compiles another program'
    OPERATIONAL = 'where to write, how often, on what: changes no number'


@dataclass(frozen=True, kw_only=True)
class Field:
    """What a field of a configuration says of itself beside its type and default."""

    kind: Kind
    help: str
    choices: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None
    check: Callable[[Any], bool] | None = None
    must: str = ''  # what `check` demands
    needs: tuple[str, tuple[str, ...]] | None = None  # another field, and values of it; () any
    recurrent: bool = False  # whether it has no use without a recurrent layer
    data: bool = False  # whether the dataset depends on it
    path: bool = False  # whether it names a file or folder
    ranged: bool = False  # of a whole number: whether a range like 8..64 is a value, too


def field(kind: Kind, default: Value, help: str, **options: Any) -> Any:
    """A field of a configuration; a default of None leaves it open."""
    return dataclasses.field(default=default, metadata={'': Field(kind=kind, help=help, **options)})


dynamic = functools.partial(field, Kind.DYNAMIC)
static = functools.partial(field, Kind.STATIC)
operational = functools.partial(field, Kind.OPERATIONAL)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What every configuration can do.

    Raises InputError for a value out of its range.
    """

    OPEN: ClassVar[Mapping[str, Value]] = {}  # values for fields that are left open

    given: frozenset[str] = dataclasses.field(default=frozenset(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, spec in specs(type(self)).items():
            check(name, spec, getattr(self, name))

    def replace(self, **values: Any) -> Self:
        return dataclasses.replace(self, **values)

    def filled(self, values: Mapping[str, Value]) -> Self:
        """The configuration with these values for the fields that are open."""
        return self.replace(**{n: v for n, v in values.items() if getattr(self, n) is None})

    def reduced(self, keep: Callable[[Field], bool]) -> Self:
        """The configuration with all other fields at their defaults, as a key."""
        others = {name for name, spec in specs(type(self)).items() if not keep(spec)}
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        return self.replace(given=frozenset(), **{name: defaults[name] for name in others})

    def changed(self, *names: str) -> list[str]:
        """Those of the fields that differ from their defaults."""
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        return [n for n in names if n in defaults and getattr(self, n) != defaults[n]]

    def to_json(self) -> 'Json':
        """All that decides what a run computes; JSON has no infinity, and so it is a string."""
        ours = specs(type(self)).items()
        values = {n: getattr(self, n) for n, s in ours if s.kind is not Kind.OPERATIONAL}
        return {n: json_value(value) for n, value in values.items()}

    @classmethod
    def from_json(cls, record: 'Json', where: str) -> Self:
        """The configuration that `to_json` gave; InputError, naming `where`, for what is none."""
        try:
            known = {name: record[name] for name in swept(cls) if name in record}
            return cls(**{name: from_json_value(cls, name, value) for name, value in known.items()})
        except (InputError, ValueError, TypeError, OverflowError) as error:
            raise InputError(f'{where} has settings that cannot be: {error}') from error


C = TypeVar('C', bound=Config)


def open_values(cls: type[Config]) -> dict[str, Value]:
    """The values for fields that are left open; those of a subclass take precedence."""
    values: dict[str, Value] = {}
    for base in reversed(cls.__mro__):
        values |= vars(base).get('OPEN', {})
    return {name: value for name, value in values.items() if name in specs(cls)}


def specs(cls: type[Config]) -> dict[str, Field]:
    """What each flag of a configuration says of itself, those of the experiment itself first."""
    every = {f.name: f.metadata[''] for f in dataclasses.fields(cls) if '' in f.metadata}
    declared = (name for base in cls.__mro__ for name in vars(base).get('__annotations__', {}))
    return {name: every[name] for name in dict.fromkeys(declared) if name in every}


def types_of(cls: type[Config]) -> dict[str, type]:
    """The type of each field: bool, int, float, str or tuple, without None."""
    return {f.name: plain_type(f.type) for f in dataclasses.fields(cls) if '' in f.metadata}


def plain_type(hint: Any) -> type:
    if isinstance(hint, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    return get_origin(hint) or hint


def swept(cls: type[Config]) -> Iterator[str]:
    """The fields that decide what a run computes."""
    return (name for name, spec in specs(cls).items() if spec.kind is not Kind.OPERATIONAL)


def check(name: str, spec: Field, value: Any) -> None:
    """Raises InputError for a value that the field does not take."""
    if value is None:
        return
    told = f'--{name}={shown(value)}'
    if spec.ranged and isinstance(value, str):
        least, greatest = ends(value)
        if not least < greatest:
            raise InputError(f'{told} should be a whole number, or a range of them like 8..64')
        check(name, spec, least)
        check(name, spec, greatest)
        return
    if spec.choices is not None and value not in spec.choices:
        near = get_close_matches(str(value), spec.choices, 1)
        hint = f'; did you mean {near[0]}?' if near else ''
        raise InputError(f'{told} should be one of {", ".join(spec.choices)}{hint}')
    if spec.low is not None and not value >= spec.low:
        raise InputError(f'{told} must be at least {spec.low:g}')
    high = LARGEST if spec.high is None and type(value) is int else spec.high
    if high is not None and not value <= high:
        raise InputError(f'{told} must be at most {high:.10g}')
    try:
        right = spec.check is None or spec.check(value)
    except InputError as error:
        raise InputError(f'--{name}: {error}') from error
    if not right:
        raise InputError(f'{told} {spec.must}')


def ends(value: int | str) -> tuple[int, int]:
    """The least and the greatest number of a ranged field; (0, 0) for a text that is no range."""
    if isinstance(value, int):
        return value, value
    match = RANGE.fullmatch(value)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def check_needs(config: Config) -> None:
    """Raises InputError for a field that another field, as it is set, has no use for."""
    for name, spec in specs(type(config)).items():
        if spec.needs is None or not config.changed(name):
            continue
        other, values = spec.needs
        value = getattr(config, other)
        if values and value not in values:
            told = f'--{name}={shown(getattr(config, name))} goes with --{other}='
            raise InputError(f'{told}{" or ".join(values)}, not {shown(value)}')
        if not values and not config.changed(other):
            raise InputError(f'--{name} goes with --{other}')


def parsed(cls: type[Config], name: str, text: str) -> Value:
    """The value of a field that a flag with this text has; InputError where it has none."""
    kind, spec, told = types_of(cls)[name], specs(cls)[name], f'--{name}={text}'
    check_text(f'--{name}', text)
    try:
        if kind is bool:
            return {'true': True, '1': True, 'false': False, '0': False}[text.lower()]
        if kind is tuple:
            return tuple(part.strip() for part in text.split(',')) if text else ()
        value = text if kind is str or (spec.ranged and '..' in text) else kind(text)
    except (ValueError, KeyError) as error:
        what = {int: 'a whole number', float: 'a number', bool: 'true or false'}[kind]
        raise InputError(f'{told} should be {what}') from error
    value = local_path(told, text) if spec.path else value
    check(name, spec, value)
    return value


def check_text(told: str, text: str) -> None:
    """Raises InputError, naming `told`, for what no file can be called and no terminal can show."""
    if '\0' in text or any('\ud800' <= character <= '\udfff' for character in text):
        raise InputError(f'{told}: {text!a} is no text, for a NUL or bytes that are not UTF-8')


def local_path(told: str, text: str) -> str:
    """A path with ~ in full; InputError, naming `told`, for what is none of this machine.

    Locks and renames need a file system, and so there are no addresses of storage elsewhere.
    """
    check_text(told, text)
    if not text:
        raise InputError(f'{told} is empty; name a file or folder')
    if re.match(r'[A-Za-z][\w+.-]*://', text):
        raise InputError(
            f'{told} is no path of this machine; name a file or folder, mounted if far'
        )
    path = os.path.expanduser(text)
    if path.startswith('~'):
        user = text.partition('/')[0]
        raise InputError(f'{told}: there is no user {user[1:]}; a folder of that name is ./{user}')
    return path


def shown(value: Value) -> str:
    """A value as its flag is written."""
    if isinstance(value, tuple):
        return ','.join(value)
    return f'{value:g}' if isinstance(value, float) else str(value)


def json_value(value: Value) -> Value | list[str]:
    if isinstance(value, tuple):
        return list(value) or None
    return str(value) if value == INF else value


def from_json_value(cls: type[Config], name: str, value: Any) -> Any:
    kind = types_of(cls)[name]
    if kind is tuple and isinstance(value, list | None):
        return tuple(map(str, value or ()))
    ranged = specs(cls)[name].ranged and isinstance(value, str)
    if value is None or type(value) is kind or ranged:
        return value
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        return float(value)
    raise InputError(f'{name}={value!r}')
