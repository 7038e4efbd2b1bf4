"""Tables in .csv, .xlsx and .parquet files: columns by name, and checked numbers."""

import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from rnnlab.errors import InputError, first_line

Column = Sequence[object]
FIRST = 2  # line of the first row; line 1 has the names


def read_table(path: Path) -> dict[str, Column]:
    """The columns of a table by name, as Python values."""
    readers = {'.csv': read_csv, '.xlsx': read_xlsx, '.parquet': read_parquet}
    if path.suffix.lower() not in readers:
        raise InputError(f'{path} should be one of {", ".join(readers)}')
    if not path.is_file():
        raise InputError(f'there is no file {path}')
    try:
        columns = readers[path.suffix.lower()](path)
    except Exception as error:  # the libraries raise many kinds on files they cannot read
        raise InputError(f'{path} cannot be read: {first_line(error)}') from error
    names = [name for name, _ in columns]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f'{path} has two columns {twice[0]!r}: give each its own name')
    if names and all(number(name) is not None for name in names):
        raise InputError(
            f'{path} has numbers in place of column names: {", ".join(names)}; '
            f'put a line with names first'
        )
    return dict(columns)


def read_csv(path: Path) -> list[tuple[str, Column]]:
    from pyarrow import csv

    table = csv.read_csv(path, parse_options=csv.ParseOptions(ignore_empty_lines=False))
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(table.column_names, columns, strict=True))


def read_parquet(path: Path) -> list[tuple[str, Column]]:
    from pyarrow import parquet

    return list(parquet.read_table(path).to_pydict().items())


def read_xlsx(path: Path) -> list[tuple[str, Column]]:
    """The first sheet, whose first row has the names."""
    from openpyxl import load_workbook

    with path.open('rb') as file:
        sheet = load_workbook(file, read_only=True, data_only=True).worksheets[0]
        names, *rows = sheet.iter_rows(values_only=True)
    columns = ([row[at] for row in rows] for at in range(len(names)))
    named = zip(names, columns, strict=True)
    return [(str(name), column) for name, column in named if name is not None]


def get_column(path: str | Path, table: dict[str, Column], name: str, hint: str = '') -> Column:
    """The column of that name; InputError, with the names and the hint, if there is none."""
    if name not in table:
        raise InputError(f'{path} has no column {name!r}; its columns are {", ".join(table)}{hint}')
    return table[name]


def number(value: object) -> float | None:
    """The value as a finite number, also from a string (one string in a column makes all strings).

    None if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        return float(value) if math.isfinite(float(value)) else None
    except ValueError:
        return None


def numbers(path: str | Path, name: str, values: Column) -> np.ndarray:
    """The values as float64 [N]; InputError with the first line that has no number."""
    complete(path, name, values)
    converted = [number(value) for value in values]
    if None in converted:
        at = converted.index(None)
        raise InputError(
            f'{path} has {str(values[at])!r} in column {name!r}, line {at + FIRST}, '
            f'where a number should be'
        )
    return np.array(converted, np.float64)


def complete(path: str | Path, name: str, values: Column) -> None:
    """Raises InputError with the first line that has no value."""
    for line, value in enumerate(values, FIRST):
        if value is None or value == '' or value != value:
            raise InputError(
                f'{path} has no value in column {name!r}, line {line}: '
                f'fill it in, or leave the rows out'
            )
