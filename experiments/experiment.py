"""What the flags make of an experiment, for a run alone and for a lane of a sweep."""

import contextlib
import datetime
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.flags import FLAGS
from rnnlab.batches import Buckets, epoch_steps, length_buckets
from rnnlab.data import Dataset, Split
from rnnlab.errors import InputError
from rnnlab.models import Model
from rnnlab.optim import WEIGHT_DECAY, Hyper, optimizer, schedule
from rnnlab.train import Run, TrainState, make_evaluate, make_run

EVAL_BATCH = 500
OWN_OPTIMIZERS = {'momentum': ['sgd'], 'weight_decay': ['adamw'], 'beta1': ['adam', 'adamw'], 'beta2': ['adam', 'adamw']}


Row = dict[str, Any]  # of metrics.jsonl, or what summary.json holds


class Experiment(NamedTuple):
    name: str
    settle: Callable[[], None]  # gives flags that are open their values; InputError for flags that do not go together
    load: Callable[[], Dataset]
    build: Callable[[Dataset, Hyper], Model]
    buckets: Callable[[], int] = lambda: 1  # at most so many groups of like length that batches are taken from


class Plan(NamedTuple):
    """A training as the flags describe it; it holds while they stay as they are."""

    data: Dataset
    hyper: Hyper
    model: Model
    make_run: Callable[..., Run]  # (mesh=None) -> the run
    buckets: Buckets | None
    steps: int
    every: int  # steps between evaluations
    held_out: Split | None  # what is evaluated on the way
    window: int  # how many of it each time
    make_evaluate: Callable  # (split, window, mesh=None, **options of rnnlab's make_evaluate) -> rnnlab's evaluate

    def epoch(self, step: int) -> float:
        return round(step / epoch_steps(len(self.data.train.labels), FLAGS.batch_size), 4)


def plan(experiment: Experiment) -> Plan:
    """Loads the data; InputError for flags that do not fit it or each other. Nothing compiles."""
    hyper, data = make_hyper(), experiment.load()
    every, steps, held_out = plan_steps(data)
    make_optimizer = optimizer(FLAGS.optimizer, FLAGS.optimizer_constants, schedule(FLAGS.schedule, steps, FLAGS.warmup))
    model = experiment.build(data, hyper)
    number = experiment.buckets()
    buckets = grouped(data.train, FLAGS.batch_size, number)

    def run(mesh: Mesh | None = None) -> Run:
        options: dict[str, Any] = {'batch_size': FLAGS.batch_size, 'every': every, 'buckets': buckets, 'mesh': mesh}
        return make_run(lambda hyper: experiment.build(data, hyper), make_optimizer, **options)

    def evaluate(split: Split, window: int, mesh: Mesh | None = None, **options: Any) -> Callable:
        size = eval_batch(window, mesh)
        groups = grouped(split, size, number) if window == len(split.labels) else None
        return make_evaluate(model, batch_size=size, buckets=groups, mesh=mesh, **options)

    window = FLAGS.eval_examples or (len(held_out.labels) if held_out else 0)
    return Plan(data, hyper, model, run, buckets, steps, every, held_out, window, evaluate)


def make_hyper() -> Hyper:
    """The continuous settings; InputError for one that the rest of the flags has no use for."""
    for name, optimizers in OWN_OPTIMIZERS.items():
        if FLAGS[name].present and FLAGS.optimizer not in optimizers:
            raise InputError(f'--{name}={FLAGS[name].value:g} goes with --optimizer={" or ".join(optimizers)}, not {FLAGS.optimizer}')
    values: dict[str, Any] = {name: FLAGS[name].value for name in Hyper._fields}
    if values['weight_decay'] is None:
        values['weight_decay'] = WEIGHT_DECAY.get(FLAGS.optimizer_constants, 0.0)
    return Hyper(**values)


def plan_steps(data: Dataset) -> tuple[int, int, Split | None]:
    """(steps between evaluations, steps in all, what is evaluated on the way)."""
    examples = len(data.train.labels)
    if FLAGS.batch_size > examples:
        raise InputError(f'--batch_size={FLAGS.batch_size} is more than the {examples} training examples')
    held_out = getattr(data, FLAGS.eval_split)
    if FLAGS.eval_next and FLAGS.eval_examples is None:
        raise InputError('--eval_next goes with --eval_examples, how many to take each time')
    if FLAGS.eval_examples is not None and (held_out is None or FLAGS.eval_examples > len(held_out.labels)):
        there = 0 if held_out is None else len(held_out.labels)
        raise InputError(f'--eval_examples={FLAGS.eval_examples} is more than the {there} of --eval_split={FLAGS.eval_split}')
    if FLAGS.keep == 'best' and (held_out is None or FLAGS.eval_split != 'validation'):
        raise InputError('--keep=best goes by validation: it needs --validation above 0 and --eval_split=validation')
    epoch = epoch_steps(examples, FLAGS.batch_size)
    return FLAGS.eval_every or epoch, FLAGS.steps or FLAGS.epochs * epoch, held_out


def measure(state: TrainState, plan: Plan, evaluate: Callable | None, held_out: Split | None) -> Row:
    """A row of metrics.jsonl: the totals since the row before, and an evaluation. Of lanes the figures are arrays."""
    step, means = int(state.step), state.totals.means()
    row = {'step': step, 'epoch': plan.epoch(step)}
    row |= {'train_loss': means['loss'], 'train_accuracy': means['accuracy'], 'grad_norm': means['grad_norm']}
    if evaluate and held_out:
        start = (-(-step // plan.every) - 1) * plan.window % len(held_out.labels) if FLAGS.eval_next else 0
        loss, accuracy = evaluate(state.params, held_out, start, plan.window)
        row |= {f'{FLAGS.eval_split}_loss': loss, f'{FLAGS.eval_split}_accuracy': accuracy}
    return row


def grouped(split: Split, batch_size: int, number: int) -> Buckets | None:
    """The buckets of a split whose sequences have lengths."""
    return None if split.lengths is None or number == 1 else length_buckets(np.asarray(split.lengths), batch_size, number)


def eval_batch(examples: int, mesh: Mesh | None) -> int:
    """A batch for that many examples that the devices share evenly."""
    devices = mesh.size if mesh else 1
    return -(-min(EVAL_BATCH, examples) // devices) * devices


class Best(NamedTuple):
    """What --keep=best keeps: the first of the best evaluations so far."""

    params: Any
    step: Any  # of lanes this and the accuracy are arrays
    accuracy: Any  # of validation


def saved_tree(fingerprint: np.uint32, state: TrainState, best: Best | None, seconds: float) -> dict[str, Any]:
    """What a checkpoint of a run holds: among others the state after the last step that was taken."""
    tree = {'state': state.replace(step=state.taken), 'seconds': np.float64(seconds), 'fingerprint': fingerprint}
    return tree | {'best': best._asdict()} if best else tree


def summarise(rows: list[Row], tested: tuple[Any, Any], kept_step: int, steps: int, parameters: int, seconds: float) -> Row:
    """What came out of a run: its best row, its last one, the loss and accuracy of the test."""
    summary: Row = {}
    if rows and 'validation_accuracy' in rows[-1]:
        summary['best_validation_accuracy'] = max(row['validation_accuracy'] for row in rows)
    summary |= {name: value for name, value in rows[-1].items() if name.startswith(('validation', 'train_'))} if rows else {}
    summary |= {'test_accuracy': tested[1], 'test_loss': tested[0], 'kept_step': kept_step}
    return summary | {'parameters': parameters, 'steps': steps, 'wall_seconds': round(seconds, 3)}


def new_folder(experiment: str) -> str:
    if FLAGS.resume:
        raise InputError('--resume goes with --out, the folder of the run to go on with')
    return f'runs/{experiment}-{datetime.datetime.now():%Y%m%d-%H%M%S}'


def copied(params: Any) -> Any:
    """On the host, in memory of its own: the next chunk of steps uses the state's."""
    return jax.tree.map(np.array, params)


def watched(states: Iterable[TrainState], save: Callable[[], None], asked: list[int]) -> Iterator[TrainState]:
    """The states of a training; between them saves every --checkpoint_every seconds, and stops once a signal asked for it."""
    saved_at = time.perf_counter()
    for state in states:
        yield state
        if asked:
            return
        if time.perf_counter() - saved_at >= FLAGS.checkpoint_every:
            save()
            saved_at = time.perf_counter()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not cut short what is done in here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


def watch_signals() -> list[int]:
    """The signals that asked to stop, empty until one comes; a second Ctrl-C ends the process as usual."""
    asked: list[int] = []

    def ask(number, frame):
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return asked
