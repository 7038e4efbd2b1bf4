"""Nested operations on lists of digits, read token by token: which digit is the result.

python -m experiments.listops --cell=lru --block=prenorm --layers=4 --out=runs/listops
python -m experiments.listops --length=10..50 --examples=20000      (minutes on two cores)
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import experiments.runner.config as groups
from experiments.runner import cli, model
from experiments.runner.fields import ends, static
from experiments.runner.sweep import launch
from experiments.runner.task import Task
from rnnlab.data import Dataset
from rnnlab.data.listops import DIGITS, HELD_OUT, IDS, listops
from rnnlab.models import Model, classifier
from rnnlab.recurrence import POOLS
from rnnlab.training.memory import check
from rnnlab.training.optim import Hyper


@dataclass(frozen=True, kw_only=True)
class Config(groups.Classifier, groups.Training):
    OPEN: ClassVar = {'batch_size': 50, 'epochs': 10, 'keep': 'best'}

    length: int | str = static(
        '500..2000', 'Tokens of an expression, a number or a range of them.',
        low=1,
        ranged=True,
        data=True,
    )  # fmt: skip
    examples: int = static(
        96_000,
        f'Expressions to train on; {HELD_OUT:,} others validate, and {HELD_OUT:,} test.',
        low=1,
        data=True,
    )
    pool: str = static(
        'mean', "Which of the top layer's outputs is read out.", choices=tuple(POOLS)
    )
    buckets: int = static(8, 'Groups of expressions of similar length to batch; 1 is off.', low=1)
    embedding: int = static(64, 'Features of an embedded token.', low=1)


def load(config: Config) -> Dataset:
    shortest, longest = ends(config.length)
    number = 2 * HELD_OUT + config.examples
    check(f'{number} expressions of `length={config.length}`', number * longest)
    return listops(examples=config.examples, shortest=shortest, longest=longest)


def build(config: Config, data: Dataset, hyper: Hyper) -> Model:
    return classifier(
        model.make_layers(config, hyper),
        inputs=config.embedding,
        classes=DIGITS,
        vocabulary=IDS,
        pool=config.pool,
        **model.around(config, hyper),
    )


TASK = Task(name='listops', load=load, build=build)
main = partial(launch, TASK)


if __name__ == '__main__':
    cli.run(Config, main)
