"""The groups of fields that experiments choose from: an experiment's Config inherits them."""

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from experiments.runner.fields import INF, Config, dynamic, operational, static
from experiments.runner.processes import Processes
from rnnlab.cells import CELLS, find
from rnnlab.errors import InputError
from rnnlab.initializers import INITIALIZERS
from rnnlab.models import POOLS
from rnnlab.precision import BFLOAT16
from rnnlab.recurrence import MERGES
from rnnlab.results import tensorboard
from rnnlab.sweeps.search import ASKED, SEARCHES
from rnnlab.training.optim import CONSTANTS, OPTIMIZERS, SCHEDULES, WEIGHT_DECAY, Hyper

PRECISIONS = {'float32': None, 'bfloat16': BFLOAT16}

rate = functools.partial(
    dynamic, None, check=lambda x: 0 <= x < 1, must='must be at least 0 and below 1'
)
path = functools.partial(static, None, path=True, data=True)


def known_cell(name: str) -> bool:
    find(name)  # raises InputError
    return True


def known_cells(names: tuple[str, ...]) -> bool:
    if not names:
        raise InputError('names no cell')
    return all(map(known_cell, names))


def viewable(name: str) -> bool:
    tensorboard.check_installed()  # raises InputError
    return True


@dataclass(frozen=True, kw_only=True)
class Seed(Config):
    seed: int = dynamic(
        0,
        'Seed of the initial parameters, the order of examples and dropout.',
        low=0,
        high=2**31 - 1,
    )


@dataclass(frozen=True, kw_only=True)
class OneCell(Config):
    """A cell and its initial parameters."""

    OPEN: ClassVar[Mapping[str, Any]] = {'hidden_size': 128}

    cell: str = static(
        'lstm',
        f'Recurrent cell: {", ".join(CELLS)}; or mymodule:mycell, from a file of yours.',
        check=known_cell,
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
class Layers(OneCell):
    """A stack of recurrent layers."""

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
        "Dropout rate of each layer's and the readout's inputs, one mask for all steps."
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


@dataclass(frozen=True, kw_only=True)
class Training(Seed, Processes):
    """How a run or a sweep is trained, evaluated and kept."""

    OPEN: ClassVar[Mapping[str, Any]] = {
        'batch_size': 128,
        'epochs': 5,
        'optimizer': 'adam',
        'lr': 1e-3,
        'clip': 1.0,
        'keep': 'last',
    }

    # steps
    batch_size: int = static(None, 'Examples in a batch.', low=1)
    epochs: int = static(None, 'Passes over the training split.', low=1)
    steps: int | None = static(None, 'Steps to train, in place of --epochs.', low=1)
    optimizer: str = static(None, 'Optimizer.', choices=tuple(OPTIMIZERS))
    optimizer_constants: str = static(
        'keras',
        'Framework whose decay rates, epsilon and form of the optimizer are used.',
        choices=CONSTANTS,
    )
    lr: float = dynamic(
        None,
        'Learning rate; with a schedule its peak.',
        check=lambda lr: 0 < lr < INF,
        must='must be a number above zero',
    )
    schedule: str = static(
        'constant',
        'Learning rate after --warmup; cosine and linear fall to 0.',
        choices=tuple(SCHEDULES),
    )
    warmup: int = static(0, 'Steps in which the learning rate rises to --lr.', low=0)
    clip: float = dynamic(
        None,
        'Maximum global norm of the gradient; inf is off.',
        check=lambda clip: clip > 0,
        must='must be above zero; inf is off',
    )
    momentum: float = dynamic(
        0.0,
        'Momentum of sgd.',
        check=lambda momentum: 0 <= momentum < 1,
        must='must be at least 0 and below 1',
        needs=('optimizer', ('sgd',)),
    )
    weight_decay: float | None = dynamic(
        None,
        'Weight decay of adamw; by default that of its constants: keras 0.004, torch 0.01.',
        check=lambda decay: 0 <= decay < INF,
        must='must be a finite number, at least 0',
        needs=('optimizer', ('adamw',)),
    )
    beta1: float | None = rate(
        'Decay rate of the first moment of adam and adamw; by default 0.9.',
        needs=('optimizer', ('adam', 'adamw')),
    )
    beta2: float | None = rate(
        'Decay rate of the second moment; by default 0.999.', needs=('optimizer', ('adam', 'adamw'))
    )
    label_smoothing: float | None = rate(
        "Fraction of each label's probability that is spread evenly over all classes in training."
    )

    # evaluation
    eval_every: int | None = static(None, 'Steps between evaluations; by default an epoch.', low=1)
    eval_split: str = static(
        'validation', 'Split to evaluate on while training.', choices=('validation', 'test')
    )
    eval_examples: int | None = static(
        None, 'Evaluate on the first N examples only; by default on all.', low=1
    )
    eval_next: bool = static(
        False,
        'Take the next --eval_examples each time, not the first.',
        needs=('eval_examples', ()),
    )
    keep: str = static(
        None,
        'Which parameters to keep and test: the last, or the best on the validation split.',
        choices=('last', 'best'),
    )
    patience: int | None = static(
        None,
        'Stop after this many evaluations without a better one on the validation split.',
        low=1,
    )
    log_gradients: bool = static(
        False,
        'At each evaluation, write into metrics.jsonl how the gradient of the loss fades over the '
        'time steps of a batch.',
        recurrent=True,
    )
    precision: str = static(
        'float32',
        'Precision of matrix-product inputs; accumulation is in float32.',
        choices=tuple(PRECISIONS),
    )

    # sweeps
    sweep: tuple[str, ...] = operational(
        (),
        "An axis: 'cell=gru,lstm', 'seed=0..4', 'lr=log(1e-4,1e-1,8)', 'clip=lin(0.5,2,4)', "
        "or drawn: 'lr~log(1e-4,1e-1)'. May be repeated.",
    )
    trials: int | None = operational(
        None,
        'How often to draw the axes with ~, or the trials of a search.',
        low=1,
        needs=('sweep', ()),
    )
    sweep_seed: int = operational(0, 'Seed of what is drawn.', low=0, needs=('sweep', ()))
    search: str | None = operational(
        None,
        'Choose the axes with ~ by earlier results: tpe; hyperband: tpe with --rungs; pbt: '
        'population based training.',
        choices=SEARCHES,
        needs=('sweep', ()),
    )
    rungs: int = operational(
        1,
        'Stop the worst trials early, at N - 1 steps: successive halving. With --search=pbt they '
        'copy the best.',
        low=1,
        high=20,
        needs=('sweep', ()),
    )
    eta: int = operational(
        3, 'One setting in so many continues to the next rung.', low=2, needs=('rungs', ())
    )
    dry_run: bool = operational(
        False,
        'Print the trials of a sweep, its programs and their memory, and stop.',
        needs=('sweep', ()),
    )
    max_lanes: int | None = operational(
        None,
        'Maximum trials that train at once; by default what half the memory holds.',
        low=1,
        needs=('sweep', ()),
    )
    max_trials: int = operational(
        1000, 'Refuse a sweep of more trials.', low=1, needs=('sweep', ())
    )
    shard: str | None = operational(
        None,
        'i/n: train the i-th of n parts of a sweep, from 1; any/n: be one of n processes that '
        'divide its batches among them. All share --out.',
        needs=('sweep', ()),
    )

    cluster: str | None = operational(
        None,
        'Start --workers processes that train the sweep together: on this machine, or by Slurm.',
        choices=('local', 'slurm'),
        needs=('sweep', ()),
    )
    workers: int | None = operational(
        None, 'How many processes, each a job of the cluster.', low=1, needs=('cluster', ())
    )
    slurm_partition: str | None = operational(
        None, "Slurm's partition.", needs=('cluster', ('slurm',))
    )
    slurm_time: int = operational(
        60,
        'Minutes until a worker makes room for other jobs, and waits for its next turn.',
        low=1,
        needs=('cluster', ('slurm',)),
    )
    slurm_gpus: int | None = operational(
        None, 'GPUs of a worker.', low=1, needs=('cluster', ('slurm',))
    )
    slurm: tuple[str, ...] = operational(
        (),
        'Other options of sbatch: account=...,qos=...,cpus-per-task=...,mem=...',
        needs=('cluster', ('slurm',)),
    )

    # what is shown
    progress: str = operational(
        'bar',
        'How training shows its progress; a bar is for a terminal, and else lines.',
        choices=('bar', 'lines', 'none'),
    )
    log: str | None = operational(
        None,
        'Write what metrics.jsonl has for this viewer too, while training.',
        choices=('tensorboard',),
        check=viewable,
    )

    # the machine
    devices: str = operational(
        'auto',
        'How many devices; auto: all, on a CPU each core; as before when resuming.',
        check=re.compile('auto|0*[1-9][0-9]{0,8}').fullmatch,
        must='must be auto or a number',
    )
    compile_for: str | None = operational(
        None, 'Compile for a TPU such as v5e:2x2, print what each program takes of it, and stop.'
    )

    # the run's folder
    out: str | None = operational(
        None, "The run's folder; by default a new one in runs/.", path=True
    )
    resume: bool = operational(False, 'Resume the run in --out from its checkpoint.')
    force: bool = operational(
        False, 'Resume on another number of devices: the last bits will differ.'
    )
    checkpoint_every: float = operational(
        30.0, 'Seconds between checkpoints; one is also written at the end and on Ctrl-C.', low=0
    )

    @property
    def asks(self) -> bool:
        """Whether points are chosen while the sweep runs; else all are known before."""
        return self.search in ASKED

    @property
    def hyper(self) -> Hyper:
        """The dynamic fields that the train step takes; 0 for those that the model lacks."""
        values: dict[str, Any] = {name: getattr(self, name, None) for name in Hyper._fields}
        if self.weight_decay is None:
            values['weight_decay'] = WEIGHT_DECAY.get(self.optimizer_constants, 0.0)
        return Hyper(**values)
