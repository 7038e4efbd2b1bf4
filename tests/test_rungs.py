"""Rungs: a survivor is its lane of the whole sweep, wherever the sweep is killed."""

import re

import pytest

from experiments import mnist
from experiments.runner import cli, lanes, loop, rounds
from rnnlab.errors import InputError
from rnnlab.results import trials
from rnnlab.sweeps.rungs import evenly, halving, rung_steps, survivors
from tests.conftest import ran, refused
from tests.folders import read, rows
from tests.interrupt import killed
from tests.test_claims import merged
from tests.test_sweeps import table

RUN = ['--dataset=digits', '--hidden_size=6', '--batch_size=64', '--validation=200', '--steps=90']
RUN += ['--eval_every=10', '--keep=best', '--devices=2']
AXES = ['--sweep=cell=elman,irnn', '--sweep=lr=1e-4,1e-3,0.01,0.1,1e200', '--sweep=seed=0,1']
RUNGS, OFTEN = ['--rungs=3', '--eta=3'], '--checkpoint_every=0'

sweeps = pytest.mark.usefixtures('shell', 'traced_once')


def train(folder, *flags):
    return ran('mnist', *RUN, *AXES, *flags, f'--out={folder}', x64=True)


def by_trial(folder):
    own = {}
    for row in rows(folder):
        own.setdefault(row.pop('trial'), []).append(row)
    return own


@pytest.fixture(scope='module')
def whole(tmp_path_factory, traced_once):
    """The sweep with rungs, what it printed, and the sweep without."""
    folder = tmp_path_factory.mktemp('rungs')
    train(folder / 'full', '--max_lanes=8')
    return folder / 'rungs', train(folder / 'rungs', *RUNGS, '--max_lanes=8'), folder / 'full'


@sweeps
@pytest.mark.slow
def test_a_lane_is_bit_for_bit_that_of_the_sweep_without_rungs(whole):
    folder, _, full = whole
    results, without = table(folder), table(full)
    curves, others = by_trial(folder), by_trial(full)
    for row, other in zip(results, without, strict=True):
        number, stop = int(row['trial']), row.pop('stopped_at')
        assert stop == {'1': '10', '2': '30', '3': ''}[row.pop('rung')]
        if not stop:
            assert row == other
        own = [each for each in others.get(number, []) if each['step'] <= int(stop or 90)]
        assert curves.get(number, []) == own
    assert not list(folder.glob('states/*'))
    assert 'stopped_at' not in read(folder / 'best', 'summary.json')


@sweeps
def test_one_rung_is_the_sweep_as_it_is(whole):
    flags = ['mnist', *RUN, *AXES]
    configs = [cli.parse(mnist.Config, [*flags, *more])[0] for more in ([], ['--rungs=1'])]
    assert configs[0] == configs[1]
    assert not {'rung', 'stopped_at'} & table(whole[2])[0].keys()


@sweeps
@pytest.mark.slow
def test_the_best_settings_of_all_programs_go_on_with_all_their_seeds(whole):
    folder, printed, _ = whole
    results, curves = table(folder), by_trial(folder)
    settings = {}
    for row in results:
        settings.setdefault((row['cell'], row['lr']), []).append(row)
    assert all(len({row['rung'] for row in seeds}) == 1 for seeds in settings.values())
    for step, rung, count in ((10, 1, 3), (30, 2, 1)):
        there = [key for key, seeds in settings.items() if int(seeds[0]['rung']) >= rung]

        def value(key, step=step):
            own = [curves.get(int(row['trial']), []) for row in settings[key]]
            at = [row['validation_accuracy'] for rows in own for row in rows if row['step'] == step]
            return sum(at) / 2

        best = sorted(there, key=value, reverse=True)[:count]
        assert {key for key in there if int(settings[key][0]['rung']) > rung} == {*best}
    done = 14 * 10 + 4 * 30 + 2 * 90
    assert f'18 trials were stopped: {done} of 1,800 lane-steps were trained, 24.4%' in printed


MOMENTS = [
    (loop, 'evaluate', 1, False),  # in the first rung
    (trials, 'write_wave', 1, False),  # at its end
    (lanes, 'gather', 0, False),  # between the rungs
    (loop, 'evaluate', 3, True),
    (rounds, 'drop_states', 0, False),
    (trials, 'write_wave', 0, True),
    (rounds, 'drop_states', 1, False),  # at the end of the last
]


@sweeps
@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_ends_in_the_same_trials(whole, tmp_path):
    folder, _, _ = whole
    flags, out, kills = [*RUNGS, '--max_lanes=8'], tmp_path / 'sweep', 0
    for at in MOMENTS:
        more = [*flags, OFTEN, *(['--resume'] if out.exists() else [])]
        kills += killed(*at[:3], lambda more=more: train(out, *more), at[3])
    assert kills == len(MOMENTS)
    train(out, *flags, '--resume')
    assert table(out) == table(folder)
    assert by_trial(out) == by_trial(folder)


@sweeps
@pytest.mark.slow
def test_workers_end_in_the_trials_of_one_process(whole, tmp_path, impatient):
    """One dies at the end of a batch of the first rung, another one in the second."""
    folder, _, _ = whole
    argv = *RUNGS, '--max_lanes=8', '--shard=any/3'
    for at in ((trials, 'write_wave', 1), (lanes, 'gather', 0)):
        assert killed(*at, lambda: train(tmp_path, *argv))
    train(tmp_path, *argv)
    assert merged(tmp_path) == (table(folder), rows(folder))


@sweeps
def test_a_dry_run_shows_the_program_of_each_rung(tmp_path):
    axes = '--sweep=lr=log(1e-4,1,27)', '--sweep=seed=0..2'
    flags = *RUN, *axes, '--rungs=3', '--dry_run'
    out = ran('mnist', *flags)
    assert re.findall(r'rung (\d) +(\d+) +(\d+) +(\d) +(\d+)', out) == [
        ('1', '81', '82', '1', '10'),
        ('2', '27', '28', '1', '30'),
        ('3', '9', '10', '1', '90'),
    ]


def test_steps_of_rungs():
    assert rung_steps(halving(3, 3), 900, 10) == [100, 300, 900]
    assert rung_steps(halving(3, 2), 1000, 60) == [240, 480, 1000]
    assert rung_steps(evenly(4), 90, 10) == [20, 40, 60, 90]
    assert rung_steps(halving(1, 3), 7, 10) == rung_steps(evenly(1), 7, 10) == [7]
    with pytest.raises(InputError, match='the first rung ends at step 10 of 90, before'):
        rung_steps(halving(3, 3), 90, 11)
    assert survivors(28, 3, 3) == [28, 9, 3]
    with pytest.raises(InputError, match='needs 9 settings or more, not 8'):
        survivors(8, 3, 3)


BAD = [
    ([*RUNGS, '--sweep=lr=1e-3,0.1', '--sweep=seed=0..9'], ['--rungs=3', 'needs 9 settings']),
    (['--rungs=2', '--eval_every=50'], ['--rungs=2: the first rung ends at step 30', '50']),
    (['--rungs=2', '--validation=0', '--keep=last'], ['--rungs ranks by the validation split']),
    (['--rungs=2', '--shard=1/2', '--out=x'], ['--rungs=2 goes without --shard']),
    (['--rungs=2', '--patience=3'], ['--rungs=2 goes without --patience']),
    (['--rungs=0'], ['--rungs=0 must be at least 1']),
    (['--eta=2'], ['--eta goes with --rungs']),
    (['--rungs=2', '--eta=1'], ['--eta=1 must be at least 2']),
]


@sweeps
def test_bad_rungs_are_one_line(tmp_path):
    axis = ['--sweep=clip=1,2,3']
    refused('mnist', [([*RUN, *axis, *flags], words) for flags, words in BAD], tmp_path)
