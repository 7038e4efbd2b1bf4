"""Handwritten digits, an image read as a sequence.

python -m experiments.mnist --cell=lstm --out=runs/lstm
python -m experiments.mnist --dataset=digits --epochs=30      (needs no download)
"""

import inspect

from absl import flags

import experiments.flags
from experiments.flags import FLAGS
from experiments.training import train
from rnnlab.cells import CELLS, Cell
from rnnlab.data import DATASETS, Dataset, image_sequences
from rnnlab.errors import InputError
from rnnlab.models import Model, classifier
from rnnlab.optim import Hyper
from rnnlab.recurrence import bidirectional, recurrent

flags.adopt_module_key_flags(experiments.flags)

DEFAULTS = {'mnist': {}, 'digits': {'batch_size': 32, 'epochs': 30, 'lr': 5e-3}}


def main() -> None:
    experiments.flags.set_defaults(DEFAULTS[FLAGS.dataset])
    train('mnist', load, build)


def load() -> Dataset:
    return image_sequences(DATASETS[FLAGS.dataset](FLAGS.data_dir), FLAGS.view, FLAGS.validation)


def build(data: Dataset, hyper: Hyper) -> Model:
    def layer():
        return bidirectional(cell(hyper), cell(hyper)) if FLAGS.bidirectional else recurrent(cell(hyper))

    init = FLAGS.init or 'keras'
    layers = [layer() for _ in range(FLAGS.layers)]
    return classifier(layers, inputs=data.train.inputs.shape[-1], classes=data.classes, scale=data.scale, init=init)


def cell(hyper: Hyper) -> Cell:
    make, options = CELLS[FLAGS.cell], {}
    if FLAGS.init:
        options['init'] = FLAGS.init
    if FLAGS.forget_bias is not None:
        if 'forget_bias' not in inspect.signature(make).parameters:
            raise InputError(f'--forget_bias goes with a cell that has a forget gate, not {FLAGS.cell}')
        options['forget_bias'] = hyper.forget_bias
    return make(FLAGS.hidden_size, **options)


if __name__ == '__main__':
    experiments.flags.run(main)
