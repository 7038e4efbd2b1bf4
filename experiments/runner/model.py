"""The recurrent layers that a configuration describes, for every experiment."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.runner.config import Layers, OneCell
from experiments.runner.fields import specs
from rnnlab import testing
from rnnlab.cells import CELLS, Cell, find, trainable_carry
from rnnlab.errors import InputError
from rnnlab.initializers import scaled
from rnnlab.recurrence import Block, Layer, bidirectional, recurrent
from rnnlab.training.optim import Hyper

FITTED = 2, 8, 32  # sizes that tell how parameters grow


def check(config: Layers) -> None:
    """Raises InputError for settings that have no use without a recurrent layer."""
    if config.layers:
        return
    pool = getattr(config, 'pool', None)
    if pool is None:
        words = 'without recurrence nothing is remembered'
        raise InputError(f'--layers must be above zero in this experiment: {words}')
    if pool == 'last':
        raise InputError('--layers=0 goes with --pool=mean, max or attention')
    fields = specs(type(config)).items()
    if unused := config.changed(*(name for name, spec in fields if spec.recurrent)):
        words = f'--{unused[0]} has no use with --layers=0, which has no recurrent layer'
        raise InputError(f'{words}; leave one of them out')


def make_cell(config: OneCell, hyper: Hyper) -> Cell:
    """The cell of a configuration. InputError for options that its maker does not take."""
    make = find(config.cell)
    if config.cell not in CELLS:
        testing.structure(config.cell, make, hidden_size=config.hidden_size)
    takes = make(config.hidden_size).hyperparameters
    options: dict[str, object] = {}
    if config.init and 'init' in takes:
        options['init'] = config.init
    if hyper.init_scale is not None:
        if 'init' not in takes:
            words = '--init_scale goes with a cell that takes --init'
            raise InputError(f'{words}, not {config.cell}, which has its own initializer')
        options['init'] = scaled(config.init or takes['init'], hyper.init_scale)
    if hyper.forget_bias is not None:
        if 'forget_bias' not in takes:
            words = '--forget_bias goes with a cell that has a forget gate'
            raise InputError(f'{words}, not {config.cell}')
        options['forget_bias'] = hyper.forget_bias
    if config.chrono is not None:
        if 'chrono' not in takes:
            words = '--chrono goes with a cell that has a gate to keep its memory'
            raise InputError(f'{words}, not {config.cell}')
        options['chrono'] = config.chrono
    return make(config.hidden_size, **options)


def make_layers(config: Layers, hyper: Hyper) -> list[Layer]:
    """The recurrent layers of a configuration."""
    if not config.layers:
        return []
    cell = make_cell(config, hyper)
    if config.trainable_carry:
        cell = trainable_carry(cell)
    if config.recurrent_dropout is not None and not cell.takes_mask:
        words = '--recurrent_dropout goes with a cell that has recurrent products to mask'
        raise InputError(f'{words}, not {config.cell}')
    if config.zoneout_cell is not None and 'c' not in cell.zoneout:
        words = "--zoneout_cell goes with a cell whose 'c' can be zoned out"
        raise InputError(f'{words}, not {config.cell}')
    rates = {'h': hyper.zoneout, 'c': hyper.zoneout_cell}
    options: dict[str, Any] = {
        'dropout': hyper.dropout if config.block == 'plain' else None,
        'recurrent_dropout': hyper.recurrent_dropout,
        'zoneout': {name: rate for name, rate in rates.items() if rate is not None},
        'bptt': config.bptt,
        'remat': config.remat,
    }
    if getattr(config, 'bidirectional', False):
        layer = bidirectional(cell, cell, merge=config.merge, **options)  # type: ignore[attr-defined]
    else:
        layer = recurrent(cell, **options)
    return [layer] * config.layers


def around(config: Layers, hyper: Hyper) -> dict[str, Any]:
    """The options of a network for what surrounds its recurrent layers."""
    options: dict[str, Any] = {'init': config.init or 'keras', 'dense': config.dense}
    if config.block == 'plain':
        return options | {'dropout': hyper.dropout}
    if config.dense is None and not hasattr(config, 'embedding'):
        options['dense'] = config.hidden_size
    return options | {'block': Block(norm=config.norm, dropout=hyper.dropout)}


def largest(parameters: Callable[[int], int], budget: int) -> int:
    """The largest size with at most `budget` parameters, 0 if there is none.

    It takes parameters to grow with the size, as they do but for an sru, which has fewer where
    D is H; about as a square, or else it takes long.
    """
    square = np.polyfit(FITTED, [parameters(size) for size in FITTED], 2).round(6)  # 0, not 1e-14
    size = max(0, *np.roots(square - [0, 0, budget]).real.astype(int).tolist())
    while size and parameters(size) > budget:
        size -= 1
    while parameters(size + 1) <= budget:
        size += 1
    return size
