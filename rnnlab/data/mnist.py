"""MNIST through TFDS, without TensorFlow: read where it is prepared, else prepared from archives or the network.

Stock TFDS prepares MNIST with TensorFlow's file, gzip and PNG functions; the builder here does the same with the standard
library, NumPy and Pillow, and the folder that results is an ordinary TFDS folder.
"""

import gzip
import hashlib
import io
from pathlib import Path

import numpy as np

from rnnlab.data import tfds
from rnnlab.data.cache import cached
from rnnlab.data.dataset import Images
from rnnlab.errors import InputError

VERSION = '3.0.1'
COUNTS = {'train': 60_000, 'test': 10_000}
MIRROR = 'https://storage.googleapis.com/cvdf-datasets/mnist/'
ARCHIVES = {
    'train': ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'),
    'test': ('t10k-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz'),
}


def load(data_dir: str | Path | None = None) -> Images:
    """60,000 and 10,000 images of 28 by 28, from the TFDS folder (None: TFDS_DATA_DIR, else ~/tensorflow_datasets).

    Raises InputError when MNIST is neither there nor to be had, or is damaged.
    """
    data_dir = tfds.tfds_folder(data_dir)
    folder = data_dir / 'mnist' / VERSION
    if not tfds.prepared(folder):
        missing = check_archives(tfds.archives_folder(data_dir))
        url = MIRROR + missing[0] if missing else None
        tfds.prepare(
            make_builder,
            folder,
            data_dir,
            url=url,
            archives=f'the original archives ({", ".join(missing)})',
        )
    arrays = cached('mnist', folder, lambda: decode(folder))
    return Images(**arrays, brightest=255, held_out=5_000)


def decode(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a prepared folder, by the names that Images gives them."""
    arrays = {}
    for split, examples in tfds.read(folder, COUNTS).items():
        arrays[split] = np.stack([example['image'][..., 0] for example in examples])
        arrays[f'{split}_labels'] = np.array([example['label'] for example in examples], np.int32)
    return arrays


def check_archives(archives: Path) -> list[str]:
    """The names of the archives that are not in the folder; InputError for one whose checksum is wrong."""
    missing = []
    for name in (name for names in ARCHIVES.values() for name in names):
        if not (archives / name).exists():
            missing.append(name)
        elif hashlib.sha256((archives / name).read_bytes()).hexdigest() != checksums()[name]:
            raise InputError(
                f"{archives / name} is truncated or altered (its sha256 is not MNIST's): fetch it again from {MIRROR}"
            )
    return missing


def checksums() -> dict[str, str]:
    """The sha256 of each archive, from TFDS's own list."""
    from tensorflow_datasets.image_classification import mnist as stock

    return {info.filename: info.checksum for info in stock.MNIST.url_infos.values()}


def make_builder(data_dir: Path):
    """TFDS's own MNIST builder with its two steps that need TensorFlow replaced."""
    from PIL import Image
    from tensorflow_datasets.core import registered
    from tensorflow_datasets.image_classification import mnist as stock

    def png(image):
        out = io.BytesIO()
        Image.fromarray(image).save(out, format='png')
        return out.getvalue()

    def examples(images_path, labels_path):
        images, labels = (
            read_idx(images_path, header=16).reshape(-1, 28, 28),
            read_idx(labels_path, header=8),
        )
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield number, {'image': png(image), 'label': int(label)}

    with registered.skip_registration():

        class MNIST(stock.MNIST):
            def _split_generators(self, dl_manager):
                paths = dl_manager.download(
                    {split: [MIRROR + name for name in names] for split, names in ARCHIVES.items()}
                )
                return {split: examples(*paths[split]) for split in paths}

    return MNIST(data_dir=data_dir, file_format='array_record')


def read_idx(path, header: int) -> np.ndarray:
    """The bytes of a gzipped IDX file after its header."""
    return np.frombuffer(gzip.decompress(Path(path).read_bytes()), np.uint8, offset=header)
