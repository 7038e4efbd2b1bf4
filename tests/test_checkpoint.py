"""Checkpoints: what comes back is what was saved, and what cannot be saved ends in one line."""

import random
import resource
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.runner import loop
from rnnlab.errors import InputError
from rnnlab.training.checkpoint import Checkpoints, open_checkpoints, restore, save
from rnnlab.training.train import Totals
from tests.conftest import call, same

TREE = {
    'state': Totals({'loss': np.float32(0.5)}, np.arange(6).reshape(2, 3), np.ones(3), np.int32(7)),
    'moments': (np.zeros((1, 2)), [np.linspace(0, 1, 500)]),
    'nan': np.array([np.nan, -np.inf]),
}
RUN = ['--dataset=digits', '--hidden_size=4', '--steps=30', '--eval_every=10']
SWEEP = ['--dataset=digits', '--hidden_size=4', '--steps=4', '--sweep=lr=0.1,0.01']


def saved(folder, step=3, tree=TREE):
    with open_checkpoints(folder) as checkpoints:
        save(checkpoints, step, tree)
    return folder


def read(folder, like=None):
    with open_checkpoints(folder) as checkpoints:
        return restore(checkpoints, like)


def files(folder):
    return sorted(path for path in folder.rglob('*') if path.is_file())


def one_line(result):
    code, _, err = result
    assert (code, err.count('\n'), err[:7]) == (1, 1, 'error: '), err
    return err


def test_a_tree_comes_back(tmp_path):
    folder = saved(tmp_path / 'checkpoint')
    same(read(folder, TREE), TREE)
    same(jax.tree.leaves(read(folder)['state']['metrics']), [TREE['state'].metrics['loss']])


def refusal(call):
    """What an InputError says, or None."""
    try:
        call()
    except InputError as error:
        return str(error)


@pytest.mark.parametrize('damage', ['bits', 'ends', 'files'])
def test_damage_is_noticed(tmp_path, damage, capfd):
    """Of any file: what is read after all is what was saved."""
    folder, draw = saved(tmp_path / 'checkpoint'), random.Random(0)
    expected, refused = read(folder), []
    for number, path in enumerate(files(folder)[:: 1 if damage == 'bits' else 2]):
        copy = shutil.copytree(folder, tmp_path / str(number))
        spoilt, content = copy / path.relative_to(folder), bytearray(path.read_bytes())
        if damage == 'bits':
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        spoilt.write_bytes(content[: len(content) // 2] if damage == 'ends' else content)
        if damage == 'files':
            spoilt.unlink()
        words = refusal(lambda copy=copy: same(read(copy), expected))
        if words:
            assert words.startswith(f'the checkpoint {copy / "3"} cannot be read: it is damaged')
            assert '\n' not in words
            refused.append(words)
    assert len(refused) > 1
    assert capfd.readouterr() == ('', '')


def test_another_number_in_an_array_is_noticed(tmp_path):
    """Where the library's own checks are content: an array written again, the checksum kept."""
    import orbax.checkpoint as ocp

    folder = saved(tmp_path / 'checkpoint')
    path = folder.resolve() / '3' / 'default'
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(path)
        tree['nan'][1] = 1.0
        checkpointer.save(path, tree, force=True)
    with pytest.raises(InputError, match='damaged'):
        read(folder)


def test_a_checkpoint_of_another_step_is_noticed(tmp_path):
    folder = saved(tmp_path / 'checkpoint')
    (folder / '3').rename(folder / '4')
    with pytest.raises(InputError, match='damaged'):
        read(folder)


def test_another_shape_is_another_model(tmp_path):
    folder = saved(tmp_path / 'checkpoint')
    with pytest.raises(InputError, match=r'another model: nan is \(2,\) there, \(3,\) here'):
        read(folder, TREE | {'nan': np.zeros(3)})


def test_a_file_in_the_place_of_the_folder(tmp_path):
    path = tmp_path / 'checkpoint'
    path.write_text('')
    with pytest.raises(InputError, match='should be a folder'):
        read(path)


def fails(folder, end):
    """A save, and what comes after it, while no file can have more than 100 bytes."""
    with open_checkpoints(folder) as checkpoints:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            save(checkpoints, 4, TREE)
            checkpoints.thread.submit(int).result()  # after that save
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        end(checkpoints)


@pytest.mark.parametrize(
    'end', [Checkpoints.check, Checkpoints.wait_until_finished, lambda _: None]
)
def test_a_failed_write_is_raised_and_the_last_checkpoint_stays(tmp_path, capfd, end):
    """From the thread: at the next chunk, or at the end."""
    folder = saved(tmp_path / 'checkpoint')
    words = refusal(lambda: fails(folder, end))
    assert words.startswith(f'no checkpoint can be written in {folder}: File too large')
    assert '\n' not in words
    same(read(folder, TREE), TREE)
    assert capfd.readouterr() == ('', '')


@pytest.fixture
def disk(tmp_path):
    """disk(kilobytes) is a folder on a disk of that size."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def mount(kilobytes) -> Path:
        command = ['mount', '-t', 'tmpfs', '-o', f'size={kilobytes}k', 'tmpfs', folder]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip('no disk can be mounted here')
        return folder

    yield mount
    while folder.is_mount():
        subprocess.run(['umount', '-l', folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('flags', 'kilobytes'), [([*RUN, '--checkpoint_every=0'], 100), (SWEEP, 60)]
)
def test_a_full_disk_is_one_line(disk, tmp_path, flags, kilobytes):
    """And what was there resumes elsewhere, without what was half saved."""
    out = disk(kilobytes) / 'out'
    assert f'{out}/' in one_line(call('mnist', *flags, f'--out={out}'))
    copy = shutil.copytree(out, tmp_path / 'out')
    code, _, err = call('mnist', *flags, f'--out={copy}', '--resume')
    assert (code, err) == (0, '')
    assert not [path for path in copy.rglob('*') if path.name.endswith(('-tmp', '.part'))]


def removed(folder):
    shutil.rmtree(folder)


def made_read_only(folder):
    """Another disk over its checkpoints, since one with files that are open stays writable."""
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', folder / 'checkpoint'], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('flags', 'change'), [(RUN, removed), (RUN, made_read_only), (SWEEP, removed)]
)
def test_a_folder_that_goes_is_one_line(disk, monkeypatch, flags, change):
    """In the middle of the training, which ends with that chunk."""
    out = disk(1000) / 'out'
    steps = []

    def evaluated(progress, evaluate=loop.evaluate):
        steps.append(progress.step)
        evaluate(progress)
        if len(steps) == 1:
            change(out)

    monkeypatch.setattr(loop, 'evaluate', evaluated)
    err = one_line(call('mnist', *flags, '--eval_every=1', '--checkpoint_every=0', f'--out={out}'))
    assert f'{out}/' in err
    assert len(steps) < 4


def test_a_checkpoint_of_another_run_is_noticed(tmp_path):
    """One run's or batch's, of the same shapes, copied over another's."""
    tree = {'state': TREE, 'fingerprint': np.uint32(1)}
    other = SimpleNamespace(tree=lambda: tree, fingerprint=np.uint32(2))
    with (
        open_checkpoints(saved(tmp_path / 'checkpoint', tree=tree)) as checkpoints,
        pytest.raises(InputError, match='belongs to another run'),
    ):
        loop.restore(other, checkpoints)
