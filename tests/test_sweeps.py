"""Sweeps as a user runs them."""

import csv
import logging
import re
import shutil
import signal

import jax
import numpy as np
import pytest

from rnnlab.results import trials
from rnnlab.results.trials import SweepRecord
from tests.conftest import call, paused_training, ran, refused, stopped
from tests.folders import final, read, rows

SMALL = ['--dataset=digits', '--hidden_size=8', '--batch_size=64', '--validation=200']
AXES = ['--sweep=cell=elman,gru', '--sweep=lr=log(1e-4,1e-2,3)', '--sweep=seed=0,1']
ALONE = [*SMALL, '--steps=120', '--eval_every=50', '--keep=best', '--checkpoint_every=0']
FLAGS = [*ALONE, *AXES, '--devices=2', '--max_lanes=4']

pytestmark = [pytest.mark.usefixtures('shell'), pytest.mark.slow]


def run(folder, *flags, **options):
    """What a run or sweep in float64 prints."""
    return ran('mnist', *flags, f'--out={folder}', x64=True, **options)


def table(folder):
    """trials.csv without the seconds, which are its last column."""
    with (folder / 'trials.csv').open() as file:
        every = csv.DictReader(file)
        return [{name: row[name] for name in row if name != 'seconds'} for row in every]


def same_trials(folder, others):
    """Checks that the trials, however batched, have the settings and results of the others."""
    for mine, other in zip(table(folder), others, strict=True):
        assert all(mine[name] == other[name] for name in ('trial', 'lr', 'status'))
        assert float(mine['test_loss']) == pytest.approx(float(other['test_loss']), rel=1e-9)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """An uninterrupted sweep: (its folder, what it printed, names of the compiled programs)."""
    folder, compiled = tmp_path_factory.mktemp('sweeps') / 'whole', []
    logger, handler = logging.getLogger('jax._src.dispatch'), logging.Handler()
    handler.emit = lambda record: compiled.append(record.getMessage())
    logger.addHandler(handler)
    with jax.log_compiles():
        printed = run(folder, *FLAGS, pictures=True)
    logger.removeHandler(handler)
    finished = (re.match(r'Finished XLA compilation of jit\((\w+)\)', m) for m in compiled)
    return folder, printed, [match[1] for match in finished if match]


def test_a_sweep_writes_its_folder_and_shows_its_end(whole):
    folder, printed, programs = whole
    files = {'sweep.json', 'environment.json', 'trials.csv', 'metrics.jsonl', 'waves', 'best'}
    pictures = {'axes.png', 'curves.png', 'map.png'}
    assert {path.name for path in folder.iterdir()} == files | pictures
    results = table(folder)
    assert [int(row['trial']) for row in results] == list(range(12))
    axes = [(cell, seed) for cell in ('elman', 'gru') for _ in range(3) for seed in '01']
    assert [(row['cell'], row['seed']) for row in results] == axes
    assert [row['lr'] for row in results[::2]] == ['0.0001', '0.001', '0.01'] * 2
    assert {row['status'] for row in results} <= {'finished', 'chance'}
    steps = [(trial, step) for trial in range(12) for step in (50, 100, 120)]
    assert [(row['trial'], row['step']) for row in rows(folder)] == steps
    assert programs.count('advance') == 2  # one for each cell, for four batches, two of them full
    best = max(results, key=lambda row: float(row['best_validation_accuracy']))
    assert str(read(folder / 'best', 'summary.json')['trial']) == best['trial']
    for words in ('12 of 12 trials', f'best trial: {best["trial"]}, cell={best["cell"]}', '± '):
        assert words in printed


def test_a_lane_is_the_run_alone(whole, tmp_path):
    folder, _, _ = whole
    best = read(folder / 'best', 'summary.json')
    run(tmp_path, *ALONE, *settings(folder, best['trial']), '--devices=1')
    own = [row for row in rows(folder) if row.pop('trial') == best['trial']]
    assert len(own) == 3
    for a, b in zip(rows(tmp_path), own, strict=True):
        assert a == pytest.approx(b, rel=1e-9)
    summary = read(tmp_path, 'summary.json')
    del best['trial'], best['checksum'], summary['checksum']  # of all files, config.json too
    assert summary | {'seconds': 0} == pytest.approx(best | {'seconds': 0}, rel=1e-9)
    a, b = (final(path, 'best')['params'] for path in (tmp_path, folder / 'best'))
    for mine, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-8, atol=1e-9)


def settings(folder, trial):
    """The flags of the run that a trial is."""
    row = table(folder)[trial]
    return [f'--{name}={row[name]}' for name in ('cell', 'lr', 'seed')]


def test_the_best_trials_run_resumes_as_a_run(whole, tmp_path):
    folder, _, _ = whole
    shutil.copytree(folder / 'best', tmp_path / 'run')
    flags = settings(folder, read(folder / 'best', 'summary.json')['trial'])
    out = run(tmp_path / 'run', *ALONE, *flags, '--resume')
    assert 'resumes at step 120' in out


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_stopped_sweep_resumes_to_the_same_trials(whole, tmp_path, number):
    expected, _, _ = whole
    waves = tmp_path / 'sweep' / 'waves'

    def ready():
        return [*waves.glob('*.json')] and [*waves.glob('*.*/*/commit_success.txt')]

    flags = [*FLAGS, f'--out={tmp_path / "sweep"}']
    code, printed = stopped([*flags, '--jax_enable_x64'], number, ready)
    assert code == (-number if number == signal.SIGKILL else 128 + number), printed
    metrics = SweepRecord.read(expected).metrics
    finished = len(trials.read_waves(tmp_path / 'sweep', metrics)[0])
    assert 0 < finished < 12
    if number != signal.SIGKILL:
        assert f'stopped with {finished} of 12 trials finished' in printed
    run(tmp_path / 'sweep', *FLAGS, '--resume')
    for read_back in (table, rows):
        mine, other = read_back(tmp_path / 'sweep'), read_back(expected)
        assert [list(row.items()) for row in mine] == [list(row.items()) for row in other]


def test_shards_make_the_sweep_together(whole, tmp_path):
    expected, _, _ = whole
    assert '6 of 12' in run(tmp_path, *FLAGS, '--shard=2/2')
    assert '6 of 12 trials' in ran('report', f'--out={tmp_path}')
    code, _, err = call('mnist', *FLAGS, '--shard=2/3', f'--out={tmp_path}', x64=True)
    assert (code, 'parts: 2 there, 3 here' in err) == (1, True)
    assert '12 of 12 trials' in run(tmp_path, *FLAGS, '--shard=1/2')
    same_trials(tmp_path, table(expected))


def test_another_sweep_into_the_folder_is_refused(whole):
    folder, _, _ = whole
    for flags, words in (
        ([], 'holds a sweep already'),
        (['--epochs=3', '--resume'], 'with other settings (epochs: 30 there, 3 here)'),
    ):
        code, _, err = call('mnist', *FLAGS, *flags, f'--out={folder}', x64=True)
        assert (code, words in err) == (1, True), err
    missing = f'there is no sweep.json in {folder.parent}; name the folder that has it'
    assert call('report', f'--out={folder.parent}') == (1, '', f'error: {missing}\n')


def test_of_two_processes_on_a_sweep_one_trains_and_parts_go_together(tmp_path):
    folder = tmp_path / 'sweep'
    axis = '--sweep=lr=log(1e-4,1e-2,6)', '--max_lanes=1', '--devices=1'
    flags = [*SMALL, '--steps=300', *axis, f'--out={folder}']
    with paused_training('mnist', *flags, '--shard=1/2', at=folder / 'sweep.json'):
        code, _, err = call('mnist', *flags, '--shard=1/2')
        assert code == 1
        assert re.fullmatch(f'error: another process is training in {folder}; .*\n', err)
    ran('mnist', *flags, '--shard=2/2')
    assert [row['trial'] for row in table(folder)] == [*'012345']
    assert not [*folder.glob('.lock*')]


def test_a_search_learns_and_resumes_to_the_same_trials(tmp_path):
    pytest.importorskip('optuna')
    axes = '--search=tpe', '--trials=6', '--sweep=lr~log(1e-5,1e-1)', '--sweep=seed=0,1'
    flags = [*SMALL, '--steps=40', *axes]
    run(tmp_path / 'whole', *flags, '--max_lanes=4')
    results = table(tmp_path / 'whole')
    assert len(results) == 12
    assert len({row['lr'] for row in results}) == 6
    assert [row['lr'] for row in results[::2]] == [row['lr'] for row in results[1::2]]
    shutil.copytree(tmp_path / 'whole', tmp_path / 'cut')
    for path in sorted((tmp_path / 'cut' / 'waves').glob('*.json'))[1:]:
        path.unlink()
    lost = 'trials.csv has trial 4, which is gone from waves/; remove trials.csv and resume'
    assert lost in call('report', f'--out={tmp_path / "cut"}').err
    (tmp_path / 'cut' / 'trials.csv').unlink()
    # the number of lanes changes no point that is drawn
    run(tmp_path / 'cut', *flags, '--resume', '--max_lanes=2')
    same_trials(tmp_path / 'cut', results)


def test_trials_that_fail_are_marked_and_disturb_nobody(tmp_path):
    axis = '--sweep=lr=1e-9,0.01,1e200'
    printed = run(tmp_path, *SMALL, '--cell=irnn', '--steps=100', axis)
    results = table(tmp_path)
    assert [row['status'] for row in results] == ['chance', 'finished', 'diverged']
    assert (results[2]['test_accuracy'], results[2]['kept_step']) == ('', '1')
    assert '3 of 3 trials, 1 diverged, 1 no better than chance' in printed
    assert {row['trial'] for row in rows(tmp_path)} == {0, 1}


def dry_run(*flags, **options):
    return ran('mnist', '--dataset=digits', *flags, '--dry_run', **options)


def test_a_dry_run_shows_the_trials_and_does_nothing(tmp_path):
    out = dry_run(*SMALL, *AXES, '--out=sweep', cwd=tmp_path)
    assert re.search(r'11 +gru +0\.01 +1', out)
    assert re.search(r'cell=gru +6 +6 +1 ', out)
    assert not list(tmp_path.iterdir())


def test_parts_share_structures_and_repeated_draws_are_one_trial():
    for part, size in ((1, '8'), (2, '16'), (3, '24')):
        out = dry_run('--sweep=hidden_size=8,16,24', f'--shard={part}/3', '--out=x')
        assert re.findall(r'hidden_size=(\d+)', out) == [size]
    drawn = dry_run('--sweep=cell~elman,gru', '--trials=20')
    assert sorted(re.findall(r'^ +\d+ +(\w+)$', drawn, re.MULTILINE)) == ['elman', 'gru']


def test_a_budget_of_parameters_gives_each_cell_its_size():
    out = dry_run('--parameters=900', '--sweep=cell=elman,gru', '--sweep=seed=0,1')
    sizes = re.findall(r'^ +\d+ +(\w+) +\d +(\d+)$', out, re.MULTILINE)
    # h (h + 8 + 1) + 10 h + 10 are 850 for 21 and 912 for 22; of a gru
    # 3 h (h + 8 + 2) + 10 h + 10 are 813 for 11 and 922 for 12
    assert sizes == [('elman', '21')] * 2 + [('gru', '11')] * 2


def test_the_best_trial_of_a_budget_resumes_with_the_same_size(tmp_path):
    flags = ['--dataset=digits', '--parameters=900', '--steps=2', '--validation=0', '--cell=elman']
    printed = run(tmp_path, *flags, '--sweep=seed=0..2')
    assert printed.startswith('--parameters=900: hidden_size=21\n')
    assert 'test accuracy: 95 % intervals' in printed
    assert {row['parameters'] for row in table(tmp_path)} == {'850'}
    config = read(tmp_path / 'best', 'config.json')
    assert (config['parameters'], config['hidden_size']) == (900, 21)
    out = run(tmp_path / 'best', *flags, f'--seed={config["seed"]}', '--resume')
    assert 'resumes at step 2' in out


BAD_SWEEPS = [
    (['--sweep=hiden_size=8,16'], ['--sweep=hiden_size', 'did you mean hidden_size?']),
    (['--sweep=out=a,b'], ['out is no setting of the training']),
    (['--sweep=lr=1,2', '--sweep=lr=3,4'], ['--sweep has lr twice']),
    (['--sweep=lr=log(0,1,3)'], ['--sweep: ', 'above zero']),
    (['--sweep=lr'], ['--sweep: ', 'NAME=VALUES']),
    (['--sweep=hidden_size=8.5,9'], ['--sweep=hidden_size']),
    (['--sweep=bidirectional=maybe,true'], ['--sweep=bidirectional', 'maybe']),
    (['--sweep=lr=0.01,1e-2'], ['--sweep=lr has 0.01 twice']),
    (['--sweep=lr=0.1,0'], ['--sweep=lr: --lr=0 must be a number above zero']),
    (['--sweep=cell=lstm,lstmm'], ["--sweep=cell: --cell: unknown cell 'lstmm'"]),
    (['--sweep=seed=0..1000'], ['1001 trials, more than --max_trials=1000']),
    (['--sweep=cell=lstm,gru', '--sweep=forget_bias=0,1'], ['--forget_bias goes with']),
    (['--sweep=batch_size=32,5000'], ['--batch_size=5000 is more than']),
    (['--sweep=warmup=0,99999'], ['warmup=99999 must leave']),
    (['--sweep=lr~log(1e-4,1e-1)'], ['--trials=N']),
    (['--sweep=lr=1,2', '--search=tpe'], ['--search goes with an axis to draw from']),
    (['--sweep=cell~lstm,gru', '--search=tpe', '--trials=4'], ['write --sweep=cell=']),
    (['--sweep=dropout~lin(0,1)', '--search=tpe', '--trials=4'], ['--dropout=1', 'below 1']),
    (
        ['--sweep=lr~log(1e-4,1e-1)', '--search=tpe', '--trials=4', '--validation=0'],
        ['--search ranks by the validation split'],
    ),
    (['--sweep=seed=0,1', '--shard=3/2', '--out=x'], ['--shard=3/2 should be i/n']),
    (['--sweep=seed=0,1', '--shard=1/2'], ['--shard goes with --out']),
    (['--sweep=seed=0,1', '--shard=1/99', '--out=x'], ['--shard=1/99', 'the 2 trials']),
    (['--sweep=seed=0,1', '--shard=1/' + '9' * 5000, '--out=x'], ['should be i/n']),
    (['--sweep=lr~0.1', '--trials=3'], ['--sweep', 'one value']),
    (['--sweep=seed=0,1', '--resume'], ['--resume goes with --out']),
    (['--sweep=seed=0,1', '--devices=many'], ['--devices=many']),
    (['--sweep=seed=0,1', '--jax_default_prng_impl=rbg'], ['threefry2x32']),
    (['--sweep=seed=0,1', '--out=/dev/null/sweep'], ['/dev/null/sweep', 'Not a directory']),
    (['--sweep=seed=0,1', '--out=/dev/null'], ['/dev/null', 'no sweep']),
    (['--dry_run'], ['--dry_run goes with --sweep']),
    (['--max_trials=3'], ['--max_trials goes with --sweep']),
]


def test_bad_sweeps_are_one_line(tmp_path):
    refused('mnist', [([*SMALL, *flags], words) for flags, words in BAD_SWEEPS], tmp_path)
