"""Patience: a lane stops alone, and is up to there the lane that never stops."""

import numpy as np
import pytest

from experiments.runner import loop
from tests.conftest import ran, refused
from tests.folders import read, rows
from tests.interrupt import killed
from tests.test_sweeps import table

RUN = ['--dataset=digits', '--hidden_size=8', '--batch_size=64', '--validation=200', '--steps=120']
RUN += ['--eval_every=10', '--keep=best', '--checkpoint_every=0']
SWEEP = [*RUN, '--sweep=lr=1e-3,0.02,0.05,0.1', '--sweep=seed=0,1', '--devices=2']
PATIENCE = 2

pytestmark = [pytest.mark.usefixtures('shell', 'traced_once'), pytest.mark.slow]


def train(folder, *flags):
    return ran('mnist', *flags, f'--out={folder}', x64=True)


def curves(folder):
    """The rows of each trial, without seconds."""
    every = {}
    for row in rows(folder):
        every.setdefault(row.pop('trial'), []).append(row)
    return every


def last(own):
    """How many rows there are when the patience is at an end."""
    values = [row['validation_accuracy'] for row in own]
    ends = (n for n in range(1, len(values) + 1) if n - 1 - np.argmax(values[:n]) >= PATIENCE)
    return next(ends, len(values))


@pytest.fixture(scope='module')
def whole(tmp_path_factory, traced_once):
    """The folders of a sweep without patience, and of the same with it."""
    folder = tmp_path_factory.mktemp('patience')
    train(folder / 'without', *SWEEP)
    train(folder / 'with', *SWEEP, f'--patience={PATIENCE}')
    return folder / 'without', folder / 'with'


def test_a_lane_that_stops_is_up_to_there_the_one_that_never_does(whole):
    without, stopped = map(curves, whole)
    for trial, own in stopped.items():
        assert len(own) == last(own) == last(without[trial])
        for row, other in zip(own, without[trial], strict=False):
            assert row == pytest.approx(other, rel=1e-5)
    ends = {row['stopped_at'] for row in table(whole[1])}
    assert len(ends) > 2
    assert '' in ends  # of a lane that never stops
    for row in table(whole[1]):
        own = without.get(int(row['trial']), [])
        assert row['stopped_at'] == (str(10 * last(own)) if last(own) < len(own) else '')
    assert 'stopped_at' not in table(whole[0])[0]


@pytest.mark.parametrize('at', [2, 7])
def test_a_sweep_that_is_killed_stops_the_same_lanes(whole, tmp_path, at):
    flags = [*SWEEP, f'--patience={PATIENCE}']
    assert killed(loop, 'evaluate', at, lambda: train(tmp_path / 'sweep', *flags))
    train(tmp_path / 'sweep', *flags, '--resume')
    assert table(tmp_path / 'sweep') == table(whole[1])
    assert curves(tmp_path / 'sweep') == curves(whole[1])


def test_a_run_stops_and_resumes_to_the_same_bytes(tmp_path):
    flags = [*RUN, '--lr=0.1', f'--patience={PATIENCE}']
    printed = train(tmp_path / 'whole', *flags)
    summary, own = read(tmp_path / 'whole', 'summary.json'), rows(tmp_path / 'whole')
    assert summary['stopped_at'] == 10 * last(own) == 10 * len(own) < 120
    assert summary['kept_step'] == summary['stopped_at'] - 10 * PATIENCE
    assert f'--patience=2: stopped at step {summary["stopped_at"]} of 120' in printed
    assert killed(loop, 'evaluate', len(own) - 1, lambda: train(tmp_path / 'cut', *flags))
    for _ in range(2):  # one that has ended is left as it is
        train(tmp_path / 'cut', *flags, '--resume')
        assert rows(tmp_path / 'cut') == own
        assert read(tmp_path / 'cut', 'summary.json') | {'seconds': 0} == summary | {'seconds': 0}


def test_patience_needs_a_validation_split(tmp_path):
    words = ['--patience=1 counts evaluations of the validation split: it needs ']
    cases = [
        (['--validation=0'], [*words, '--validation above 0']),
        (['--eval_split=test'], [*words, '--eval_split=validation']),
    ]
    plain = ['--dataset=digits', '--patience=1']
    refused('mnist', [([*plain, *flags], words) for flags, words in cases], tmp_path)
    refused('mnist', [(['--dataset=digits', '--patience=0'], ['--patience=0 must'])], tmp_path)
