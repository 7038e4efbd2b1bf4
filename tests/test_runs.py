"""The folder of a run."""

import json

import pytest

from rnnlab.errors import InputError
from rnnlab.results import runs

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
        ({'config.json': json.dumps(CONFIG)}, CONFIG | {'lr': 0.2}, True, 'lr=0.1 there, 0.2 now'),
        ({'config.json': json.dumps(CONFIG)}, {'cell': 'lstm'}, True, 'lr=0.1 there, None now'),
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


def test_the_same_run_goes_on(tmp_path):
    runs.write_json(tmp_path / runs.CONFIG, CONFIG)
    runs.check_folder(tmp_path, CONFIG, resume=True)


def test_rewinding_drops_later_and_broken_rows(tmp_path):
    for step in (10, 20, 30):
        runs.append_row(tmp_path, {'step': step})
    with (tmp_path / runs.METRICS).open('a') as file:
        file.write('{"step": 4')
    assert runs.rewind(tmp_path, 20) == [{'step': 10}, {'step': 20}] == runs.read_rows(tmp_path)
