"""The fields that say how a run or a sweep is trained, evaluated, shown and kept."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from experiments.runner.fields import INF, Config, Value, dynamic, operational, static
from rnnlab.precision import BFLOAT16
from rnnlab.results import tensorboard
from rnnlab.sweeps.search import ASKED, SEARCHES
from rnnlab.training.optim import CONSTANTS, OPTIMIZERS, SCHEDULES, WEIGHT_DECAY, Hyper

PRECISIONS = {'float32': None, 'bfloat16': BFLOAT16}

rate = functools.partial(
    dynamic, None, check=lambda x: 0 <= x < 1, must='must be at least 0 and below 1'
)


def viewable(name: str) -> bool:
    tensorboard.check_installed()  # raises InputError
    return True


@dataclass(frozen=True, kw_only=True)
class Seed(Config):
    seed: int = dynamic(
        0, 'Seed of the initial parameters, the order of examples and dropout.', low=0
    )


def is_address(host: str, port: str = '') -> bool:
    return bool(host) and re.fullmatch('[0-9]{1,5}', port) is not None and 0 < int(port) < 2**16


@dataclass(frozen=True, kw_only=True)
class Processes(Config):
    """How the processes of a run find each other."""

    processes: int | None = operational(
        None,
        'Processes that share each batch of a run; by default those that srun starts, else one.',
        low=1,
    )
    process_id: int | None = operational(
        None, 'Which of --processes this is, from 0; under Slurm found by itself.', low=0
    )
    coordinator: str | None = operational(
        None,
        'HOST:PORT of process 0, where the others find it; under Slurm found by itself.',
        check=lambda text: is_address(*text.rsplit(':', 1)),
        must='must be HOST:PORT, like 10.0.0.1:1234',
    )


@dataclass(frozen=True, kw_only=True)
class Training(Seed, Processes):
    """How a run or a sweep is trained, evaluated and kept."""

    OPEN: ClassVar[Mapping[str, Value]] = {
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
    lr_recurrent: float | None = dynamic(
        None,
        'Learning rate of the recurrent parameters, as a factor of --lr; they then have no weight '
        'decay.',
        check=lambda factor: 0 <= factor < INF,
        must='must be a finite number, at least 0',
        recurrent=True,
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
    def draws(self) -> int:
        """How often the axes with ~ are drawn."""
        return self.trials or 1

    @property
    def hyper(self) -> Hyper:
        """The dynamic fields that the train step takes; 0 for those that the model lacks."""
        values: dict[str, Any] = {name: getattr(self, name, None) for name in Hyper._fields}
        if self.weight_decay is None:
            values['weight_decay'] = WEIGHT_DECAY.get(self.optimizer_constants, 0.0)
        return Hyper(**values)
