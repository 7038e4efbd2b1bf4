"""The 50,000 labelled film reviews of Maas et al. 2011 through TFDS, without TensorFlow.

The dataset is imdb_reviews, plain_text. TFDS prepares 50,000 unlabelled reviews too; the builder
here leaves them out.
"""

import bz2
import gzip
import hashlib
import lzma
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnlab.data import tfds
from rnnlab.data.cache import Arrays, cached
from rnnlab.data.text import Ragged, Texts, count_words, encode
from rnnlab.errors import InputError, first_line, known

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder
    from tensorflow_datasets.core.download import DownloadManager

COUNTS = {'train': 25_000, 'test': 25_000}
CLASSES = ('negative', 'positive')
ARCHIVE = 'aclImdb_v1.tar.gz'
PAGE = 'http://ai.stanford.edu/~amaas/data/sentiment/'
REVIEW = re.compile(r'aclImdb/(train|test)/(neg|pos)/[^/]+\.txt')
COMPRESSIONS: dict[bytes, Callable] = {  # by a file's first bytes
    b'\x1f\x8b': gzip.open,
    b'\xfd7zXZ': lzma.open,
    b'BZh': bz2.open,
}
DAMAGE = tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError, UnicodeDecodeError
TOKENS = ('words', 'bytes')

Reviews = dict[str, list[tuple[str, str, str]]]  # (file name, label, text) of each, by split


def load(data_dir: str | Path | None = None, tokens: str = 'words') -> Texts:
    """25,000 training and 25,000 test reviews.

    data_dir: the TFDS folder; None is TFDS_DATA_DIR, else ~/tensorflow_datasets. If the reviews
        are not prepared there, they are prepared from an archive in downloads/manual or from the
        network.
    tokens: 'words' or 'bytes'.

    Raises InputError if the reviews are unavailable or damaged.
    """
    known('tokens', tokens, TOKENS)
    data_dir = tfds.tfds_folder(data_dir)
    folder = data_dir / 'imdb_reviews' / 'plain_text' / '1.0.0'
    if not tfds.prepared(folder):
        archive = find_archive(tfds.archives_folder(data_dir))
        reviews = read_archive(archive) if archive else None
        tfds.prepare(
            lambda data_dir: make_builder(data_dir, reviews),
            folder,
            data_dir,
            url=None if archive else PAGE + ARCHIVE,
            archives=f'{ARCHIVE}, or another tar of its labelled files named aclImdb*,',
        )
    arrays = cached(f'imdb-{tokens}', folder, lambda: tokenize(folder, tokens))
    vocabulary = None
    if tokens == 'words':
        vocabulary = tuple(arrays['vocabulary'].tobytes().decode().split(' '))
    return Texts(
        train=Ragged(arrays['train'], arrays['train_lengths']),
        train_labels=arrays['train_labels'],
        test=Ragged(arrays['test'], arrays['test_lengths']),
        test_labels=arrays['test_labels'],
        vocabulary=vocabulary,
        classes=CLASSES,
        held_out=5_000,
    )


def tokenize(folder: Path, tokens: str) -> Arrays:
    """The arrays of Texts, with all words of `train`, as bytes, separated by spaces."""
    examples = tfds.read(folder, COUNTS)
    texts = {split: [example['text'].decode() for example in examples[split]] for split in COUNTS}
    arrays, vocabulary = {}, None
    if tokens == 'words':
        vocabulary = count_words(texts['train'])
        arrays['vocabulary'] = np.frombuffer(' '.join(vocabulary).encode(), np.uint8)
    for split in COUNTS:
        labels = [example['label'] for example in examples[split]]
        arrays[split], arrays[f'{split}_lengths'] = encode(texts[split], vocabulary)
        arrays[f'{split}_labels'] = np.array(labels, np.int32)
    return arrays


def find_archive(archives: Path) -> Path | None:
    """The original archive if it is there, else the first aclImdb* file, else None.

    Raises InputError for an original archive with a wrong checksum.
    """
    original = archives / ARCHIVE
    if original.exists():
        with original.open('rb') as file:
            if hashlib.file_digest(file, 'sha256').hexdigest() != checksum():
                raise InputError(
                    f'{original} is truncated or altered (its sha256 is not the known one): '
                    f'download it again from {PAGE}'
                )
        return original
    return next((path for path in sorted(archives.glob('aclImdb*')) if path.is_file()), None)


def checksum() -> str:
    """The sha256 of the original archive, from TFDS."""
    from tensorflow_datasets.datasets.imdb_reviews import imdb_reviews_dataset_builder as stock

    infos = stock.Builder.url_infos.values()
    return next(info.checksum for info in infos if info.filename == ARCHIVE)


def read_archive(path: Path) -> Reviews:
    """The labelled reviews of an archive; InputError if it is damaged or not all are there."""
    reviews: Reviews = {split: [] for split in COUNTS}
    try:
        for name, text in members(path):
            if match := REVIEW.fullmatch(name):
                split, label = match.groups()
                reviews[split].append((name, label, text.strip().decode()))
    except DAMAGE as error:
        raise InputError(f'{path} is damaged, download it again: {first_line(error)}') from error
    for split, count in COUNTS.items():
        found = Counter(label for _, label, _ in reviews[split])
        if found != {'neg': count // 2, 'pos': count // 2}:
            raise InputError(
                f'{path} has {found["neg"]} negative and {found["pos"]} positive reviews in '
                f'aclImdb/{split}, not {count // 2} of each; download it again, or put {ARCHIVE} '
                f'in its place'
            )
    return reviews


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file of a tar, compressed or not.

    Read to the last byte, after which gzip and xz compare checksums.
    """
    with path.open('rb') as raw:
        head = raw.read(6)
    openers = (opener for magic, opener in COMPRESSIONS.items() if head.startswith(magic))
    with next(openers, open)(path, 'rb') as whole:
        with tarfile.open(fileobj=whole, mode='r|') as archive:
            for member in archive:
                if member.isfile() and (file := archive.extractfile(member)):
                    yield member.name.removeprefix('./'), file.read()
        while whole.read(1 << 20):
            pass


def make_builder(data_dir: Path, reviews: Reviews | None) -> 'DatasetBuilder':
    """The builder of TFDS for the labelled splits only, from `reviews` or else the network."""
    from tensorflow_datasets.core import registered
    from tensorflow_datasets.datasets.imdb_reviews import imdb_reviews_dataset_builder as stock

    with registered.skip_registration():

        class LabelledReviews(stock.Builder):
            name = 'imdb_reviews'
            url_infos = stock.Builder.url_infos  # checksums; TFDS would look beside this file

            def _split_generators(self, dl_manager: 'DownloadManager') -> dict[str, Iterator]:
                whole = reviews or read_archive(Path(dl_manager.download(PAGE + ARCHIVE)))
                return {split: self._generate_examples(whole[split]) for split in COUNTS}

            def _generate_examples(self, part: list[tuple[str, str, str]]) -> Iterator:
                for name, label, text in part:
                    yield name, {'text': text, 'label': label}

    return LabelledReviews(data_dir=data_dir, config='plain_text', file_format='array_record')
