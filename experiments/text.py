"""A language model of a text, character by character or word by word.

python -m experiments.text --text=book.txt --out=runs/book
python -m experiments.text --sample=500 --temperature=0.8 --prompt='It was' --out=runs/book
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

import experiments.runner.config as groups
from experiments.runner import cli, machine, model
from experiments.runner.console import console
from experiments.runner.fields import operational, static
from experiments.runner.restore import recall, restore_params
from experiments.runner.sweep import launch
from experiments.runner.task import Plan, Task
from rnnlab.cells.base import Params
from rnnlab.data import Dataset, Split
from rnnlab.data.language import TOKENIZERS, UNKNOWN, encode, language, read_text
from rnnlab.errors import InputError
from rnnlab.models import Model, network
from rnnlab.results import runs
from rnnlab.results.records import Json
from rnnlab.training import generate
from rnnlab.training.batches import Batches, streams
from rnnlab.training.losses import Loss, cross_entropy
from rnnlab.training.optim import Hyper

SHOWN = 200  # tokens at the end of a run
SHOWN_TEMPERATURE = 0.8


@dataclass(frozen=True, kw_only=True)
class Config(groups.Layers, groups.Training):
    OPEN: ClassVar = {'batch_size': 64, 'lr': 2e-3, 'epochs': 3, 'keep': 'best'}

    text: str | None = groups.path(
        "File with the text, in UTF-8; by default the source of Python's standard library."
    )
    tokens: str = static(
        'characters', 'A time step of the text.', choices=tuple(TOKENIZERS), data=True
    )
    vocab_size: int = static(
        10_000,
        'The most frequent words, one for all others included.',
        low=2,
        needs=('tokens', ('words',)),
        data=True,
    )
    window: int = static(
        64, 'Time steps of a batch; gradients go back to its beginning.', low=1, data=True
    )
    batch_size: int = static(
        None, 'Streams that the text is divided into, read side by side.', low=1, data=True
    )
    embedding: int = static(64, 'Features of an embedded token.', low=1)
    sample: int | None = operational(
        None, 'Tokens to generate with the run in --out, which is not trained then.', low=1
    )
    temperature: float = operational(
        1.0,
        'Divisor of the logits before sampling; 0: always the most probable.',
        check=lambda temperature: 0 <= temperature < math.inf,
        must='must be a finite number, at least 0',
        needs=('sample', ()),
    )
    prompt: str | None = operational(
        None,
        'What the sample continues; by default a new line.',
        check=lambda prompt: prompt != '',
        must='is empty; leave it out, or give it some text',
        needs=('sample', ()),
    )


def resolve(config: Config) -> Config:
    if unused := config.changed('eval_examples', 'eval_next'):
        words = 'the last tenth of the text is evaluated whole'
        raise InputError(f'--{unused[0]} has no use in this experiment: {words}')
    return config


def source(config: Config) -> Json:
    return {'text_crc32': zlib.crc32(read_text(config.text).encode())}


def load(config: Config) -> Dataset:
    return language(
        read_text(config.text),
        tokens=config.tokens,
        batch_size=config.batch_size,
        window=config.window,
        vocab_size=config.vocab_size if config.tokens == 'words' else None,
    )


def make_network(config: Config, size: int, hyper: Hyper) -> Model:
    return network(
        model.make_layers(config, hyper),
        inputs=config.embedding,
        outputs=size,
        vocabulary=size,
        **model.around(config, hyper),
    )


def loss(config: Config) -> Callable[[Hyper], Loss]:
    bits = config.tokens == 'characters'
    return lambda hyper: cross_entropy(hyper.label_smoothing, bits=bits)


def batches(config: Config, data: Split) -> Batches:
    number, time_steps = data.inputs.shape
    return streams(number, time_steps, config.window)


def show_sample(plan: Plan[Config], params: Params, folder: Path) -> None:
    """Prints the validation loss in other units, and a sample."""
    config = plan.config
    summary = runs.read_summary(folder, plan.metrics)
    best = summary.best if config.keep == 'best' else summary.last['validation']['loss']
    nats = math.nan if best is None else best
    if config.tokens == 'characters':
        words = f'{nats:.4f} nats a character, {nats / np.log(2):.4f} bits a character'
    else:
        words = f'{nats:.4f} nats a word, perplexity {np.exp(nats):.2f}'
    console.print(f'\nvalidation: {words}')
    assert plan.data.vocabulary
    console.print(f'\na sample at temperature {SHOWN_TEMPERATURE}:\n')
    shown = config.replace(prompt=None, sample=SHOWN, temperature=SHOWN_TEMPERATURE)
    write_sample(plan.model, params, plan.data.vocabulary, shown)


def sample(config: Config) -> None:
    folder, config = recall('text', config, '--sample=N', but=('seed',))
    vocabulary = tuple(runs.read_json(folder / runs.VOCABULARY, list[str]))
    net = make_network(config, len(vocabulary), config.hyper)
    params = restore_params(folder, jax.eval_shape(net.init, jax.random.key(0)))
    with machine.precision(config):
        write_sample(net, params, vocabulary, config)


def write_sample(net: Model, params: Params, vocabulary: tuple[str, ...], config: Config) -> None:
    """Prints the prompt and what the model continues it with, token by token."""
    prompt = config.prompt or ('\n' if '\n' in vocabulary else vocabulary[-1])
    tokens = TOKENIZERS[config.tokens](prompt)
    if strange := [token for token in tokens if token not in vocabulary]:
        words = f'which is not among the {len(vocabulary)} {config.tokens} of the vocabulary'
        raise InputError(f'--prompt has {strange[0]!r}, {words}')
    show = partial(print, end='', flush=True)
    show(prompt.lstrip('\n'))
    never = (vocabulary.index(UNKNOWN),) if config.tokens == 'words' else ()
    key, ids = jax.random.key(config.seed), encode(tokens, vocabulary)
    drawn = generate.tokens(net, params, ids, key, config.temperature, never)
    for token in islice(drawn, config.sample):
        show(vocabulary[token])
    print()


TASK = Task(
    name='text',
    load=load,
    build=lambda config, data, hyper: make_network(config, data.outputs, hyper),
    resolve=resolve,
    selection='loss',
    loss=loss,
    batches=batches,
    evaluation_batches=lambda config, data, size, whole: batches(config, data),
    finish=show_sample,
    source=source,
)


def main(config: Config) -> None:
    if config.sample is not None:
        sample(config)
    else:
        launch(TASK, config)


if __name__ == '__main__':
    cli.run(Config, main)
