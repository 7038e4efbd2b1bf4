"""Handwritten digits, an image read as a sequence.

python -m experiments.mnist --cell=lstm --out=runs/lstm
python -m experiments.mnist --dataset=digits --epochs=30      (needs no download)
"""

from functools import lru_cache

from absl import flags

import experiments.flags
from experiments import model
from experiments.experiment import Experiment
from experiments.flags import FLAGS
from experiments.sweep import sweep
from experiments.training import train
from rnnlab.data import IMAGES, Dataset, image_sequences
from rnnlab.models import Model, classifier
from rnnlab.optim import Hyper

experiments.flags.images()
experiments.flags.classifier()
experiments.flags.validation()
experiments.flags.data_dir()
experiments.flags.training()
flags.adopt_module_key_flags(experiments.flags)

DEFAULTS = {'mnist': {}, 'digits': {'batch_size': 32, 'epochs': 30, 'lr': 5e-3}}


def main() -> None:
    (sweep if FLAGS.sweep else train)(Experiment('mnist', settle, load, build))


def settle() -> None:
    experiments.flags.set_defaults(DEFAULTS[FLAGS.dataset])
    model.check()


def load() -> Dataset:
    return sequences(FLAGS.dataset, FLAGS.data_dir, FLAGS.view, FLAGS.validation)


@lru_cache(maxsize=1)  # the groups of a sweep share them
def sequences(dataset: str, data_dir: str | None, view: str, validation: int | None) -> Dataset:
    return image_sequences(IMAGES[dataset](data_dir), view, validation)


def build(data: Dataset, hyper: Hyper) -> Model:
    inputs = data.train.inputs.shape[-1]
    return classifier(model.layers(hyper), inputs=inputs, classes=data.outputs, scale=data.scale, **model.readout(hyper))


if __name__ == '__main__':
    experiments.flags.run(main)
