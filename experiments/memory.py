"""Tasks that only a memory solves: sequences made on the device, new ones at every step.

python -m experiments.memory --task=adding --length=200 --cell=gru --out=runs/adding
python -m experiments.memory --task=copy --length=100 --chrono=120
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

import experiments.runner.config as groups
from experiments.runner import cli, model
from experiments.runner.console import console
from experiments.runner.fields import static
from experiments.runner.run import train
from experiments.runner.sweep import sweep
from experiments.runner.task import Plan, Task
from rnnlab.data import TASKS, Dataset, memory_sequences
from rnnlab.data import Task as Problem
from rnnlab.errors import InputError
from rnnlab.models import Model, network
from rnnlab.results.tables import new_table, render
from rnnlab.training.batches import Batches, generated
from rnnlab.training.losses import squared_error
from rnnlab.training.memory import check, shapes, size
from rnnlab.training.optim import Hyper
from rnnlab.training.train import classification

LENGTHS = {
    'adding': 200,
    'copy': 100,
    'parity': 40,
    'recall': 11,
    'flipflop': 100,
    'integrate': 100,
    'delayed_match': 50,
}
EPOCH = 100  # steps, since the examples have no end
SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Config(groups.Layers, groups.Training):
    OPEN: ClassVar = {'batch_size': 50, 'epochs': 50, 'keep': 'best'}

    task: str = static('adding', 'What is to be remembered.', choices=tuple(TASKS), data=True)
    length: int = static(
        None,
        'Time steps; of copy the delay, 20 steps less. By default '
        f'{", ".join(f"{task} {length}" for task, length in LENGTHS.items())}.',
        low=1,
        data=True,
    )
    validation: int = static(
        2000, 'Sequences of the validation split, and as many others of the test split.',
        low=1,
        data=True,
    )  # fmt: skip


def resolve(config: Config) -> Config:
    config = config.filled({'length': LENGTHS[config.task]})
    if problem(config).numbers and config.label_smoothing is not None:
        words = '--label_smoothing goes with tasks whose answers are classes'
        raise InputError(f'{words}, not {config.task}')
    return config


def problem(config: Config) -> Problem:
    return TASKS[config.task](config.length)


def load(config: Config) -> Dataset:
    one = shapes(problem(config).sample, jax.random.key(0))
    what = f'`validation={config.validation}` sequences of `length={config.length}`, twice,'
    check(what, 2 * config.validation * size(one))
    return memory_sequences(problem(config), config.validation, config.validation)


def build(config: Config, data: Dataset, hyper: Hyper) -> Model:
    kind = problem(config)
    return network(
        model.make_layers(config, hyper),
        inputs=kind.inputs,
        outputs=kind.outputs,
        pool=kind.pool,
        **model.readout(config, hyper),
    )


def loss(config: Config) -> Any:
    return (lambda hyper: squared_error()) if problem(config).numbers else classification


def batches(config: Config, data: None) -> Batches:
    return generated(problem(config).sample, config.batch_size, EPOCH)


def show_answers(plan: Plan, params: Any, folder: Path) -> None:
    """Prints the last answers of the first test sequence, or the answers of the first sequences
    where each has one alone."""
    test, kind = plan.data.test, problem(plan.config)
    assert test
    first = jax.tree.map(lambda leaf: leaf[:SHOWN], test)
    given = np.asarray(jax.jit(plan.model.apply)(params, first.inputs))
    labels, asked = first.labels, np.ones(given.shape[:-1], bool)
    if not kind.numbers:
        labels, given, asked = labels[..., None], given.argmax(axis=-1)[..., None], labels >= 0
    last = slice(None) if asked.sum() <= SHOWN else slice(0, 1)
    shown = [values[last][asked[last]][-SHOWN:] for values in (labels, given)]
    numbers = [str(number) for number in range(len(shown[0]))]
    table = new_table('test answer', *numbers, right=tuple(numbers))
    for at in range(labels.shape[-1]):
        output = f' {at}' if labels.shape[-1] > 1 else ''
        for name, values in zip(('label', 'given'), shown, strict=True):
            table.add_row(name + output, *(f'{value:.3g}' for value in values[:, at]))
    console.print(f'\n{render(table)}')


TASK = Task(
    name='memory',
    load=load,
    build=build,
    resolve=resolve,
    selection='loss',
    loss=loss,
    batches=batches,
    finish=show_answers,
)


def main(config: Config) -> None:
    (sweep if config.sweep else train)(TASK, config)


if __name__ == '__main__':
    cli.run(Config, main)
