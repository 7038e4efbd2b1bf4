"""The recurrent layers that the flags describe, for every experiment."""

import inspect

from experiments.flags import FLAGS
from rnnlab.cells import CELLS, Cell
from rnnlab.errors import InputError
from rnnlab.optim import Hyper
from rnnlab.recurrence import Layer, bidirectional, recurrent


def cell(hyper: Hyper) -> Cell:
    make, options = CELLS[FLAGS.cell], {}
    if FLAGS.init:
        options['init'] = FLAGS.init
    if FLAGS.forget_bias is not None:
        if 'forget_bias' not in inspect.signature(make).parameters:
            raise InputError(f'--forget_bias goes with a cell that has a forget gate, not {FLAGS.cell}')
        options['forget_bias'] = hyper.forget_bias
    return make(FLAGS.hidden_size, **options)


def layers(hyper: Hyper) -> list[Layer]:
    rates = {name: getattr(hyper, name) for name in ('dropout', 'recurrent_dropout') if FLAGS[name].value is not None}
    directions = (bidirectional, 2) if FLAGS.bidirectional else (recurrent, 1)
    make, cells = directions
    return [make(*(cell(hyper) for _ in range(cells)), **rates) for _ in range(FLAGS.layers)]


def readout(hyper: Hyper) -> dict:
    """The options of a classifier's pooling and readout."""
    if not FLAGS.layers and FLAGS.pool == 'last':
        raise InputError('--layers=0 goes with --pool=mean or --pool=max')
    dropout = None if FLAGS.dropout is None else hyper.dropout
    return {'pool': FLAGS.pool, 'dropout': dropout, 'init': FLAGS.init or 'keras'}
