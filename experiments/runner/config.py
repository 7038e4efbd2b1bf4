"""The groups of fields that experiments choose from: an experiment's Config inherits them."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from experiments.runner.fields import INF, Config, Value, dynamic, operational, static
from experiments.runner.training import Training, rate
from rnnlab.cells import CELLS, find
from rnnlab.errors import InputError
from rnnlab.initializers import INITIALIZERS
from rnnlab.recurrence import MERGES, NORMS, POOLS

path = functools.partial(static, None, path=True, data=True)


def known_cells(names: tuple[str, ...]) -> bool:
    if not names:
        raise InputError('names no cell')
    return all(map(find, names))


@dataclass(frozen=True, kw_only=True)
class OneCell(Config):
    """A cell and its initial parameters."""

    OPEN: ClassVar[Mapping[str, Value]] = {'hidden_size': 128}

    cell: str = static(
        'lstm',
        f'Recurrent cell: {", ".join(CELLS)}; or mymodule:mycell, from a file of yours.',
        check=find,
        recurrent=True,
    )
    hidden_size: int = static(
        None, 'Units of a recurrent layer (of each direction).', low=1, recurrent=True
    )
    init: str | None = static(
        None,
        'Initializer; by default keras, for irnn identity; some cells have their own.',
        choices=tuple(INITIALIZERS),
    )
    forget_bias: float | None = dynamic(
        None,
        'Initial bias of the forget gate; by default that of --init: 1, torch 0.',
        check=math.isfinite,
        must='must be a finite number',
        recurrent=True,
    )
    chrono: float | None = static(
        None,
        'Longest memory, in steps, of chrono-initialized gates; by default off.',
        check=lambda steps: 2 <= steps < INF,
        must='must be 2 time steps or more',
        recurrent=True,
    )
    init_scale: float | None = dynamic(
        None,
        'Factor on the initial matrices of the recurrent layers.',
        check=lambda scale: 0 < scale < INF,
        must='must be a number above zero',
        recurrent=True,
    )


@dataclass(frozen=True, kw_only=True)
class Layers(OneCell, Training):
    """A stack of recurrent layers, and its training."""

    parameters: int | None = static(
        None,
        'Choose the largest hidden size with at most this many parameters in the model.',
        low=1,
        high=10**10,
        recurrent=True,
    )
    layers: int = static(
        1, 'Recurrent layers; 0 with --pool=mean, max or attention: no recurrence.', low=0, high=256
    )
    block: str = static(
        'plain',
        'What surrounds a layer: nothing, or a pre-norm residual block: a norm before the cell, '
        'GELU, GLU and the sum with the inputs after it.',
        choices=('plain', 'prenorm'),
        recurrent=True,
    )
    norm: str = static(
        'layer',
        'Norm of a block: over the features of a step, or over the steps of a batch.',
        choices=NORMS,
        recurrent=True,
        needs=('block', ('prenorm',)),
    )
    dense: int | None = static(
        None,
        'Outputs of a dense map of the inputs at each step, before the layers; the features of the '
        'blocks of prenorm, by default the hidden size (after an embedding its features).',
        low=1,
    )
    bptt: int | None = static(
        None, 'Truncate backpropagation to this many steps; by default not.', low=1, recurrent=True
    )
    remat: int | None = static(
        None,
        'Keep only every N-th carry for the gradient: less memory, the same result.',
        low=1,
        recurrent=True,
    )
    dropout: float | None = rate(
        "Dropout rate of each layer's and the readout's inputs, or in blocks before and after the "
        'GLU; one mask for all steps.'
    )
    recurrent_dropout: float | None = rate(
        'Dropout rate of the inputs of recurrent products, one mask for all steps.', recurrent=True
    )
    zoneout: float | None = rate(
        'Probability that a unit keeps its h at a step of training.', recurrent=True
    )
    zoneout_cell: float | None = rate("The same for an LSTM's c.", recurrent=True)
    trainable_carry: bool = static(False, 'Learn the initial carry.', recurrent=True)


@dataclass(frozen=True, kw_only=True)
class Classifier(Layers):
    """Layers in both directions, read out once."""

    bidirectional: bool = static(
        False, 'Add a second cell that reads backwards in each layer.', recurrent=True
    )
    merge: str = static(
        'concat',
        'How --bidirectional joins both outputs.',
        choices=tuple(MERGES),
        recurrent=True,
        needs=('bidirectional', ()),
    )
    pool: str = static(
        'last', "Which of the top layer's outputs is read out.", choices=tuple(POOLS)
    )


@dataclass(frozen=True, kw_only=True)
class Validation(Config):
    validation: int | None = static(
        None, 'Training examples held out; by default 5000, of digits a tenth.', low=0, data=True
    )


@dataclass(frozen=True, kw_only=True)
class DataDir(Config):
    data_dir: str | None = operational(
        None,
        'TFDS folder; by default TFDS_DATA_DIR, else ~/tensorflow_datasets.',
        data=True,
        path=True,
    )
