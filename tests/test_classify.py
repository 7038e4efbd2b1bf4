"""A user's labelled sequences: one Dataset from any file, its splits, and what is refused."""

import csv
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from rnnlab.data.labelled import labelled_sequences, stratified
from rnnlab.data.sequences import Sequences, read_npz, read_rows
from rnnlab.errors import InputError
from rnnlab.results.tables import number
from tests.conftest import ROOT, call, close, refused, same
from tests.folders import final
from tests.test_series import table

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(2, 7, 40)
LABELS = RNG.permutation(['walk'] * 19 + ['run'] * 14 + ['a seat, [still]'] * 7)
VALUES = [
    RNG.normal([3, 3 + (LABELS[number] == 'run')], 2, (length, 2)).round(6)
    for number, length in enumerate(LENGTHS)
]


def ragged(**changes):
    return {'x': np.concatenate(VALUES), 'y': LABELS, 'lengths': LENGTHS} | changes


def padded(values=VALUES, filler=np.nan, more=0):
    """[N, T, D] with anything behind the end of a sequence."""
    return np.stack(
        [
            np.pad(own, ((0, max(LENGTHS) + more - len(own)), (0, 0)), constant_values=filler)
            for own in values
        ]
    )


def write(path, arrays):
    np.savez(path, **arrays)
    return path


def columns(values=VALUES, labels=LABELS, interleaved=True):
    """The long form; the rows of the first two sequences stand between each other."""
    order = [(number, step) for number, own in enumerate(values) for step in range(len(own))]
    if interleaved:
        order.sort(key=lambda place: (max(place[0], 1), place[1]))
    rows = [
        (f's{number}', *values[number][step].tolist(), labels[number].item())
        for number, step in order
    ]
    return dict(zip(('id', 'x0', 'x1', 'label'), map(list, zip(*rows, strict=True)), strict=True))


def write_csv(path, columns):
    with path.open('w', newline='') as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    return path


def dataset(path, inputs=()):
    whole, test = (
        read_npz(path) if path.suffix == '.npz' else (read_rows(path, 'id', 'label', inputs), None)
    )
    return labelled_sequences(whole, test)


def splits(data):
    return data.train, data.validation, data.test


def test_ragged_padded_and_tables_are_one_dataset(tmp_path):
    own, names = dataset(write(tmp_path / 'ragged.npz', ragged()))
    assert (own.classes, own.outputs, list(own.standard)) == (
        ('a seat, [still]', 'run', 'walk'),
        3,
        ['x0', 'x1'],
    )
    assert own.train.inputs.shape == (32, max(LENGTHS), 2)
    files = [
        write(tmp_path / 'padded.npz', ragged(x=padded())),
        write(tmp_path / 'wider.npz', ragged(x=padded(more=3, filler=7.0))),
        write_csv(tmp_path / 'table.csv', columns()),
        table(tmp_path, 'parquet', columns()),
        table(tmp_path, 'xlsx', columns(interleaved=False)),
    ]
    for path in files:
        other, other_names = dataset(path)
        same(splits(other), splits(own))
        assert (other.classes, other.standard) == (own.classes, own.standard)
        assert [str(name).removeprefix('s') for name in other_names] == [
            str(name) for name in names
        ]
    for at, name in enumerate(names):
        mean, deviation = (
            np.array([figures[kind] for figures in own.standard.values()])
            for kind in ('mean', 'std')
        )
        length = own.test.lengths[at]
        close(own.test.inputs[at, :length] * deviation + mean, VALUES[name])
        assert not own.test.inputs[at, length:].any()
        assert own.classes[own.test.labels[at]] == LABELS[name]


def test_sequences_of_one_length_and_of_single_numbers(tmp_path):
    x, y = RNG.normal(size=(12, 5)), np.repeat([7, -1, 30], 4)
    forms = [
        {'x': x},
        {'x': x[..., None]},
        {'x': x, 'lengths': np.full(12, 5)},
        {'x': x.ravel(), 'lengths': np.full(12, 5, np.uint8)},
    ]
    own = dataset(write(tmp_path / 'x.npz', forms[0] | {'y': y}))[0]
    assert (own.classes, own.train.lengths, own.test.inputs.shape) == ((-1, 7, 30), None, (3, 5, 1))
    for form in forms[1:]:
        same(splits(dataset(write(tmp_path / 'x.npz', form | {'y': y}))[0]), splits(own))
    whole, _ = read_npz(
        write(tmp_path / 'x.npz', {'x': x, 'y': y, 'lengths': np.ones(12, int)})
    )  # each row a sequence of one step
    assert whole.values.shape == (12, 5)


AS_WRITTEN = [
    ['01', '1', '001'],
    ['1.1', '1.10'],
    ['1e5', '100000', '10e4'],
    ['true', 'TRUE', 'True', '1'],
    ['18446744073709551616', '18446744073709551617', '18446744073709551616.0'],
    ['2020-01-01T12:00+00:00', '2020-01-01T13:00+01:00', '2020-01-01 12:00:00'],
    ['NA', 'nan', 'null', '-0', '+1', ' 1', 'a\nb', '$x$', ':smile:', '[red]', '日本😀'],
]


@pytest.mark.parametrize('written', AS_WRITTEN)
def test_names_in_a_csv_are_text_as_it_is_written(tmp_path, written):
    rows = [(name, row, name) for row in range(2) for name in written]
    named = dict(zip(('id', 'x', 'label'), zip(*rows, strict=True), strict=True))
    own = read_rows(write_csv(tmp_path / 'x.csv', named), 'id', 'label')
    assert (own.names, own.labels, own.lengths.tolist()) == (written, written, [2] * len(written))


@pytest.mark.parametrize(
    ('kind', 'ids'),
    [
        ('xlsx', ['01', '1', 1, True, '1e5', 2**53, 0.5]),
        ('parquet', ['01', '1', '1.0', 'true', 'TRUE']),
        ('parquet', [2**53, 2**53 + 1, 1]),
        ('parquet', [Decimal('1.10'), Decimal('1.11')]),
        ('parquet', [date(2020, 1, 1), date(2020, 1, 2)]),
    ],
)
def test_names_in_other_tables_have_the_types_of_the_file(tmp_path, kind, ids):
    own = read_rows(table(tmp_path, kind, {'id': ids * 2, 'x': [*range(2 * len(ids))]}), 'id', None)
    assert ([*map(str, own.names)], set(own.lengths)) == ([*map(str, ids)], {2})


@pytest.mark.parametrize('kind', ['csv', 'xlsx', 'parquet'])
def test_whole_numbers_are_labels_in_their_order(tmp_path, kind):
    labels = np.repeat([10, 9, -1, 0], 6).tolist()
    rows = {'id': [*range(24)], 'x': RNG.normal(size=24).tolist(), 'label': labels}
    assert dataset(table(tmp_path, kind, rows))[0].classes == (-1, 0, 9, 10)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(3, 30), min_size=1, max_size=4),
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
)
def test_the_split_is_a_partition_that_every_class_is_in_by_its_share(counts, shares):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = stratified(labels, shares)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    for label, count in enumerate(counts):
        there = np.array([np.sum(labels[part] == label) for part in parts])
        assert there.min() >= 1
        assert np.all(np.abs(there - count * np.array(shares) / sum(shares)) <= 2)
    for part, again in zip(parts, stratified(labels, shares), strict=True):
        np.testing.assert_array_equal(part, again)


def test_the_training_part_alone_standardises():
    whole = Sequences(
        values=np.concatenate(VALUES),
        lengths=LENGTHS,
        columns=('a', 'b'),
        names=range(40),
        labels=LABELS.tolist(),
    )
    own, names = labelled_sequences(whole)
    valid = np.arange(own.train.inputs.shape[1]) < own.train.lengths[:, None]
    steps = own.train.inputs[valid]
    close((steps.mean(axis=0), steps.std(axis=0)), (np.zeros(2), np.ones(2)))
    start = np.cumsum(LENGTHS) - LENGTHS
    changed = whole.values.copy()
    changed[start[names[0]]] += 100.0  # of a test sequence
    other, _ = labelled_sequences(replace(whole, values=changed))
    assert other.standard == own.standard
    same(splits(other)[:2], splits(own)[:2])


def test_a_test_part_of_its_own(tmp_path):
    arrays = ragged(x_test=padded(VALUES[:9], more=2), lengths_test=LENGTHS[:9], y_test=LABELS[:9])
    own, names = dataset(write(tmp_path / 'x.npz', arrays))
    assert list(names) == list(range(9))
    assert (len(own.train.labels), len(own.validation.labels)) == (35, 5)  # 17 + 12 + 6, 2 + 2 + 1
    assert [own.classes[label] for label in own.test.labels] == LABELS[:9].tolist()


ALIKE = np.repeat([[1.0, 2.0]], LENGTHS.sum(), axis=0)
MISSES = [
    (
        ragged(x=np.where(np.arange(LENGTHS.sum())[:, None] == LENGTHS[:3].sum() + 1, np.inf, 1.0)),
        ['inf in sequence 3, step 1, column 0'],
    ),
    ({'y': LABELS}, ['no array x;', 'lengths']),
    (ragged(length=LENGTHS), ["unknown array 'length'", 'x, y, lengths', '_test']),
    ({'x': padded(filler=0)}, ['no array y']),
    ({'x': np.zeros((2, 2, 2, 2)), 'y': LABELS}, ['x [2, 2, 2, 2]', '[N, T, D] or [N, T]']),
    ({'x': np.array(['a', 'b']), 'y': LABELS}, ['x should hold numbers']),
    ({'x': np.zeros((0, 3)), 'y': LABELS}, ['x should hold numbers, and holds 0']),
    ({'x': np.array([*VALUES], object), 'y': LABELS}, ['x holds Python objects', 'np.concatenate']),
    (ragged(y=np.array([*LABELS], object)), ['y holds Python objects', 'y.astype(str)']),
    (ragged(y=LABELS[:3]), ['y [3]', '40 sequences']),
    (ragged(y=np.arange(40) / 2), ['the label 0.0', 'whole numbers or strings']),
    ({'x': np.concatenate(VALUES), 'y': LABELS}, ['y [40]', 'need lengths']),
    (ragged(lengths=LENGTHS + 1), ['40 lengths', f'{LENGTHS.sum() + 40} steps']),
    (ragged(lengths=LENGTHS / 1), ['lengths [40] of float64']),
    (ragged(lengths=np.where(np.arange(40) == 4, 0, LENGTHS)), ['sequence 4', 'length 0']),
    (
        ragged(x=padded(filler=0), lengths=np.where(np.arange(40) == 4, 99, LENGTHS)),
        ['sequence 4', 'length 99'],
    ),
    (
        ragged(lengths=np.full(40, 2**64 - 1, np.uint64)),
        ['sequence 0', 'length 18446744073709551615'],
    ),
    ({'x': np.array(1.0), 'y': LABELS, 'lengths': LENGTHS}, ['x should hold numbers']),
    (ragged(y=np.where(np.arange(40) < 9, '\ud800', LABELS)), ["'\\ud800'", 'not Unicode']),
    (ragged(y=np.full(40, 'x')), ["every sequence has the label 'x'"]),
    (
        ragged(y=np.where(np.arange(40) < 2, 'rare', LABELS)),
        ["'rare' has 2 sequence(s)", '3 parts'],
    ),
    (ragged(x=ALIKE), ["'x0' is constant"]),
    (ragged(x_test=np.zeros((3, 4, 2))), ['no array y_test']),
    (
        ragged(x_test=np.zeros((3, 4, 5)), y_test=LABELS[:3]),
        ['x has 2 numbers a step, and x_test 5'],
    ),
    (ragged(x_test=np.zeros((3, 4, 2)), y_test=np.array(['swim'] * 3)), ["the label 'swim'"]),
]
ROWS = {'id': ['a', 'a', 'b'], 'x': [1.5, 2.5, 3.5], 'label': ['run', 'run', 'walk']}
MISSES_OF_TABLES = [
    (
        ROWS | {'label': ['run', 'walk', 'walk']},
        [],
        ["sequence 'a'", "'run' in line 2 and 'walk' in line 3"],
    ),
    (ROWS | {'x': [1.5, 'much', 3.5]}, [], ["'much' in column 'x', line 3", '`inputs`']),
    (ROWS | {'x': [1.5, 'inf', 3.5]}, [], ["'inf' in column 'x', line 3"]),
    (ROWS | {'x': [1.5, None, 3.5]}, [], ["no value in column 'x', line 3"]),
    (ROWS | {'id': ['a', None, 'b']}, [], ["no value in column 'id', line 3"]),
    (ROWS | {'label': ['run', None, 'walk']}, [], ["no value in column 'label', line 3"]),
    ({'x': [1]}, [], ["no column 'id'", '`id`']),
    ({'id': [1], 'x': [1]}, [], ["no column 'label'", '`label`']),
    ({'id': [1], 'label': [1]}, [], ['columns of numbers too']),
    ({'id': [], 'label': [], 'x': []}, [], ['no rows']),
    (ROWS, ['x', 'y'], ["no column 'y'"]),
    (ROWS, ['x', 'label'], ["`label` and `inputs` both name 'label'"]),
    (ROWS, [], ["label 'run' has 1 sequence(s)"]),
]


@pytest.mark.parametrize(('arrays', 'words'), MISSES)
def test_arrays_that_are_no_labelled_sequences_are_refused(tmp_path, arrays, words):
    refuses(write(tmp_path / 'x.npz', arrays), words)


@pytest.mark.parametrize(('rows', 'inputs', 'words'), MISSES_OF_TABLES)
def test_tables_that_are_no_labelled_sequences_are_refused(tmp_path, rows, inputs, words):
    refuses(write_csv(tmp_path / 'x.csv', rows), words, inputs)


def refuses(path, words, inputs=()):
    with pytest.raises(InputError) as error:
        dataset(path, inputs)
    assert [word for word in words if word not in str(error.value)] == [], error.value
    assert '\n' not in str(error.value)
    assert str(error.value).count(str(path)) <= 1


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'label': [0.5, 0.5, 1.5]}, ['the label 0.5']),
        ({'id': ['a', 'a', '#N/A']}, ["no value in column 'id', line 4"]),
        ({'label': [7, 7, '7']}, ['the label 7', 'as a number and as text']),
        ({'label': [1, True, 2]}, ["sequence 'a'", "1 in line 2 and 'True' in line 3"]),
    ],
)
def test_names_in_a_workbook_have_types(tmp_path, changes, words):
    refuses(table(tmp_path, 'xlsx', ROWS | changes), words)


def test_lists_are_no_names(tmp_path):
    path = table(tmp_path, 'parquet', ROWS | {'id': [[1], [1], [2]]})
    refuses(path, ["[1] in column 'id', line 2"])


def test_a_column_has_one_use(tmp_path):
    with pytest.raises(InputError, match="`id` and `label` both name 'id'"):
        read_rows(write_csv(tmp_path / 'x.csv', ROWS), 'id', 'id')


def test_files_that_are_no_npz_are_refused(tmp_path):
    whole = write(tmp_path / 'whole.npz', ragged()).read_bytes()
    damaged = whole[:300] + bytes([whole[300] ^ 255]) + whole[301:]
    files = [
        ('text', b'x,y', 'is no .npz file'),
        ('cut', whole[:400], 'is no .npz file'),
        ('bits', damaged, 'is damaged'),
    ]
    for name, content, words in files:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_npz(tmp_path / name)


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_an_array_given_twice_is_refused(tmp_path):
    path = write(tmp_path / 'x.npz', ragged())
    with zipfile.ZipFile(path, 'a') as file:
        file.writestr('y.npy', file.read('y.npy'))
    refuses(path, ['two arrays of one name'])


TINY = [
    '--cell=elman',
    '--hidden_size=4',
    '--epochs=4',
    '--batch_size=8',
    '--buckets=2',
    '--bidirectional',
    '--pool=max',
    '--split=2,1,1',
]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """A run on arrays, and a sweep on the same sequences in a table: (folder, output of each)."""
    folder = tmp_path_factory.mktemp('classify')
    write(folder / 'x.npz', ragged())
    write_csv(folder / 'x.csv', columns())
    arrays = call('classify', f'--npz={folder / "x.npz"}', *TINY, f'--out={folder / "arrays"}')
    rows = call(
        'classify',
        f'--csv={folder / "x.csv"}',
        *TINY,
        '--sweep=seed=0',
        f'--out={folder / "sweep"}',
    )
    for result in (arrays, rows):
        assert result.code == 0, result.err
    return folder, arrays.out


@pytest.mark.slow
def test_a_run_writes_names_as_they_are(tmp_path):
    names = ['a,"b"\nc', '007', '7', ':smile:', '[red]x', '$x_$', '日本😀', '[/b]']
    labels = names * 3
    ids = [*'0123456789', *(f'0{number}' for number in range(14))]
    rows = {'id': ids, 'x': RNG.normal(size=24).tolist(), 'label': labels}
    path, out = write_csv(tmp_path / 'x.csv', rows), tmp_path / 'run'
    small = ['--epochs=1', '--batch_size=4', '--hidden_size=2', '--cell=elman']
    ran = call('classify', f'--csv={path}', *small, f'--out={out}')
    assert ran.code == 0, ran.err
    assert json.loads((out / 'labels.json').read_text()) == sorted(names)
    with (out / 'predictions.csv').open(encoding='utf-8', newline='') as file:
        tested = list(csv.DictReader(file))
    assert len(tested) == len(names)
    of = dict(zip(ids, labels, strict=True))
    assert [row['label'] for row in tested] == [of[row['sequence']] for row in tested]
    assert {row['predicted'] for row in tested} <= {*names}
    predicted = call('classify', f'--predict={path}', f'--out={out}').out.splitlines()
    assert len(predicted) == len(ids)
    for row in tested:
        line = predicted[ids.index(row['sequence'])]
        assert line.split(' ', 1)[1] == row['predicted'].replace('\n', '\\n')


def test_files_are_utf8_whatever_the_locale(tmp_path):
    code = 'from pathlib import Path; from rnnlab.results import runs\n'
    code += f'runs.write_table(Path({str(tmp_path / "x.csv")!r}), [[{"日本"!a}]])'
    ascii_alone = {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'}
    subprocess.run([sys.executable, '-c', code], env=os.environ | ascii_alone, cwd=ROOT, check=True)
    assert (tmp_path / 'x.csv').read_text(encoding='utf-8') == '日本\n'


@pytest.mark.slow
def test_a_run_is_the_same_on_arrays_and_rows_and_keeps_what_it_reads_by(runs):
    folder, _ = runs
    same(final(folder / 'arrays'), final(folder / 'sweep' / 'best'))
    same(final(folder / 'arrays', 'best'), final(folder / 'sweep' / 'best', 'best'))
    whole, _ = read_npz(folder / 'x.npz')
    own, _ = labelled_sequences(whole, split=(2, 1, 1))
    for run in (folder / 'arrays', folder / 'sweep' / 'best'):
        assert json.loads((run / 'labels.json').read_text()) == list(own.classes)
        assert json.loads((run / 'standard.json').read_text()) == own.standard


@pytest.mark.slow
def test_the_end_of_a_run_names_the_labels_beside_the_most_frequent(runs):
    folder, printed = runs
    with (folder / 'arrays' / 'predictions.csv').open() as file:
        rows = list(csv.DictReader(file))
    given, named = ([row[column] for row in rows] for column in ('label', 'predicted'))
    assert given == [LABELS[int(row['sequence'])] for row in rows]
    accuracy, balanced = (
        metrics.accuracy_score(given, named),
        metrics.recall_score(given, named, average='macro'),
    )
    assert json.loads((folder / 'arrays' / 'summary.json').read_text())[
        'test_accuracy'
    ] == pytest.approx(accuracy)
    lines = [' '.join(line.split()) for line in printed.splitlines()]
    assert f'net {number(accuracy)} {number(balanced)}' in lines
    assert (
        f'always walk, the most frequent label {given.count("walk") / len(given):.4f} {1 / 3:.4f}'
        in lines
    )
    names = sorted(set(LABELS.tolist()))
    for name, counts in zip(
        names, metrics.confusion_matrix(given, named, labels=names), strict=True
    ):
        assert (
            f'{name} {" ".join(map(str, counts))} '
            f'{number(counts[names.index(name)] / counts.sum())}' in lines
        )


@pytest.mark.slow
def test_predicting_is_what_the_test_showed(runs, tmp_path):
    folder, _ = runs
    with (folder / 'arrays' / 'predictions.csv').open() as file:
        rows = list(csv.DictReader(file))
    own = [VALUES[int(row['sequence'])] for row in rows]
    arrays = write(
        tmp_path / 'new.npz', {'x': np.concatenate(own), 'lengths': [len(values) for values in own]}
    )
    unlabelled = columns(own, np.full(len(own), 'x'))
    del unlabelled['label']
    unlabelled['who'] = unlabelled.pop('id')
    for run, path in (
        (folder / 'arrays', arrays),
        (folder / 'sweep' / 'best', write_csv(tmp_path / 'new.csv', unlabelled)),
    ):
        result = call('classify', f'--predict={path}', '--id=who', f'--out={run}')
        assert result.code == 0, result.err
        for line, row in zip(result.out.splitlines(), rows, strict=True):
            probability, label = line.split(' ', 1)
            assert label == row['predicted']
            assert float(probability) == pytest.approx(float(row['probability']), abs=2e-4)


@pytest.mark.slow
def test_bad_flags_and_what_cannot_be_predicted_are_one_line(runs, tmp_path):
    folder, _ = runs
    whole, out, best = (
        f'--npz={folder / "x.npz"}',
        f'--out={folder / "arrays"}',
        f'--out={folder / "sweep" / "best"}',
    )
    wide = write(tmp_path / 'wide.npz', {'x': np.ones((2, 3, 5))})
    other = write_csv(tmp_path / 'other.csv', {'id': ['a'], 'x0': [1], 'y': [1]})
    cases = [
        ([], ['--npz=FILE or --csv=FILE']),
        ([whole, '--csv=t.csv'], ['one of them']),
        (['--npz=nowhere.npz'], ['no file nowhere.npz']),
        (['--npz='], ['--npz', 'empty']),
        ([whole, '--id=who'], ['--id goes with --csv']),
        ([whole, '--split=1,2'], ['--split=1,2', 'three numbers']),
        ([whole, '--split=1,2,0'], ['--split=1,2,0', 'above zero']),
        ([whole, '--batch_size=33'], ['--batch_size=33', '32 training examples']),
        ([f'--csv={write_csv(tmp_path / "rows.csv", ROWS)}'], ["label 'run' has 1 sequence(s)"]),
        ([whole, '--predict=new.npz'], ['--predict=FILE goes with --out']),
        ([f'--predict={wide}', out], ['wide.npz has 5 numbers a step', 'x0, x1']),
        ([f'--predict={other}', best], ["no column 'x1'"]),
        ([f'--predict={folder / "x.npz"}', out, '--cell=gru'], ['--cell=elman, not gru']),
        (['--predict=nowhere.npz', out], ['no file nowhere.npz']),
        ([f'--npz={wide}', *TINY, '--resume', out], ['with other settings', 'file_crc32']),
    ]
    (tmp_path / 'empty').mkdir()
    refused('classify', cases, tmp_path / 'empty')
