"""Handwritten digits, an image read as a sequence.

python -m experiments.mnist --cell=lstm --out=runs/lstm
python -m experiments.mnist --dataset=digits --epochs=30      (needs no download)
"""

from functools import lru_cache

from absl import flags

import experiments.runner.cli
from experiments.runner import model
from experiments.runner.cli import FLAGS
from experiments.runner.run import train
from experiments.runner.sweep import sweep
from experiments.runner.task import Experiment
from rnnlab.data import IMAGES, Dataset, image_sequences
from rnnlab.models import Model, classifier
from rnnlab.training.optim import Hyper

experiments.runner.cli.images()
experiments.runner.cli.classifier()
experiments.runner.cli.validation()
experiments.runner.cli.data_dir()
experiments.runner.cli.training()
flags.adopt_module_key_flags(experiments.runner.cli)

DEFAULTS = {'mnist': {}, 'digits': {'batch_size': 32, 'epochs': 30, 'lr': 5e-3}}


def main() -> None:
    (sweep if FLAGS.sweep else train)(Experiment('mnist', settle, load, build))


def settle() -> None:
    experiments.runner.cli.set_defaults(DEFAULTS[FLAGS.dataset])
    model.check()


def load() -> Dataset:
    return sequences(FLAGS.dataset, FLAGS.data_dir, FLAGS.view, FLAGS.validation)


@lru_cache(maxsize=1)  # the groups of a sweep share them
def sequences(dataset: str, data_dir: str | None, view: str, validation: int | None) -> Dataset:
    return image_sequences(IMAGES[dataset](data_dir), view, validation)


def build(data: Dataset, hyper: Hyper) -> Model:
    inputs = data.train.inputs.shape[-1]
    return classifier(
        model.layers(hyper),
        inputs=inputs,
        classes=data.outputs,
        scale=data.scale,
        **model.readout(hyper),
    )


if __name__ == '__main__':
    experiments.runner.cli.run(main)
