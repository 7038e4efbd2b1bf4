"""The recurrent layers that the flags describe, for every experiment."""

from experiments.runner.cli import FLAGS, set_defaults
from rnnlab import testing as laws
from rnnlab.cells import CELLS, Cell, find, trainable_carry
from rnnlab.errors import InputError
from rnnlab.initializers import scaled
from rnnlab.recurrence import Layer, bidirectional, recurrent
from rnnlab.training.optim import Hyper

ALONE = (  # what belongs to recurrent layers alone
    'cell', 'hidden_size', 'parameters', 'bidirectional', 'merge', 'recurrent_dropout', 'zoneout', 'zoneout_cell', 'trainable_carry',
    'forget_bias', 'chrono', 'init_scale', 'bptt', 'remat',
)  # fmt: skip


def check() -> None:
    """InputError for flags that have no use without a recurrent layer; a run without one notes no cell."""
    if 'merge' in FLAGS and FLAGS['merge'].present and not FLAGS.bidirectional:
        raise InputError('--merge goes with --bidirectional')
    if FLAGS.layers:
        return
    if 'pool' not in FLAGS:
        raise InputError(
            '--layers must be above zero here: without recurrence nothing is remembered'
        )
    if FLAGS.pool == 'last':
        raise InputError('--layers=0 goes with --pool=mean, max or attention')
    for name in ALONE:
        if name in FLAGS and FLAGS[name].present:
            raise InputError(
                f'--{name} has no use with --layers=0, which has no recurrent layer; leave one of them out'
            )
    set_defaults({'cell': None, 'hidden_size': None})


def cell(hyper: Hyper) -> Cell:
    make, options = find(FLAGS.cell), {}
    if FLAGS.cell not in CELLS:
        laws.structure(FLAGS.cell, make, hidden_size=FLAGS.hidden_size)
    takes = make(FLAGS.hidden_size).hyperparameters
    if FLAGS.init and 'init' in takes:
        options['init'] = FLAGS.init
    if hyper.init_scale is not None:
        if 'init' not in takes:
            raise InputError(
                f'--init_scale goes with a cell that takes --init, not {FLAGS.cell}, which has a start of its own'
            )
        options['init'] = scaled(FLAGS.init or takes['init'], hyper.init_scale)
    if hyper.forget_bias is not None:
        if 'forget_bias' not in takes:
            raise InputError(
                f'--forget_bias goes with a cell that has a forget gate, not {FLAGS.cell}'
            )
        options['forget_bias'] = hyper.forget_bias
    if FLAGS.chrono is not None:
        if 'chrono' not in takes:
            raise InputError(
                f'--chrono goes with a cell that has a gate to keep its memory, not {FLAGS.cell}'
            )
        options['chrono'] = FLAGS.chrono
    return make(FLAGS.hidden_size, **options)


def layers(hyper: Hyper) -> list[Layer]:
    zoneout = {
        field: rate
        for field, rate in (('h', hyper.zoneout), ('c', hyper.zoneout_cell))
        if rate is not None
    }
    options: dict = {
        'dropout': hyper.dropout,
        'recurrent_dropout': hyper.recurrent_dropout,
        'zoneout': zoneout,
    }
    options |= {'bptt': FLAGS.bptt, 'remat': FLAGS.remat}

    def layer() -> Layer:
        own, both = cell(hyper), 'bidirectional' in FLAGS and FLAGS.bidirectional
        if FLAGS.trainable_carry:
            own = trainable_carry(own)
        if FLAGS.recurrent_dropout is not None and not own.takes_mask:
            raise InputError(
                f'--recurrent_dropout goes with a cell with recurrent products that a mask can multiply, not {FLAGS.cell}'
            )
        if FLAGS.zoneout_cell is not None and 'c' not in own.zoneout:
            raise InputError(
                f'--zoneout_cell goes with a cell that has a memory c beside h, and no more, not {FLAGS.cell}'
            )
        return (
            bidirectional(own, own, merge=FLAGS.merge, **options)
            if both
            else recurrent(own, **options)
        )

    return [layer() for _ in range(FLAGS.layers)]


def readout(hyper: Hyper) -> dict:
    """The options of a classifier's pooling and readout."""
    return {'pool': FLAGS.pool, 'dropout': hyper.dropout, 'init': FLAGS.init or 'keras'}
