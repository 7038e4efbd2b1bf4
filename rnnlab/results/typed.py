"""JSON that is read back, checked against the types that it was written from."""

import math
import reprlib
from collections.abc import Iterable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from rnnlab.errors import InputError

Json = dict[str, Any]  # an object of JSON

LARGEST = 2**63  # of whole numbers
NAMES: dict[object, str] = {
    NoneType: 'null',
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number',
    str: 'a text',
    list: 'a list',
    dict: 'an object',
    Mapping: 'an object',
}


def fits(value: object, kind: object) -> bool:
    """Whether JSON gave a value of this type: one of NAMES, a union, Literal or TypedDict.

    A whole number is a float too; NaN and infinity are none.
    """
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in args)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in args)
    if is_typeddict(kind):
        hints = types_of(kind)
        if not isinstance(value, dict) or value.keys() != hints.keys():
            return False
        return all(fits(value[name], hint) for name, hint in hints.items())
    if origin is list:
        return type(value) is list and all(fits(each, args[0]) for each in value if args)
    if origin in (dict, Mapping):
        return type(value) is dict and all(fits(each, args[1]) for each in value.values() if args)
    if type(value) is int and kind in (int, float):
        return abs(value) < LARGEST
    return type(value) is origin and (not isinstance(value, float) or math.isfinite(value))


def named(kind: object) -> str:
    """The type in words."""
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return ' or '.join(map(named, args))
    if origin is Literal:
        return ' or '.join(map(str, args))
    if is_typeddict(kind):
        return f'an object of {" and ".join(get_type_hints(kind))}'
    return f'{NAMES[origin]}, each {named(args[-1])}' if args else NAMES[origin]


def check(value: object, kind: object, name: str) -> Any:
    """The value; InputError, which gives it this name, unless it is of the type."""
    if not fits(value, kind):
        raise InputError(f'{name} is {reprlib.repr(value)}, not {named(kind)}')
    return value


def field(record: Json, name: str, kind: object) -> Any:
    """A field of a record; InputError where there is none of this type."""
    check(record, dict, 'a record')
    if name not in record:
        raise InputError(f'{name} is missing')
    return check(record[name], kind, name)


def fields(record: Json, cls: type, names: Iterable[str]) -> Json:
    """Those fields of a record, of the types that they have in the class; InputError else."""
    kinds = types_of(cls)
    return {name: field(record, name, kinds[name]) for name in names}


@cache
def types_of(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)
