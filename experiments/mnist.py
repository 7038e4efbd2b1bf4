"""Handwritten digits, an image read as a sequence.

python -m experiments.mnist --cell=lstm --out=runs/lstm
python -m experiments.mnist --dataset=digits --epochs=30      (needs no download)
"""

from dataclasses import dataclass
from functools import partial

import experiments.runner.config as groups
from experiments.runner import cli, model
from experiments.runner.fields import static
from experiments.runner.sweep import launch
from experiments.runner.task import Task
from rnnlab.data import IMAGES, VIEWS, Dataset, image_sequences
from rnnlab.models import Model, classifier
from rnnlab.training.optim import Hyper

DIGITS = {'batch_size': 32, 'epochs': 30, 'lr': 5e-3}


@dataclass(frozen=True, kw_only=True)
class Config(groups.Classifier, groups.Validation, groups.DataDir, groups.Training):
    dataset: str = static(
        'mnist',
        'Images; digits have by default --batch_size=32 --epochs=30 --lr=5e-3.',
        choices=tuple(sorted(IMAGES)),
        data=True,
    )
    view: str = static(
        'rows',
        'A time step of an image: a row, a pixel, or a pixel in one fixed random order.',
        choices=tuple(VIEWS),
        data=True,
    )


def resolve(config: Config) -> Config:
    return config.filled(DIGITS if config.dataset == 'digits' else {})


def load(config: Config) -> Dataset:
    images = IMAGES[config.dataset](config.data_dir)
    return image_sequences(images, config.view, config.validation)


def build(config: Config, data: Dataset, hyper: Hyper) -> Model:
    return classifier(
        model.make_layers(config, hyper),
        inputs=data.train.inputs.shape[-1],
        classes=data.outputs,
        scale=data.scale,
        pool=config.pool,
        **model.around(config, hyper),
    )


TASK = Task(name='mnist', load=load, build=build, resolve=resolve)
main = partial(launch, TASK)


if __name__ == '__main__':
    cli.run(Config, main)
