"""The progress of runs and sweeps: lines, and the time left."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.runner import progress
from rnnlab.results.records import Outcome
from tests.conftest import call
from tests.records import ACCURATE, SQUARED, row, trials

BEST = Outcome('best', ACCURATE.selection)


def lines(text):
    return [' '.join(line.split()) for line in text.splitlines()]


@pytest.mark.parametrize(('mode', 'number'), [('bar', 3), ('lines', 3), ('none', 0)])
def test_a_run_shows_its_evaluations(capsys, mode, number):
    progress.say_compiling(mode)
    with progress.run_progress(20, 0, mode) as show:
        show(5, {'loss': 1.0}, None)
        show(10, {'loss': 0.5}, row(1, train=0.5, validation=0.25))
        show(15, {'loss': 0.5}, row(1.5, train=0.5, validation=None))  # in the same second
        show(20, {'loss': 0.5}, row(2, train=0.5, validation=None))
    train = 'train loss 0.5000 accuracy 0.5000'
    assert (
        lines(capsys.readouterr().out)
        == [
            'compiling',
            f'epoch 1.00 step 10 {train} validation loss 0.2500 accuracy 0.2500 7.5 s',
            f'epoch 2.00 step 20 {train} validation loss - accuracy - 10.0 s',
        ][:number]
    )


def group(label='cell=gru', numbers=(0, 1, 2, 3), stops=(20,)):
    sizes = {'trials': len(numbers), 'batch_bytes': 2_500_000}
    rungs = [
        SimpleNamespace(stop=end, lanes=3 + n, lane_steps=len(numbers) * (end - begin), **sizes)
        for n, (begin, end) in enumerate(pairwise([0, *stops]))
    ]
    return SimpleNamespace(label=label, numbers=[*numbers], rungs=rungs)


def batch(group, size, rung=1):
    return SimpleNamespace(group=group, trials=[None] * size, number=rung)


def test_a_sweep_shows_the_spread_of_its_trials(capsys):
    results, _ = trials()
    finished, own = {}, group()
    with progress.sweep_progress([own], finished, BEST) as shown:
        first, second = batch(own, 3), batch(own, 1)
        shown.compile(first)
        shown.train(first, 10, None)
        shown.train(first, 20, np.array([0.5, np.nan, 0.9]))
        finished.update({(1, 3): results[3]})  # which diverged
        shown.train(second, 20, np.array([0.7]))
    _, first, second = lines(capsys.readouterr().out)
    told = 'cell=gru step 20 of 20'
    assert first.startswith(f'3 of 4 trials {told} best 0.9000 median 0.7000 diverged 1 ')
    assert second.startswith(f'2 of 4 trials {told} best 0.7000 median 0.7000 diverged 1 ')


def test_a_sweep_says_what_compiles(capsys):
    results, _ = trials()
    groups = [group('cell=gru', (0, 1)), group('cell=lstm', (2, 3)), group('cell=elman', (4, 5))]
    finished = {(1, number): results[number] for number in (0, 1)}  # by a sweep that is resumed
    with progress.sweep_progress(groups, finished, BEST) as shown:
        for own in groups[1:]:
            shown.compile(batch(own, 2))
            shown.train(batch(own, 2), 10, None)
    told = ['compiling 1 of 2: cell=lstm', 'compiling 2 of 2: cell=elman']
    assert lines(capsys.readouterr().out) == told
    alone = group('', (0, 1), stops=(10, 20))
    with progress.sweep_progress([alone], {}, BEST) as shown:
        shown.compile(batch(alone, 2, rung=1))
    assert lines(capsys.readouterr().out) == ['compiling 1 of 2: rung 1']
    with progress.sweep_progress([alone], {}, BEST, 'none') as shown:
        shown.compile(batch(alone, 2, rung=1))
        shown.train(batch(alone, 2, rung=1), 10, None)
    assert capsys.readouterr().out == ''


def test_the_time_left_is_that_of_each_static_configuration():
    left, speeds = {'gru': 100, 'lstm': 50, 'elman': 10}, {'gru': 0.5, 'lstm': 2.0}
    assert progress.seconds_left(left, {}, 3, 4.0) is None
    assert progress.seconds_left({'gru': 100}, speeds, 0, 4.0) == 50
    assert progress.seconds_left(left, speeds, 0, 4.0) == 50 + 100 + 12.5  # elman: their mean
    assert progress.seconds_left(left, speeds, 1, 4.0) == 166.5
    assert progress.seconds_left({}, speeds, 0, 4.0) == 0


def test_the_time_left_counts_compilations_apart(monkeypatch):
    """Two cells compile for 10 s, and 3 s at their first evaluation, after 10 steps.

    A lane-step of gru takes 1/4 s, of lstm 1 s.
    """
    now = 0.0
    monkeypatch.setattr(progress.time, 'perf_counter', lambda: now)
    results, _ = trials()
    groups, finished, told = [group('gru', (0, 1)), group('lstm', (2, 3))], {}, []
    with progress.sweep_progress(groups, finished, BEST, 'none') as shown:
        for own, seconds in zip(groups, (0.25, 1.0), strict=True):
            one = batch(own, 2)
            shown.compile(one)
            now += 10
            for step in range(1, 21):
                now += 3 * (step == 10)
                shown.train(one, step, np.array([0.5, 0.5]) if step >= 10 else None)
                told.append(shown.bar.tasks[0].fields['left'])
                now += 2 * seconds
            finished.update({(1, number): results[number] for number in own.numbers})
    assert told[0] == ''  # nothing but a compilation is known yet
    assert told[1] == '0:00:29'  # 36 and 40 lane-steps of 1/4 s, and a compilation
    assert told[9] == '0:00:28'  # 20 and 40 of them, and 13.5 s: the chunk of the evaluation too
    assert told[19] == '0:00:24'
    assert told[20] == '0:00:10'  # 38 lane-steps of lstm, as fast as gru as far as is known
    assert told[21:] == [f'0:00:{2 * left:02d}' for left in range(18, -1, -1)]


def test_of_losses_the_best_is_the_least():
    results, _ = trials(SQUARED)
    words = progress.spread(results[:3], np.array([0.2, 0.9]), Outcome('best', SQUARED.selection))
    assert words == 'best 0.2000  median 0.5400  diverged 0'
    assert progress.spread([], None, Outcome('best', SQUARED.selection)) == 'no evaluation yet'


SMALL = '--length=5', '--validation=2', '--steps=1', '--hidden_size=2', '--batch_size=2'


def test_without_progress_an_experiment_shows_its_start_and_end(tmp_path):
    code, out, err = call('memory', *SMALL, '--out=run', '--progress=none', cwd=tmp_path)
    assert (code, err) == (0, '')
    assert out.startswith('run on ')
    assert 'test loss' in out
    assert 'compiling' not in out
    assert 'epoch' not in out
