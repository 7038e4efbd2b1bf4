"""Sweeps as whole processes, as a user starts them."""

import csv
import json
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from rnnlab.results import trials
from tests.conftest import ROOT, command, launch, refused
from tests.test_experiments import final

SMALL = [
    '--dataset=digits',
    '--hidden_size=8',
    '--batch_size=64',
    '--validation=200',
    '--jax_enable_x64',
]
AXES = ['--sweep=cell=elman,gru', '--sweep=lr=log(1e-4,1e-2,3)', '--sweep=seed=0,1']
FLAGS = [
    *SMALL,
    '--steps=120',
    '--eval_every=50',
    '--keep=best',
    '--max_lanes=4',
    '--checkpoint_every=0',
]

pytestmark = [pytest.mark.usefixtures('shell'), pytest.mark.slow]


def sweep(folder, *flags):
    result = launch('mnist', *flags, f'--out={folder}')
    assert result.returncode == 0, result.stderr
    return result.stdout


def table(folder):
    """trials.csv without the seconds, which are its last column."""
    with (folder / 'trials.csv').open() as file:
        return [
            {name: value for name, value in row.items() if name != 'seconds'}
            for row in csv.DictReader(file)
        ]


def rows(folder):
    lines = (folder / 'metrics.jsonl').read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name != 'seconds'}
        for line in lines
    ]


@pytest.fixture(scope='module')
def whole(shell, tmp_path_factory):
    """An uninterrupted sweep: (its folder, what it printed, how many training programs were compiled)."""
    folder, compiled = (
        tmp_path_factory.mktemp('sweeps') / 'whole',
        tmp_path_factory.mktemp('compiled'),
    )
    with pytest.MonkeyPatch.context() as patch:  # nobody else's programs
        patch.setenv('JAX_COMPILATION_CACHE_DIR', str(compiled))
        printed = sweep(folder, *FLAGS, *AXES)
    return folder, printed, len([*compiled.glob('jit_advance-*')])


def test_a_sweep_writes_its_folder_and_shows_its_end(whole):
    folder, printed, programs = whole
    files = {
        'sweep.json',
        'trials.csv',
        'metrics.jsonl',
        'waves',
        'best',
        'axes.png',
        'curves.png',
        'map.png',
    }
    assert {path.name for path in folder.iterdir()} == files
    results = table(folder)
    assert [int(row['trial']) for row in results] == list(range(12))
    assert [(row['cell'], row['seed']) for row in results] == [
        (cell, seed) for cell in ('elman', 'gru') for _ in range(3) for seed in '01'
    ]
    assert [row['lr'] for row in results[::2]] == ['0.0001', '0.001', '0.01'] * 2
    assert {row['status'] for row in results} <= {'finished', 'chance'}
    assert [(row['trial'], row['step']) for row in rows(folder)] == [
        (trial, step) for trial in range(12) for step in (50, 100, 120)
    ]
    assert programs == 2  # of two cells: four waves, of which the second one of each is filled up
    best = max(results, key=lambda row: float(row['best_validation_accuracy']))
    summary = json.loads((folder / 'best' / 'summary.json').read_text())
    assert str(summary['trial']) == best['trial']
    for words in ('12 of 12 trials', f'best trial: {best["trial"]}, cell={best["cell"]}', '± '):
        assert words in printed


def test_a_lane_is_the_run_alone(whole, tmp_path):
    folder, _, _ = whole
    best = json.loads((folder / 'best' / 'summary.json').read_text())
    trial = table(folder)[best['trial']]
    alone = [flag for flag in FLAGS if not flag.startswith('--max_lanes')]
    sweep(
        tmp_path / 'run',
        *alone,
        f'--cell={trial["cell"]}',
        f'--lr={trial["lr"]}',
        f'--seed={trial["seed"]}',
    )
    mine, own = (
        rows(tmp_path / 'run'),
        [row for row in rows(folder) if row.pop('trial') == best['trial']],
    )
    assert len(mine) == len(own) == 3
    for a, b in zip(mine, own, strict=True):
        assert a == pytest.approx(b, rel=1e-9)
    summary = json.loads((tmp_path / 'run' / 'summary.json').read_text())
    for name in (
        'test_accuracy',
        'test_loss',
        'kept_step',
        'best_validation_accuracy',
        'parameters',
    ):
        assert summary[name] == pytest.approx(best[name], rel=1e-9)
    for a, b in zip(
        leaves(final(tmp_path / 'run', 'best')['params']),
        leaves(final(folder / 'best', 'best')['params']),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


def leaves(tree):
    return (
        [leaf for value in tree.values() for leaf in leaves(value)]
        if isinstance(tree, dict)
        else [tree]
    )


def test_the_best_trials_run_goes_on_as_a_run(whole, tmp_path):
    """Its folder is that of the run alone, so that a run can be resumed from it, and compared."""
    folder, _, _ = whole
    shutil.copytree(folder / 'best', tmp_path / 'run')
    trial = table(folder)[json.loads((tmp_path / 'run' / 'summary.json').read_text())['trial']]
    alone = [flag for flag in FLAGS if not flag.startswith('--max_lanes')]
    flags = [
        *alone,
        f'--cell={trial["cell"]}',
        f'--lr={trial["lr"]}',
        f'--seed={trial["seed"]}',
        '--resume',
    ]
    assert 'goes on from step 120' in sweep(tmp_path / 'run', *flags)


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_a_stopped_sweep_resumes_to_the_same_trials(whole, tmp_path, number):
    expected, _, _ = whole
    folder = tmp_path / 'sweep'
    process = subprocess.Popen(
        command('mnist', *FLAGS, *AXES, f'--out={folder}'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    deadline = time.time() + 120
    while not (
        list(folder.glob('waves/*.json')) and list(folder.glob('waves/*.*/*/commit_success.txt'))
    ):
        assert process.poll() is None, process.communicate()[0]
        assert time.time() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), printed
    finished = len(trials.read_waves(folder)[0])
    assert 0 < finished < 12
    if number != signal.SIGKILL:
        assert f'stopped with {finished} of 12 trials finished' in printed
    printed = sweep(folder, *FLAGS, *AXES, '--resume')
    for mine, other in ((table(folder), table(expected)), (rows(folder), rows(expected))):
        assert [list(row.items()) for row in mine] == [
            list(row.items()) for row in other
        ]  # the order of columns too


def test_shards_make_the_sweep_together(whole, tmp_path):
    expected, _, _ = whole
    assert '6 of 12' in sweep(tmp_path / 'sweep', *FLAGS, *AXES, '--shard=2/2')
    unfinished = launch('report', f'--out={tmp_path / "sweep"}')
    assert unfinished.returncode == 0, unfinished.stderr
    assert '6 of 12 trials' in unfinished.stdout
    other = launch('mnist', *FLAGS, *AXES, '--shard=2/3', f'--out={tmp_path / "sweep"}')
    assert (other.returncode, 'parts=2 there, 3 now' in other.stderr) == (1, True)
    assert '12 of 12 trials' in sweep(tmp_path / 'sweep', *FLAGS, *AXES, '--shard=1/2')
    for mine, other in zip(table(tmp_path / 'sweep'), table(expected), strict=True):
        assert (mine['trial'], mine['lr'], mine['status']) == (
            other['trial'],
            other['lr'],
            other['status'],
        )
        assert float(mine['test_loss']) == pytest.approx(float(other['test_loss']), rel=1e-9)


def test_a_search_learns_and_resumes_to_the_same_trials(tmp_path):
    pytest.importorskip('optuna')
    flags = [
        *SMALL,
        '--steps=40',
        '--search=tpe',
        '--trials=6',
        '--sweep=lr~log(1e-5,1e-1)',
        '--sweep=seed=0,1',
        '--max_lanes=4',
    ]
    sweep(tmp_path / 'whole', *flags)
    results = table(tmp_path / 'whole')
    assert len(results) == 12
    assert len({row['lr'] for row in results}) == 6
    assert [row['lr'] for row in results[::2]] == [row['lr'] for row in results[1::2]]
    shutil.copytree(tmp_path / 'whole', tmp_path / 'cut')
    for path in sorted((tmp_path / 'cut' / 'waves').glob('*.json'))[1:]:
        path.unlink()
    sweep(
        tmp_path / 'cut', *flags, '--resume', '--max_lanes=2'
    )  # other lanes ask for no other points
    for mine, other in zip(table(tmp_path / 'cut'), results, strict=True):
        assert (mine['trial'], mine['lr'], mine['status']) == (
            other['trial'],
            other['lr'],
            other['status'],
        )
        assert float(mine['test_loss']) == pytest.approx(float(other['test_loss']), rel=1e-9)


def test_trials_that_fail_are_marked_and_disturb_nobody(tmp_path):
    rest = [*SMALL, '--cell=irnn', '--steps=100']
    printed = sweep(tmp_path / 'sweep', *rest, '--sweep=lr=1e-9,0.01,1e200')
    results = table(tmp_path / 'sweep')
    assert [row['status'] for row in results] == ['chance', 'finished', 'diverged']
    assert (results[2]['test_accuracy'], results[2]['kept_step']) == ('', '1')
    assert '3 of 3 trials, 1 diverged, 1 no better than chance' in printed
    assert {row['trial'] for row in rows(tmp_path / 'sweep')} == {0, 1}


def test_a_dry_run_shows_the_trials_and_does_nothing(tmp_path):
    result = launch('mnist', *SMALL, *AXES, '--dry_run', f'--out={tmp_path / "sweep"}')
    assert result.returncode == 0, result.stderr
    assert re.search(r'11 +gru +0\.01 +1', result.stdout)
    assert re.search(r'cell=gru +6 +6 +1 ', result.stdout)
    assert not (tmp_path / 'sweep').exists()


def test_parts_share_structures_and_repeated_draws_are_one_trial():
    parts = [
        launch(
            'mnist',
            *SMALL,
            '--sweep=hidden_size=8,16,24',
            f'--shard={part}/3',
            '--out=x',
            '--dry_run',
        )
        for part in (1, 2, 3)
    ]
    assert [re.findall(r'hidden_size=(\d+)', part.stdout) for part in parts] == [
        ['8'],
        ['16'],
        ['24'],
    ]
    drawn = launch('mnist', *SMALL, '--sweep=cell~elman,gru', '--trials=20', '--dry_run')
    assert sorted(re.findall(r'^ +\d+ +(\w+)$', drawn.stdout, re.MULTILINE)) == ['elman', 'gru']


def test_a_budget_of_parameters_gives_each_cell_a_size_of_its_own():
    result = launch(
        'mnist',
        '--dataset=digits',
        '--parameters=900',
        '--sweep=cell=elman,gru',
        '--sweep=seed=0,1',
        '--dry_run',
    )
    sizes = re.findall(r'^ +\d+ +(\w+) +\d +(\d+)$', result.stdout, re.MULTILINE)
    # h (h + 8 + 1) + 10 h + 10 are 850 for 21 and 912 for 22; 3 h (h + 8 + 2) + 10 h + 10 are 813 for 11 and 922 for 12
    assert sizes == [('elman', '21')] * 2 + [('gru', '11')] * 2


def test_the_best_trial_of_a_budget_goes_on_with_the_same_size(tmp_path):
    flags, folder = (
        ['--dataset=digits', '--parameters=900', '--steps=2', '--validation=0'],
        tmp_path / 'sweep',
    )
    printed = sweep(folder, *flags, '--sweep=cell=elman', '--sweep=seed=0..2')
    assert printed.startswith('--parameters=900: hidden_size=21\n')
    assert 'test accuracy: 95 % intervals' in printed
    assert {row['parameters'] for row in table(folder)} == {'850'}
    config = json.loads((folder / 'best' / 'config.json').read_text())
    assert (config['parameters'], config['hidden_size']) == (900, 21)
    alone = sweep(folder / 'best', *flags, '--cell=elman', f'--seed={config["seed"]}', '--resume')
    assert 'goes on from step 2' in alone


BAD_SWEEPS = [
    (['--sweep=hiden_size=8,16'], ['--sweep=hiden_size', 'did you mean hidden_size?']),
    (['--sweep=out=a,b'], ['out is no setting of the training']),
    (['--sweep=lr=1,2', '--sweep=lr=3,4'], ['--sweep has lr twice']),
    (['--sweep=lr=log(0,1,3)'], ['--sweep: ', 'above zero']),
    (['--sweep=lr'], ['--sweep: ', 'NAME=VALUES']),
    (['--sweep=hidden_size=8.5,9'], ['--sweep=hidden_size']),
    (['--sweep=bidirectional=maybe,true'], ['--sweep=bidirectional', 'maybe']),
    (['--sweep=lr=0.01,1e-2'], ['--sweep=lr has 0.01 twice']),
    (['--sweep=lr=0.1,0'], ['--lr=0.0: must be a number above zero']),
    (['--sweep=cell=lstm,lstmm'], ["--sweep=cell has 'lstmm': unknown cell 'lstmm'"]),
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
        ['--search goes by validation'],
    ),
    (['--sweep=seed=0,1', '--shard=3/2', '--out=x'], ['--shard=3/2 should be i/n']),
    (['--sweep=seed=0,1', '--shard=1/2'], ['--shard goes with --out']),
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


def test_another_sweep_into_the_folder_is_refused(whole):
    folder, _, _ = whole
    for flags, words in (
        ([], 'holds a sweep already'),
        (['--epochs=3', '--resume'], 'was started otherwise (epochs=30 there, 3 now)'),
    ):
        result = launch('mnist', *FLAGS, *AXES, *flags, f'--out={folder}')
        assert result.returncode == 1
        assert words in result.stderr
    result = launch('report', f'--out={folder.parent}')
    assert (result.returncode, result.stderr) == (
        1,
        f'error: there is no sweep.json in {folder.parent}; name the folder that has it\n',
    )
