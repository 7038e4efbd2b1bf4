"""The folder of a run."""

import json
import subprocess
import sys

import pytest

from rnnlab.errors import InputError
from rnnlab.results import runs
from rnnlab.results.lock import locked
from tests.conftest import ROOT
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


ROWS = [row(epoch, train=0.5, validation=0.4) for epoch in (1, 2, 3)]


def written_rows(folder):
    for each in ROWS:
        runs.append_row(folder, each)
    return folder / runs.METRICS


def test_rows_are_read_without_a_last_one_that_is_half_written(tmp_path):
    text = written_rows(tmp_path).read_text()
    first_two = text.index('\n', text.index('\n') + 1) + 1
    for end in range(first_two, len(text) + 1):
        (tmp_path / runs.METRICS).write_text(text[:end])
        assert runs.read_rows(tmp_path, ACCURATE) == ROWS[: 3 if end >= len(text) - 1 else 2]
    assert runs.read_rows(tmp_path / 'none', ACCURATE) == []


@pytest.mark.parametrize('number', [1, 2, 3])
@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('', 'it is no JSON'),
        ('{"step": 4', 'it is no JSON'),
        ('3', 'a record is 3, not an object'),
        ('{}', 'step is missing'),
        ({'step': '4'}, "step is '4', not a whole number"),
        ({'step': 10**30}, 'step is 1000'),
        ({'grad_norm': float('nan')}, 'grad_norm is nan, not a number or null'),
        ({'train_accuracy': 1.5}, 'train_accuracy is 1.5, no fraction'),
    ],
    ids=str,
)
def test_any_other_damage_of_rows_is_named(tmp_path, line, words, number):
    path = written_rows(tmp_path)
    lines = path.read_text().splitlines()
    lines[number - 1] = line if isinstance(line, str) else json.dumps(ROWS[0].to_json() | line)
    path.write_text('\n'.join([*lines, '']))
    with pytest.raises(InputError, match=rf'metrics\.jsonl is damaged in line {number}: {words}'):
        runs.read_rows(tmp_path, ACCURATE)


def test_steps_of_rows_rise(tmp_path):
    written_rows(tmp_path)
    runs.append_row(tmp_path, ROWS[2])
    with pytest.raises(InputError, match='in line 4: step 30 is not after step 30'):
        runs.read_rows(tmp_path, ACCURATE)


@pytest.mark.parametrize(
    ('kind', 'right', 'wrong'),
    [
        (list[str], ['a', 'b'], ['a', 1]),
        (list[int | str], [1, 'b'], [True]),
        (dict[str, runs.Moments], {'x': {'mean': 1, 'std': 0.5}}, {'x': {'mean': 1}}),
        (dict[str, runs.Moments], {}, {'x': {'mean': None, 'std': 0.5}}),
        (dict, {'x': [None]}, ['x']),
    ],
)
def test_what_encodes_new_data_is_of_its_type(tmp_path, kind, right, wrong):
    path = tmp_path / 'x.json'
    runs.write_json(path, right)
    assert runs.read_json(path, kind) == right
    runs.write_json(path, wrong)
    with pytest.raises(
        InputError, match=r'x\.json cannot be read: it should hold (a list|an object)'
    ):
        runs.read_json(path, kind)


@pytest.mark.parametrize('best', [0.5, None], ids=['validation', 'test alone'])
def test_a_summary_is_read_as_it_was_written(tmp_path, best):
    written = summary(best, 0.4, baseline=1.5)
    runs.write_json(tmp_path / runs.SUMMARY, written.to_json(ACCURATE))
    assert runs.read_summary(tmp_path, ACCURATE) == written
    runs.write_json(tmp_path / runs.SUMMARY, {'steps': 3})
    with pytest.raises(
        InputError, match=r'summary\.json is not the summary of a run: kept_step is'
    ):
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


def test_a_lock_is_the_processs_that_has_it(tmp_path):
    """It ends with the process, even by a kill, and leaves no file where it ends well."""
    folder, held = tmp_path / 'run', f'another process is training in {tmp_path / "run"}'
    code = f"""if True:
        from pathlib import Path
        from rnnlab.results.lock import locked
        with locked(Path({str(folder)!r})):
            print('has it', flush=True)
            input()"""
    for end in ('kill', 'well'):
        pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
        with subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, **pipes) as process:
            assert process.stdout.readline() == 'has it\n'
            with pytest.raises(InputError, match=held), locked(folder):
                pass
            with locked(folder, '-another'):
                pass
            process.kill() if end == 'kill' else process.communicate('\n')
        assert [*folder.iterdir()] == [folder / '.lock'] * (end == 'kill')
        (folder / 'half.part' / 'written').mkdir(parents=True)
        (folder / 'half.json.part').touch()
        with locked(folder):
            runs.check_folder(folder, CONFIG, resume=False)  # it is free
        assert [*folder.iterdir()] == []
