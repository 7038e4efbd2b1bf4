"""Film reviews, positive or negative, read word by word.

python -m experiments.imdb --cell=gru --out=runs/gru
python -m experiments.imdb --predict='A wonderful film.' --out=runs/gru
python -m experiments.imdb --predict=- --out=runs/gru < reviews.txt      (a review a line)
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np

import experiments.runner.config as groups
from experiments.runner import cli, machine, model
from experiments.runner.fields import INF, operational, static
from experiments.runner.restore import probabilities, recall, restore_params
from experiments.runner.sweep import launch
from experiments.runner.task import Task
from rnnlab.data import PADS, Dataset, imdb, text, text_sequences
from rnnlab.data.imdb import TOKENS
from rnnlab.data.text import FIRST
from rnnlab.errors import InputError
from rnnlab.models import Model, classifier
from rnnlab.results import runs
from rnnlab.training.optim import Hyper


@dataclass(frozen=True, kw_only=True)
class Config(groups.Classifier, groups.Validation, groups.DataDir, groups.Training):
    OPEN: ClassVar = {
        'hidden_size': 32,
        'epochs': 10,
        'optimizer': 'rmsprop',
        'clip': INF,
        'keep': 'best',
    }

    tokens: str = static('words', 'A time step of a text.', choices=tuple(TOKENS), data=True)
    vocab_size: int = static(
        10_000,
        'Number of word ids, those of padding, start and unknown words included.',
        check=lambda size: size > FIRST,
        must=f'must be above {FIRST}: padding, start, unknown, and words',
        needs=('tokens', ('words',)),
        data=True,
    )
    max_length: int = static(500, 'Time steps of a text, its start included.', low=1, data=True)
    truncate: str = static(
        'pre',
        'What a longer text loses: its beginning, or its end (post).',
        choices=tuple(PADS),
        data=True,
    )
    pad: str = static(
        'pre',
        'Padding before the text, read like a word, or after it, masked.',
        choices=tuple(PADS),
        data=True,
    )
    buckets: int = static(
        8, 'Groups of texts of similar length to batch, for --pad=post; 1 is off.',
        low=1,
        needs=('pad', ('post',)),
    )  # fmt: skip
    embedding: int = static(32, 'Features of an embedded word.', low=1)
    predict: str | None = operational(
        None, "A review to classify by the run in --out; '-': those of standard input, one a line."
    )


def load(config: Config) -> Dataset:
    return text_sequences(
        imdb.load(config.data_dir, config.tokens),
        validation=config.validation,
        vocab_size=config.vocab_size,
        max_length=config.max_length,
        pad=config.pad,
        truncate=config.truncate,
    )


def network(config: Config, vocabulary: tuple[str, ...] | None, hyper: Hyper) -> Model:
    return classifier(
        model.make_layers(config, hyper),
        inputs=config.embedding,
        classes=len(imdb.CLASSES),
        vocabulary=text.vocabulary_size(vocabulary),
        pool=config.pool,
        **model.around(config, hyper),
    )


def predict(config: Config) -> None:
    """Prints the probability of the more probable label, and the label, for each review."""
    given = config.predict or ''
    folder, config = recall('imdb', config, '--predict=TEXT')
    words = config.tokens == 'words'
    vocabulary = runs.read_json(folder / runs.VOCABULARY, list[str]) if words else None
    reviews = list(read_reviews(given))
    net = network(config, vocabulary, config.hyper)
    params = restore_params(folder, jax.eval_shape(net.init, jax.random.key(0)))

    ragged = text.encode([review for _, review in reviews], vocabulary)
    size = text.vocabulary_size(vocabulary)
    ids, lengths = text.pad_sequences(ragged, size, config.max_length, config.pad, config.truncate)
    for (where, _), row in zip(reviews, ids, strict=True):
        if not np.any(row >= text.FIRST):
            print(f'note: {where} has no word of the vocabulary', file=sys.stderr)
    masked = lengths if config.pad == 'post' else None
    with machine.precision(config):
        rows = probabilities(net, params, ids, masked)
    for row in rows:
        label = int(np.argmax(row))
        print(f'{row[label]:.4f} {imdb.CLASSES[label]}')


def read_reviews(given: str) -> Iterator[tuple[str, str]]:
    """(where it is, text) of every review."""
    lines = [('--predict', given.encode(errors='surrogateescape'))]
    if given == '-':
        read = sys.stdin.buffer.read().splitlines()
        lines = [(f'line {number} of standard input', line) for number, line in enumerate(read, 1)]
    if not lines:
        raise InputError('standard input is empty; --predict=- reads a review a line')
    for where, line in lines:
        try:
            review = line.decode('utf-8-sig')  # some editors begin a file with a mark
        except UnicodeDecodeError as error:
            words = f'{where} is not UTF-8: {error.reason} at byte {error.start}'
            raise InputError(f'{words}; convert it first') from error
        if not review.strip():
            raise InputError(f'{where} is empty; every review needs some text')
        yield where, review


TASK = Task(
    name='imdb',
    load=load,
    build=lambda config, data, hyper: network(config, data.vocabulary, hyper),
)


def main(config: Config) -> None:
    if config.predict is not None:
        predict(config)
    else:
        launch(TASK, config)


if __name__ == '__main__':
    cli.run(Config, main)
