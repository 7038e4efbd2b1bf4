"""Tables in .csv, .xlsx and .parquet files: columns by name, and what is no number in them."""

import math
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.errors import InputError, first_line


def read_table(path: Path) -> dict[str, list[Any]]:
    """The columns of a table by name, as Python values."""
    readers = {'.csv': read_csv, '.xlsx': read_xlsx, '.parquet': read_parquet}
    if path.suffix.lower() not in readers:
        raise InputError(f'{path} should be one of {", ".join(readers)}')
    if not path.is_file():
        raise InputError(f'there is no file {path}')
    try:
        columns = readers[path.suffix.lower()](path)
    except (
        Exception
    ) as error:  # whatever the libraries raise on a file that is damaged or something else
        raise InputError(f'{path} cannot be read: {first_line(error)}') from error
    names = [name for name, _ in columns]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f'{path} has column {twice[0]!r} twice; give each a name of its own')
    if names and all(number(name) is not None for name in names):
        raise InputError(
            f'{path} has numbers where the names of its columns should be: {", ".join(names)}; put a line with names first'
        )
    return dict(columns)


Columns = list[tuple[str, list[Any]]]
FIRST = 2  # the line of the first row; the names are line 1


def read_csv(path: Path) -> Columns:
    from pyarrow import csv

    table = csv.read_csv(path, parse_options=csv.ParseOptions(ignore_empty_lines=False))
    return [
        (name, column.to_pylist())
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]


def read_parquet(path: Path) -> Columns:
    from pyarrow import parquet

    return list(parquet.read_table(path).to_pydict().items())


def read_xlsx(path: Path) -> Columns:
    """The first sheet, whose first row has the names."""
    from openpyxl import load_workbook

    with path.open('rb') as file:
        names, *rows = (
            load_workbook(file, read_only=True, data_only=True)
            .worksheets[0]
            .iter_rows(values_only=True)
        )
    return [
        (str(name), [row[at] for row in rows]) for at, name in enumerate(names) if name is not None
    ]


def column(path: str | Path, table: dict[str, list[Any]], name: str, hint: str = '') -> list[Any]:
    """A column by its name; InputError, with those that there are and a hint, where there is none of it."""
    if name not in table:
        raise InputError(f'{path} has no column {name!r}; its columns are {", ".join(table)}{hint}')
    return table[name]


def number(value: Any) -> float | None:
    """A finite number, or a text that is one (a column with some other text in it comes as texts)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        return float(value) if math.isfinite(float(value)) else None
    except ValueError:
        return None


def numbers(path: str | Path, name: str, values: list[Any]) -> np.ndarray:
    """float64 [N]; InputError with the first line that has no number."""
    complete(path, name, values)
    made = [number(value) for value in values]
    if None in made:
        at = made.index(None)
        raise InputError(
            f'{path} has {str(values[at])!r} in column {name!r}, line {at + FIRST}, where a number should be'
        )
    return np.array(made, np.float64)


def complete(path: str | Path, name: str, values: list[Any]) -> None:
    """InputError with the first line that has no value."""
    for line, value in enumerate(values, FIRST):
        if value is None or value == '' or value != value:
            raise InputError(
                f'{path} has no value in column {name!r}, line {line}: fill it in, or leave the rows out'
            )
