"""What the waves of a sweep come to."""

import json

import pytest

from rnnlab.errors import InputError
from rnnlab.results import runs, trials

FIELD = 'best_validation_accuracy'


def trial(number, accuracy, seed=0, lr=0.1, status='finished'):
    return {
        'trial': number,
        'settings': {'lr': lr, 'seed': seed},
        'status': status,
        'best_validation_accuracy': accuracy,
        'seconds': 1.0,
    }


def row(number, step):
    return {'trial': number, 'step': step}


def test_waves_come_together_in_the_order_of_their_trials(tmp_path):
    trials.write_wave(tmp_path, [trial(2, 0.5), trial(3, 0.6)], [row(2, 1), row(2, 2), row(3, 1)])
    trials.write_wave(tmp_path, [trial(0, 0.7), trial(1, None, status='diverged')], [row(0, 1)])
    results, rows = trials.merge(tmp_path, FIELD)
    assert [result['trial'] for result in results] == [0, 1, 2, 3]
    assert rows == [row(0, 1), row(2, 1), row(2, 2), row(3, 1)] == runs.read_rows(tmp_path)
    lines = (tmp_path / trials.TRIALS).read_text().splitlines()
    assert lines[:3] == [
        'trial,lr,seed,status,best_validation_accuracy,seconds',
        '0,0.1,0,finished,0.7,1.0',
        '1,0.1,0,diverged,,1.0',
    ]


def test_a_setting_named_like_a_figure_is_headed_as_its_flag():
    lines = trials.table(
        [{'trial': 0, 'settings': {'parameters': 500}, 'status': 'finished', 'parameters': 492}]
    ).splitlines()
    assert lines == ['trial,--parameters,status,parameters', '0,500,finished,492']


def test_the_best_is_the_first_of_the_highest_that_did_not_diverge():
    results = [trial(0, 0.5), trial(1, 0.8, status='diverged'), trial(2, 0.7), trial(3, 0.7)]
    assert trials.best(results, FIELD) is results[2]
    assert trials.best(results[1:2], FIELD) is None
    tested = [{'trial': 0, 'settings': {}, 'status': 'finished', 'test_accuracy': 0.4}]
    assert trials.best(tested, 'test_accuracy') is tested[0]
    assert trials.best(tested, FIELD) is None


def test_settings_rank_by_their_mean_over_seeds_and_a_diverged_seed_counts_as_nothing():
    results = [
        trial(0, 0.9, 0, 0.1),
        trial(1, None, 1, 0.1, 'diverged'),
        trial(2, 0.6, 0, 0.2),
        trial(3, 0.5, 1, 0.2),
    ]
    first, second = trials.by_setting(results, FIELD)
    assert (first.settings, second.settings) == ({'lr': 0.2}, {'lr': 0.1})
    assert (first.mean(FIELD), second.mean(FIELD), second.deviation(FIELD)) == (
        pytest.approx(0.55),
        0.9,
        None,
    )
    assert first.deviation(FIELD) == pytest.approx(0.1 / 2**0.5)
    assert (first.score(FIELD), second.score(FIELD)) == (pytest.approx(0.55), 0.45)
    assert (first.by_seed(FIELD), second.by_seed(FIELD)) == ({0: 0.6, 1: 0.5}, {0: 0.9})


def test_of_losses_the_lowest_is_the_best_and_a_diverged_seed_has_no_end():
    losses = [
        (0.9, 0, 0.1, 'finished'),
        (None, 1, 0.1, 'diverged'),
        (0.6, 0, 0.2, 'finished'),
        (0.5, 1, 0.2, 'finished'),
    ]
    results = [
        {'trial': number, 'settings': {'lr': lr, 'seed': seed}, 'status': status, 'test_loss': loss}
        for number, (loss, seed, lr, status) in enumerate(losses)
    ]
    assert trials.best(results, 'test_loss') is results[3]
    first, second = trials.by_setting(results, 'test_loss')
    assert (first.settings, second.settings) == ({'lr': 0.2}, {'lr': 0.1})
    assert (first.score('test_loss'), second.score('test_loss')) == (
        pytest.approx(-0.55),
        float('-inf'),
    )
    assert trials.by_setting(results[:1], 'test_loss')[0].score('test_loss') == -0.9


def test_the_best_trials_run_is_copied_once_it_is_the_best(tmp_path):
    for number, accuracy in ((0, 0.5), (1, 0.9), (2, 0.7)):
        run = trials.wave_path(tmp_path, number).with_suffix('')
        runs.write_json(run / runs.CONFIG, {'seed': number})
        runs.write_json(run / runs.SUMMARY, {'trial': number})
        trials.write_wave(tmp_path, [trial(number, accuracy)], [])
        trials.merge(tmp_path, FIELD)
        assert json.loads((tmp_path / trials.BEST / runs.CONFIG).read_text()) == {
            'seed': min(number, 1)
        }
    assert not list(tmp_path.glob('*.part'))
    assert sorted(path.name for path in (tmp_path / trials.WAVES).iterdir()) == [
        '00000.json',
        '00001',
        '00001.json',
        '00002.json',
    ]


@pytest.mark.parametrize(
    'text',
    ['{', '[]', '{}', '{"trials": [1], "rows": []}', '{"trials": [], "rows": [{"trial": 5}]}'],
)
def test_a_damaged_wave_is_named(tmp_path, text):
    path = trials.wave_path(tmp_path, 0)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InputError, match=r'00000\.json'):
        trials.read_waves(tmp_path)
