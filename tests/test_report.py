"""The report of a sweep: intervals, tables, and what it prints and draws."""

import re

import pytest

from experiments.runner import report
from experiments.runner.intervals import intervals_table
from rnnlab.errors import InputError
from rnnlab.results import runs
from rnnlab.results import trials as folders
from rnnlab.results.records import Outcome
from rnnlab.results.statistics import Sample, interval
from rnnlab.results.trials import SweepRecord
from tests.records import ACCURATE, SQUARED, damaged, summary, trials

TEST = Outcome('test', ACCURATE.selection)


def interval_lines(*values, outcome=TEST, error=0.0):
    """The lines on settings a, b, ... with these values by seed, with single spaces."""
    samples = [([name], Sample(own, error)) for name, own in zip('abcd', values, strict=False)]
    text = intervals_table(['settings'], samples, outcome)
    head, *lines = [' '.join(line.split()) for line in text.splitlines()]
    words = '95 % intervals, and each setting minus the best, paired by seed'
    assert head == f'{outcome.words}: {words}'
    return lines[3:]


def test_differences_within_the_noise_are_called_so():
    best = {0: 0.88, 1: 0.9, 2: 1.0, 3: 0.98}
    second = {**best, 0: 0.89, 1: 0.87}
    third = {seed: value - 0.1 for seed, value in best.items()}
    lines = interval_lines(best, second, third, {0: 0.8, 3: 0.7})
    low, high = interval([*best.values()])
    assert high > 1
    assert lines[0] == f'a 4 0.9400 ± 0.0589 {low:.4f} to 1.0000'  # no accuracy is above 1
    ends = r'0\.\d+ to 1\.0000 -0\.0050 -0\.\d+ to \+0\.\d+'
    assert re.fullmatch(rf'b 4 0\.9350 ± 0\.0645 {ends} within the noise', lines[1])
    assert lines[2].endswith('-0.1000 -0.1000 to -0.1000 worse')
    assert lines[3] == 'd 2 0.7500 ± 0.0707 - -0.1800 - too few seeds to tell'


def test_a_difference_is_no_surer_than_the_test_examples():
    best = {0: 0.98, 1: 0.981, 2: 0.979}
    second = {seed: value - 2 / 10_000 for seed, value in best.items()}  # two images, every time
    error = TEST.sample({seed: summary(value, value) for seed, value in best.items()}).error
    assert interval_lines(best, second, error=error)[1].endswith('within the noise')
    assert interval_lines(best, second)[1].endswith('worse')  # if the seeds were all the noise


def test_of_losses_less_is_better_and_diverged_settings_have_no_interval():
    lines = interval_lines(
        {},
        {0: 2e-4, 1: 3e-4, 2: 2.5e-4},
        {0: 0.1, 1: 0.11, 2: 0.12},
        {0: 1e-4, 1: 2e-4, 2: 1.5e-4},
        outcome=Outcome('best', SQUARED.selection),
    )
    assert lines[0] == 'a 0 - -'
    assert re.fullmatch(r'b 3 2\.5e-04 ± 5\.0e-05 \S+ to \S+', lines[1])
    assert lines[2].endswith('worse')
    assert lines[3].endswith('-1.0e-04 -1.0e-04 to -1.0e-04 better')


def test_one_seed_has_no_interval_and_two_say_so():
    one, two = ([(['0.1'], Sample(own, 0.0))] for own in ({0: 0.5}, {0: 0.5, 1: 0.6}))
    assert intervals_table(['lr'], one, TEST) == ''
    assert intervals_table(['lr'], two, TEST).startswith('test accuracy: two seeds are too')


def write_sweep(folder, metrics, kind='best'):
    results, curves = trials(metrics)
    record = SweepRecord(
        metrics=metrics,
        ranked_by=Outcome(kind, metrics.selection),
        sweep=['cell=gru,lstm', 'lr=log(1e-3,1e-1,3)', 'seed=0,1'],
        names=['cell', 'lr', 'seed'],
        static=['cell'],
        trials=20,
        title='digits',
    )
    runs.write_json(folder / folders.SWEEP, record.to_json())
    folders.write_wave(folder, results, curves, metrics)


def report_lines(folder, capsys):
    report.sweep_report(folder)
    return [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_report_ranks_settings_and_draws_them(tmp_path, capsys):
    write_sweep(tmp_path, ACCURATE)
    runs.write_json(tmp_path / folders.BEST / runs.SUMMARY, {'trial': 11})
    lines = report_lines(tmp_path, capsys)
    assert 'cell lr seeds validation: best last test diverged chance' in lines
    at = lines.index('lstm 0.1 2 0.9200 ± 0.0283 0.8200 ± 0.0283 0.8200 ± 0.0283')
    assert lines[at - 1].startswith('─')  # the best is first
    assert 'gru 0.01 2 0.5800 0.4800 0.4800 1' in lines  # a diverged seed has no value
    assert '12 of 20 trials, 1 diverged, 0 no better than chance' in lines
    chosen = 'best trial: 11, cell=lstm lr=0.1 seed=1: validation: best 0.9400, last 0.8400'
    assert f'{chosen}, test 0.8400; its run is {tmp_path / "best"}' in lines
    assert (
        f'{tmp_path / "trials.csv"} has every trial; drawn: curves.png, axes.png, map.png' in lines
    )
    assert all((tmp_path / name).exists() for name in ('curves.png', 'axes.png', 'map.png'))


def test_losses_are_ranked_from_the_least(tmp_path, capsys):
    write_sweep(tmp_path, SQUARED, 'test')
    lines = report_lines(tmp_path, capsys)
    assert any(line.startswith('best trial: 0, cell=gru lr=0.001 seed=0:') for line in lines)
    assert any(line.startswith('ranked by test loss: not every trial') for line in lines)


@pytest.mark.parametrize(
    ('text', 'words'),
    [(None, 'there is no sweep.json'), ('{}', 'is not the record of a sweep'), ('[]', 'an object')],
)
def test_a_folder_without_a_sweep_is_named(tmp_path, text, words):
    if text is not None:
        (tmp_path / folders.SWEEP).write_text(text)
    with pytest.raises(InputError, match=words):
        report.sweep_report(tmp_path)


@pytest.mark.parametrize('name', [folders.SWEEP, 'waves/00000.json', 'best/summary.json'])
def test_files_that_hold_something_else_are_one_line(tmp_path, monkeypatch, name):
    monkeypatch.setattr(report, 'draw_sweep', lambda *args: [])
    (tmp_path / folders.BEST).mkdir()
    (tmp_path / folders.BEST / runs.SUMMARY).write_text('{"trial": 11, "test_loss": 0.5}')
    write_sweep(tmp_path, ACCURATE)
    wave = runs.read_json(folders.wave_path(tmp_path, 0))
    del wave[runs.CHECKSUM]  # which tells all that follows by itself
    runs.write_json(folders.wave_path(tmp_path, 0), wave)
    path, told = tmp_path / name, []
    for text in damaged(path.read_text(), 100):
        path.write_text(text)
        try:
            report.sweep_report(tmp_path)
        except InputError as error:
            told.append(str(error))
    assert len(told) > 20
    assert all(str(path) in each for each in told)


def test_a_sweep_without_a_finished_trial_is_named(tmp_path):
    write_sweep(tmp_path, ACCURATE)
    folders.wave_path(tmp_path, 0).unlink()
    with pytest.raises(InputError, match='no finished trial yet'):
        report.sweep_report(tmp_path)
