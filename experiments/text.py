"""A language model of a text, character by character or word by word.

python -m experiments.text --text=book.txt --out=runs/book
python -m experiments.text --sample=500 --temperature=0.8 --prompt='It was' --out=runs/book
"""

import math
import zlib
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

import experiments.runner.cli
from experiments.runner import model
from experiments.runner.cli import FLAGS
from experiments.runner.console import console
from experiments.runner.restore import recall_run, restore_params
from experiments.runner.run import train
from experiments.runner.sweep import sweep
from experiments.runner.task import Experiment, Plan, make_hyper
from rnnlab.data import Dataset, Split
from rnnlab.data.language import TOKENIZERS, UNKNOWN, encode, language, read_text
from rnnlab.errors import InputError
from rnnlab.models import Model, network
from rnnlab.results import runs
from rnnlab.training import generate
from rnnlab.training.batches import Batches, streams
from rnnlab.training.losses import Loss, cross_entropy
from rnnlab.training.optim import Hyper

experiments.runner.cli.language()
experiments.runner.cli.layers()
experiments.runner.cli.training()
flags.DEFINE_integer(
    'sample',
    None,
    'Tokens to write with the run in --out, which is not trained then.',
    lower_bound=1,
)
flags.DEFINE_float(
    'temperature',
    1.0,
    'What the logits are divided by before one draws; 0: always the likeliest.',
    lower_bound=0,
)
flags.register_validator('temperature', math.isfinite, 'must be a finite number')
flags.DEFINE_string('prompt', None, 'What the sample goes on from; by default a new line.')
experiments.runner.cli.set_defaults({'batch_size': 64, 'lr': 2e-3, 'epochs': 3, 'keep': 'best'})
flags.adopt_module_key_flags(experiments.runner.cli)

SHOWN = 200  # tokens at the end of a run
SHOWN_TEMPERATURE = 0.8


def main() -> None:
    if FLAGS.sample is not None:
        sample()
        return
    for name in ('temperature', 'prompt'):
        if FLAGS[name].present:
            raise InputError(
                f'--{name} goes with --sample=N, which writes text with a run that has been trained'
            )
    experiment = Experiment(
        'text', settle, load, build, 'loss', loss, batches, rounds, show_sample, source
    )
    (sweep if FLAGS.sweep else train)(experiment)


def settle() -> None:
    model.check()
    if FLAGS['vocab_size'].present and FLAGS.tokens != 'words':
        raise InputError(f'--vocab_size goes with --tokens=words, not {FLAGS.tokens}')
    for name in ('eval_examples', 'eval_next'):
        if FLAGS[name].present:
            raise InputError(
                f'--{name} has no use here: the last tenth of the text is evaluated whole'
            )


def source() -> dict[str, Any]:
    return {'text_crc32': checksum(FLAGS.text)}


@lru_cache(maxsize=1)
def checksum(path: str | None) -> int:
    return zlib.crc32(read_text(path).encode())


def load() -> Dataset:
    return corpus(FLAGS.text, FLAGS.tokens, FLAGS.batch_size, FLAGS.window, FLAGS.vocab_size)


@lru_cache(maxsize=1)  # the groups of a sweep share it
def corpus(path: str | None, tokens: str, batch_size: int, window: int, vocab_size: int) -> Dataset:
    size = vocab_size if tokens == 'words' else None
    return language(
        read_text(path), tokens=tokens, batch_size=batch_size, window=window, vocab_size=size
    )


def build(data: Dataset, hyper: Hyper) -> Model:
    return net(data.outputs, hyper)


def net(size: int, hyper: Hyper) -> Model:
    options: dict[str, Any] = {'dropout': hyper.dropout, 'init': FLAGS.init or 'keras'}
    return network(
        model.layers(hyper), inputs=FLAGS.embedding, outputs=size, vocabulary=size, **options
    )


def loss(hyper: Hyper) -> Loss:
    return cross_entropy(hyper.label_smoothing, bits=FLAGS.tokens == 'characters')


def batches(data: Split) -> Batches:
    number, time_steps = data.inputs.shape
    return streams(number, time_steps, FLAGS.window)


def rounds(data: Split, size: int, whole: bool) -> Batches:
    return batches(data)


def show_sample(plan: Plan, params: Any, folder: Path) -> None:
    """What the loss says, and how the model writes."""
    loss = runs.read_json(folder / runs.SUMMARY)[
        'best_validation_loss' if FLAGS.keep == 'best' else 'validation_loss'
    ]
    if FLAGS.tokens == 'characters':
        console.print(
            f'\nvalidation: {loss:.4f} nats a character, {loss / np.log(2):.4f} bits a character'
        )
    else:
        console.print(f'\nvalidation: {loss:.4f} nats a word, perplexity {np.exp(loss):.2f}')
    assert plan.data.vocabulary
    console.print(f'\na sample at temperature {SHOWN_TEMPERATURE}:\n')
    write(plan.model, params, plan.data.vocabulary, None, SHOWN, SHOWN_TEMPERATURE)


def sample() -> None:
    folder = recall_run('text', '--sample=N', but='seed')
    vocabulary = tuple(runs.read_json(folder / runs.VOCABULARY, list))
    own = net(len(vocabulary), make_hyper())
    params = restore_params(folder, jax.eval_shape(own.init, jax.random.key(0)))
    write(own, params, vocabulary, FLAGS.prompt, FLAGS.sample, FLAGS.temperature)


def write(
    own: Model,
    params: Any,
    vocabulary: tuple[str, ...],
    prompt: str | None,
    number: int,
    temperature: float,
) -> None:
    """Prints the prompt and what comes after it, as it comes."""
    if prompt == '':
        raise InputError('--prompt is empty; leave it out, or give it some text')
    if prompt is None:
        prompt = '\n' if '\n' in vocabulary else vocabulary[-1]
    tokens = TOKENIZERS[FLAGS.tokens](prompt)
    if strange := [token for token in tokens if token not in vocabulary]:
        raise InputError(
            f'--prompt has {strange[0]!r}, which is not among the {len(vocabulary)} {FLAGS.tokens} that were learned'
        )
    show = partial(print, end='', flush=True)
    show(prompt.lstrip('\n'))
    never = (vocabulary.index(UNKNOWN),) if FLAGS.tokens == 'words' else ()
    for token in islice(
        generate.tokens(
            own, params, encode(tokens, vocabulary), jax.random.key(FLAGS.seed), temperature, never
        ),
        number,
    ):
        show(vocabulary[token])
    print()


if __name__ == '__main__':
    experiments.runner.cli.run(main)
