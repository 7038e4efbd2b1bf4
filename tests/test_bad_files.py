"""Any file is a Dataset or one line of InputError."""

import datetime
import io
from decimal import Decimal

import numpy as np
import pyarrow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from pyarrow import parquet

from rnnlab.data import Dataset
from rnnlab.data.labelled import labelled_sequences
from rnnlab.data.language import language, read_text
from rnnlab.data.sequences import read_npz, read_rows
from rnnlab.data.series import examples, forecasting, read_series
from rnnlab.errors import InputError
from tests.test_series import sheet

NOW = datetime.datetime(2020, 2, 29, 12, tzinfo=datetime.UTC)
WORDS = '1', '-2.5', '1e999', '1_0', '1,5', '٣', 'nan', 'true', 'a', '007', '9' * 5000, 'id,label,x'
SIGNS = st.sampled_from([*WORDS, *',;\t\n\r" \ufeff\0\u2028', '\r\n', '""', ''])
ROWS = [[number, 'ab'[number % 2], number**2 + 0.5] for number in range(8)]
GOOD = 'id,label,x\n' + ''.join(f'{id},{label},{x}\n' for id, label, x in ROWS)
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([2**63, 1e308, -0.0, 0.5, NOW.replace(tzinfo=None), NOW.date()]),
    st.sampled_from(['', '1', '01', '1,5', '#N/A', '=1/0', 'a\nb', '_x000D_', '😀', ' ']),
)
HEADINGS = st.sampled_from(['id', 'label', 'x', 'x', 1, None, NOW.date()])
WRONG = [  # what the XML of a sheet has in place of what
    (b'', b''),
    (b'ref="A1:', b'ref="B2:'),
    (b'r="2"', b'r="999"'),
    (b'r="B', b'r="ZZZ'),
    (b'<v>2<', b'<v>' + b'9' * 400 + b'<'),
]
COLUMNS = st.sampled_from(
    [
        pyarrow.array(values * 2, type)
        for values, type in [
            ([1, 2, 2**62, -1], pyarrow.int64()),
            ([1.5, None, np.inf, np.nan], pyarrow.float32()),
            ([1.5, 2.5, -1.0, 3.0], pyarrow.float64()),
            ([*map(np.float16, range(4))], pyarrow.float16()),
            (['a', 'b', '', 'a'], pyarrow.string()),
            (['a', 'a', 'b', 'b'], pyarrow.dictionary(pyarrow.int8(), pyarrow.string())),
            ([b'a', b'\xff', b'', None], pyarrow.binary()),
            ([[1], [2, 3], [], None], pyarrow.list_(pyarrow.int64())),
            ([{'a': 1}, {'a': 2}, {}, None], pyarrow.struct({'a': pyarrow.int64()})),
            ([True, False, None, True], pyarrow.bool_()),
            ([NOW] * 4, pyarrow.timestamp('us', 'Europe/Rome')),
            ([1, 2, 3, 4], pyarrow.timestamp('ns')),
            ([Decimal('1.10'), Decimal(2), None, Decimal(0)], pyarrow.decimal256(76, 2)),
            ([None] * 4, pyarrow.null()),
        ]
    ]
)
TYPES = ['f8', 'f2', 'g', 'i1', 'u8', '?', 'c8', 'U2', 'S2', 'M8[s]', '>f4']
ARRAYS = st.one_of(
    st.sampled_from([np.repeat([0, 1], 5), np.arange(10) % 3, np.full(10, 2**64 - 1, np.uint64)]),
    st.sampled_from([np.full(10, 1), np.array(['a\0b', ''] * 5)]),
    st.sampled_from(TYPES).flatmap(
        lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, min_side=0))
    ),
)
NAMES = st.sampled_from(['x', 'y', 'lengths', 'x_test', 'y_test', 'lengths_test', 'z'])


def fuzz(test):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    options = {'max_examples': 30, 'deadline': None, 'database': None, 'derandomize': True}
    return settings(suppress_health_check=checks, **options)(test)


@st.composite
def damaged(draw, content):
    """The bytes, in half of the cases with some of them changed or without their end."""
    if draw(st.booleans()):
        return content
    changed = bytearray(content)
    for at in draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=3)):
        changed[at : at + 1] = [draw(st.integers(0, 255))]
    return bytes(changed[: draw(st.integers(0, len(content)) | st.just(len(content)))])


def is_data_or_one_line(read):
    try:
        outcome = read()
    except InputError as error:
        outcome = error
    assert isinstance(outcome, Dataset) or len(str(outcome).splitlines()) == 1, outcome


def check_table(path, content):
    """A table as labelled sequences, and as a series."""
    path.write_bytes(content)

    def series():
        part = forecasting(*read_series(path, ['all']), (2, 1, 1))
        return examples([part], window=1, stride=1)

    is_data_or_one_line(series)
    is_data_or_one_line(lambda: labelled_sequences(read_rows(path, 'id', 'label')).dataset)


@fuzz
@given(st.data())
def test_csv(tmp_path, data):
    signs = data.draw(st.just([]) | st.lists(SIGNS, max_size=12))
    start = data.draw(st.sampled_from([GOOD, GOOD.replace(',', ';'), '']))
    content = (start + ''.join(signs)).encode()
    check_table(tmp_path / 't.csv', data.draw(damaged(content)))


@fuzz
@given(st.data())
def test_xlsx(tmp_path, data):
    names = data.draw(st.just(['id', 'label', 'x']) | st.lists(HEADINGS, max_size=4))
    rows = ROWS + data.draw(st.just([]) | st.lists(st.lists(CELLS, max_size=4), max_size=6))
    content = sheet(names, *rows, replacing=data.draw(st.sampled_from(WRONG)))
    check_table(tmp_path / 't.xlsx', data.draw(damaged(content)))


@fuzz
@given(st.data())
def test_parquet(tmp_path, data):
    columns = data.draw(st.lists(COLUMNS, max_size=3))
    others = st.sampled_from(['id', 'label', 'x', 'y', 'y\nz'])
    names = [data.draw(others) for _ in columns]
    good = [pyarrow.array(column) for column in zip(*ROWS, strict=True)]
    if data.draw(st.booleans()):
        names, columns = ['id', 'label', 'x', *names], good + columns
    table = pyarrow.table(columns, names=names)
    file = io.BytesIO()
    parquet.write_table(table, file)
    check_table(tmp_path / 't.parquet', data.draw(damaged(file.getvalue())))


@fuzz
@given(st.data())
def test_npz(tmp_path, data):
    file, path = io.BytesIO(), tmp_path / 't.npz'
    good = {'x': np.arange(40.0).reshape(10, 2, 2) % 7, 'y': np.repeat(['a', 'b'], 5)}
    arrays = data.draw(st.sampled_from([good, {}])) | data.draw(st.dictionaries(NAMES, ARRAYS))
    np.savez(file, **arrays)
    path.write_bytes(data.draw(damaged(file.getvalue())))
    is_data_or_one_line(lambda: labelled_sequences(*read_npz(path)).dataset)


@fuzz
@given(st.data())
def test_text(tmp_path, data):
    path = tmp_path / 't.txt'
    start = data.draw(st.sampled_from(['a rose is a rose ' * 9, '']))
    content = (start + ''.join(data.draw(st.lists(SIGNS, max_size=30)))).encode()
    path.write_bytes(data.draw(damaged(content)))
    options = {'batch_size': 1, 'window': data.draw(st.integers(1, 4))}
    tokens = data.draw(st.sampled_from(['characters', 'words']))
    size = data.draw(st.none() | st.integers(1, 4))
    is_data_or_one_line(
        lambda: language(read_text(path), tokens=tokens, vocab_size=size, **options)
    )
