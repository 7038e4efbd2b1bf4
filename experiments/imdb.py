"""Film reviews, positive or negative, read word by word.

python -m experiments.imdb --cell=gru --out=runs/gru
python -m experiments.imdb --predict='A wonderful film.' --out=runs/gru      (a dash reads standard input, a review a line)
"""

import sys
from collections.abc import Iterator
from functools import lru_cache

import jax
import numpy as np
from absl import flags

import experiments.runner.cli
from experiments.runner import model
from experiments.runner.cli import FLAGS
from experiments.runner.restore import recall_run, restore_params
from experiments.runner.run import train
from experiments.runner.sweep import sweep
from experiments.runner.task import Experiment, examples_in_order, make_hyper, shuffled_examples
from rnnlab.data import Dataset, Split, imdb, text, text_sequences
from rnnlab.errors import InputError
from rnnlab.models import Model, classifier
from rnnlab.results import runs
from rnnlab.training.batches import Batches
from rnnlab.training.optim import Hyper

experiments.runner.cli.texts()
experiments.runner.cli.classifier()
experiments.runner.cli.validation()
experiments.runner.cli.data_dir()
experiments.runner.cli.training()
flags.DEFINE_string(
    'predict',
    None,
    "A review to judge by the run in --out; '-': those of standard input, one a line.",
)
experiments.runner.cli.set_defaults(
    {'hidden_size': 32, 'epochs': 10, 'optimizer': 'rmsprop', 'clip': float('inf'), 'keep': 'best'}
)
flags.adopt_module_key_flags(experiments.runner.cli)

CHUNK = 500  # reviews that are judged at once


def main() -> None:
    if FLAGS.predict is not None:
        predict()
    else:
        (sweep if FLAGS.sweep else train)(
            Experiment('imdb', settle, load, build, batches=batches, rounds=rounds)
        )


def settle() -> None:
    model.check()
    if FLAGS['vocab_size'].present and FLAGS.tokens != 'words':
        raise InputError(f'--vocab_size goes with --tokens=words, not {FLAGS.tokens}')
    if FLAGS['buckets'].present and FLAGS.pad != 'post':
        raise InputError(f'--buckets goes with --pad=post, not {FLAGS.pad}')


def load() -> Dataset:
    return sequences(
        FLAGS.data_dir,
        FLAGS.tokens,
        FLAGS.validation,
        FLAGS.vocab_size,
        FLAGS.max_length,
        FLAGS.pad,
    )


@lru_cache(maxsize=1)  # the groups of a sweep share them
def sequences(
    data_dir: str | None,
    tokens: str,
    validation: int | None,
    vocab_size: int,
    max_length: int,
    pad: str,
) -> Dataset:
    return text_sequences(
        imdb.load(data_dir, tokens),
        validation=validation,
        vocab_size=vocab_size,
        max_length=max_length,
        pad=pad,
    )


def build(data: Dataset, hyper: Hyper) -> Model:
    return network(data.vocabulary, hyper)


def network(vocabulary, hyper: Hyper) -> Model:
    size, classes = text.vocabulary_size(vocabulary), len(imdb.CLASSES)
    return classifier(
        model.layers(hyper),
        inputs=FLAGS.embedding,
        classes=classes,
        vocabulary=size,
        **model.readout(hyper),
    )


def batches(data: Split) -> Batches:
    return shuffled_examples(data, FLAGS.buckets)


def rounds(data: Split, size: int, whole: bool) -> Batches:
    return examples_in_order(data, size, whole, FLAGS.buckets)


def predict() -> None:
    """Prints the probability of the likelier label, and the label, for each review."""
    folder = recall_run('imdb', '--predict=TEXT')
    vocabulary = runs.read_json(folder / runs.VOCABULARY, list) if FLAGS.tokens == 'words' else None
    reviews = list(read_reviews(FLAGS.predict))
    net = network(vocabulary, make_hyper())
    params = restore_params(folder, jax.eval_shape(net.init, jax.random.key(0)))

    ragged = text.encode([review for _, review in reviews], vocabulary)
    ids, lengths = text.pad_sequences(
        ragged, text.vocabulary_size(vocabulary), FLAGS.max_length, FLAGS.pad
    )
    for (where, _), row in zip(reviews, ids, strict=True):
        if not np.any(row >= text.FIRST):
            print(f'note: {where} has no word of the vocabulary', file=sys.stderr)
    apply, size = jax.jit(net.apply), min(CHUNK, len(reviews))
    for begin in range(0, len(reviews), size):
        rows = np.arange(begin, begin + size) % len(reviews)  # the last chunk is filled up
        logits = apply(params, ids[rows], lengths[rows] if FLAGS.pad == 'post' else None)
        for probabilities in np.asarray(jax.nn.softmax(logits))[: len(reviews) - begin]:
            label = int(np.argmax(probabilities))
            print(f'{probabilities[label]:.4f} {imdb.CLASSES[label]}')


def read_reviews(given: str) -> Iterator[tuple[str, str]]:
    """(where it stands, text) of every review."""
    lines = [('--predict', given.encode(errors='surrogateescape'))]
    if given == '-':
        lines = [
            (f'line {number} of standard input', line)
            for number, line in enumerate(sys.stdin.buffer.read().splitlines(), 1)
        ]
    if not lines:
        raise InputError('standard input is empty; --predict=- reads a review a line')
    for where, line in lines:
        try:
            review = line.decode('utf-8-sig')  # some editors begin a file with a mark
        except UnicodeDecodeError as error:
            raise InputError(
                f'{where} is not UTF-8: {error.reason} at byte {error.start}; convert it first'
            ) from error
        if not review.strip():
            raise InputError(f'{where} is empty; every review needs some text')
        yield where, review


if __name__ == '__main__':
    experiments.runner.cli.run(main)
