"""Tables in .csv, .xlsx and .parquet files: columns of names and of checked numbers."""

import csv
import io
import math
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np

from rnnlab.errors import InputError, first_line, listed

FIRST = 2  # line of the first row; line 1 has the names
MOST_ROWS = 2**20  # of a sheet
SEPARATORS = {';': 'semicolons', '\t': 'tabs', '|': 'vertical bars'}
NUMBERS = int, float, str, Decimal
Column = Sequence[object]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    path: Path
    columns: dict[str, Column]  # by name
    lines: Sequence[int]  # line of each row in the file
    typed: bool  # values have the file's types, as Python's; otherwise all are text as written

    def with_columns(self, names: Iterable[str]) -> 'Table':
        """The table with these columns alone."""
        return replace(self, columns={name: self.columns[name] for name in names})

    def with_rows(self, rows: Sequence[int]) -> 'Table':
        """The table with these rows alone, counted from 0."""
        columns: dict[str, Column] = {
            name: [column[at] for at in rows] for name, column in self.columns.items()
        }
        return replace(self, columns=columns, lines=[self.lines[at] for at in rows])

    def column(self, name: str, hint: str = '') -> Column:
        """The column of that name; InputError, with names and the hint, if there is none."""
        if name not in self.columns:
            raise InputError(
                f'{self.path} has no column {name!r}; its columns are {listed(self.columns)}{hint}'
            )
        return self.columns[name]

    def complete(self, name: str, hint: str = '') -> Column:
        """The column; InputError with the first line that has no value."""
        values = self.column(name, hint)
        for line, value in zip(self.lines, values, strict=True):
            if value is None or value == '' or value != value:
                raise InputError(
                    f'{self.path} has no value in column {name!r}, line {line}: '
                    f'fill it in, or leave the rows out'
                )
        return values

    def names(self, name: str, hint: str = '') -> list[Hashable]:
        """The column of what is told apart by its values; text stays as it is written."""
        named: list[Hashable] = []
        for line, value in zip(self.lines, self.complete(name, hint), strict=True):
            if not isinstance(value, Hashable):
                raise InputError(
                    f'{self.path} has {value!r} in column {name!r}, line {line}, '
                    f'where a number or text should be'
                )
            named.append(str(value) if isinstance(value, bool) else value)  # True == 1
        return named

    def numbers(self, name: str) -> np.ndarray:
        """The column as float64 [N]; InputError with the first line that has no number."""
        values = self.complete(name)
        converted = [number(value) for value in values]
        if None in converted:
            at = converted.index(None)
            hint = '; write it with a decimal point' if decimal_comma(values[at]) else ''
            raise InputError(
                f'{self.path} has {str(values[at])!r} in column {name!r}, line {self.lines[at]}, '
                f'where a number should be{hint}'
            )
        return np.array(converted, np.float64)

    def dates(self) -> np.ndarray | None:
        """The first column of dates that increase, datetime64 [N], as text in ISO 8601; None if
        there is none."""
        for values in self.columns.values():
            if not len(values) or any(number(value) is not None for value in values):
                continue
            with warnings.catch_warnings(), suppress(ValueError, TypeError, Warning):
                warnings.simplefilter('error')  # of time zones, which NumPy does not know
                times = np.array(values, 'datetime64[s]')
                if not np.isnat(times).any() and (times[1:] > times[:-1]).all():
                    return times
        return None


def read_table(path: Path) -> Table:
    """The table in a file; InputError for one that cannot be read or has no names of columns."""
    readers = {'.csv': read_csv, '.xlsx': read_xlsx, '.parquet': read_parquet}
    kind = path.suffix.lower()
    if kind not in readers:
        raise InputError(f'{path} should be one of {", ".join(readers)}')
    if not path.is_file():
        raise InputError(f'there is no file {path}')
    try:
        names, columns, lines = readers[kind](path)
        if not names:
            raise ValueError('it is empty; put a line with the names of its columns first')
    except Exception as error:  # the libraries raise many kinds on files they cannot read
        raise InputError(f'{path} cannot be read: {first_line(error)}') from error
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f'{path} has two columns {twice[0]!r}: give each its own name')
    if all(number(name) is not None for name in names):
        raise InputError(
            f'{path} has numbers in place of column names: {listed(names)}; '
            f'put a line with names first'
        )
    by_name = dict(zip(names, columns, strict=True))
    return Table(path=path, columns=by_name, lines=lines, typed=kind != '.csv')


Read = tuple[list[str], Sequence[Column], Sequence[int]]  # names, columns, lines


def read_csv(path: Path) -> Read:
    try:
        text = path.read_bytes().decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b'\n') + 1
        raise ValueError(f'line {line} is not UTF-8; convert it first') from error
    if separator := other_separator(text):
        raise ValueError(
            f'its values are separated by {separator}; separate them by commas, and write '
            f'numbers with a decimal point'
        )
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # the default is 128 KiB
    reader = csv.reader(io.StringIO(text, newline=''), strict=True)
    names: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    begin = 1  # line that the row begins in
    try:
        for row in reader:
            row = row or ['']
            names = names or row
            if len(row) != len(names):
                raise ValueError(
                    f'line {begin} has {len(row)} value(s), and line 1 names {len(names)} '
                    f'column(s); put text with commas in quotes, and write numbers with a '
                    f'decimal point'
                )
            rows.append(row)
            lines.append(begin)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f'the row of line {begin} has quotes that are not closed or stand inside a value '
            f'({error})'
        ) from error
    return names, [*zip(*rows[1:], strict=True)] or [()] * len(names), lines[1:]


def other_separator(text: str) -> str | None:
    """The name of what separates the values of the first two lines, unless these are commas."""
    first = [*islice(io.StringIO(text, newline=''), 2)]

    def separates(sign: str) -> bool:
        try:
            widths = {len(row) for row in csv.reader(first, delimiter=sign, strict=True)}
        except csv.Error:
            return False
        return len(widths) == 1 and widths != {1}

    if separates(','):
        return None
    return next((name for sign, name in SEPARATORS.items() if separates(sign)), None)


def read_parquet(path: Path) -> Read:
    from pyarrow import parquet

    table = parquet.read_table(path, partitioning=None)
    columns = [column.to_pylist() for column in table.columns]
    return table.column_names, columns, range(FIRST, FIRST + table.num_rows)


def read_xlsx(path: Path) -> Read:
    """The first sheet, whose first row has the names; its last row is the last with a value.

    An error such as #N/A is no value.
    """
    from openpyxl import load_workbook

    with path.open('rb') as file:
        sheets = load_workbook(file, read_only=True, data_only=True).worksheets
        if not sheets:
            raise ValueError('it has no worksheet')
        sheets[0].reset_dimensions()  # what the writer noted may be wrong
        rows = [
            [None if cell.data_type == 'e' else cell.value for cell in row]
            for row in islice(sheets[0].iter_rows(), MOST_ROWS + 1)
        ]
    if len(rows) > MOST_ROWS:
        raise ValueError(f'it has more than the {MOST_ROWS:,} rows of a sheet')
    while rows and blank(rows[-1]):
        rows.pop()
    named = [(str(name), column) for name, *column in zip_longest(*rows) if not blank([name])]
    names, columns = [name for name, _ in named], [column for _, column in named]
    return names, columns, range(FIRST, FIRST + len(rows) - 1)


def blank(row: Iterable[object]) -> bool:
    return all(value is None for value in row)


def number(value: object) -> float | None:
    """The value as a finite number, also from a string; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, NUMBERS):
        return None
    if isinstance(value, str) and '_' in value:  # 1_100 is a number in Python's source alone
        return None
    try:
        converted = float(value)
    except (ValueError, OverflowError):
        return None
    return converted if math.isfinite(converted) else None


def decimal_comma(value: object) -> bool:
    """Whether the value would be a number with points in place of its commas."""
    return isinstance(value, str) and ',' in value and number(value.replace(',', '')) is not None
