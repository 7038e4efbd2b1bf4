"""Texts as ids, and the film reviews: contents, and errors for reviews that are not there."""

import io
import re
import sys
import tarfile
from collections import Counter

import numpy as np
import pytest

from rnnlab.data import PADS, Ragged, Texts, imdb, text, text_sequences, tfds
from rnnlab.errors import InputError
from tests.conftest import shared

SMALL = {'train': 4, 'test': 2}
REVIEWS = {
    'train': [
        ('neg', 'A bad film. BAD!'),
        ('pos', "It's a great, great film"),
        ('neg', 'bad<br />café'),
        ('pos', '\n Good film\t'),
    ],
    'test': [('neg', 'dull film'), ('pos', 'a joy')],
}


def test_words_are_those_of_keras():
    found = text.words("Don't stop--it's GREAT!<br />(10/10)")
    assert found == ["don't", 'stop', "it's", 'great', 'br', '10', '10']
    assert text.words('tab\tline\nnext') == ['tab', 'line', 'next']
    one = 'no\xa0break\x85here'  # split at the plain space only
    assert text.words(one) == [one]
    assert text.words(' ,;. ') == []


def test_the_vocabulary_is_by_frequency_then_alphabet():
    assert text.count_words(['b a c', 'c B', 'c']) == ('c', 'b', 'a')
    assert text.count_words(['y x', 'x y z']) == ('x', 'y', 'z')


def test_encoding_and_padding():
    ragged = text.encode(['a b zzz', '', 'c ' * 9], ('a', 'b', 'c'))
    assert ragged.tokens.tolist() == [0, 1, -1] + [2] * 9
    assert ragged.lengths.tolist() == [3, 0, 9]
    ids, lengths = text.pad_sequences(ragged, 5, 5, 'post')
    assert ids.tolist() == [[1, 3, 4, 2, 0], [1, 0, 0, 0, 0], [2, 2, 2, 2, 2]]
    assert lengths.tolist() == [4, 1, 5]
    ids, lengths = text.pad_sequences(ragged, 6, 5, 'pre')
    assert ids.tolist() == [[0, 1, 3, 4, 2], [0, 0, 0, 0, 1], [5, 5, 5, 5, 5]]
    assert text.pad_sequences(ragged, 6, 1, 'pre')[0].tolist() == [[2], [1], [5]]
    ids, lengths = text.pad_sequences(ragged, 6, 3, 'post', 'post')
    assert (ids.tolist(), lengths.tolist()) == ([[1, 3, 4], [1, 0, 0], [1, 5, 5]], [3, 1, 3])
    assert text.pad_sequences(ragged, 6, 1, 'pre', 'post')[0].tolist() == [[1], [1], [1]]
    for wrong in (('both',), ('pre', 'both')):
        with pytest.raises(InputError, match='post, pre'):
            text.pad_sequences(ragged, 6, 5, *wrong)


def test_bytes_need_no_vocabulary():
    ragged = text.encode(['aé', 'b'], None)
    assert ragged.tokens.tolist() == [*'aé'.encode(), *b'b']
    ids, _ = text.pad_sequences(ragged, 259, 9, 'post')
    assert ids.tolist() == [[1, *(byte + 3 for byte in 'aé'.encode())], [1, ord('b') + 3, 0, 0]]
    assert text.vocabulary_size(None) == 259


def little(count=10):
    ragged = Ragged(np.arange(count), np.ones(count, int))
    return Texts(
        train=ragged,
        train_labels=np.arange(count),
        test=ragged,
        test_labels=np.arange(count),
        vocabulary=tuple('abcdefghij'),
        classes=('no', 'yes'),
        held_out=2,
    )


def test_validation_is_the_end_of_one_fixed_shuffle():
    data, again = (
        text_sequences(little(), vocab_size=8, max_length=3, pad='pre') for _ in range(2)
    )
    assert len(data.validation.labels) == 2
    assert sorted([*data.train.labels, *data.validation.labels]) == list(range(10))
    assert data.train.labels.tolist() == again.train.labels.tolist() != list(range(8))
    assert data.vocabulary == tuple('abcde')
    expected = np.where(data.train.labels < 5, data.train.labels + 3, text.UNKNOWN)
    np.testing.assert_array_equal(data.train.inputs[:, -1], expected)
    assert data.train.lengths is None
    after = text_sequences(little(), vocab_size=8, max_length=3, pad='post', validation=0)
    assert (after.validation, after.train.lengths.tolist()) == (None, [2] * 10)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'validation': -1}, 'validation'),
        ({'validation': 10}, 'validation'),
        ({'vocab_size': 3}, 'vocab_size=3'),
        ({'max_length': 0}, 'max_length'),
    ],
)
def test_bad_arguments_say_what_is_wrong(change, words):
    with pytest.raises(InputError, match=words):
        text_sequences(little(), **{'vocab_size': 8, 'max_length': 3, 'pad': 'pre', **change})


def write_archive(path, reviews=REVIEWS, mode='w:xz'):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        parts = [
            (f'{split}/{label}/{n}_1.txt', t)
            for split, part in reviews.items()
            for n, (label, t) in enumerate(part)
        ]
        for name, content in [('README', 'read me'), ('train/unsup/0_0.txt', 'unlabelled'), *parts]:
            content = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(f'aclImdb/{name}')
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def small(tmp_path, monkeypatch, own_cache):
    """A data_dir for archives of a few reviews, without network."""
    monkeypatch.setattr(imdb, 'COUNTS', SMALL)
    monkeypatch.setattr(tfds, 'reachable', lambda url: False)
    return tmp_path / 'data'


@pytest.mark.filterwarnings('default')  # TFDS's own
@pytest.mark.parametrize(
    ('name', 'mode'),
    [('aclImdb_labelled.tar.xz', 'w:xz'), ('aclImdb.tar', 'w'), ('aclImdb_2.tar.gz', 'w:gz')],
)
def test_reviews_are_prepared_from_any_tar_of_the_layout(small, name, mode):
    write_archive(small / 'downloads' / 'manual' / name, mode=mode)
    texts = imdb.load(small)
    assert texts.vocabulary == ('bad', 'film', 'a', 'great', 'br', 'café', 'good', "it's")
    parts = np.split(texts.train.tokens, np.cumsum(texts.train.lengths)[:-1])
    told = {' '.join(texts.vocabulary[token] for token in part) for part in parts}
    assert told == {'a bad film bad', "it's a great great film", 'bad br café', 'good film'}
    assert sorted(texts.train_labels) == [0, 0, 1, 1]
    by_byte = imdb.load(small, 'bytes')
    lines = np.split(by_byte.test.tokens.astype(np.uint8), np.cumsum(by_byte.test.lengths)[:-1])
    assert {bytes(line): label for line, label in zip(lines, by_byte.test_labels, strict=True)} == {
        b'dull film': 0,
        b'a joy': 1,
    }
    assert (by_byte.vocabulary, text.vocabulary_size(by_byte.vocabulary)) == (None, 259)
    assert 'tensorflow' not in sys.modules


def broken(change):
    def write(path):
        write_archive(path)
        path.write_bytes(change(path.read_bytes()))

    return write


@pytest.mark.parametrize(
    ('name', 'write', 'words'),
    [
        (
            'aclImdb_v1.tar.gz',
            lambda path: write_archive(path, mode='w:gz'),
            'truncated or altered .* download it again from http',
        ),
        ('aclImdb.tar.xz', broken(lambda data: data[:-40]), 'is damaged, download it again'),
        ('aclImdb.tar.xz', broken(lambda data: b'not a tar'), 'is damaged, download it again'),
        (
            'aclImdb.tar.xz',
            lambda path: write_archive(path, REVIEWS | {'test': [('pos', 'one')]}),
            '0 negative and 1 positive .*, not 1 of each',
        ),
        (
            'aclImdb.tar.xz',
            lambda path: write_archive(path, REVIEWS | {'test': [('pos', b'\xff'), ('neg', 'x')]}),
            'damaged',
        ),
    ],
)
def test_an_archive_that_is_not_the_reviews_is_refused_and_nothing_written(
    small, name, write, words
):
    path = small / 'downloads' / 'manual' / name
    path.parent.mkdir(parents=True)
    write(path)
    with pytest.raises(InputError, match=words):
        imdb.load(small)
    assert [found for found in small.rglob('*') if found.is_file()] == [path]


def test_a_download_has_to_have_the_known_checksum(tmp_path):
    infos = imdb.make_builder(tmp_path, None).url_infos
    assert [(info.filename, info.checksum) for info in infos.values()] == [
        (imdb.ARCHIVE, imdb.checksum())
    ]


def test_missing_reviews_say_where_they_were_looked_for_and_the_two_ways(small):
    with pytest.raises(InputError) as error:
        imdb.load(small)
    for words in (
        str(small),
        'cannot be reached',
        'copy a folder imdb_reviews/plain_text/1.0.0',
        'aclImdb_v1.tar.gz',
        'downloads/manual',
    ):
        assert words in str(error.value)
    assert not small.exists()
    with pytest.raises(InputError, match='bytes, words'):
        imdb.load(small, 'letters')


@pytest.fixture(scope='module')
def prepared():
    """The examples that TFDS prepared."""
    return tfds.read(shared('tfds', 'imdb_reviews') / 'plain_text' / '1.0.0', imdb.COUNTS)


@pytest.mark.slow
def test_the_labelled_archive_holds_what_tfds_prepared(prepared):
    reviews = imdb.read_archive(shared('raw', 'imdb', 'aclImdb_labelled.tar.xz'))
    for split in imdb.COUNTS:
        ours = sorted((text, ('neg', 'pos').index(label)) for _, label, text in reviews[split])
        assert ours == sorted(
            (example['text'].decode(), int(example['label'])) for example in prepared[split]
        )


@pytest.mark.slow
def test_the_real_vocabulary_agrees_with_the_rules_written_anew(prepared):
    """The 10,000 words and their counts, by Keras's rules as one regular expression."""
    texts = imdb.load(shared('tfds'))
    word = re.compile(r'[^ !\"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~\t\n]+')
    counts = Counter()
    for example in prepared['train']:
        counts.update(word.findall(example['text'].decode().lower()))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10_000]
    occurrences = np.bincount(texts.train.tokens)[:10_000]
    assert list(zip(texts.vocabulary[:10_000], occurrences.tolist(), strict=True)) == ranked
    assert texts.vocabulary[:6] == ('the', 'and', 'a', 'of', 'to', 'is')
    assert texts.train.lengths.sum() == sum(counts.values())
    assert np.bincount(texts.test_labels).tolist() == [12_500, 12_500]
    data = text_sequences(texts, vocab_size=10_000, max_length=500, pad=PADS[0])
    assert (data.train.inputs.shape, data.train.inputs.max()) == ((20_000, 500), 9_999)
    assert data.validation.inputs.shape == (5_000, 500)
