"""The table of what each cell can do."""

import csv
from statistics import fmean

import pytest

from experiments.capabilities import TASK, Capability, Config, capabilities, completed, show
from experiments.runner.cli import parse
from experiments.runner.cluster import command
from rnnlab.results.ranking import Setting, by_setting
from rnnlab.results.records import Outcome, Trial
from rnnlab.results.trials import SweepRecord
from rnnlab.training.losses import ACCURACY
from tests.conftest import ran, refused
from tests.records import ACCURATE, summary

VALIDATED = {0.01: (0.9, 0.2, 0.8), 0.1: (0.7, 0.7, 0.7)}  # by learning rate, of three seeds
TESTS = {24: (0.96, 0.97, 1.0), 48: (0.95, 0.9, None)}  # at the better one


def trials():
    """Of one cell and two tasks; the learning rate of 0.1 validates best in the mean."""
    settings = [
        (task, lr, seed) for task in ('s3', 'dyck') for lr in VALIDATED for seed in range(3)
    ]
    for number, (task, lr, seed) in enumerate(settings):
        short, long = (own[seed] if lr == 0.1 else 0.0 for own in TESTS.values())
        tests = {48: {'loss': 0.1, 'accuracy': long}}
        own = summary(VALIDATED[lr][seed], short, tests=tests)
        names = {'cell': 'gru', 'task': task, 'lr': lr, 'seed': seed}
        yield Trial(number=number, settings=names, status='finished', summary=own)


def test_the_table_has_the_tests_of_the_best_settings(tmp_path):
    best = Outcome('best', ACCURACY)
    found = capabilities(Config(length=24), by_setting(trials(), best))
    assert [*found] == [('gru', 's3'), ('gru', 'dyck')]
    names = ['cell', 'task', 'lr', 'seed']
    record = SweepRecord(
        metrics=ACCURATE, ranked_by=best, sweep=[], names=names, static=[], trials=12, title=''
    )
    show(found, record, '12 of 12 trials', tmp_path)
    table = [*csv.DictReader((tmp_path / 'capabilities.csv').read_text().splitlines())]
    for row in table:
        assert (row['lr'], row['solved'], row['reaches']) == ('0.1', '3/3', '1x')
        for column, values in (('1x', TESTS[24]), ('2x', TESTS[48])):
            mean = fmean(value or 0.0 for value in values)
            assert float(row[column].split()[0]) == pytest.approx(mean, abs=6e-4)
            assert ' to ' in row[column]
    assert (tmp_path / 'capabilities.png').stat().st_size > 10_000


def test_a_length_is_reached_if_all_up_to_it_are_solved():
    own = Capability(Setting({}, []), 100, {1.0: [1, 1, 0.9], 2.0: [1, 0.9, 1], 8.0: [0.96, 1, 1]})
    assert own.reaches == [3, 1, 0]
    assert (own.solved, own.length) == ('2/3', '1x')


def test_axes_that_no_flag_names_are_added():
    given = Config(sweep=('lr~log(1e-3,1e-1)', 'cell=gru'), hidden_size=8, seed=3)
    assert completed(given).sweep[:2] == given.sweep
    assert [axis.partition('=')[0] for axis in completed(given).sweep[2:]] == ['task']
    assert completed(given).parameters is None
    assert completed(Config()).parameters == 5000


def test_a_worker_trains_what_was_launched(tmp_path):
    config, _ = parse(Config, ['', '--sweep=cell=gru', '--cluster=local', '--workers=2'])
    _, _, module, *flags = command(TASK, completed(config), tmp_path)
    assert module == 'experiments.capabilities'
    own, _ = parse(Config, ['', *flags])
    assert completed(own) == own
    assert (own.to_json(), own.sweep) == (completed(config).to_json(), completed(config).sweep)


@pytest.mark.slow
def test_a_sweep_ends_with_the_table(tmp_path):
    sizes = '--hidden_size=4', '--steps=2', '--validation=20', '--length=4', '--test_length=2x'
    one = '--cell=elman', '--task=parity', '--lr=1e-2'
    out = ran('capabilities', *sizes, *one, '--out=all', cwd=tmp_path)
    trials, (row,) = (
        [*csv.DictReader((tmp_path / 'all' / f'{name}.csv').read_text().splitlines())]
        for name in ('trials', 'capabilities')
    )
    for column, name in (('1x', 'test_accuracy'), ('2x', 'test_8_accuracy')):
        mean = fmean(float(trial[name]) for trial in trials)
        assert float(row[column].split()[0]) == pytest.approx(mean, abs=6e-4)
        assert row[column] in out


def test_numbers_are_no_capability(tmp_path):
    cases = [
        (['--sweep=task=parity,adding', '--sweep=cell=elman'], ['--task=adding', 'numbers']),
        (['--sweep=cell=elmn'], ['--sweep=cell', 'elmn']),
        (['--sweep=cell=elman', '--test_length=99'], ['--test_length=99', 'like 8x']),
    ]
    refused('capabilities', cases, tmp_path)
