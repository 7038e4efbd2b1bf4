"""Series: tables, windows and their labels, the baselines, and forecasts from own outputs."""

import io
import zipfile
from functools import partial
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow
import pytest
from openpyxl import Workbook
from pyarrow import parquet
from sklearn.linear_model import Ridge

from experiments.forecasts.methods import memoryless_loss
from rnnlab.analysis import baselines
from rnnlab.cells import gru, lstm
from rnnlab.data import table as table_module
from rnnlab.data.series import (
    Series,
    examples,
    forecasting,
    mackey_glass,
    part_ends,
    read_each,
    read_series,
)
from rnnlab.errors import InputError
from rnnlab.models import network
from rnnlab.recurrence import recurrent
from rnnlab.training import generate
from rnnlab.training.batches import in_order
from rnnlab.training.losses import squared_error
from rnnlab.training.train import make_evaluate
from tests.conftest import close, noisy, same, shared

ROWS = 40
VALUES = np.random.default_rng(0).normal(3, 2, (ROWS, 2))
HUGE = np.where(np.arange(ROWS) == 3, 1e300, VALUES[:, 0])[:, None]
MIXED = np.array([[1.0, 2, 0], [0, 1, 3]])
SPLIT = (0.6, 0.2, 0.2)
OWN = forecasting(Series(VALUES, ('a', 'b')), 1, SPLIT)
DATA = examples([OWN], window=5, stride=2)


def table(folder, kind, columns):
    path = folder / f'table.{kind}'
    if kind == 'csv':
        rows = [columns, *zip(*columns.values(), strict=True)]
        path.write_text(
            '\n'.join(
                ','.join('' if value is None else str(value) for value in row) for row in rows
            )
        )
    if kind == 'parquet':
        parquet.write_table(pyarrow.table(columns), path)
    if kind == 'xlsx':
        book = Workbook()
        for row in [list(columns), *zip(*columns.values(), strict=True)]:
            book.active.append(row)
        book.save(path)
    return path


@pytest.mark.parametrize('kind', ['csv', 'xlsx', 'parquet'])
def test_dates_are_read_where_they_increase(tmp_path, kind):
    days, values = ['2020-01-01', '2020-01-02', '2020-03-01'], {'x': [1, 2, 3]}
    dated = table(tmp_path, kind, {'day': days} | values)
    assert read_series(dated)[0].times.tolist() == np.array(days, 'datetime64[s]').tolist()
    for wrong in ([*days[1:], days[0]], ['mon', 'tue', 'wed']):
        assert read_series(table(tmp_path, kind, {'day': wrong} | values))[0].times is None
    assert read_series(table(tmp_path, kind, {'year': [2001, 2002, 2003]}))[0].times is None


@pytest.mark.parametrize('kind', ['csv', 'xlsx', 'parquet'])
def test_tables_are_read(tmp_path, kind):
    columns = {'day': ['mon', 'tue', 'wed'], 'sold': [1, 2, 3], 'price': [0.5, 1.5, -1e3]}
    path = table(tmp_path, kind, columns)
    series, targets = read_series(path, ['price'], ['sold'])
    assert (series.columns, targets) == (('price', 'sold'), 1)
    close(series.values, np.array([[0.5, 1], [1.5, 2], [-1e3, 3]]))
    assert read_series(path, ['sold'], ['all'])[0].columns == ('sold', 'price')
    series, targets = read_series(path, ['price', 'price'], ['sold'])
    assert (series.columns, targets) == (('price', 'sold'), 1)
    series, targets = read_series(path, ['all'])
    assert (series.columns, targets) == (('sold', 'price'), 2)
    with pytest.raises(InputError, match=r'has 2 columns of numbers.*by `column` from sold, price'):
        read_series(path)
    with pytest.raises(InputError, match=r"no column 'prize'; its columns are day, sold, price"):
        read_series(path, ['prize'])
    with pytest.raises(InputError, match=r"has 'mon' in column 'day', line 2"):
        read_series(path, ['day'])


@pytest.mark.parametrize('kind', ['csv', 'xlsx', 'parquet'])
def test_each_of_several_series_is_read_as_it_is_alone(tmp_path, kind):
    shops, days = ['b', 'a', 'b', 'a', 'b'], [f'2020-01-0{day}' for day in (1, 1, 2, 2, 4)]
    columns = {'day': days, 'shop': shops, 'sold': [1, 10, 2, 20, 3], 'price': [5, 6, 7, 8, 9]}
    path = table(tmp_path, kind, columns)
    every, targets = read_each(path, 'shop', ['sold'], ['all'])
    assert ([series.name for series in every], targets) == (['b', 'a'], 1)
    for series in every:
        own = [at for at, shop in enumerate(shops) if shop == series.name]
        rows = {name: [values[at] for at in own] for name, values in columns.items()}
        alone, _ = read_series(table(tmp_path, kind, rows), ['sold'], ['price'])
        close(series.values, alone.values)
        assert (series.columns, *series.times) == (alone.columns, *alone.times)
    numbered = table(tmp_path, kind, {'id': [1, 1, 2, 2], 'x': [1.5, 2, 3, 4]})
    assert [series.name for series in read_each(numbered, 'id')[0]] == ['1', '2']
    with pytest.raises(InputError, match=r"no column 'store'; its columns are id, x"):
        read_each(numbered, 'store')
    bad = table(tmp_path, 'csv', {'id': ['a', 'b', 'b'], 'x': [1.5, 2, 'x']})
    with pytest.raises(InputError, match=r"'x' in column 'x', line 4"):
        read_each(bad, 'id')


@pytest.mark.parametrize('kind', ['csv', 'xlsx', 'parquet'])
def test_missing_values_are_named(tmp_path, kind):
    path = table(tmp_path, kind, {'x': [1.5, None, 3.5]})
    with pytest.raises(InputError, match=r"no value in column 'x', line 3"):
        read_series(path)


def test_a_word_among_numbers_is_named(tmp_path):
    path = table(tmp_path, 'csv', {'x': [1.5, 2.5, '?']})
    with pytest.raises(InputError, match=r"has '\?' in column 'x', line 4"):
        read_series(path, ['x'])


def sheet(*rows, replacing=(b'1e+300', b'9' * 400)):
    """A workbook of these rows, whose XML is changed afterwards."""
    book, file, changed = Workbook(), io.BytesIO(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(file)
    with zipfile.ZipFile(file) as parts, zipfile.ZipFile(changed, 'w') as copy:
        for name in parts.namelist():
            copy.writestr(name, parts.read(name).replace(*replacing))
    return changed.getvalue()


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        ('t.csv', b'', 'cannot be read: it is empty'),
        ('t.xlsx', sheet(), 'cannot be read: it is empty'),
        ('t.xlsx', sheet(['x'], [10**300]), 'no column of numbers'),
        ('t.csv', b'a,b\n1\n', 'cannot be read'),
        ('t.csv', b'a\n', 'no column of numbers: 0 rows of a'),
        (
            't.csv',
            b'day;sold\nmon;1\n',
            'values are separated by semicolons; separate them by commas',
        ),
        ('t.csv', b'"day";"sold, kg"\nmon;1,5\n', 'separated by semicolons.*decimal point'),
        ('t.csv', b'day\tsold\nmon\t1\n', 'separated by tabs'),
        ('t.csv', b'day,x\nmon,"1,5"\n', "'1,5' in column 'x', line 2.*a decimal point"),
        ('t.csv', b'x\n1,5\n2,5\n', 'line 2 has 2 value.*line 1 names 1 .*a decimal point'),
        ('t.csv', b'x\n1_100\n', 'no column of numbers'),
        ('t.csv', b'x\n1\n1_100\n', "'1_100' in column 'x', line 3, where a number"),
        ('t.csv', b'x\n1\n"2\n3', 'the row of line 3 has quotes that are not closed'),
        ('t.csv', b'x\n1\n\xff', 'line 3 is not UTF-8'),
        ('t.csv', b'day,x,x\nmon,1,2\n', "two columns 'x'"),
        ('t.csv', b'1,2\n3,4\n', 'numbers in place of column names: 1, 2'),
        ('t.xlsx', b'no zip', 'cannot be read'),
        ('t.parquet', b'', 'cannot be read'),
        ('t.json', b'{}', r'\.csv, \.xlsx, \.parquet'),
    ],
)
def test_files_that_are_no_table_are_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_series(tmp_path / name)
    with pytest.raises(InputError, match='no file'):
        read_series(tmp_path / 'nowhere.csv')


@pytest.mark.parametrize('noted', [b'A1:B3', b'A3:B7', b'B2:B9', b'A1:A6', b'A1:Z99', b'A1'])
def test_a_workbook_is_read_whole_whatever_size_its_writer_noted(tmp_path, noted):
    rows = [['day', 'sold'], *([f'd{row}', row] for row in range(5))]
    path = tmp_path / 'table.xlsx'
    path.write_bytes(sheet(*rows, replacing=(b'ref="A1:B6"', b'ref="%s"' % noted)))
    assert noted in zipfile.ZipFile(path).read('xl/worksheets/sheet1.xml')
    close(read_series(path)[0].values, np.arange(5.0)[:, None])


def test_a_row_beyond_the_last_of_a_sheet_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(table_module, 'MOST_ROWS', 100)
    path = tmp_path / 'table.xlsx'
    for last, words in ((b'100', "no value in column 'x', line 2"), (b'101', 'more than the 100')):
        path.write_bytes(sheet(['x'], [1], replacing=(b'r="2"', b'r="%s"' % last)))
        with pytest.raises(InputError, match=words):
            read_series(path)


@pytest.mark.parametrize('size', [1, 1_500_000])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_lines_are_those_of_the_file_and_may_end_inside_quotes(tmp_path, size, end):
    note = '"' + f'a ""quote"", {end}'.ljust(size) + '"'
    lines = ['note,x', f'{note},1', 'plain,2', f'{note},3', 'plain,4', '']
    path = tmp_path / 'table.csv'
    path.write_bytes(end.join(lines).encode())
    close(read_series(path)[0].values, np.arange(1.0, 5.0)[:, None])
    for wrong, words in (('many', "'many' in column 'x', line 7"), ('4,5', 'line 7 has 3 value')):
        path.write_bytes(end.join([*lines[:-2], f'plain,{wrong}', '']).encode())
        with pytest.raises(InputError, match=words):
            read_series(path)


def test_of_many_columns_the_first_are_listed(tmp_path):
    names = [f'column{number}' for number in range(10_000)]
    path = tmp_path / 'table.csv'
    for name, cell, column in (('day', 'd', ['x']), (names[0], '1', []), (names[0], 'd', [])):
        path.write_text('\n'.join([','.join([name, *names[1:]]), ','.join([cell] * 10_000)]))
        with pytest.raises(InputError, match=', column9 and 9,990 more') as error:
            read_series(path, column)
        assert len(str(error.value)) < 500


def test_windows_are_labelled_at_every_step_and_stay_in_their_part():
    begin, middle, end = OWN.ends
    assert (begin, middle, end) == (24, 32, 40)
    train, held_out, test = DATA.train, DATA.validation, DATA.test
    close((OWN.mean, OWN.std), (VALUES[:24].mean(axis=0), VALUES[:24].std(axis=0)))
    standard = (VALUES - VALUES[:24].mean(axis=0)) / VALUES[:24].std(axis=0)
    assert train.inputs.shape == (10, 5, 2)
    for number, (inputs, labels) in enumerate(zip(train.inputs, train.labels, strict=True)):
        close(np.array(inputs), standard[2 * number : 2 * number + 5])
        close(np.array(labels), standard[2 * number + 1 : 2 * number + 6, :1])
    for part, first, last in ((held_out, begin, middle), (test, middle, end)):
        assert part.inputs.shape == (1, last - 1, 2)
        assert np.isnan(part.labels[0, : first - 1]).all()
        close(part.labels[0, first - 1 :], standard[first:last, :1])
    assert memoryless_loss([OWN], 'mse', 1) == pytest.approx(np.mean(standard[24:32, 0] ** 2))
    close(DATA.step_sizes, np.sqrt(np.mean(np.diff(standard[:24], axis=0) ** 2, axis=0)))
    close(OWN.in_units(standard[:, :1]), VALUES[:, :1])


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'window': 24}, 'the training part has 24 rows, and `window=24` needs 25'),
        ({'horizon': 20}, 'has 24 rows, and `window=5` and `horizon=20` need 25'),
        ({'horizon': 9}, '`horizon=9` is more than the 8 rows of the validation split'),
        ({'split': (0.5, 0.5)}, 'three numbers'),
        ({'split': (30, 5, 6)}, 'does not divide 40 rows'),
        ({'split': (30.7, 4.6, 3.7)}, 'whole numbers of rows'),
        ({'series': Series(np.full((ROWS, 1), 0.1), ('flat',))}, "'flat' is constant"),
        ({'series': Series(HUGE, ('huge',))}, 'too large'),
        ({'split': (0.9, 0.001, 0.099)}, 'does not divide'),
        ({'split': (0.5, -0.1, 0.2)}, 'above zero'),
        ({'stride': 0}, 'stride'),
    ],
)
def test_series_that_cannot_be_forecast_are_refused(change, words):
    options = {
        'series': Series(VALUES, ('a', 'b')),
        'targets': 1,
        'window': 5,
        'stride': 1,
        'split': (0.6, 0.2, 0.2),
    } | change

    def prepare(series, targets, split, **options):
        return examples([forecasting(series, targets, split)], **options)

    with pytest.raises(InputError, match=words):
        prepare(**options)


@pytest.mark.parametrize('windowed', [False, True])
@pytest.mark.parametrize('horizon', [1, 3])
def test_the_examples_of_several_series_are_those_of_each_alone(windowed, horizon):
    options = {'window': 5, 'stride': 2, 'horizon': horizon, 'windowed': windowed}
    shorter = forecasting(Series(VALUES[:30] * 7 - 5, ('a', 'b')), 1, SPLIT)
    alone = [examples([part], **options) for part in (OWN, shorter)]
    together = examples([OWN, shorter], **options)
    for name in ('train', 'validation', 'test'):
        every, own = getattr(together, name), [getattr(data, name) for data in alone]
        longest = max(split.inputs.shape[1] for split in own)
        assert len(every.inputs) == len(every.labels) == sum(len(split.inputs) for split in own)
        begin = 0
        for split in own:  # a shorter series is filled up, without labels
            rows = slice(begin, begin + len(split.inputs))
            more = longest - split.inputs.shape[1]
            inputs, labels = every.inputs[rows], every.labels[rows]
            close(inputs[:, : longest - more], split.inputs)
            same(labels[:, : labels.shape[1] - more], split.labels)
            assert more == 0 or np.isnan(labels[:, labels.shape[1] - more :]).all()
            begin = rows.stop


def test_labels_are_the_rows_after_each_step_or_window():
    standard = OWN.standard[:, :1]
    data = examples([OWN], window=5, stride=2, horizon=3)
    close(np.array(data.train.labels[1]), standard[3:10])
    assert np.flatnonzero(~np.isnan(data.validation.labels)).tolist() == [*range(23, 31)]
    data = examples([OWN], window=5, stride=2, horizon=3, windowed=True)
    close(np.array(data.train.labels[1]), standard[7:10])
    for split, first, last in ((data.validation, 24, 32), (data.test, 32, 40)):
        for origin, window, rows in zip(range(first, last - 2), *split[:2], strict=True):
            close(window, OWN.standard[origin - 5 : origin])
            close(rows, standard[origin : origin + 3])


def test_rows_may_be_left_out_at_the_end():
    assert part_ends(17420, (8640, 2880, 2880)) == (8640, 11520, 14400)


def test_mackey_glass_obeys_its_equation():
    """The differences of a fine solution are the slope that the equation gives."""
    fine = mackey_glass(4000, every=0.1).values[:, 0]
    slope = (fine[2:] - fine[:-2]) / 0.2
    now, before = fine[171:-1], fine[1:-171]
    np.testing.assert_allclose(slope[170:], 0.2 * before / (1 + before**10) - 0.1 * now, atol=2e-3)
    assert mackey_glass(3000).values.std() == pytest.approx(0.23, abs=0.02)
    assert len(mackey_glass(77).values) == 77


def net(columns=2):
    model = network(
        [recurrent(lstm(4)), recurrent(gru(3))], inputs=columns, outputs=columns, dense=5
    )
    return model, noisy(model.init(jax.random.key(0)))


def test_rows_one_by_one_are_all_rows_and_a_loss_is_that_of_its_part():
    model, params = net()
    rows = jnp.asarray(OWN.standard)[None]
    _, outputs = jax.jit(partial(generate.read, model))(params, rows)
    close(outputs, jax.jit(model.apply)(params, rows))
    own = examples([forecasting(Series(VALUES, ('a', 'b')), 2, SPLIT)], window=5, stride=2)
    batches = in_order(own.test, 2)  # one of the batch fills it up
    metrics = make_evaluate(model, batches, loss=squared_error())(params, own.test)
    error = np.asarray(outputs[0, 31:39]) - OWN.standard[32:]
    assert metrics == pytest.approx(
        {'loss': np.mean(error**2), 'mae': np.mean(np.abs(error))}, rel=1e-12
    )


def next_output(model, params, room):
    """rows [t, ...] -> the output after them, by one program for up to `room` rows."""
    outputs = jax.jit(lambda rows: model.apply(params, rows[None])[0])

    def of(rows):
        padded = np.zeros((room, *np.shape(rows)[1:]), np.asarray(rows).dtype)
        padded[: len(rows)] = rows
        return np.asarray(outputs(padded))[len(rows) - 1]

    return of


def test_a_forecast_reads_its_own_outputs():
    model, params = net()
    rows = OWN.standard
    carries, _ = jax.jit(lambda rows: generate.read(model, params, rows[None]))(rows)
    origins = np.array([7, 20, 40])
    carry = jax.tree.map(lambda leaf: leaf[origins - 1, 0], carries)
    made = generate.forecast(model, params, carry, jnp.asarray(rows[origins - 1]), 4)
    following = next_output(model, params, ROWS + 4)
    for number, origin in enumerate(origins):
        known = rows[:origin]
        for step in range(4):
            known = np.concatenate([known, following(known)[None]])
            close(np.asarray(made[number, step]), known[-1])


def test_tokens_are_drawn_from_the_logits():
    model = network([recurrent(lstm(4))], inputs=3, outputs=6, vocabulary=6)
    params = noisy(model.init(jax.random.key(0)), scale=1.0)
    prompt, key = np.array([1, 4]), jax.random.key(3)

    def drawn(number, *options):
        return [*islice(generate.tokens(model, params, prompt, key, *options), number)]

    logits = next_output(model, params, 7)

    def by_hand(number, choose):
        ids = [*prompt]
        for at in range(number):
            ids.append(int(choose(jax.random.fold_in(key, at), logits(np.array(ids)))))
        return ids[2:]

    greedy = by_hand(5, lambda key, logits: jnp.argmax(logits))
    assert drawn(5, 0.0) == drawn(5, 1e-6) == greedy
    warm = by_hand(5, lambda key, logits: jax.random.categorical(key, logits / 0.7))
    assert drawn(5, 0.7) == warm
    assert set(drawn(60, 100.0, (0, 3))) == {1, 2, 4, 5}


def test_the_baselines_are_what_they_say():
    values, origins = np.arange(20.0)[:, None] ** 2, np.array([10, 15])
    assert baselines.last_value(values, origins, 2)[..., 0].tolist() == [[81, 81], [196, 196]]
    seasons = baselines.last_season(values, origins, 3, 2)[..., 0]
    assert seasons.tolist() == [[64, 81, 64], [169, 196, 169]]
    with pytest.raises(InputError, match='`season=11` is more than the 10 rows'):
        baselines.last_season(values, origins, 1, 11)


def test_ridge_is_that_of_sklearn_for_each_penalty():
    inputs, outputs = VALUES[:30] @ MIXED, VALUES[5:35]
    for alpha, line in zip(baselines.ALPHAS, baselines.ridge_path(inputs, outputs), strict=True):
        expected = Ridge(alpha=alpha, solver='svd').fit(inputs, outputs).predict(VALUES @ MIXED)
        np.testing.assert_allclose(line.of(VALUES @ MIXED), expected, rtol=1e-9)


def test_ridge_forecasts_a_linear_series():
    time = np.arange(200)
    values = np.stack([np.sin(time / 5), np.cos(time / 7)], axis=1)
    forecast = baselines.ridge(values, 2, 8, (120, 150, 200))
    origins = np.array([150, 170])
    np.testing.assert_allclose(
        forecast(origins, 20), values[origins[:, None] + np.arange(20)], atol=1e-3
    )
    one = baselines.ridge(values, 1, 8, (120, 150, 200))
    assert one(origins, 1).shape == (2, 1, 1)
    direct = baselines.ridge(values, 1, 8, (120, 150, 200), ahead=20)
    np.testing.assert_allclose(
        direct(origins, 20), values[origins[:, None] + np.arange(20), :1], atol=1e-3
    )


def test_sunspots_are_read():
    series, _ = read_series(shared('raw', 'timeseries', 'monthly-sunspots.csv'))
    assert (series.values.shape, series.columns) == ((2820, 1), ('Sunspots',))
    assert series.values[0, 0] == 58.0
