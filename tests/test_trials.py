"""The trials of a sweep: their files, the best of them, and settings ranked over seeds."""

import json
import shutil

import pytest

from rnnlab.errors import InputError
from rnnlab.results import ranking, runs, trials
from rnnlab.results.records import DIVERGED, FINISHED, Outcome, Trial
from tests.records import ACCURATE, SQUARED, row, summary

BEST = Outcome('best', ACCURATE.selection)
TEST_LOSS = Outcome('test', SQUARED.selection)


def trial(number, value, seed=0, lr=0.1, status=FINISHED, metrics=ACCURATE):
    settings, result = {'lr': lr, 'seed': seed}, summary(value, value, metrics)
    return Trial(number=number, settings=settings, status=status, summary=result)


def test_batches_are_merged_in_the_order_of_their_trials(tmp_path):
    first, second, third = (row(epoch, train=0.5, validation=0.4) for epoch in (1, 2, 3))
    later = {2: [first, second], 3: [first]}
    trials.write_wave(tmp_path, [trial(2, 0.5), trial(3, 0.6)], later, ACCURATE)
    earlier = [trial(0, 0.7), trial(1, None, status=DIVERGED)]
    trials.write_wave(tmp_path, earlier, {0: [third], 1: []}, ACCURATE)
    results, curves = trials.merge(tmp_path, ACCURATE, BEST)
    assert results == [*earlier, trial(2, 0.5), trial(3, 0.6)]
    assert curves == {0: [third], 1: []} | later
    lines = [json.loads(line) for line in (tmp_path / runs.METRICS).read_text().splitlines()]
    assert lines == list(trials.json_rows(curves))
    table = [line.split(',') for line in (tmp_path / trials.TRIALS).read_text().splitlines()]
    assert table[0][:5] == ['trial', 'lr', 'seed', 'status', 'best_validation_accuracy']
    assert [line[:5] for line in table[1:3]] == [
        ['0', '0.1', '0', 'finished', '0.7'],
        ['1', '0.1', '0', 'diverged', ''],
    ]


def test_a_setting_named_like_a_result_is_headed_as_its_flag():
    records = [{'trial': 0, 'settings': {'parameters': 500}, 'parameters': 492}]
    assert trials.table(records) == [['trial', '--parameters', 'parameters'], [0, 500, 492]]


def test_the_best_is_the_first_of_the_highest_that_did_not_diverge():
    results = [trial(0, 0.5), trial(1, 0.8, status=DIVERGED), trial(2, 0.7), trial(3, 0.7)]
    assert ranking.best(results, BEST) is results[2]
    assert ranking.best(results[1:2], BEST) is None
    untested = summary(None, 0.4)
    tested = Trial(number=0, settings={}, status=FINISHED, summary=untested)
    assert ranking.best([tested], BEST) is None
    assert ranking.best([tested], Outcome('test', ACCURATE.selection)) is tested


def test_settings_rank_by_their_mean_over_seeds_and_a_diverged_seed_counts_as_0():
    results = [
        trial(0, 0.9, 0, 0.1),
        trial(1, None, 1, 0.1, DIVERGED),
        trial(2, 0.6, 0, 0.2),
        trial(3, 0.5, 1, 0.2),
    ]
    first, second = ranking.by_setting(results, BEST)
    assert (first.settings, second.settings) == ({'lr': 0.2}, {'lr': 0.1})
    assert (first.mean(BEST), second.mean(BEST)) == (pytest.approx(0.55), 0.9)
    assert first.deviation(BEST) == pytest.approx(0.1 / 2**0.5)
    assert second.deviation(BEST) is None
    assert (first.score(BEST), second.score(BEST)) == (pytest.approx(0.55), 0.45)
    assert first.sample(BEST).values == {0: 0.6, 1: 0.5}
    assert second.sample(BEST).values == {0: 0.9}


def test_of_losses_the_lowest_is_the_best_and_a_diverged_seed_counts_as_infinite():
    losses = [(0.9, 0, 0.1), (None, 1, 0.1), (0.6, 0, 0.2), (0.5, 1, 0.2)]
    results = [
        trial(number, loss, seed, lr, DIVERGED if loss is None else FINISHED, SQUARED)
        for number, (loss, seed, lr) in enumerate(losses)
    ]
    assert ranking.best(results, TEST_LOSS) is results[3]
    first, second = ranking.by_setting(results, TEST_LOSS)
    assert (first.settings, second.settings) == ({'lr': 0.2}, {'lr': 0.1})
    assert (first.score(TEST_LOSS), second.score(TEST_LOSS)) == (
        pytest.approx(-0.55),
        -float('inf'),
    )
    assert ranking.by_setting(results[:1], TEST_LOSS)[0].score(TEST_LOSS) == -0.9


def test_the_best_trials_run_is_copied_once_it_is_the_best(tmp_path):
    for number, accuracy in ((0, 0.5), (1, 0.9), (2, 0.7)):
        run = trials.wave_path(tmp_path, number).with_suffix('')
        runs.write_json(run / runs.CONFIG, {'seed': number})
        runs.write_json(run / runs.SUMMARY, {'trial': number})
        trials.write_wave(tmp_path, [trial(number, accuracy)], {}, ACCURATE)
        trials.merge(tmp_path, ACCURATE, BEST)
        best = runs.read_json(tmp_path / trials.BEST / runs.CONFIG)
        assert best == {'seed': min(number, 1)}
    assert not list(tmp_path.glob('*.part'))
    there = sorted(path.name for path in (tmp_path / trials.WAVES).iterdir())
    assert there == ['00000.json', '00001', '00001.json', '00002.json']


def write_trial(folder, number, accuracy):
    """A batch of one trial, and its run, as if it had been the best."""
    run = trials.wave_path(folder, number).with_suffix('')
    runs.write_json(run / runs.SUMMARY, {'trial': number})
    trials.write_wave(folder, [trial(number, accuracy)], {}, ACCURATE)
    return run


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('{', 'cannot be read'),
        ('[]', 'cannot be read'),
        ('{}', 'trials is missing'),
        ('{"trials": [], "rows": []}', r'it has the trials \[\]'),
        ('{"trials": [1], "rows": []}', 'a record is 1'),
    ],
)
def test_a_damaged_batch_is_named(tmp_path, text, words):
    path = trials.wave_path(tmp_path, 0)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InputError, match=rf'00000\.json is not its batch of trials.*{words}'):
        trials.read_waves(tmp_path, ACCURATE)


@pytest.mark.parametrize(
    'spoil',
    [
        lambda path, other: shutil.copy(other, path),
        lambda path, other: path.write_text(path.read_text().replace('0.5', '0.7')),
        lambda path, other: (path.parent.parent / trials.SWEEP).write_text('{"trials": 5}'),
    ],
    ids=['another batch', 'another number', 'another sweep'],
)
def test_a_batch_belongs_where_it_is(tmp_path, spoil):
    runs.write_json(tmp_path / trials.SWEEP, {'trials': 4})
    for number in (0, 2):
        trials.write_wave(tmp_path, [trial(number, 0.5)], {}, ACCURATE)
    assert len(trials.read_waves(tmp_path, ACCURATE)[0]) == 2
    path, other = (trials.wave_path(tmp_path, number) for number in (0, 2))
    spoil(path, other)
    with pytest.raises(InputError, match=r'00000\.json is not its batch of trials'):
        trials.read_waves(tmp_path, ACCURATE)


@pytest.mark.parametrize(
    ('path', 'text'),
    [
        ('waves/00001.json', '{'),
        ('waves/00000/summary.json', '{'),
        ('waves/00001/summary.json', '{"trial": "1"}'),
        ('best/summary.json', '[]'),
        ('waves/00001.json', None),
    ],
)
def test_nothing_is_written_or_removed_where_something_is_damaged(tmp_path, path, text):
    for number in (0, 1):
        write_trial(tmp_path, number, 0.5 + number / 10)
    trials.merge(tmp_path, ACCURATE, BEST)
    write_trial(tmp_path, 0, 0.9)
    write_trial(tmp_path, 2, 0.8)
    (tmp_path / path).write_text(text) if text else (tmp_path / path).unlink()
    before = files(tmp_path)
    with pytest.raises(InputError, match=r'\.json|trials\.csv has trial 1, which is gone'):
        trials.merge(tmp_path, ACCURATE, BEST)
    assert files(tmp_path) == before


def test_what_ends_beside_a_report_stays(tmp_path, monkeypatch):
    """The run of a batch that another process finishes after this one has read them all."""
    write_trial(tmp_path, 0, 0.5)
    better = []

    def read(*args, read=trials.read_finished):
        found = read(*args)
        better.append(write_trial(tmp_path, 1, 0.9))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(trials, 'read_finished', read)
        trials.merge(tmp_path, ACCURATE, BEST)
    assert trials.trial_of(better[0]) == 1
    assert trials.trial_of(tmp_path / trials.BEST) == 0
    trials.merge(tmp_path, ACCURATE, BEST)
    assert trials.trial_of(tmp_path / trials.BEST) == 1


def test_a_run_that_cannot_be_copied_is_one_line(tmp_path, monkeypatch):
    """Of a full disk; nothing half copied stays."""

    def full(source, target, **options):
        raise OSError(28, 'No space left on device', str(target))

    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / runs.CONFIG).write_text('{}')
    monkeypatch.setattr(shutil, 'copyfile', full)
    with pytest.raises(InputError, match=r'best cannot be written: .*No space left on device$'):
        runs.copy_folder(tmp_path / 'run', tmp_path / 'best')
    assert [path.name for path in tmp_path.iterdir()] == ['run']
