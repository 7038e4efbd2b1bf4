"""Texts as sequences of ids: words as Keras counts them, or bytes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rnnlab.data.dataset import Dataset, Split, take, training_examples
from rnnlab.errors import InputError, known, positive

PADDING, START, UNKNOWN, FIRST = (
    0,
    1,
    2,
    3,
)  # the ids before those of tokens, as in keras.datasets.imdb
BYTES = 256
SHUFFLE_SEED = 0  # names the one order whose last texts validate

PUNCTUATION = str.maketrans(
    dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', ' ')
)  # the filter of Keras's Tokenizer
PADS = ('pre', 'post')


class Ragged(NamedTuple):
    """Texts as tokens, one behind the other. A token is a word's place in the vocabulary, -1 without one, or a byte."""

    tokens: np.ndarray  # int [all tokens]
    lengths: np.ndarray  # int [N], tokens of each text


class Texts(NamedTuple):
    """Labelled texts as a loader gives them."""

    train: Ragged
    train_labels: np.ndarray
    test: Ragged
    test_labels: np.ndarray
    vocabulary: tuple[str, ...] | None  # all words of train, the most frequent first; None: bytes
    classes: tuple[str, ...]
    held_out: int  # how many training texts validate where nobody says otherwise


def words(text: str) -> list[str]:
    """The words of a text as Keras's text_to_word_sequence has them: lower case, no punctuation, split at spaces alone."""
    return [word for word in text.lower().translate(PUNCTUATION).split(' ') if word]


def count_words(texts: Iterable[str]) -> tuple[str, ...]:
    """Every word, the most frequent first and those as frequent in alphabetical order."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words(text))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word)))


def encode(texts: Sequence[str], vocabulary: Sequence[str] | None) -> Ragged:
    """Texts as places in the vocabulary, or as bytes of UTF-8 where that is None."""
    if vocabulary is None:
        parts = [np.frombuffer(text.encode(), np.uint8) for text in texts]
    else:
        place = {word: number for number, word in enumerate(vocabulary)}
        parts = [
            np.array([place.get(word, -1) for word in words(text)], np.int32) for text in texts
        ]
    return Ragged(np.concatenate(parts), np.array([len(part) for part in parts], np.int32))


def pad_sequences(
    texts: Ragged, size: int, max_length: int, pad: str
) -> tuple[np.ndarray, np.ndarray]:
    """(ids [N, T], lengths [N]): the start's id and then each token's, the last max_length of these.

    Ids past `size` are those of unknown ones. Padding stands in front ('pre', T = max_length) or behind ('post', T at
    most that, as the longest needs).
    """
    known('pad', pad, PADS)
    tokens = texts.tokens.astype(np.int32)
    ids = np.where((tokens >= 0) & (tokens < size - FIRST), tokens + FIRST, UNKNOWN)
    lengths = np.minimum(texts.lengths + 1, max_length)
    width = max_length if pad == 'pre' else max(lengths)
    padded = np.full((len(lengths), width), PADDING, np.int32)
    ends = np.cumsum(texts.lengths)
    for row, end, tokens_there, length in zip(padded, ends, texts.lengths, lengths, strict=True):
        place = row[width - length :] if pad == 'pre' else row[:length]
        place[0] = START
        kept = min(tokens_there, max_length)
        place[length - kept :] = ids[end - kept : end]
    return padded, lengths


def vocabulary_size(vocabulary: Sequence[str] | None) -> int:
    """The ids of all tokens, and of padding, start and unknown."""
    return FIRST + (BYTES if vocabulary is None else len(vocabulary))


def text_sequences(
    texts: Texts, *, vocab_size: int, max_length: int, pad: str, validation: int | None = None
) -> Dataset:
    """Texts as sequences of ids; the last `validation` of a fixed shuffle of train validate (None: as the dataset holds out).

    The vocabulary are the most frequent words that vocab_size leaves room for beside padding, start and unknown. Lengths are
    given for padding behind only: in front it is read like a word, as Keras does.
    """
    kept = training_examples(
        texts.train_labels, texts.held_out if validation is None else validation
    )
    positive('max_length', max_length)
    if vocab_size <= FIRST:
        raise InputError(
            f'vocab_size={vocab_size} must be above {FIRST}: padding, start, unknown, and words'
        )
    vocabulary = None if texts.vocabulary is None else texts.vocabulary[: vocab_size - FIRST]

    def split(ragged: Ragged, labels: np.ndarray) -> Split:
        ids, lengths = pad_sequences(ragged, vocabulary_size(vocabulary), max_length, pad)
        return Split(ids, labels, lengths if pad == 'post' else None)

    whole = split(texts.train, texts.train_labels)
    order = np.random.RandomState(SHUFFLE_SEED).permutation(len(whole.labels))
    return Dataset(
        train=take(whole, order[:kept]),
        validation=take(whole, order[kept:]) if kept < len(order) else None,
        test=split(texts.test, texts.test_labels),
        outputs=len(texts.classes),
        vocabulary=vocabulary,
    )
