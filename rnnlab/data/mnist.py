"""MNIST through TFDS, without TensorFlow.

TFDS prepares MNIST with TensorFlow's file, gzip and PNG functions; the builder here uses the
standard library, NumPy and Pillow instead, and writes an ordinary TFDS folder.
"""

import gzip
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnlab.data import tfds
from rnnlab.data.cache import Arrays, cached
from rnnlab.data.dataset import Images
from rnnlab.errors import InputError

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder
    from tensorflow_datasets.core.download import DownloadManager

VERSION = '3.0.1'
COUNTS = {'train': 60_000, 'test': 10_000}
MIRROR = 'https://storage.googleapis.com/cvdf-datasets/mnist/'
ARCHIVES = {
    'train': ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'),
    'test': ('t10k-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz'),
}


def load(data_dir: str | Path | None = None) -> Images:
    """60,000 training and 10,000 test images, 28 x 28 pixels.

    data_dir: the TFDS folder; None is TFDS_DATA_DIR, else ~/tensorflow_datasets. If MNIST is not
    prepared there, it is prepared from archives in downloads/manual or from the network.

    Raises InputError if MNIST is unavailable or damaged.
    """
    data_dir = tfds.tfds_folder(data_dir)
    folder = data_dir / 'mnist' / VERSION
    if not tfds.prepared(folder):
        missing = check_archives(tfds.archives_folder(data_dir))
        url = MIRROR + missing[0] if missing else None
        archives = f'the original archives ({", ".join(missing)})'
        tfds.prepare(make_builder, folder, data_dir, url=url, archives=archives)
    arrays = cached('mnist', folder, lambda: decode(folder))
    return Images(**arrays, brightest=255, held_out=5_000)


def decode(folder: Path) -> Arrays:
    """The arrays of a prepared folder, under their names in Images."""
    arrays = {}
    for split, examples in tfds.read(folder, COUNTS).items():
        arrays[split] = np.stack([example['image'][..., 0] for example in examples])
        arrays[f'{split}_labels'] = np.array([example['label'] for example in examples], np.int32)
    return arrays


def check_archives(archives: Path) -> list[str]:
    """Names of the archives missing in the folder; InputError for one with a wrong checksum."""
    missing = []
    for name in (name for names in ARCHIVES.values() for name in names):
        if not (archives / name).exists():
            missing.append(name)
        elif hashlib.sha256((archives / name).read_bytes()).hexdigest() != checksums()[name]:
            raise InputError(
                f"{archives / name} is truncated or altered (its sha256 is not MNIST's): "
                f'download it again from {MIRROR}'
            )
    return missing


def checksums() -> dict[str, str]:
    """The sha256 of each archive, from TFDS."""
    from tensorflow_datasets.image_classification import mnist as stock

    return {info.filename: info.checksum for info in stock.MNIST.url_infos.values()}


def make_builder(data_dir: Path) -> 'DatasetBuilder':
    """The MNIST builder of TFDS, with its two steps that need TensorFlow replaced."""
    from tensorflow_datasets.core import registered
    from tensorflow_datasets.image_classification import mnist as stock

    with registered.skip_registration():

        class MNIST(stock.MNIST):
            def _split_generators(self, dl_manager: 'DownloadManager') -> dict[str, Iterator]:
                paths = dl_manager.download(
                    {split: [MIRROR + name for name in names] for split, names in ARCHIVES.items()}
                )
                return {split: examples(*paths[split]) for split in paths}

    return MNIST(data_dir=data_dir, file_format='array_record')


def examples(images_path: Path, labels_path: Path) -> Iterator[tuple[int, dict[str, bytes | int]]]:
    """(number, features) of each image, as TFDS writes them."""
    from PIL import Image

    images = read_idx(images_path, header=16).reshape(-1, 28, 28)
    labels = read_idx(labels_path, header=8)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        png = io.BytesIO()
        Image.fromarray(image).save(png, format='png')
        yield number, {'image': png.getvalue(), 'label': int(label)}


def read_idx(path: str | Path, header: int) -> np.ndarray:
    """The bytes of a gzipped IDX file after its header."""
    return np.frombuffer(gzip.decompress(Path(path).read_bytes()), np.uint8, offset=header)
