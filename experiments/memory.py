"""Tasks that only a memory solves: sequences made on the device, fresh at every step.

python -m experiments.memory --task=adding --length=200 --cell=gru --out=runs/adding
python -m experiments.memory --task=copy --length=100 --chrono=120
"""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

import experiments.runner.cli
from experiments.runner import model
from experiments.runner.cli import FLAGS
from experiments.runner.console import console
from experiments.runner.run import train
from experiments.runner.sweep import sweep
from experiments.runner.task import Experiment, Plan
from rnnlab.data import TASKS, Dataset, Task, memory_sequences
from rnnlab.errors import InputError
from rnnlab.models import Model, network
from rnnlab.results.tables import new_table, render
from rnnlab.training.batches import Batches, generated
from rnnlab.training.losses import Loss, squared_error
from rnnlab.training.optim import Hyper
from rnnlab.training.train import classification

experiments.runner.cli.tasks()
experiments.runner.cli.layers()
experiments.runner.cli.training()
experiments.runner.cli.set_defaults({'batch_size': 50, 'epochs': 50, 'keep': 'best'})
flags.adopt_module_key_flags(experiments.runner.cli)

LENGTHS = {'adding': 200, 'copy': 100, 'parity': 40, 'recall': 11}
EPOCH = 100  # steps, where there is no end of examples
SHOWN = 10


def main() -> None:
    (sweep if FLAGS.sweep else train)(
        Experiment('memory', settle, load, build, 'loss', loss, batches, finish=show_answers)
    )


def settle() -> None:
    model.check()
    experiments.runner.cli.set_defaults({'length': LENGTHS[FLAGS.task]})
    if task().numbers and FLAGS.label_smoothing is not None:
        raise InputError(
            f'--label_smoothing goes with tasks whose answers are classes, not {FLAGS.task}'
        )


def task() -> Task:
    return TASKS[FLAGS.task](FLAGS.length)


def load() -> Dataset:
    return sequences(FLAGS.task, FLAGS.length, FLAGS.validation)


@lru_cache(maxsize=1)  # the groups of a sweep share them
def sequences(name: str, length: int, validation: int) -> Dataset:
    return memory_sequences(TASKS[name](length), validation, validation)


def build(data: Dataset, hyper: Hyper) -> Model:
    kind = task()
    options: dict[str, Any] = {
        'pool': 'last' if kind.numbers else None,
        'dropout': hyper.dropout,
        'init': FLAGS.init or 'keras',
    }
    return network(model.layers(hyper), inputs=kind.inputs, outputs=kind.outputs, **options)


def loss(hyper: Hyper) -> Loss:
    return squared_error() if task().numbers else classification(hyper)


def batches(data: None) -> Batches:
    return generated(task().sample, FLAGS.batch_size, EPOCH)


def show_answers(plan: Plan, params: Any, folder: Path) -> None:
    """The last answers of the first test sequence, or the answers of the first sequences where each has one alone."""
    test = plan.data.test
    assert test
    first = jax.tree.map(lambda leaf: leaf[:SHOWN], test)
    answers = np.asarray(jax.jit(plan.model.apply)(params, first.inputs))
    if task().numbers:
        labels, given = first.labels[:, 0], answers[:, 0]
    else:
        asked = partial(np.compress, (first.labels >= 0).ravel())
        labels, given = asked(first.labels.ravel()), asked(answers.argmax(axis=-1).ravel())
        end = np.sum(first.labels[0] >= 0) if len(labels) > SHOWN else len(labels)
        labels, given = labels[max(0, end - SHOWN) : end], given[max(0, end - SHOWN) : end]
    numbers = [str(number) for number in range(len(labels))]
    table = new_table('test answer', *numbers, right=tuple(numbers))
    for name, values in (('label', labels), ('given', given)):
        table.add_row(name, *(f'{value:.3g}' for value in values))
    console.print(f'\n{render(table)}')


if __name__ == '__main__':
    experiments.runner.cli.run(main)
