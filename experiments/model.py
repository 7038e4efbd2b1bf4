"""The recurrent layers that the flags describe, for every experiment."""

import inspect

from experiments.flags import FLAGS, set_defaults
from rnnlab.cells import CELLS, Cell, Linear
from rnnlab.errors import InputError
from rnnlab.initializers import scaled
from rnnlab.optim import Hyper
from rnnlab.recurrence import Layer, bidirectional, recurrent

ALONE = (  # what belongs to recurrent layers alone
    'cell', 'hidden_size', 'parameters', 'bidirectional', 'recurrent_dropout', 'forget_bias', 'chrono', 'init_scale', 'bptt', 'remat',
)  # fmt: skip


def check() -> None:
    """InputError for flags that have no use without a recurrent layer; a run without one notes no cell."""
    if FLAGS.layers:
        return
    if 'pool' not in FLAGS:
        raise InputError('--layers must be above zero here: without recurrence nothing is remembered')
    if FLAGS.pool == 'last':
        raise InputError('--layers=0 goes with --pool=mean or --pool=max')
    for name in ALONE:
        if FLAGS[name].present:
            raise InputError(f'--{name} has no use with --layers=0, which has no recurrent layer; leave one of them out')
    set_defaults({'cell': None, 'hidden_size': None})


def cell(hyper: Hyper) -> Cell:
    make, options = CELLS[FLAGS.cell], {}
    takes = inspect.signature(make).parameters
    if FLAGS.init and 'init' in takes:
        options['init'] = FLAGS.init
    if hyper.init_scale is not None:
        if 'init' not in takes:
            raise InputError(f'--init_scale goes with a cell that takes --init, not {FLAGS.cell}, which has a start of its own')
        options['init'] = scaled(FLAGS.init or takes['init'].default, hyper.init_scale)
    if hyper.forget_bias is not None:
        if 'forget_bias' not in takes:
            raise InputError(f'--forget_bias goes with a cell that has a forget gate, not {FLAGS.cell}')
        options['forget_bias'] = hyper.forget_bias
    if FLAGS.chrono is not None:
        if 'chrono' not in takes:
            raise InputError(f'--chrono goes with a cell that has a gate to keep its memory, not {FLAGS.cell}')
        options['chrono'] = FLAGS.chrono
    return make(FLAGS.hidden_size, **options)


def layers(hyper: Hyper) -> list[Layer]:
    options: dict = {'dropout': hyper.dropout, 'recurrent_dropout': hyper.recurrent_dropout, 'bptt': FLAGS.bptt, 'remat': FLAGS.remat}

    def layer() -> Layer:
        own, both = cell(hyper), 'bidirectional' in FLAGS and FLAGS.bidirectional
        if FLAGS.recurrent_dropout is not None and isinstance(own.form, Linear):
            raise InputError(f'--recurrent_dropout goes with a cell that has recurrent products, not {FLAGS.cell}')
        return bidirectional(own, own, **options) if both else recurrent(own, **options)

    return [layer() for _ in range(FLAGS.layers)]


def readout(hyper: Hyper) -> dict:
    """The options of a classifier's pooling and readout."""
    return {'pool': FLAGS.pool, 'dropout': hyper.dropout, 'init': FLAGS.init or 'keras'}
