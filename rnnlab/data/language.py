"""A text as one long sequence of tokens, of which each is to be predicted from those before it."""

import math
import re
import sysconfig
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rnnlab.data.dataset import Dataset, Split
from rnnlab.errors import InputError, known, positive

UNKNOWN = '\ufffd'  # what stands for a word that the vocabulary has not
WORD = re.compile(r' ?\w+| ?[^\w\s]+|\s')
HELD_OUT = 10  # the last of so many parts validates


def characters(text: str) -> list[str]:
    return list(text)


def words(text: str) -> list[str]:
    """Words, signs and single spaces; a word has the space before it, so that all together are the text again."""
    return WORD.findall(text)


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {'characters': characters, 'words': words}


def read_text(path: str | Path | None = None) -> str:
    """The text of a file in UTF-8; None: the source of Python's own standard library, the modules of its highest folder.

    Raises InputError for a file that is empty or no text.
    """
    if path is None:
        modules = sorted(Path(sysconfig.get_path('stdlib')).glob('*.py'))
        return ''.join(module.read_text(encoding='utf-8', errors='ignore') for module in modules)
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(
            f'{path} is not UTF-8: {error.reason} at byte {error.start}; convert it first'
        ) from error
    if not text.strip():
        raise InputError(f'{path} is empty; name a file with some text')
    return text


def encode(tokens: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    """The place of each in the vocabulary, int [N]; InputError for the first that is not in it, unless it has an UNKNOWN."""
    place = {token: number for number, token in enumerate(vocabulary)}
    unknown = place.get(UNKNOWN)
    if unknown is None and (
        strange := next((token for token in tokens if token not in place), None)
    ):
        raise InputError(
            f'{strange!r} is not among the {len(vocabulary)} tokens of the text that was learned'
        )
    return np.array([place.get(token, unknown) for token in tokens], np.int32)


def language(
    text: str, *, tokens: str, streams: int, window: int, vocab_size: int | None = None
) -> Dataset:
    """The text cut into `streams` as long as each other, of which the labels are one token ahead; the last tenth validates.

    Training streams are whole windows; what is left over at their end is not trained on. Those that validate are padded
    instead. The vocabulary is every character, or the vocab_size most frequent words of the training part and UNKNOWN.

    Raises InputError for a text of one kind of token, or too short for one window of each stream.
    """
    known('tokens', tokens, TOKENIZERS)
    positive('streams', streams)
    positive('window', window)
    everything = TOKENIZERS[tokens](text)
    kept = len(everything) - len(everything) // HELD_OUT
    if vocab_size is None:
        vocabulary = tuple(sorted(set(everything)))
    else:
        counts = Counter(word for word in everything[:kept] if word != UNKNOWN)
        vocabulary = (
            UNKNOWN,
            *sorted(counts, key=lambda word: (-counts[word], word))[: vocab_size - 1],
        )
    if len(set(everything)) < 2:
        raise InputError(
            f'the text has one kind of {tokens[:-1]} alone; there is nothing to predict'
        )
    ids = encode(everything, vocabulary)
    steps = (kept - 1) // streams // window * window
    if not steps or len(ids) - kept < 2:
        needed = math.ceil((streams * window + 1) * HELD_OUT / (HELD_OUT - 1))
        sizes = f'{streams} streams (--batch_size) of --window={window}'
        raise InputError(
            f'the text has {len(ids)} {tokens}, and {sizes} need {needed}: lower one of them, or take a longer text'
        )
    held_out = Split(*padded_streams(ids[kept:], streams, window))
    frequency = (
        np.bincount(ids[:kept], minlength=len(vocabulary)) + 1.0
    )  # as if each had come once more
    nats = -np.log(frequency / frequency.sum())
    return Dataset(
        train=Split(
            *(ids[ahead : ahead + streams * steps].reshape(streams, steps) for ahead in (0, 1))
        ),
        validation=held_out,
        test=None,
        outputs=len(vocabulary),
        vocabulary=vocabulary,
        baseline=float(np.mean(nats[ids[kept + 1 :]])),
    )


def padded_streams(
    ids: np.ndarray, number: int, window: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids [number, T], the ids after them, lengths [number]): all of them, T as many whole windows as that takes."""
    count = len(ids) - 1
    length = -(-count // number)
    steps = -(-length // window) * window
    inputs, labels = np.zeros((2, number, steps), np.int32)
    for part, shifted in ((inputs, ids[:-1]), (labels, ids[1:])):
        part[:, :length] = np.pad(shifted, (0, number * length - count)).reshape(number, length)
    return inputs, labels, np.clip(count - length * np.arange(number), 0, length).astype(np.int32)
