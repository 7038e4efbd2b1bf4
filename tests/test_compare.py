"""Runs side by side: what compare prints and draws."""

import pytest

from experiments import compare
from rnnlab.errors import InputError
from rnnlab.results import runs
from rnnlab.results.statistics import interval, sampling_error
from tests.records import ACCURATE, SQUARED, damaged, row, summary


def write_run(folder, seed, cell, best, *, finished=True, metrics=ACCURATE):
    config = {'experiment': 'imdb', 'cell': cell, 'hidden_size': 32, 'seed': seed}
    runs.write_json(folder / runs.CONFIG, config | metrics.to_json())
    for epoch, value in enumerate((0.6, best, best - 0.1), 1):
        runs.append_row(folder, row(epoch, metrics, train=value, validation=value))
    if finished:
        result = summary(best, best - 0.01, metrics).to_json(metrics)
        runs.write_json(folder / runs.SUMMARY, result)


def compared(folder, names, capsys):
    """The lines that compare prints, with single spaces."""
    compare.main(compare.Config(out=str(folder)), [str(folder / name) for name in names])
    return [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_compare_lays_runs_side_by_side(tmp_path, capsys):
    cells = ['gru'] * 3 + ['lstm'] * 3
    for number, (cell, best) in enumerate(zip(cells, (87, 82, 80, 88, 86, 87), strict=True)):
        write_run(tmp_path / str(number), number % 3, cell, best / 100, finished=number > 0)
    lines = compared(tmp_path, '012345', capsys)
    assert 'run cell seed validation: best last test parameters seconds an epoch' in lines
    assert f'{tmp_path}/0 gru 0 0.8700 0.7700 - - 2.5' in lines
    assert f'{tmp_path}/3 lstm 0 0.8800 0.7800 0.8700 1,234 2.5' in lines
    assert 'cell=gru 2 0.8100 ± 0.0141 0.7100 ± 0.0141 0.8000 ± 0.0141 1,234 2.5' in lines
    low, high = interval([0.87, 0.85, 0.86], sampling_error(0.86, 1000))
    at = lines.index(f'cell=lstm 3 0.8600 ± 0.0100 {low:.4f} to {high:.4f}')  # the best test first
    assert lines[at + 1] == 'cell=gru 2 0.8000 ± 0.0141 - -0.0550 - too few seeds to tell'
    assert (tmp_path / compare.PICTURE).exists()


def test_runs_with_other_metrics_stand_side_by_side_without_differences(tmp_path, capsys):
    for seed in range(3):
        write_run(tmp_path / f'a{seed}', seed, 'gru', 0.8)
        write_run(tmp_path / f'b{seed}', seed, 'lstm', 0.5, metrics=SQUARED)
    lines = compared(tmp_path, ['a0', 'b0', 'a1', 'b1', 'a2', 'b2'], capsys)
    assert f'{tmp_path}/b0 lstm 0 0.4000 0.4000 0.4900 1,234 2.5' in lines
    assert 'cell=gru 3 0.8000 0.7000 0.7900 1,234 2.5' in lines
    assert not any('95 % intervals' in line for line in lines)


@pytest.mark.parametrize('name', [runs.CONFIG, runs.SUMMARY, runs.METRICS])
def test_files_that_hold_something_else_are_one_line(tmp_path, monkeypatch, name):
    monkeypatch.setattr(compare.plots, 'compare', lambda *args: None)
    for seed in range(3):
        write_run(tmp_path / f'a{seed}', seed, 'gru', 0.8)
        write_run(tmp_path / f'b{seed}', seed, 'lstm', 0.5)
    path, told = tmp_path / 'a1' / name, []
    first, *others = path.read_text().splitlines() if name == runs.METRICS else [path.read_text()]
    for text in damaged(first, 100):
        path.write_text('\n'.join([text, *others, '']))
        try:
            compare.main(compare.Config(out=str(tmp_path)), [*map(str, tmp_path.glob('??'))])
        except InputError as error:
            told.append(str(error))
    assert len(told) > 20
    assert all(str(path) in each for each in told)


@pytest.mark.parametrize(
    ('folders', 'words'),
    [
        ([], 'takes the folders of runs'),
        (['nowhere'], 'there is no config.json in .*nowhere'),
        (['broken'], 'config.json cannot be read'),
        (['old'], 'is not of a run that this version can read'),
        (['sweep'], 'holds a sweep: .*report .*or compare .*best'),
    ],
)
def test_compare_says_what_is_no_run(tmp_path, capsys, folders, words):
    for path, text in (
        ('broken/config.json', '{'),
        ('old/config.json', '{"experiment": "imdb"}'),
        ('sweep/sweep.json', '{}'),
    ):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text)
    with pytest.raises(InputError, match=words):
        compared(tmp_path, folders, capsys)
    assert capsys.readouterr().out == ''
