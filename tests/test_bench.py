"""The benchmark, small: what it refuses, its pages, and a race that runs to the end."""

import json
import re
import time
from functools import cache

import pytest

from experiments.benchmark import length, memory, race, timing
from experiments.benchmark.tables import Row
from experiments.benchmark.work import KINDS
from rnnlab import irnn
from rnnlab.recurrence import engines
from tests.conftest import call, refused

pytestmark = pytest.mark.usefixtures('shell')


def test_names_that_it_does_not_know(tmp_path):
    cases = [
        (['--cells=lsmt'], ["unknown cell 'lsmt'", 'mymodule:mycell']),
        (['--cells='], ['--cells', 'names no cell']),
        (['--what=length', '--cells=irnn,lsmt'], ["unknown cell 'lsmt'", 'irnn']),
        (['--peers=theano'], ["unknown peer 'theano'", 'torch']),
        (['--shapes=cube'], ["unknown shape 'cube'", 'rows64']),
        (['--shapes='], ['--shapes', 'nothing to time']),
        (['--what=everything'], ["'everything'", 'gradient', 'memory']),
        (['--what=memory,gradient'], ['--what=memory', 'alone']),
        (['--what=length', '--shapes=rows64'], ['--shapes has no use with --what=length']),
        (['--what=start', '--peers=torch'], ['--peers has no use with --what=start']),
    ]
    refused('bench', cases, tmp_path)


@pytest.mark.slow
def test_a_race(tmp_path, monkeypatch):
    monkeypatch.setattr(race, 'matmul_rate', cache(race.matmul_rate))  # not anew for each row
    flags = ['--peers=flax', '--shapes=series', '--cells=gru,mingru', '--repeats=1']
    flags += [f'--what={",".join(KINDS)}', '--out=race']
    code, out, err = call('bench', *flags, cwd=tmp_path)
    assert code == 0, err
    folder = tmp_path / 'race'
    rows = json.loads((folder / 'bench.json').read_text())['rows']
    assert [(row['what'], row['cell']) for row in rows] == [
        (what, cell) for what in KINDS for cell in ('gru', 'mingru')
    ]
    libraries = {row['cell']: sorted(row['seconds']) for row in rows}
    assert libraries == {'gru': ['flax', 'rnnlab'], 'mingru': ['rnnlab']}
    assert all(seconds[0] > 0 for row in rows for seconds in row['seconds'].values())
    text = (folder / 'bench.md').read_text()
    assert text in out
    short, whole = re.findall(r'(?:^\|.*\n)+', text, re.MULTILINE)
    assert (short.count('\n'), whole.count('\n')) == (2 + 2, 2 + len(rows))
    assert [line.count('|') for line in short.splitlines()] == [2 + 2 * len(KINDS) + 1 + 1] * 4
    assert (folder / 'bench.png').stat().st_size > 1000


def test_the_files_are_written_after_every_row(tmp_path):
    kinds, libraries = ['gradient', 'train_step'], ['rnnlab', 'flax', 'haiku']
    seconds = {'rnnlab': [0.002], 'flax': [0.003, 0.005]}
    work = {'shape': 'rows64', 'cell': 'lstm', 'seconds': seconds, 'operations': 1e9}
    rows = [Row(what=what, **work) for what in kinds]
    for number, row in enumerate(rows, 1):
        text = race.write(tmp_path, rows[:number], kinds, libraries, 1e12)
        assert (tmp_path / 'bench.md').read_text() == text
        assert len(json.loads((tmp_path / 'bench.json').read_text())['rows']) == number
        step = '2 | 2.00 (flax)' if number == 2 else ' | '
        assert f'| `rows64` (28, 64, 28, 64) | lstm | 2 | 2.00 (flax) | 50% | {step} |\n' in text
        times = '2 (2 to 2) | 4 (3 to 5) | '
        assert f'| {row.what} | rows64 | lstm | {times} | 2.00 | 50% |\n' in text
    assert (tmp_path / 'bench.png').stat().st_size > 1000


def test_a_timing_is_the_mean_of_enough_calls_after_a_warm_up():
    times = []
    assert 0 < timing.warm_seconds(lambda: times.append(time.perf_counter())) < timing.READING
    assert times[-1] - times[0] > timing.WARM_UP
    assert timing.mean_seconds(times.clear, 0.0) >= 0
    assert times == []


@pytest.mark.slow
def test_memory(monkeypatch, capsys):
    monkeypatch.setattr(memory, 'LENGTHS', (64,))
    memory.compare_memory(['flax', 'keras'])
    table = capsys.readouterr().out
    assert 'MB in flax' in table
    values = re.search(r'^ +64 +8 +(.*)$', table, re.MULTILINE)[1].split()
    assert all(float(value) >= 0 for value in values)


@pytest.mark.slow
def test_lengths(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(length, 'LENGTHS', (2, 4))
    monkeypatch.setattr(timing, 'WARM_UP', 0.01)
    monkeypatch.setattr(timing, 'READING', 0.01)
    length.time_lengths(['irnn', 'gru_reset_before'], 2, tmp_path)
    seconds = json.loads((tmp_path / 'length.json').read_text())['seconds']
    # gru_reset_before has no form that another engine takes
    names = [f'irnn/{engine}' for engine in engines(irnn(2))]
    assert list(seconds) == [*names, 'gru_reset_before/scan']
    times = [times for by_length in seconds.values() for times in by_length.values()]
    assert all(len(each) == 2 and min(each) > 0 for each in times)
    assert 'T = 4' in capsys.readouterr().out
    assert (tmp_path / 'length.png').stat().st_size > 1000
