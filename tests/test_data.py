"""The datasets: what is in them, how they are cut, and what is said when one cannot be had."""

import gzip
import shutil
import sys

import numpy as np
import pytest

from rnnlab.data import IMAGES, VIEWS, image_sequences, mnist, tfds
from rnnlab.data.cache import cached
from rnnlab.errors import InputError


def tree(folder):
    return sorted(
        (str(path.relative_to(folder)), path.read_bytes() if path.is_file() else b'')
        for path in folder.rglob('*')
    )


def offline(monkeypatch):
    monkeypatch.setattr(tfds, 'reachable', lambda url: False)


def test_digits_are_split_by_class_and_always_alike():
    images = IMAGES['digits']()
    assert (len(images.train), len(images.test)) == (1433, 364)
    counts, test_counts = (
        np.bincount(np.concatenate([images.train_labels, images.test_labels])),
        np.bincount(images.test_labels),
    )
    assert (test_counts == -(-counts // 5)).all()
    assert images.train.max() == images.brightest
    assert (
        images.train_labels[:8].tolist()
        == IMAGES['digits']().train_labels[:8].tolist()
        == [1, 5, 1, 2, 1, 5, 1, 7]
    )
    everyone = np.concatenate([images.train, images.test]).reshape(-1, 64)
    assert len(np.unique(everyone, axis=0)) == 1797


def test_digits_are_decoded_once(own_cache, monkeypatch):
    first = IMAGES['digits']()
    monkeypatch.setattr(sys.modules['rnnlab.data.digits'], 'decode', None)
    np.testing.assert_array_equal(IMAGES['digits']().train, first.train)


def test_validation_is_the_last_of_train():
    images = IMAGES['digits']()
    data = image_sequences(images)
    assert (len(data.train.labels), len(data.validation.labels)) == (1290, 143)
    np.testing.assert_array_equal(data.validation.inputs, images.train[-143:])
    assert image_sequences(images, validation=0).validation is None
    for wrong in (-1, 1433):
        with pytest.raises(InputError, match='validation'):
            image_sequences(images, validation=wrong)


def test_views():
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert VIEWS['rows'](images).shape == (2, 3, 4)
    assert VIEWS['pixels'](images)[1, :, 0].tolist() == list(range(12, 24))
    first, second = VIEWS['permuted'](images)[..., 0]
    assert sorted(first) == list(range(12))
    assert first.tolist() == [2, 4, 11, 5, 0, 1, 3, 9, 8, 6, 7, 10] == (second - 12).tolist()
    with pytest.raises(InputError, match='permuted, pixels, rows'):
        image_sequences(IMAGES['digits'](), 'columns')


def test_cache_serves_until_the_source_changes(tmp_path, own_cache):
    source = tmp_path / 'source'
    source.mkdir()
    (source / 'file').write_text('a')
    calls = []

    def decode():
        calls.append(1)
        return {'x': np.arange(len(calls))}

    def get():
        return cached('name', source, decode)['x'].tolist()

    assert get() == get() == [0]
    (source / 'file').write_text('ab')
    assert get() == get() == [0, 1]
    for path in own_cache.glob('*.npz'):  # damaged
        path.write_bytes(path.read_bytes()[:50])
    assert get() == get() == [0, 1, 2]
    shutil.rmtree(own_cache)
    own_cache.write_text('a file where the folder should be')
    assert get() == [0, 1, 2, 3]


def test_mnist_reads_what_tfds_prepared(tfds_folder, own_cache):
    images = IMAGES['mnist'](tfds_folder)
    assert (images.train.shape, images.test.shape, images.train.dtype) == (
        (60_000, 28, 28),
        (10_000, 28, 28),
        np.uint8,
    )
    assert np.bincount(images.train_labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert np.bincount(images.test_labels).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    assert image_sequences(images, 'pixels').validation.inputs.shape == (5_000, 784, 1)
    for ours, again in zip(images, IMAGES['mnist'](tfds_folder), strict=True):  # from the cache
        np.testing.assert_array_equal(ours, again)
    assert 'tensorflow' not in sys.modules


@pytest.mark.filterwarnings('default')  # TFDS's own
@pytest.mark.slow
def test_mnist_is_prepared_from_archives(tmp_path, mnist_archives, own_cache, monkeypatch):
    offline(monkeypatch)
    manual = tmp_path / 'downloads' / 'manual'
    shutil.copytree(mnist_archives, manual)
    manual.chmod(0o755)
    images = IMAGES['mnist'](tmp_path)
    assert (tmp_path / 'mnist' / mnist.VERSION / 'dataset_info.json').exists()
    original = np.frombuffer(
        gzip.decompress((mnist_archives / mnist.ARCHIVES['test'][0]).read_bytes()),
        np.uint8,
        offset=16,
    )
    assert sorted(map(bytes, images.test)) == sorted(map(bytes, original.reshape(-1, 28, 28)))


def test_an_altered_archive_is_refused_and_nothing_written(tmp_path, own_cache, monkeypatch):
    offline(monkeypatch)
    manual = tmp_path / 'downloads' / 'manual'
    manual.mkdir(parents=True)
    (manual / 't10k-labels-idx1-ubyte.gz').write_bytes(b'truncated')
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r't10k-labels-idx1-ubyte.gz is truncated or altered'):
        IMAGES['mnist'](tmp_path)
    assert tree(tmp_path) == before


def test_absent_mnist_says_where_it_looked_and_the_two_ways(tmp_path, monkeypatch):
    offline(monkeypatch)
    with pytest.raises(InputError) as error:
        IMAGES['mnist'](tmp_path / 'nowhere')
    for words in (
        str(tmp_path / 'nowhere'),
        'cannot be reached',
        'copy a folder mnist/3.0.1',
        'downloads/manual',
    ):
        assert words in str(error.value)
    assert not (tmp_path / 'nowhere').exists()


def test_the_folder_is_the_argument_else_the_environment_else_home(tmp_path, monkeypatch):
    offline(monkeypatch)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
    with pytest.raises(InputError, match='home/tensorflow_datasets'):
        IMAGES['mnist']()
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'set'))
    with pytest.raises(InputError, match='set and'):
        IMAGES['mnist']()


def test_a_silent_network_is_given_up_soon(monkeypatch):
    import threading

    import requests

    never = threading.Event()

    def head(*args, **options):
        never.wait()
        raise requests.ConnectionError

    monkeypatch.setattr(requests, 'head', head)
    assert not tfds.reachable(mnist.MIRROR, seconds=0.2)
    never.set()


@pytest.mark.filterwarnings('default')  # array_record's own
@pytest.mark.slow
def test_damaged_or_foreign_folders_are_refused(tmp_path, tfds_folder, own_cache):
    folder = tmp_path / 'mnist' / mnist.VERSION
    shutil.copytree(tfds_folder / 'mnist' / mnist.VERSION, folder)
    folder.chmod(0o755)
    data = folder / 'mnist-test.array_record-00000-of-00001'
    data.chmod(0o644)
    data.write_bytes(data.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r'3.0.1 is damaged, delete it'):
        IMAGES['mnist'](tmp_path)
    info = folder / 'dataset_info.json'
    info.chmod(0o644)
    info.write_text(info.read_text().replace('array_record', 'tfrecord'))
    with pytest.raises(InputError, match='tfrecord files, which only TensorFlow reads'):
        IMAGES['mnist'](tmp_path)
    info.write_text('{')
    with pytest.raises(InputError, match=r'3.0.1 is damaged, delete it'):
        IMAGES['mnist'](tmp_path)
