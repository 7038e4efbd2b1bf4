"""The 50,000 labelled film reviews of Maas et al. 2011 through TFDS (imdb_reviews, plain_text), without TensorFlow.

Read where it is prepared, else prepared from an archive on disk or from the network. Stock TFDS prepares the 50,000
unlabelled reviews too; the builder here leaves them out.
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

import numpy as np

from rnnlab.data import tfds
from rnnlab.data.cache import cached
from rnnlab.data.text import Ragged, Texts, count_words, encode
from rnnlab.errors import InputError, first_line, known

COUNTS = {'train': 25_000, 'test': 25_000}
CLASSES = ('negative', 'positive')
ARCHIVE = 'aclImdb_v1.tar.gz'
PAGE = 'http://ai.stanford.edu/~amaas/data/sentiment/'
REVIEW = re.compile(r'aclImdb/(train|test)/(neg|pos)/[^/]+\.txt')
COMPRESSIONS: dict[bytes, Callable] = {
    b'\x1f\x8b': gzip.open,
    b'\xfd7zXZ': lzma.open,
    b'BZh': bz2.open,
}  # by a file's first bytes
TOKENS = ('words', 'bytes')


def load(data_dir: str | Path | None = None, tokens: str = 'words') -> Texts:
    """25,000 and 25,000 reviews, from the TFDS folder (None: TFDS_DATA_DIR, else ~/tensorflow_datasets).

    Raises InputError when they are neither there nor to be had, or are damaged.
    """
    known('tokens', tokens, TOKENS)
    data_dir = tfds.tfds_folder(data_dir)
    folder = data_dir / 'imdb_reviews' / 'plain_text' / '1.0.0'
    if not tfds.prepared(folder):
        archive = find_archive(tfds.archives_folder(data_dir))
        reviews = read_archive(archive) if archive else None
        url = None if archive else PAGE + ARCHIVE
        names = f'{ARCHIVE}, or another tar of its labelled files whose name begins with aclImdb,'
        tfds.prepare(
            lambda data_dir: make_builder(data_dir, reviews),
            folder,
            data_dir,
            url=url,
            archives=names,
        )
    arrays = cached(f'imdb-{tokens}', folder, lambda: tokenize(folder, tokens))
    return Texts(
        train=Ragged(arrays['train'], arrays['train_lengths']),
        train_labels=arrays['train_labels'],
        test=Ragged(arrays['test'], arrays['test_lengths']),
        test_labels=arrays['test_labels'],
        vocabulary=tuple(arrays['vocabulary'].tobytes().decode().split(' '))
        if tokens == 'words'
        else None,
        classes=CLASSES,
        held_out=5_000,
    )


def tokenize(folder: Path, tokens: str) -> dict[str, np.ndarray]:
    """The arrays of Texts, whole and for every size of vocabulary; the words in one array of bytes, a space between them."""
    examples = tfds.read(folder, COUNTS)
    texts = {split: [example['text'].decode() for example in examples[split]] for split in COUNTS}
    vocabulary = count_words(texts['train']) if tokens == 'words' else None
    arrays = (
        {}
        if vocabulary is None
        else {'vocabulary': np.frombuffer(' '.join(vocabulary).encode(), np.uint8)}
    )
    for split in COUNTS:
        arrays[split], arrays[f'{split}_lengths'] = encode(texts[split], vocabulary)
        arrays[f'{split}_labels'] = np.array(
            [example['label'] for example in examples[split]], np.int32
        )
    return arrays


def find_archive(archives: Path) -> Path | None:
    """The original archive, by its checksum, or else any other tar of the name; None where there is none."""
    original = archives / ARCHIVE
    if original.exists():
        with original.open('rb') as file:
            if hashlib.file_digest(file, 'sha256').hexdigest() != checksum():
                raise InputError(
                    f'{original} is truncated or altered (its sha256 is not the known one): fetch it again from {PAGE}'
                )
        return original
    return next((path for path in sorted(archives.glob('aclImdb*')) if path.is_file()), None)


def checksum() -> str:
    """The sha256 of the original archive, from TFDS's own list."""
    from tensorflow_datasets.datasets.imdb_reviews import imdb_reviews_dataset_builder as stock

    return next(
        info.checksum for info in stock.Builder.url_infos.values() if info.filename == ARCHIVE
    )


def read_archive(path: Path) -> dict[str, list[tuple[str, str, str]]]:
    """(file name, label, text) of every labelled review, by split; InputError unless they are whole and as many as there are."""
    reviews: dict[str, list[tuple[str, str, str]]] = {split: [] for split in COUNTS}
    try:
        for name, text in members(path):
            if match := REVIEW.fullmatch(name):
                split, label = match.groups()
                reviews[split].append((name, label, text.strip().decode()))
    except (
        tarfile.TarError,
        EOFError,
        lzma.LZMAError,
        zlib.error,
        OSError,
        UnicodeDecodeError,
    ) as error:
        raise InputError(f'{path} is damaged, fetch it again: {first_line(error)}') from error
    for split, count in COUNTS.items():
        found = Counter(label for _, label, _ in reviews[split])
        if found != {'neg': count // 2, 'pos': count // 2}:
            there = (
                f'{found["neg"]} negative and {found["pos"]} positive reviews in aclImdb/{split}'
            )
            raise InputError(
                f'{path} has {there}, not {count // 2} of each; fetch it again, or put {ARCHIVE} in its place'
            )
    return reviews


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file in a tar that may be compressed, which is read to its very end, where the checksum is."""
    with path.open('rb') as raw:
        start = raw.read(6)
    opener = next(
        (opener for magic, opener in COMPRESSIONS.items() if start.startswith(magic)), open
    )
    with opener(path, 'rb') as whole:
        with tarfile.open(fileobj=whole, mode='r|') as archive:
            for member in archive:
                if member.isfile() and (file := archive.extractfile(member)):
                    yield member.name.removeprefix('./'), file.read()
        while whole.read(1 << 20):
            pass


def make_builder(data_dir: Path, reviews: dict[str, list[tuple[str, str, str]]] | None):
    """TFDS's own builder with the labelled splits alone, from reviews at hand or from the network."""
    from tensorflow_datasets.core import registered
    from tensorflow_datasets.datasets.imdb_reviews import imdb_reviews_dataset_builder as stock

    with registered.skip_registration():

        class Reviews(stock.Builder):
            name = 'imdb_reviews'
            url_infos = (
                stock.Builder.url_infos
            )  # with the checksum, which TFDS else looks for beside this file

            def _split_generators(self, dl_manager):
                whole = reviews or read_archive(Path(dl_manager.download(PAGE + ARCHIVE)))
                return {split: self._generate_examples(whole[split]) for split in COUNTS}

            def _generate_examples(self, part):
                for name, label, text in part:
                    yield name, {'text': text, 'label': label}

    return Reviews(data_dir=data_dir, config='plain_text', file_format='array_record')
