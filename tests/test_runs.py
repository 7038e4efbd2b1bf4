"""The folder of a run."""

import json

import pytest

from rnnlab.errors import InputError
from rnnlab.results import runs
from tests.records import ACCURATE, row, summary

CONFIG = {'cell': 'lstm', 'lr': 0.1}


def test_a_free_folder_takes_a_run(tmp_path):
    runs.check_folder(tmp_path / 'new', CONFIG, resume=False)
    runs.check_folder(tmp_path, CONFIG, resume=False)
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(
    ('there', 'config', 'resume', 'words'),
    [
        ({}, CONFIG, True, 'holds no run'),
        ({'notes.txt': 'mine'}, CONFIG, False, 'holds something that is no run'),
        ({'config.json': json.dumps(CONFIG)}, CONFIG, False, 'holds a run already'),
        (
            {'config.json': json.dumps(CONFIG)},
            CONFIG | {'lr': 0.2},
            True,
            'lr: 0.1 there, 0.2 here',
        ),
        ({'config.json': json.dumps(CONFIG)}, {'cell': 'lstm'}, True, 'lr: 0.1 there, None here'),
        ({'config.json': '{'}, CONFIG, True, 'cannot be read'),
        ({'config.json': '[1]'}, CONFIG, True, 'cannot be read'),
    ],
)
def test_a_folder_that_cannot_take_it_says_why(tmp_path, there, config, resume, words):
    for name, text in there.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        runs.check_folder(tmp_path, config, resume)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == there


def test_the_same_run_resumes(tmp_path):
    runs.write_json(tmp_path / runs.CONFIG, CONFIG)
    runs.check_folder(tmp_path, CONFIG, resume=True)


def test_rows_are_read_up_to_one_that_is_half_written(tmp_path):
    rows = [row(epoch, train=0.5, validation=0.4) for epoch in (1, 2, 3)]
    for each in rows:
        runs.append_row(tmp_path, each)
    with (tmp_path / runs.METRICS).open('a') as file:
        file.write('{"step": 4')
    assert runs.read_rows(tmp_path, ACCURATE) == rows
    assert runs.read_rows(tmp_path / 'none', ACCURATE) == []


@pytest.mark.parametrize('best', [0.5, None], ids=['validation', 'test alone'])
def test_a_summary_is_read_as_it_was_written(tmp_path, best):
    written = summary(best, 0.4, baseline=1.5)
    runs.write_json(tmp_path / runs.SUMMARY, written.to_json(ACCURATE))
    assert runs.read_summary(tmp_path, ACCURATE) == written
    runs.write_json(tmp_path / runs.SUMMARY, {'steps': 3})
    with pytest.raises(InputError, match=r'summary\.json is not the summary of a run'):
        runs.read_summary(tmp_path, ACCURATE)


@pytest.mark.parametrize('name', [runs.CONFIG, runs.METRICS, runs.SUMMARY])
def test_files_that_do_not_belong_together_are_named(tmp_path, name):
    """One of another run's, or of another content; but other times are no other run."""
    for folder, accuracy in ((tmp_path / 'a', 0.5), (tmp_path / 'b', 0.4)):
        runs.write_json(folder / runs.CONFIG, CONFIG | {'lr': accuracy})
        for epoch in (1, 2):
            runs.append_row(folder, row(epoch, train=0.5, validation=accuracy))
        runs.write_summary(folder, summary(accuracy, 0.4).to_json(ACCURATE))
    path = tmp_path / 'a' / runs.METRICS
    path.write_text(path.read_text().replace('"seconds": ', '"seconds": 1'))
    assert runs.read_summary(tmp_path / 'a', ACCURATE) == summary(0.5, 0.4)
    (tmp_path / 'b' / name).replace(tmp_path / 'a' / name)
    with pytest.raises(InputError, match='do not belong together'):
        runs.read_summary(tmp_path / 'a', ACCURATE)
