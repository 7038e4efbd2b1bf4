"""Hyperband: brackets of rungs, whose points TPE chooses."""

import re

import pytest

from experiments.runner import lanes, loop, rounds
from rnnlab.errors import InputError
from rnnlab.results import trials
from rnnlab.sweeps.rungs import Bracket, brackets
from rnnlab.sweeps.search import comparable
from tests.conftest import ran, refused
from tests.folders import rows
from tests.interrupt import killed
from tests.test_claims import merged
from tests.test_rungs import by_trial
from tests.test_sweeps import table

pytest.importorskip('optuna')

RUN = ['--task=adding', '--length=4', '--validation=64', '--hidden_size=4', '--cell=elman']
RUN += ['--batch_size=8', '--steps=40', '--eval_every=10', '--keep=best', '--devices=2']
RUN += ['--sweep=seed=0,1']
OFTEN = '--checkpoint_every=0'
AXIS = ['--sweep=lr~log(1e-4,1)']
FLAGS = ['--search=hyperband', '--trials=10', '--rungs=3', '--eta=2', *AXIS]

sweeps = pytest.mark.usefixtures('shell', 'traced_once')


def train(folder, *flags):
    return ran('memory', *RUN, *flags, f'--out={folder}', x64=True)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, traced_once):
    folder = tmp_path_factory.mktemp('hyperband') / 'whole'
    return folder, train(folder, *FLAGS)


@sweeps
@pytest.mark.slow
def test_points_begin_and_stop_on_the_rungs_of_their_brackets(whole):
    folder, printed = whole
    results = table(folder)
    assert len(results) == 20
    assert len({row['lr'] for row in results}) == 10
    reached = [int(row['rung']) for row in results[::2]]
    assert reached == [int(row['rung']) for row in results[1::2]]  # both seeds of a point
    assert [sorted(part) for part in (reached[:4], reached[4:7], reached[7:])] == [
        [1, 1, 2, 3],
        [2, 2, 3],
        [3, 3, 3],
    ]
    stops = {'1': '10', '2': '20', '3': ''}
    assert all(row['stopped_at'] == stops[row['rung']] for row in results)
    done = 2 * (4 * 10 + 2 * 10 + 20 + 3 * 20 + 20 + 3 * 40)
    assert f'10 trials were stopped: {done} of 800 lane-steps were trained' in printed
    assert not list(folder.glob('states/*'))


@sweeps
@pytest.mark.slow
def test_a_point_is_bit_for_bit_the_lane_of_a_sweep_without_rungs(whole, tmp_path):
    folder, _ = whole
    results, curves = table(folder), by_trial(folder)
    values = ','.join(dict.fromkeys(row['lr'] for row in results))
    train(tmp_path, f'--sweep=lr={values}', '--max_lanes=8')
    full = {(row['lr'], row['seed']): row for row in table(tmp_path)}
    others = by_trial(tmp_path)
    for row in results:
        number, stop, _ = int(row.pop('trial')), row.pop('stopped_at'), row.pop('rung')
        other = dict(full[row['lr'], row['seed']])
        expected = others[int(other.pop('trial'))]
        assert curves[number] == [each for each in expected if each['step'] <= int(stop or 40)]
        assert stop or row == other


@sweeps
@pytest.mark.slow
def test_the_best_of_a_bracket_continue(whole):
    folder, _ = whole
    results, curves = table(folder), by_trial(folder)

    def value(point, step):
        rows = [curves[number][step // 10 - 1] for number in (2 * point, 2 * point + 1)]
        return sum(row['validation_loss'] for row in rows)

    rung = [int(row['rung']) for row in results[::2]]
    for points, step, at in ((range(4), 10, 1), (range(4), 20, 2), (range(4, 7), 20, 2)):
        there = [point for point in points if rung[point] >= at]
        order = sorted(there, key=lambda point, step=step: value(point, step))
        assert [rung[point] > at for point in order] == sorted(rung[p] > at for p in there)[::-1]


MOMENTS = [
    (trials, 'write_wave', 0, True),  # in the first bracket
    (loop, 'evaluate', 1, False),  # on its second rung
    (rounds, 'drop_states', 1, False),  # at its end
    (lanes, 'gather', 0, False),  # between the rungs of the second
]


@sweeps
@pytest.mark.slow
def test_a_search_that_is_killed_again_and_again_ends_in_the_same_trials(whole, tmp_path):
    folder, _ = whole
    for at in MOMENTS:
        resume = ['--resume'] if (tmp_path / 'cut').exists() else []
        assert killed(*at[:3], lambda r=resume: train(tmp_path / 'cut', *FLAGS, OFTEN, *r), at[3])
    train(tmp_path / 'cut', *FLAGS, '--resume')
    assert table(tmp_path / 'cut') == table(folder)
    assert by_trial(tmp_path / 'cut') == by_trial(folder)


@sweeps
@pytest.mark.slow
def test_workers_end_in_the_trials_of_one_process(whole, tmp_path, impatient):
    """One dies at the end of a batch of the first bracket, another one in the second."""
    folder, _ = whole
    for at in (1, 3):
        assert killed(trials, 'write_wave', at, lambda: train(tmp_path, *FLAGS, '--shard=any/2'))
    train(tmp_path, *FLAGS, '--shard=any/2')
    assert merged(tmp_path) == (table(folder), rows(folder))


@sweeps
@pytest.mark.slow
def test_one_bracket_of_one_rung_is_tpe(tmp_path):
    flags = ['--trials=4', '--steps=10', *AXIS]
    train(tmp_path / 'tpe', '--search=tpe', *flags)
    train(tmp_path / 'hyperband', '--search=hyperband', '--rungs=1', *flags)
    assert table(tmp_path / 'hyperband') == table(tmp_path / 'tpe')
    assert by_trial(tmp_path / 'hyperband') == by_trial(tmp_path / 'tpe')


@sweeps
def test_a_dry_run_shows_the_program_of_each_rung():
    out = ran('memory', *RUN, *FLAGS, '--dry_run')
    assert re.findall(r'rung (\d) +(\d+) +(\d+) +(\d) +(\d+)', out) == [
        ('1', '8', '8', '1', '10'),
        ('2', '10', '6', '2', '20'),
        ('3', '10', '4', '4', '40'),
    ]


def test_brackets_are_those_of_the_paper():
    made = brackets(143, 3, 5)  # algorithm 1 with R = 81: n = ceil(5 / (s + 1) 3^s)
    assert made == [
        Bracket(1, [81, 27, 9, 3, 1]),
        Bracket(2, [34, 11, 3, 1]),
        Bracket(3, [15, 5, 1]),
        Bracket(4, [8, 2]),
        Bracket(5, [5]),
    ]
    assert brackets(7, 3, 1) == [Bracket(1, [7])]
    with pytest.raises(InputError, match='`trials=10` gives 5 to the bracket of 3 rungs, which'):
        brackets(10, 3, 3)


def test_tpe_is_told_values_of_one_rung_the_highest_with_enough():
    points = [({'lr': str(n)}, n) for n in range(20)]
    assert comparable({}) == []
    assert comparable({1: points[:9], 2: points[:3]}) == points[:9]
    assert comparable({1: points, 2: points[:10], 3: points[:9]}) == points[:10]


BAD = [
    (['--sweep=lr=0.1,0.2'], ['--search goes with an axis to draw from']),
    ([*AXIS, '--trials=3', '--rungs=3'], ['--trials=3 gives 2 to the bracket of 3 rungs', '9']),
    ([*AXIS, '--trials=12', '--rungs=3', '--eta=2'], ['the first rung ends at step 2.5 of']),
    ([*AXIS, '--trials=8', '--rungs=2', '--patience=1'], ['--rungs=2 goes without --patience']),
    ([*AXIS, '--trials=8', '--rungs=2', '--shard=1/2', '--out=x'], ['goes without --shard']),
]


@sweeps
def test_bad_brackets_are_one_line(tmp_path):
    run = [*RUN, '--search=hyperband', '--steps=10']
    refused('memory', [([*run, *flags], words) for flags, words in BAD], tmp_path)
