"""Tasks that only a memory solves: sequences made on the device, new ones at every step.

python -m experiments.memory --task=adding --length=200 --cell=gru --out=runs/adding
python -m experiments.memory --task=s3 --cell=slstm --length=8..64 --test_length=1x,2x,8x
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

import experiments.runner.config as groups
from experiments.runner import cli, model
from experiments.runner.console import console
from experiments.runner.fields import LARGEST, ends, static
from experiments.runner.sweep import launch
from experiments.runner.task import Plan, Task
from rnnlab.cells.base import Params
from rnnlab.data import LENGTHS, TASKS, Dataset, memory_sequences, of_lengths
from rnnlab.data import Task as Problem
from rnnlab.errors import InputError
from rnnlab.models import Model, network
from rnnlab.results.tables import new_table, render
from rnnlab.training.batches import Batches, generated
from rnnlab.training.losses import Loss, squared_error
from rnnlab.training.memory import check, shapes, size
from rnnlab.training.optim import Hyper
from rnnlab.training.train import classification

EPOCH = 100  # steps, since the examples have no end
SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Config(groups.Layers, groups.Training):
    OPEN: ClassVar = {'batch_size': 50, 'epochs': 50, 'keep': 'best'}

    task: str = static('adding', 'What is to be remembered.', choices=tuple(TASKS), data=True)
    length: int | str = static(
        None,
        'Time steps; of copy the delay, 20 steps less. With 8..64 each sequence of the training '
        'draws its own length between these, uniformly, and those that validate and test have the '
        'greatest. By default '
        f'{", ".join(f"{task} {length}" for task, length in LENGTHS.items())}.',
        low=1,
        ranged=True,
        data=True,
    )
    test_length: tuple[str, ...] = static(
        (),
        'Other lengths to test at: multiples of the greatest --length, or numbers, as 1x,2x,8x or '
        '64,512.',
        data=True,
    )
    validation: int = static(
        2000, 'Sequences of the validation split, and as many others of the test split.',
        low=1,
        data=True,
    )  # fmt: skip


def resolve(config: Config) -> Config:
    config = config.filled({'length': LENGTHS[config.task]})
    task_of(config.task, ends(config.length)[0])
    tests(config)
    if problem(config).numbers and config.label_smoothing is not None:
        words = '--label_smoothing goes with tasks whose answers are classes'
        raise InputError(f'{words}, not {config.task}')
    return config


@cache
def task_of(name: str, length: int) -> Problem:
    return TASKS[name](length)


def problem(config: Config) -> Problem:
    return task_of(config.task, ends(config.length)[1])


def tests(config: Config) -> dict[int, Problem]:
    """The task at each of --test_length; InputError for one that it cannot have."""
    longest, found = ends(config.length)[1], {}
    for text in config.test_length:
        told, number = f'--test_length={text}', re.fullmatch('([0-9]{1,9})(x?)', text)
        if not number:
            raise InputError(f'{told} should be a multiple like 8x, or a number of time steps')
        length = int(number[1]) * (longest if number[2] else 1)
        if length > LARGEST:
            raise InputError(f'{told}: {length} time steps are more than {LARGEST}')
        try:
            found[length] = task_of(config.task, length)
        except InputError as error:
            raise InputError(f'{told}: {error}') from error
    return found


def load(config: Config) -> Dataset:
    number, others = config.validation, tests(config)
    one, *more = (
        size(shapes(own.sample, jax.random.key(0))) for own in (problem(config), *others.values())
    )
    what = f'`validation={number}` sequences'
    check(f'{what} of `length={config.length}`, twice,', 2 * number * one)
    check(f'{what} of each `test_length`', number * sum(more))
    return memory_sequences(problem(config), number, number, others)


def build(config: Config, data: Dataset, hyper: Hyper) -> Model:
    kind = problem(config)
    return network(
        model.make_layers(config, hyper),
        inputs=kind.inputs,
        outputs=kind.outputs,
        pool=kind.pool,
        **model.around(config, hyper),
    )


def loss(config: Config) -> Callable[[Hyper], Loss]:
    return (lambda hyper: squared_error()) if problem(config).numbers else classification


def batches(config: Config, data: None) -> Batches:
    task, (shortest, longest) = problem(config), ends(config.length)
    sample = task.sample if shortest == longest else of_lengths(task, shortest)
    return generated(sample, config.batch_size, EPOCH)


def show_answers(plan: Plan[Config], params: Params, folder: Path) -> None:
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
main = partial(launch, TASK)


if __name__ == '__main__':
    cli.run(Config, main)
