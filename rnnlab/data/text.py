"""Texts as sequences of ids: words as Keras counts them, or bytes.

Letters in shapes: N texts, T tokens.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rnnlab.data.dataset import Dataset, Split, take, training_examples
from rnnlab.errors import InputError, known, positive

PADDING, START, UNKNOWN, FIRST = 0, 1, 2, 3  # FIRST: the first token's id (keras.datasets.imdb)
BYTES = 256
SHUFFLE_SEED = 0  # of the one order whose last texts validate
FILTERED = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'  # by Keras's Tokenizer
PUNCTUATION = str.maketrans(dict.fromkeys(FILTERED, ' '))
PADS = ('pre', 'post')


class Ragged(NamedTuple):
    """Texts as tokens, concatenated: indices in the vocabulary (-1: not in it), or bytes."""

    tokens: np.ndarray  # int [sum of lengths]
    lengths: np.ndarray  # int [N], tokens of each text


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """Labelled texts, classes int [N]."""

    train: Ragged
    train_labels: np.ndarray
    test: Ragged
    test_labels: np.ndarray
    vocabulary: tuple[str, ...] | None  # all words of train by falling frequency; None: bytes
    classes: tuple[str, ...]
    held_out: int  # default number of training texts that validate


def words(text: str) -> list[str]:
    """The words of a text as Keras's text_to_word_sequence gives them.

    Lower case, without punctuation, split at spaces only (not at other white space).
    """
    return [word for word in text.lower().translate(PUNCTUATION).split(' ') if word]


def count_words(texts: Iterable[str]) -> tuple[str, ...]:
    """Every word of the texts by falling frequency, equally frequent ones alphabetically."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words(text))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word)))


def encode(texts: Sequence[str], vocabulary: Sequence[str] | None) -> Ragged:
    """The texts' words as indices in the vocabulary; their UTF-8 bytes if that is None."""
    if vocabulary is None:
        parts = [np.frombuffer(text.encode(), np.uint8) for text in texts]
    else:
        index = {word: number for number, word in enumerate(vocabulary)}
        parts = [np.array([index.get(word, -1) for word in words(t)], np.int32) for t in texts]
    return Ragged(np.concatenate(parts), np.array([len(part) for part in parts], np.int32))


def pad_sequences(
    texts: Ragged, size: int, max_length: int, pad: str, truncate: str = 'pre'
) -> tuple[np.ndarray, np.ndarray]:
    """(ids [N, T], lengths [N]): the id START and those of the tokens, at most max_length of all.

    size: number of ids; tokens with higher ones become UNKNOWN.
    pad: padding before the text ('pre', T = max_length) or after it ('post', T = max(lengths)).
    truncate: a longer text loses its beginning ('pre', START included) or its end ('post').
    """
    known('pad', pad, PADS)
    known('truncate', truncate, PADS)
    tokens = texts.tokens.astype(np.int32)
    ids = np.where((tokens >= 0) & (tokens < size - FIRST), tokens + FIRST, UNKNOWN)
    lengths = np.minimum(texts.lengths + 1, max_length)
    width = max_length if pad == 'pre' else max(lengths)
    padded = np.full((len(lengths), width), PADDING, np.int32)
    ends = np.cumsum(texts.lengths)
    for row, end, count, length in zip(padded, ends, texts.lengths, lengths, strict=True):
        own = row[width - length :] if pad == 'pre' else row[:length]
        own[0] = START
        if truncate == 'pre':
            kept = min(count, max_length)
            own[length - kept :] = ids[end - kept : end]
        else:
            own[1:] = ids[end - count : end - count + length - 1]
    return padded, lengths


def vocabulary_size(vocabulary: Sequence[str] | None) -> int:
    """The number of ids: those of the tokens, and of padding, start and unknown."""
    return FIRST + (BYTES if vocabulary is None else len(vocabulary))


def text_sequences(
    texts: Texts,
    *,
    vocab_size: int,
    max_length: int,
    pad: str,
    truncate: str = 'pre',
    validation: int | None = None,
) -> Dataset:
    """Texts as padded sequences of ids.

    vocab_size: number of ids, of padding, start, unknown and the most frequent words.
    max_length, pad, truncate: see pad_sequences. With pad 'pre' there are no lengths: padding is
        read like a word, as in Keras.
    validation: the last ones of one fixed shuffle of train validate; None: texts.held_out.
    """
    kept = training_examples(
        texts.train_labels, texts.held_out if validation is None else validation
    )
    positive('max_length', max_length)
    if vocab_size <= FIRST:
        raise InputError(
            f'`vocab_size={vocab_size}` must be above {FIRST}: padding, start, unknown, and words'
        )
    vocabulary = None if texts.vocabulary is None else texts.vocabulary[: vocab_size - FIRST]

    def split(ragged: Ragged, labels: np.ndarray) -> Split:
        size = vocabulary_size(vocabulary)
        ids, lengths = pad_sequences(ragged, size, max_length, pad, truncate)
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
