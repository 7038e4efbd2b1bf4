"""A text as parallel streams of tokens, each to be predicted from those before it."""

import math
import re
import sysconfig
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rnnlab.data.dataset import Dataset, Split
from rnnlab.errors import InputError, known, positive

UNKNOWN = '\ufffd'  # the token of words that are not in the vocabulary
WORD = re.compile(r' ?\w+| ?[^\w\s]+|\s')
HELD_OUT = 10  # one part in so many validates, the last one


def characters(text: str) -> list[str]:
    return list(text)


def words(text: str) -> list[str]:
    """Words and signs, each with the space before it, and other white space: joined, the text."""
    return WORD.findall(text)


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {'characters': characters, 'words': words}


def read_text(path: str | Path | None = None) -> str:
    """The text of a UTF-8 file; None: the top-level modules of Python's standard library.

    Raises InputError for a file that is empty or not UTF-8.
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
        raise InputError(f'{path} is empty: choose a file with some text')
    return text


def encode(tokens: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    """The index of each token in the vocabulary, int [N].

    Raises InputError for a token that is not in a vocabulary without UNKNOWN.
    """
    index = {token: number for number, token in enumerate(vocabulary)}
    unknown = index.get(UNKNOWN)
    if unknown is None and (missing := [token for token in tokens if token not in index]):
        raise InputError(
            f'{missing[0]!r} is not among the {len(vocabulary)} tokens of the training text'
        )
    return np.array([index.get(token, unknown) for token in tokens], np.int32)


def language(
    text: str, *, tokens: str, batch_size: int, window: int, vocab_size: int | None = None
) -> Dataset:
    """The text as `batch_size` streams of equal length, their labels one token ahead.

    tokens: a name in TOKENIZERS.
    window: time steps of a batch. Training streams are whole windows, the rest of the training
        part is dropped; validation streams are padded to whole windows.
    vocab_size: UNKNOWN and the most frequent words of the training part; None: every token.

    The last tenth of the text validates. Raises InputError for a text of one distinct token, or
    too short for one window of each stream.
    """
    known('tokens', tokens, TOKENIZERS)
    positive('batch_size', batch_size)
    positive('window', window)
    everything = TOKENIZERS[tokens](text)
    if len(set(everything)) < 2:
        raise InputError(f'the text has no two different {tokens}: there is nothing to predict')
    kept = len(everything) - len(everything) // HELD_OUT
    vocabulary = choose_vocabulary(everything, kept, vocab_size)
    ids = encode(everything, vocabulary)
    steps = (kept - 1) // batch_size // window * window
    if not steps or len(ids) - kept < 2:
        needed = math.ceil((batch_size * window + 1) * HELD_OUT / (HELD_OUT - 1))
        raise InputError(
            f'the text has {len(ids)} {tokens}, and `batch_size={batch_size}` with '
            f'`window={window}` needs {needed}: lower one of them, or choose a longer text'
        )
    inputs, labels = (
        ids[shift : shift + batch_size * steps].reshape(batch_size, steps) for shift in (0, 1)
    )
    return Dataset(
        train=Split(inputs, labels),
        validation=Split(*padded_streams(ids[kept:], batch_size, window)),
        test=None,
        outputs=len(vocabulary),
        vocabulary=vocabulary,
        baseline=unigram_loss(ids[:kept], ids[kept + 1 :], len(vocabulary)),
    )


def choose_vocabulary(
    everything: Sequence[str], kept: int, vocab_size: int | None
) -> tuple[str, ...]:
    """UNKNOWN and the most frequent of the first `kept` tokens; without vocab_size all tokens."""
    if vocab_size is None:
        return tuple(sorted(set(everything)))
    counts = Counter(token for token in everything[:kept] if token != UNKNOWN)
    return UNKNOWN, *sorted(counts, key=lambda token: (-counts[token], token))[: vocab_size - 1]


def unigram_loss(train: np.ndarray, held_out: np.ndarray, size: int) -> float:
    """Nats per token of held_out by the frequencies in train, each count one higher."""
    counts = np.bincount(train, minlength=size) + 1.0
    nats = -np.log(counts / counts.sum())
    return float(np.mean(nats[held_out]))


def padded_streams(
    ids: np.ndarray, number: int, window: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(inputs [number, T], labels [number, T], lengths [number]) of all ids.

    T is the fewest whole windows that hold them; the last streams may be shorter, or empty.
    """
    count = len(ids) - 1
    length = -(-count // number)
    steps = -(-length // window) * window
    inputs, labels = np.zeros((2, number, steps), np.int32)
    for part, shifted in ((inputs, ids[:-1]), (labels, ids[1:])):
        part[:, :length] = np.pad(shifted, (0, number * length - count)).reshape(number, length)
    return inputs, labels, np.clip(count - length * np.arange(number), 0, length).astype(np.int32)
