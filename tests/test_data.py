"""The image datasets and the cache: contents, splits, and errors for data that is not there."""

import gzip
import hashlib
import shutil
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import requests

from rnnlab.data import IMAGES, VIEWS, digits, image_sequences, mnist, tfds
from rnnlab.data.cache import cached
from rnnlab.errors import InputError
from tests.conftest import same


def arrays(images):
    return images.train, images.train_labels, images.test, images.test_labels


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(tfds, 'reachable', lambda url: False)


def test_digits_are_split_by_class_and_always_the_same():
    images = IMAGES['digits']()
    assert (len(images.train), len(images.test)) == (1433, 364)
    labels = np.concatenate([images.train_labels, images.test_labels])
    assert (np.bincount(images.test_labels) == -(-np.bincount(labels) // 5)).all()
    assert images.train.max() == images.brightest
    assert images.train_labels[:8].tolist() == [1, 5, 1, 2, 1, 5, 1, 7]
    everyone = np.concatenate([images.train, images.test]).reshape(-1, 64)
    assert len(np.unique(everyone, axis=0)) == 1797


def test_digits_are_decoded_once(own_cache, monkeypatch):
    first = IMAGES['digits']()
    monkeypatch.setattr(digits, 'decode', None)
    same(arrays(IMAGES['digits']()), arrays(first))


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setattr(digits.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match='pip install scikit-learn'):
        IMAGES['digits']()


def test_validation_is_the_last_of_train():
    images = IMAGES['digits']()
    data = image_sequences(images)
    assert (len(data.train.labels), len(data.validation.labels)) == (1290, 143)
    np.testing.assert_array_equal(data.validation.inputs, images.train[-143:])
    assert image_sequences(images, validation=0).validation is None
    for wrong in (-1, 1433):
        with pytest.raises(InputError, match='`validation='):
            image_sequences(images, validation=wrong)


def test_views():
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert VIEWS['rows'](images).shape == (2, 3, 4)
    assert VIEWS['pixels'](images)[1, :, 0].tolist() == list(range(12, 24))
    first, second = VIEWS['permuted'](images)[..., 0]
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
    own_cache.write_text('a file in place of the folder')
    assert get() == [0, 1, 2, 3]


def test_mnist_is_read_as_tfds_prepared_it(tfds_folder, monkeypatch):
    monkeypatch.setattr(mnist, 'COUNTS', {'test': 10_000})  # all 70,000 take six times as long
    arrays = mnist.decode(tfds_folder / 'mnist' / mnist.VERSION)
    assert (arrays['test'].shape, arrays['test'].dtype) == ((10_000, 28, 28), np.uint8)
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(arrays['test_labels']).tolist() == counts
    assert 'tensorflow' not in sys.modules


@pytest.fixture(scope='module')
def little(tmp_path_factory):
    """(its Images, a folder with the archives) of an MNIST of 30 and 20 images."""
    from tensorflow_datasets.image_classification import mnist as stock

    folder = tmp_path_factory.mktemp('little')
    manual = folder / 'downloads' / 'manual'
    manual.mkdir(parents=True)
    rng, infos, parts = np.random.default_rng(0), {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist, 'COUNTS', {'train': 30, 'test': 20})
        for split, names in mnist.ARCHIVES.items():
            count = mnist.COUNTS[split]
            images = rng.integers(0, 256, (count, 28, 28), np.uint8)
            labels = rng.integers(0, 10, count, np.uint8)
            parts += [images, labels.astype(np.int32)]
            for name, array, header in zip(names, (images, labels), (16, 8), strict=True):
                content = gzip.compress(bytes(header) + array.tobytes())
                (manual / name).write_bytes(content)
                infos[mnist.MIRROR + name] = replace(
                    stock.MNIST.url_infos[mnist.MIRROR + name],
                    checksum=hashlib.sha256(content).hexdigest(),
                    size=len(content),
                )
        patch.setattr(stock.MNIST, 'url_infos', infos)
        yield parts, folder


@pytest.mark.filterwarnings('default')  # TFDS's own
def test_mnist_is_prepared_from_archives_and_damage_refused(little, own_cache, offline):
    parts, folder = little
    images = IMAGES['mnist'](folder)
    same(arrays(IMAGES['mnist'](folder)), arrays(images))  # from the cache
    for ours, theirs, labels, expected in (
        (images.train, parts[0], images.train_labels, parts[1]),
        (images.test, parts[2], images.test_labels, parts[3]),
    ):  # TFDS shuffles
        pairs = sorted((image.tobytes(), label) for image, label in zip(ours, labels, strict=True))
        assert pairs == sorted(
            (image.tobytes(), label) for image, label in zip(theirs, expected, strict=True)
        )

    prepared = folder / 'mnist' / mnist.VERSION
    info = prepared / 'dataset_info.json'
    text = info.read_text()
    for content, words in (
        ('{', '3.0.1 is damaged, delete it'),
        (text.replace('array_record', 'tfrecord'), 'tfrecord files, which only TensorFlow reads'),
    ):
        info.write_text(content)
        with pytest.raises(InputError, match=words):
            IMAGES['mnist'](folder)
    info.write_text(text)
    data = prepared / 'mnist-test.array_record-00000-of-00001'
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(InputError, match=r'3.0.1 is damaged, delete it'):
        IMAGES['mnist'](folder)


def test_an_altered_archive_is_refused_and_nothing_written(tmp_path, own_cache, offline):
    archive = tmp_path / 'downloads' / 'manual' / 't10k-labels-idx1-ubyte.gz'
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b'truncated')
    with pytest.raises(InputError, match=r't10k-labels-idx1-ubyte.gz is truncated or altered'):
        IMAGES['mnist'](tmp_path)
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == [archive]
    assert archive.read_bytes() == b'truncated'


def test_missing_mnist_says_where_it_looked_and_the_two_ways(tmp_path, offline):
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


def test_the_folder_is_the_argument_else_the_environment_else_home(monkeypatch):
    monkeypatch.setenv('HOME', '/home')
    monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
    assert str(tfds.tfds_folder(None)) == '/home/tensorflow_datasets'
    monkeypatch.setenv('TFDS_DATA_DIR', '~/set')
    assert str(tfds.tfds_folder(None)) == '/home/set'
    assert str(tfds.tfds_folder('given')) == 'given'


def test_a_silent_network_is_given_up_soon(monkeypatch):
    never = threading.Event()

    def head(*args, **options):
        never.wait()
        raise requests.ConnectionError

    monkeypatch.setattr(requests, 'head', head)
    assert not tfds.reachable(mnist.MIRROR, seconds=0.2)
    never.set()
