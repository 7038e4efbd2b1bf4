"""Series, text and memory tasks as a user runs them: training, sweeps, bad input."""

import csv
import json
import math
import re
import signal

import numpy as np
import pytest

from rnnlab.results import runs
from tests.conftest import call, ran, refused, same
from tests.folders import final, read, rows

pytestmark = pytest.mark.usefixtures('shell')

TINY = {
    'series': ['--hidden_size=4', '--window=12', '--stride=2', '--batch_size=8', '--epochs=2'],
    'text': [
        '--hidden_size=8',
        '--embedding=4',
        '--batch_size=4',
        '--window=8',
        '--lr=1e-2',
        '--steps=30',
        '--eval_every=10',
    ],
    'memory': [
        '--hidden_size=6',
        '--task=recall',
        '--length=7',
        '--batch_size=8',
        '--validation=50',
        '--steps=12',
        '--eval_every=5',
    ],
}


@pytest.fixture(scope='module')
def book(tmp_path_factory):
    path = tmp_path_factory.mktemp('texts') / 'book.txt'
    path.write_text('a rose is a rose\nis a rose ' * 60)
    return path


def run(experiment, folder, *flags, **options):
    return ran(experiment, *TINY[experiment], *flags, f'--out={folder}', **options)


@pytest.fixture(scope='module')
def written(book, tmp_path_factory):
    """A language model: (its folder, what its training printed)."""
    folder = tmp_path_factory.mktemp('runs') / 'text'
    return folder, run('text', folder, f'--text={book}')


def test_a_text_is_learned_in_nats_and_bits(written, book):
    folder, printed = written
    result = read(folder, 'summary.json')
    best = min(row['validation_loss'] for row in rows(folder))
    assert result['best_validation_loss'] == best < result['baseline']
    assert result['validation_bits'] == pytest.approx(
        result['validation_loss'] / math.log(2), rel=1e-5
    )
    assert f'{best:.4f} nats a character, {best / math.log(2):.4f} bits a character' in printed
    assert 'test_loss' not in result
    assert json.loads((folder / 'vocabulary.json').read_text()) == sorted(set(book.read_text()))


@pytest.mark.slow
def test_a_sample_is_seeded_and_continues_its_prompt(written):
    folder, _ = written

    def sample(*flags):
        return ran('text', '--sample=40', f'--out={folder}', *flags)

    first = sample('--prompt=a rose')
    assert first == sample('--prompt=a rose')
    assert re.fullmatch(r'a rose[aeiors \n]{40}\n', first)
    assert first != sample('--prompt=a rose', '--seed=0', '--temperature=3')
    assert sample('--temperature=0') == sample('--temperature=0')


@pytest.mark.slow
def test_a_stopped_run_on_streams_resumes_to_the_same_bytes(book, tmp_path, monkeypatch):
    flags = [f'--text={book}', '--dropout=0.1']
    run('text', tmp_path / 'whole', *flags)
    append = runs.append_row

    def interrupted(folder, row):
        append(folder, row)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(runs, 'append_row', interrupted)
        stopped = call('text', *TINY['text'], *flags, f'--out={tmp_path / "run"}')
    assert stopped.code == 128 + signal.SIGTERM
    assert 'resumes at step 10' in run('text', tmp_path / 'run', *flags, '--resume')
    for name in ('params', 'opt_state', 'carry', 'best'):
        same(final(tmp_path / 'run', name), final(tmp_path / 'whole', name))
    assert rows(tmp_path / 'run') == rows(tmp_path / 'whole')
    other = tmp_path / 'other.txt'
    other.write_text(book.read_text() + 'x')
    options = [*TINY['text'], f'--text={other}', '--dropout=0.1', f'--out={tmp_path / "run"}']
    code, _, err = call('text', *options, '--resume')
    assert (code, err.count('\n'), 'text_crc32' in err) == (1, 1, True)


@pytest.mark.slow
def test_words_of_the_standard_library(tmp_path):
    more = [
        '--tokens=words',
        '--vocab_size=200',
        '--steps=2',
        '--eval_every=2',
        '--devices=2',
        '--window=60',
    ]
    printed = run('text', tmp_path / 'run', *more)
    assert 'perplexity' in printed
    assert len(json.loads((tmp_path / 'run' / 'vocabulary.json').read_text())) == 200
    assert 'on 2 cpu device(s)' in printed


def test_a_memory_task_shows_the_memoryless_guess(tmp_path):
    printed = run(
        'memory',
        tmp_path / 'run',
        '--cell=gru',
        '--chrono=7',
        '--init=orthogonal',
        '--bptt=3',
        '--remat=2',
        '--devices=2',
    )
    assert read(tmp_path / 'run', 'summary.json')['baseline'] == pytest.approx(math.log(10))
    assert re.search(r'memoryless .*\n.*\n.* 2\.3026 ', printed)
    assert len(re.search(r'label +((?:\d *)+)', printed)[1].split()) == 10
    assert [row['step'] for row in rows(tmp_path / 'run')] == [5, 10, 12]


SWEEPS = {
    'text': ['--dropout=0.1'],
    'memory': ['--task=adding', '--dropout=0.2'],
    'series': ['--epochs=1'],
}


@pytest.mark.slow
@pytest.mark.parametrize('experiment', SWEEPS)
def test_a_sweep_ranks_by_the_loss_and_a_lane_is_the_run_alone(experiment, book, tmp_path):
    flags = SWEEPS[experiment] + [f'--text={book}'] * (experiment == 'text')
    axes = ['--sweep=lr=1e-9,1e-2', '--sweep=seed=0,1']
    printed = run(experiment, tmp_path / 'sweep', *flags, *axes, x64=True)
    with (tmp_path / 'sweep' / 'trials.csv').open() as file:
        trials = list(csv.DictReader(file))
    losses = [float(trial['best_validation_loss']) for trial in trials]
    assert max(losses[2:]) < min(losses[:2])
    assert trials[0]['status'] == 'chance'
    lines = [' '.join(line.split()) for line in printed.splitlines()]
    order = [line.split()[0] for line in lines if re.match(r'(1e-09|0\.01) 2 ', line)]
    assert order == ['0.01', '1e-09']
    assert f'best trial: {losses.index(min(losses))}' in printed
    best = tmp_path / 'sweep' / 'best'
    assert read(best, 'summary.json')['best_validation_loss'] == min(losses)
    ran('compare', best, f'--out={tmp_path}')

    run(experiment, tmp_path / 'alone', *flags, '--lr=1e-2', '--seed=1', x64=True)
    lanes = [row for row in rows(tmp_path / 'sweep') if row['trial'] == 3]
    for lane, alone in zip(lanes, rows(tmp_path / 'alone'), strict=True):
        assert {name: lane[name] for name in alone} == pytest.approx(alone, rel=1e-9)


@pytest.fixture(scope='module')
def tables(tmp_path_factory):
    """CSV files by name, two of them good."""
    folder = tmp_path_factory.mktemp('tables')
    sine = [math.sin(t / 3) + t / 50 for t in range(120)]
    columns = {
        'good': [
            'day,sold,price',
            *(f'd{t},{10 + 3 * value},{value / 7}' for t, value in enumerate(sine)),
        ],
        'single': ['x', *map(str, sine)],
        'missing': ['x', *map(str, sine[:5]), '', *map(str, sine)],
        'word': ['x', *map(str, sine[:5]), 'many', *map(str, sine)],
        'short': ['x', *map(str, sine[:10])],
        'constant': ['x', *(['3.5'] * 120)],
        'shops': [
            'shop,sold,price',
            *(f'{"ab"[t % 3 == 0]},{10 + 3 * value},{t % 5}' for t, value in enumerate(sine)),
        ],
    }
    for name, lines in columns.items():
        (folder / f'{name}.csv').write_text('\n'.join(lines) + '\n')
    return folder


@pytest.mark.slow
def test_a_series_is_forecast_and_compared_with_the_baselines(tables, tmp_path):
    folder = tmp_path / 'run'
    printed = run(
        'series',
        folder,
        f'--csv={tables / "good.csv"}',
        '--column=sold',
        '--season=19',
        '--horizon=5',
        '--dense=3',
        pictures=True,
    )
    errors = json.loads((folder / 'errors.json').read_text())
    ways = ['net', 'last value', 'last season, 19 rows', 'ridge on 12 rows']
    assert list(errors) == ['1', '5']
    assert list(errors['5']) == ways
    with (folder / 'predictions.csv').open() as file:
        table = list(csv.DictReader(file))
    assert [int(row['row']) for row in table] == list(range(1, 120))
    known, made = (
        np.array([float(row[name]) for row in table]) for name in ('sold', 'sold predicted')
    )
    assert known[0] == pytest.approx(10 + 3 * (math.sin(1 / 3) + 1 / 50))
    test = slice(107, None)  # rows 108 to 119
    error = (made - known)[test]
    assert errors['1']['net']['sold'] == pytest.approx(
        {'MAE': np.abs(error).mean(), 'RMSE': (error**2).mean() ** 0.5}
    )
    assert errors['1']['last value']['sold']['MAE'] == pytest.approx(
        np.abs(np.diff(known))[106:].mean()
    )
    spread = np.std([10 + 3 * (math.sin(t / 3) + t / 50) for t in range(96)])
    assert errors['1']['net']['standardised']['MSE'] == pytest.approx(
        errors['1']['net']['sold']['RMSE'] ** 2 / spread**2
    )
    assert read(folder, 'summary.json')['test_loss'] == pytest.approx(
        errors['1']['net']['standardised']['MSE'], rel=1e-4
    )
    with (folder / 'forecast.csv').open() as file:
        assert [row[0] for row in csv.reader(file)] == ['row', '120', '121', '122', '123', '124']
    lost = [
        name
        for name in ways[1:]
        if errors['1'][name]['standardised']['MSE'] <= errors['1']['net']['standardised']['MSE']
    ]
    assert all(name in re.search(r'the net does not beat .*', printed)[0] for name in lost)
    assert (folder / 'forecast.png').stat().st_size > 10_000


@pytest.mark.slow
def test_several_columns_in_and_out(tables, tmp_path):
    run(
        'series',
        tmp_path / 'all',
        f'--csv={tables / "good.csv"}',
        '--column=all',
        '--horizon=3',
        '--split=80,20,20',
    )
    errors = json.loads((tmp_path / 'all' / 'errors.json').read_text())
    assert list(errors['3']['net']) == ['sold', 'price', 'standardised']
    run(
        'series', tmp_path / 'one', f'--csv={tables / "good.csv"}', '--column=price', '--inputs=all'
    )
    assert list(json.loads((tmp_path / 'one' / 'errors.json').read_text())['1']['net']) == [
        'price',
        'standardised',
    ]


DIRECT = ['--multi_step=direct', '--horizon=4', '--split=0.6,0.2,0.2']


def test_quantiles_of_several_series_are_forecast_all_rows_at_once(tables, tmp_path):
    folder = tmp_path / 'run'
    shops = [f'--csv={tables / "shops.csv"}', '--id=shop', '--column=sold', '--season=5']
    flags = [*shops, *DIRECT, '--loss=quantile', '--revin', '--difference', '--inputs=price']
    printed = run('series', folder, *flags, '--backtest=3', pictures=True)
    errors = read(folder, 'errors.json')
    ways = ['net', 'last value', 'last season, 5 rows', 'direct ridge on 12 rows']
    assert (list(errors), list(errors['4'])) == (['1', '4'], ways)
    own = errors['4']['net']['standardised']
    summary = read(folder, 'summary.json')
    tested = {kind: summary[f'test_{kind.lower()}'] for kind in ('MAE', 'coverage')}
    assert {kind: own[kind] for kind in tested} == pytest.approx(tested, rel=1e-4)
    assert read(folder, 'config.json')['horizon'] == 4

    of = read(folder, 'errors_by_series.json')
    rows = {'b': 40 // 5 - 3, 'a': 80 // 5 - 3}  # forecasts of each
    assert list(of) == list(rows)
    each = [of[name]['4']['net']['sold']['MAE'] for name in rows]
    assert errors['4']['net']['sold']['MAE'] == pytest.approx(
        np.average(each, weights=list(rows.values()))
    )
    with (folder / 'backtest.csv').open() as file:
        backtest = list(csv.DictReader(file))
    begun = [(row['series'], row['origin']) for row in backtest if row['forecast'] == 'net']
    assert begun == [
        (n, str(o)) for n, at in (('b', (32, 34, 36)), ('a', (64, 70, 76))) for o in at
    ]
    assert re.search(r'backtest, .*\n.*\n.*origin .*net: MAE', printed)
    with (folder / 'predictions.csv').open() as file:
        made = list(csv.DictReader(file))
    assert [*made[0]] == ['shop', 'row', 'sold', 'sold predicted', 'sold 0.05', 'sold 0.95']
    assert [row['row'] for row in made if row['shop'] == 'b'] == [*map(str, range(12, 40))]
    with (folder / 'forecast.csv').open() as file:
        past = list(csv.DictReader(file))
    assert [(row['shop'], row['row']) for row in past] == [
        (name, str(begin + step)) for name, begin in (('b', 40), ('a', 80)) for step in range(4)
    ]
    assert (folder / 'forecast.png').stat().st_size > 10_000


@pytest.mark.slow
def test_a_finished_net_is_asked_for_the_horizon_that_it_is_trained_for(tables, tmp_path):
    data = [f'--csv={tables / "single.csv"}', '--loss=mae', '--difference']
    run('series', tmp_path / 'free', *data)
    run('series', tmp_path / 'free', *data, '--horizon=3', '--resume')
    assert list(read(tmp_path / 'free', 'errors.json')) == ['1', '3']
    run('series', tmp_path / 'direct', *data, *DIRECT)
    own = read(tmp_path / 'direct', 'errors.json')['4']['net']['standardised']
    summary = read(tmp_path / 'direct', 'summary.json')
    assert summary['test_loss'] == pytest.approx(own['MAE'], rel=1e-4)
    assert summary['test_mse'] == pytest.approx(own['MSE'], rel=1e-4)
    flags = [*TINY['series'], *data, *DIRECT, '--horizon=3', '--resume']
    code, _, err = call('series', *flags, f'--out={tmp_path / "direct"}')
    assert (code, err.count('\n')) == (1, 1)
    assert 'horizon: 4 there, 3 here' in err


@pytest.mark.slow
def test_a_sweep_over_kinds_of_forecasts_is_the_runs_alone(tables, tmp_path):
    data = [f'--csv={tables / "single.csv"}', *DIRECT]
    axes = ['--sweep=revin=false,true', '--sweep=difference=false,true', '--sweep=seed=0,1']
    run('series', tmp_path / 'sweep', *data, *axes, x64=True)
    with (tmp_path / 'sweep' / 'trials.csv').open() as file:
        trials = list(csv.DictReader(file))
    assert len(trials) == 8
    for at, flags in ((3, ['--difference']), (5, ['--revin'])):
        run('series', tmp_path / str(at), *data, *flags, '--seed=1', x64=True)
        alone = read(tmp_path / str(at), 'summary.json')
        for kind in ('best_validation_loss', 'test_loss'):
            assert float(trials[at][kind]) == pytest.approx(alone[kind], rel=1e-9)


def test_bad_series_are_one_line(tables, tmp_path):
    path = {table.stem: f'--csv={table}' for table in tables.iterdir()}
    cases = [
        ([path['missing']], ['missing.csv', "column 'x', line 7", 'no value']),
        ([path['word']], ['word.csv', "'many'", "column 'x', line 7"]),
        ([path['short']], ['training part has 8 rows', '--window=96']),
        ([path['constant'], '--window=9'], ["'x' is constant"]),
        ([path['good'], '--column=prise'], ["no column 'prise'", 'day, sold, price']),
        ([path['good'], '--column=day'], ["'d0'", "column 'day', line 2"]),
        ([path['good']], ['2 columns of numbers', 'by --column from sold, price']),
        (['--csv=nowhere.csv'], ['nowhere.csv']),
        (['--csv=/dev/null'], ['.csv, .xlsx, .parquet']),
        (['--column=x'], ['--column goes with --csv']),
        (['--horizon=0'], ['--horizon']),
        ([path['single'], '--window=9', '--horizon=13'], ['--horizon=13', '12 rows']),
        ([path['single'], '--window=9', '--season=109'], ['--season=109', '108 rows']),
        (
            [path['good'], '--column=sold', '--inputs=all', '--window=9', '--horizon=2'],
            ['--horizon', '--inputs'],
        ),
        ([path['single'], '--sweep=lr=1,2', '--season=7'], ['--season', '--sweep']),
        ([path['single'], '--sweep=lr=1,2', '--backtest=2'], ['--backtest', '--sweep']),
        ([path['single'], '--sweep=lr=1,2', '--horizon=2'], ['--horizon', '--multi_step=direct']),
        ([path['single'], '--sweep=loss=mae,mse'], ['--sweep=loss', 'do not compare']),
        ([path['single'], '--loss=quantile', '--horizon=2'], ['--loss=quantile', 'direct']),
        (['--loss=huber'], ['--loss=huber', 'mse, mae, quantile']),
        (['--revin'], ['--revin', '--multi_step=direct']),
        (['--multi_step=both'], ['--multi_step=both', 'free, direct']),
        (['--id=shop'], ['--id goes with --csv']),
        ([path['shops'], '--id=store'], ["no column 'store'", 'shop, sold, price']),
        ([path['shops'], '--id=shop', '--column=shop'], ["no column 'shop'", 'sold, price']),
        (
            [path['shops'], '--id=shop', '--column=sold', '--window=40'],
            ["training part of 'b' has 32 rows", '--window=40', '41'],
        ),
        (
            [path['single'], '--multi_step=direct', '--window=9', '--horizon=20'],
            ['--horizon=20', '12 rows of the validation split'],
        ),
        (
            [path['single'], '--window=9', '--split=90,5,25', '--horizon=6', *DIRECT[:1]],
            ['--horizon=6', '5 rows of the validation split'],
        ),
        (
            [path['single'], '--window=9', '--horizon=5', '--backtest=9'],
            ['--backtest=9', '8 rows of the test split'],
        ),
        (['--sweep=split=1,2'], ['--split is a list']),
        (['--csv='], ['--csv', 'empty']),
        (['--split=0.5,0.5'], ['three numbers']),
        (['--split=a,b,c'], ['--split=a,b,c', 'three numbers']),
        (['--label_smoothing=0.1'], ['--label_smoothing']),
        (['--layers=0'], ['--layers must be above zero']),
        (['--bidirectional'], ['bidirectional']),
        (['--parameters=13'], ['--parameters=13', 'a hidden size of 1 has 14']),
        ([path['single'], '--window=9', '--batch_size=88'], ['--batch_size=88', '87']),
        (
            [path['single'], '--window=9', '--stride=100000'],
            ['--stride=100000', '1 training example', '--batch_size=32'],
        ),
    ]
    refused('series', cases, tmp_path)


def test_bad_texts_are_one_line(book, written, tmp_path):
    files = book.parent
    (files / 'empty').write_text('')
    (files / 'same').write_text('a' * 5000)
    (files / 'bytes').write_bytes(b'ok \xff')
    folder = f'--out={written[0]}'
    cases = [
        ([f'--text={files / "empty"}'], ['empty is empty']),
        ([f'--text={files / "same"}'], ['no two different characters']),
        ([f'--text={files / "bytes"}'], ['not UTF-8', 'byte 3']),
        (['--text=nowhere'], ['nowhere', 'No such file']),
        (['--text='], ['--text', 'empty']),
        ([f'--text={book}'], ['1620 characters', '--batch_size', '--window=64']),
        (
            [f'--text={book}', '--window=8', '--eval_split=test'],
            ['--eval_split=test', 'no test split'],
        ),
        (
            [f'--text={book}', '--window=8', '--parameters=791'],
            ['a hidden size of 1 has 792'],
        ),  # of which 512 embed eight characters
        (['--vocab_size=9'], ['--vocab_size=9 goes with --tokens=words']),
        (['--prompt=a'], ['--prompt goes with --sample']),
        (['--sample=5'], ['--sample=N goes with --out']),
        (['--sample=5', folder, '--prompt=a Rose'], ["--prompt has 'R'"]),
        (['--sample=5', folder, '--prompt='], ['--prompt= is empty']),
        (['--sample=5', folder, '--temperature=-1'], ['--temperature']),
        (['--sample=5', folder, '--temperature=nan'], ['--temperature', 'finite']),
        (['--sample=5', folder, '--resume'], ['--sample=N goes without --resume']),
        (['--sample=0', folder], ['--sample']),
        (['--sample=5', folder, '--cell=gru'], ['--cell=lstm, not gru']),
    ]
    refused('text', cases, tmp_path)


def test_bad_memory_flags_are_one_line(tmp_path):
    cases = [
        (['--task=adding', '--length=1'], ['--length of 2 or more']),
        (['--task=recall', '--length=8'], ['an odd --length']),
        (['--task=parity', '--length=1'], ['--length of 2 or more']),
        (['--task=juggling'], ['--task', 'adding, copy, parity, recall, flipflop']),
        (['--cell=elman', '--chrono=9'], ['--chrono', 'elman']),
        (['--chrono=9', '--forget_bias=1'], ['chrono', 'forget_bias']),
        (['--chrono=1'], ['--chrono', '2 time steps']),
        (['--label_smoothing=0.1'], ['--label_smoothing', 'adding']),
        (['--bptt=0'], ['--bptt']),
        (['--parameters=17'], ['--parameters=17', 'a hidden size of 1 has 18']),
        (['--remat=0'], ['--remat']),
        (['--validation=0'], ['--validation']),
    ]
    refused('memory', cases, tmp_path)
