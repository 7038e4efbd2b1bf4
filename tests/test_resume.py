"""The folder of a run, and its resumption: the same bytes, or a refusal."""

import re
import shutil
import signal

import pytest

from tests.conftest import call, paused_training, ran, same, stopped
from tests.folders import SMALL, final, read, rows

pytestmark = pytest.mark.usefixtures('shell', 'traced_once')


WHOLE = [
    *SMALL, '--steps=1000', '--eval_every=150', '--checkpoint_every=0', '--keep=best',
    '--dropout=0.1', '--recurrent_dropout=0.1',
]  # fmt: skip


@pytest.fixture(scope='module')
def whole(tmp_path_factory, traced_once):
    """An uninterrupted run: (its folder, what it printed)."""
    folder = tmp_path_factory.mktemp('runs') / 'whole'
    return folder, ran('mnist', *WHOLE, f'--out={folder}', pictures=True)


def test_a_run_writes_its_folder_and_shows_its_end(whole):
    folder, printed = whole
    files = {'config.json', 'environment.json', 'metrics.jsonl', 'summary.json', 'curves.png'}
    assert {path.name for path in folder.iterdir()} == files | {'checkpoint'}
    config, summary = read(folder, 'config.json'), read(folder, 'summary.json')
    expected = {'experiment': 'mnist', 'hidden_size': 16, 'devices': 1, 'platform': 'cpu'}
    assert config.items() >= expected.items()
    assert (summary['steps'], summary['parameters']) == (1000, 24 * 64 + 64 + 16 * 10 + 10)
    assert summary['test_accuracy'] > 0.9
    assert [row['step'] for row in rows(folder)] == [150, 300, 450, 600, 750, 900, 1000]
    accuracies = [row['validation_accuracy'] for row in rows(folder)]
    assert summary['best_validation_accuracy'] == max(accuracies)
    assert summary['validation_accuracy'] == accuracies[-1]
    best = rows(folder)[accuracies.index(max(accuracies))]
    assert summary['kept_step'] == best['step'] == final(folder, 'best')['step']
    names = {f'{s}_{name}' for s in ('train', 'validation') for name in ('loss', 'accuracy')}
    assert best.keys() == {'step', 'epoch', 'grad_norm'} | names
    assert 'i 0:16  f 16:32  g 32:48  o 48:64' in printed
    assert f'{summary["test_accuracy"]:.4f}' in printed
    assert len(re.search(r'label +((?:\d *){10})', printed)[1].split()) == 10


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_stopped_run_resumes_to_the_same_bytes(whole, tmp_path, number):
    expected, _ = whole
    folder = tmp_path / 'run'
    metrics = folder / 'metrics.jsonl'

    def ready():
        saved = list(folder.glob('checkpoint/*/commit_success.txt'))
        return saved and metrics.stat().st_size

    code, printed = stopped([*WHOLE, f'--out={folder}'], number, ready)
    if number == signal.SIGKILL:
        assert code == -number
    else:
        assert code == 128 + number
        assert 'resume with the same command' in printed
        assert 'Traceback' not in printed
    assert not (folder / 'summary.json').exists()
    out = ran('mnist', *WHOLE, f'--out={folder}', '--resume')
    assert 0 < int(re.search(r'resumes at step (\d+)', out)[1]) < 1000
    for name in ('params', 'opt_state', 'totals', 'best'):
        same(final(folder, name), final(expected, name))
    assert rows(folder) == rows(expected)


@pytest.mark.slow
def test_what_is_kept_is_the_run_stopped_there(whole, tmp_path):
    folder, _ = whole
    best = final(folder, 'best')
    stop = [f'--steps={best["step"][0]}', '--keep=last']
    ran('mnist', *WHOLE, *stop, f'--out={tmp_path / "run"}')
    same(final(tmp_path / 'run'), best['params'])
    one, other = (read(path, 'summary.json') for path in (folder, tmp_path / 'run'))
    assert one['test_accuracy'] == other['test_accuracy']


def test_resuming_a_finished_run_ends_as_it_ended(whole):
    folder, _ = whole
    before = rows(folder), final(folder), read(folder, 'summary.json')['test_accuracy']
    ran('mnist', *WHOLE, f'--out={folder}', '--resume')
    assert rows(folder) == before[0]
    assert read(folder, 'summary.json')['test_accuracy'] == before[2]
    same(final(folder), before[1])


@pytest.mark.slow
def test_the_number_of_devices_is_part_of_the_run(whole):
    folder, _ = whole
    resume = [*WHOLE, f'--out={folder}', '--resume']
    code, _, err = call('mnist', *resume, '--devices=2')
    assert (code, 'devices: 1 there, 2 here' in err) == (1, True)
    assert 'on 1 cpu device(s)' in ran('mnist', *resume)  # as many as it began with
    before = rows(folder), (folder / 'config.json').read_bytes()
    assert 'on 2 cpu device(s)' in ran('mnist', *resume, '--devices=2', '--force')
    assert (rows(folder), (folder / 'config.json').read_bytes()) == before


def test_a_folder_with_a_run_is_not_overwritten(whole):
    folder, _ = whole
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    code, _, err = call('mnist', *WHOLE, f'--out={folder}')
    assert (code, err.count('\n'), 'holds a run already' in err) == (1, 1, True)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused(whole, tmp_path):
    folder, _ = whole
    copy = tmp_path / 'run'
    shutil.copytree(folder, copy)
    for path in copy.glob('checkpoint/*/default/**/*'):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    code, _, err = call('mnist', *WHOLE, f'--out={copy}', '--resume')
    assert (code, err.count('\n'), 'damaged' in err) == (1, 1, True)


def damage(folder, name, change):
    path = folder / name
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    if change == 'gone':
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif change == 'first line':
        path.write_text(''.join([lines[0][1:], *lines[1:]]))
    elif change == 'a line less':
        path.write_text(''.join([*lines[:3], *lines[4:]]))
    elif change == 'another value':
        path.write_text(''.join(lines).replace('"step": 300', '"step": 301'))


@pytest.mark.parametrize(
    ('name', 'change', 'words'),
    [
        ('metrics.jsonl', 'first line', 'metrics.jsonl is damaged in line 1: it is no JSON'),
        ('metrics.jsonl', 'a line less', 'has other rows than the checkpoint'),
        ('metrics.jsonl', 'another value', 'has other rows than the checkpoint'),
        ('checkpoint', 'gone', 'holds a finished run, and its checkpoint is gone'),
        ('summary.json', 'first line', 'summary.json cannot be read'),
    ],
)
@pytest.mark.slow
def test_what_is_damaged_is_not_resumed_and_not_written(whole, tmp_path, name, change, words):
    copy = tmp_path / 'run'
    shutil.copytree(whole[0], copy)
    damage(copy, name, change)
    before = {path: path.read_bytes() for path in copy.rglob('*') if path.is_file()}
    code, _, err = call('mnist', *WHOLE, f'--out={copy}', '--resume')
    assert (code, err.count('\n'), words in err) == (1, 1, True), err
    assert {path: path.read_bytes() for path in copy.rglob('*') if path.is_file()} == before


@pytest.mark.slow
def test_a_half_written_row_is_mended_by_a_resumption(whole, tmp_path):
    copy = tmp_path / 'run'
    shutil.copytree(whole[0], copy)
    text = (copy / 'metrics.jsonl').read_text()
    (copy / 'metrics.jsonl').write_text(text[:-20])
    ran('mnist', *WHOLE, f'--out={copy}', '--resume')
    assert (copy / 'metrics.jsonl').read_text() == text


LENGTHS = [
    (
        ['--steps=30', '--eval_every=10', '--keep=best', '--dropout=0.1', '--warmup=15'],
        '--steps=47',
    ),
    (['--epochs=1', '--eval_every=9', '--eval_examples=50', '--eval_next'], '--epochs=2'),
]


@pytest.mark.parametrize(
    ('flags', 'longer'), [LENGTHS[0], pytest.param(*LENGTHS[1], marks=pytest.mark.slow)]
)
def test_a_run_that_is_made_longer_is_the_longer_run(tmp_path, flags, longer):
    ran('mnist', *SMALL, *flags, '--out=run', cwd=tmp_path)
    ran('mnist', *SMALL, *flags, longer, '--out=run', '--resume', cwd=tmp_path)
    ran('mnist', *SMALL, *flags, longer, '--out=whole', cwd=tmp_path)
    one, other = tmp_path / 'run', tmp_path / 'whole'
    for name in ('params', 'opt_state', 'totals', *['best'] * ('--keep=best' in flags)):
        same(final(one, name), final(other, name))
    assert rows(one) == rows(other)
    assert (one / 'config.json').read_bytes() == (other / 'config.json').read_bytes()
    results = [read(folder, 'summary.json') | {'seconds': 0} for folder in (one, other)]
    assert results[0] == results[1]


@pytest.mark.slow
def test_where_a_longer_run_would_be_another_it_is_refused(whole, tmp_path):
    folder, _ = whole
    cosine = ['--schedule=cosine', '--steps=4', '--out=cosine']
    ran('mnist', *SMALL, *cosine, cwd=tmp_path)
    for flags, words in (
        ([*SMALL, *cosine, '--steps=9'], 'only a run alone with --schedule=constant can be made'),
        ([*WHOLE, '--steps=999', f'--out={folder}'], 'a run can only be made longer'),
    ):
        code, _, err = call('mnist', *flags, '--resume', cwd=tmp_path)
        assert (code, err.count('\n'), words in err) == (1, 1, True), err


@pytest.mark.slow
def test_of_two_processes_on_a_folder_one_trains(tmp_path):
    folder = tmp_path / 'run'
    flags = [*SMALL, '--steps=1000', '--eval_every=100', f'--out={folder}']
    with paused_training('mnist', *flags, at=folder / 'config.json'):
        code, _, err = call('mnist', *flags, '--resume')
        assert (code, err.count('\n')) == (1, 1)
        assert err.startswith(f'error: another process is training in {folder}')
    assert [row['step'] for row in rows(folder)] == [*range(100, 1001, 100)]
    assert not [*folder.glob('.lock*')]
