"""What the flags make of an experiment, for a run alone and for a lane of a sweep."""

import contextlib
import datetime
import signal
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.runner.cli import FLAGS, config
from experiments.runner.console import console, prediction_table
from rnnlab.data import Dataset, Split
from rnnlab.errors import InputError
from rnnlab.models import Model
from rnnlab.results.trials import score
from rnnlab.training.batches import Batch, Batches, in_order, shuffled
from rnnlab.training.losses import Loss
from rnnlab.training.optim import WEIGHT_DECAY, Hyper, optimizer, schedule
from rnnlab.training.train import (
    Run,
    TrainState,
    batch_mesh,
    classification,
    make_evaluate,
    make_run,
)

EVAL_BATCH = 500
DYNAMIC = {
    'seed',
    *Hyper._fields,
}  # arrays of a program; another value of any other flag makes another program
OWN_OPTIMIZERS = {
    'momentum': ['sgd'],
    'weight_decay': ['adamw'],
    'beta1': ['adam', 'adamw'],
    'beta2': ['adam', 'adamw'],
}


Row = dict[str, Any]  # of metrics.jsonl, or what summary.json holds


class Plan(NamedTuple):
    """A training as the flags describe it; it holds while they stay as they are."""

    data: Dataset
    hyper: Hyper
    model: Model
    loss: Callable[[Hyper], Loss]
    batches: Batches
    make_run: Callable[..., Run]  # (mesh=None) -> the run
    steps: int
    every: int  # steps between evaluations
    held_out: Split | None  # what is evaluated on the way
    window: int  # how many of it each time
    make_evaluate: Callable  # (split, window, mesh=None, **options of rnnlab's make_evaluate) -> rnnlab's evaluate

    def mesh(self, devices: list[Any], asked: bool) -> Mesh | None:
        """Those of the devices that share a batch; where they were not asked for, if that is worth it."""
        size = self.batches.size
        if asked:
            return batch_mesh(size, devices)

        def inputs(data):
            keys = jax.random.split(jax.random.key(0), size)
            return self.batches.takes[-1](
                data, Batch(jnp.zeros(size, jnp.int32), keys, keys), jnp.int32(0)
            ).inputs

        time_steps = jax.eval_shape(inputs, self.data.train).shape[1]
        params = jax.eval_shape(self.model.init, jax.random.key(0))
        recurrent = sum(
            leaf.size for name in self.model.layers for leaf in jax.tree.leaves(params[name])
        )
        return batch_mesh(size, devices, 6 * time_steps * size * recurrent)

    def epoch(self, step: int) -> float:
        return round(step / self.batches.steps, 4)


def shuffled_examples(data: Split, buckets: int = 1) -> Batches:
    """Batches of the training examples, from at most so many groups of like length."""
    if FLAGS.batch_size > len(data.labels):
        raise InputError(
            f'--batch_size={FLAGS.batch_size} is more than the {len(data.labels)} training examples'
        )
    return shuffled(data, FLAGS.batch_size, buckets)


def examples_in_order(data: Split, size: int, whole: bool, buckets: int = 1) -> Batches:
    """Batches of that size to evaluate; `whole`: always all examples."""
    return in_order(data, size, buckets if whole else 1)


def show_predictions(plan: Plan, params: Any, folder: Path) -> None:
    assert plan.data.test
    console.print(f'\n{prediction_table(plan.model, params, plan.data.test)}')


class Experiment(NamedTuple):
    name: str
    settle: Callable[
        [], None
    ]  # gives flags that are open their values; InputError for flags that do not go together
    load: Callable[[], Dataset]
    build: Callable[[Dataset, Hyper], Model]
    goal: str = (
        'accuracy'  # the figure of validation by which the best is chosen: accuracy, or loss
    )
    loss: Callable[[Hyper], Loss] = classification
    batches: Callable[[Any], Batches] = shuffled_examples  # (training part) -> its batches
    rounds: Callable[[Split, int, bool], Batches] = (
        examples_in_order  # (part, size, whole) -> the batches that evaluate it
    )
    finish: Callable[[Plan, Any, Path], None] = (
        show_predictions  # (plan, parameters, folder): what else the end of a run shows
    )
    source: Callable[[], dict[str, Any]] = dict  # what tells the user's data from others

    def settings(self) -> dict[str, Any]:
        """All that decides what a run of it computes, as the flags are."""
        return config(self.name, self.goal) | self.source()


def plan(experiment: Experiment) -> Plan:
    """Loads the data; InputError for flags that do not fit it or each other. Nothing compiles."""
    hyper, data = make_hyper(), experiment.load()
    batches = experiment.batches(data.train)
    every, steps, held_out = plan_steps(data, batches)
    make_optimizer = optimizer(
        FLAGS.optimizer, FLAGS.optimizer_constants, schedule(FLAGS.schedule, steps, FLAGS.warmup)
    )
    model = experiment.build(data, hyper)

    def run(mesh: Mesh | None = None) -> Run:
        return make_run(
            lambda hyper: experiment.build(data, hyper),
            make_optimizer,
            batches,
            every=every,
            loss=experiment.loss,
            mesh=mesh,
        )

    def evaluate(split: Split, window: int, mesh: Mesh | None = None, **options: Any) -> Callable:
        rounds = experiment.rounds(split, eval_batch(window, mesh), window == len(split.labels))
        if mesh and rounds.size % mesh.size:
            mesh = None
        return make_evaluate(model, rounds, loss=experiment.loss(Hyper()), mesh=mesh, **options)

    window = FLAGS.eval_examples or (len(held_out.labels) if held_out else 0)
    return Plan(
        data, hyper, model, experiment.loss, batches, run, steps, every, held_out, window, evaluate
    )


def make_hyper() -> Hyper:
    """The continuous settings; InputError for one that the rest of the flags has no use for."""
    for name, optimizers in OWN_OPTIMIZERS.items():
        if FLAGS[name].present and FLAGS.optimizer not in optimizers:
            raise InputError(
                f'--{name}={FLAGS[name].value:g} goes with --optimizer={" or ".join(optimizers)}, not {FLAGS.optimizer}'
            )
    values: dict[str, Any] = {name: FLAGS[name].value for name in Hyper._fields}
    if values['weight_decay'] is None:
        values['weight_decay'] = WEIGHT_DECAY.get(FLAGS.optimizer_constants, 0.0)
    return Hyper(**values)


def plan_steps(data: Dataset, batches: Batches) -> tuple[int, int, Split | None]:
    """(steps between evaluations, steps in all, what is evaluated on the way)."""
    held_out = getattr(data, FLAGS.eval_split)
    if held_out is None and FLAGS.eval_split == 'test':
        raise InputError('--eval_split=test: there is no test part here, only one that validates')
    if FLAGS.eval_next and FLAGS.eval_examples is None:
        raise InputError('--eval_next goes with --eval_examples, how many to take each time')
    if FLAGS.eval_examples is not None and (
        held_out is None or FLAGS.eval_examples > len(held_out.labels)
    ):
        there = 0 if held_out is None else len(held_out.labels)
        raise InputError(
            f'--eval_examples={FLAGS.eval_examples} is more than the {there} of --eval_split={FLAGS.eval_split}'
        )
    if FLAGS.keep == 'best' and (held_out is None or FLAGS.eval_split != 'validation'):
        missing = '--validation above 0' if held_out is None else '--eval_split=validation'
        raise InputError(f'--keep=best goes by validation: it needs {missing}, or take --keep=last')
    return FLAGS.eval_every or batches.steps, FLAGS.steps or FLAGS.epochs * batches.steps, held_out


def measure(
    state: TrainState, plan: Plan, evaluate: Callable | None, held_out: Split | None
) -> Row:
    """A row of metrics.jsonl: the totals since the row before, and an evaluation. Of lanes the figures are arrays."""
    step, means = int(state.step), state.totals.means()
    norm = means.pop('grad_norm')
    row = {'step': step, 'epoch': plan.epoch(step)} | named('train', means) | {'grad_norm': norm}
    if evaluate and held_out:
        start = (
            (-(-step // plan.every) - 1) * plan.window % len(held_out.labels)
            if FLAGS.eval_next
            else 0
        )
        row |= named(FLAGS.eval_split, evaluate(state.params, held_out, start, plan.window))
    return row


def named(part: str, figures: dict[str, Any]) -> Row:
    return {f'{part}_{name}': value for name, value in figures.items()}


def eval_batch(examples: int, mesh: Mesh | None) -> int:
    """A batch for that many examples that the devices share evenly."""
    devices = mesh.size if mesh else 1
    return -(-min(EVAL_BATCH, examples) // devices) * devices


@lru_cache
def checksum(path: str) -> int:
    """What tells a file from others; InputError where there is none."""
    try:
        return zlib.crc32(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise InputError(f'there is no file {path}') from error


def shares() -> tuple[float, ...]:
    """What --split says: train, validation, test."""
    try:
        return tuple(float(part) for part in FLAGS.split)
    except ValueError as error:
        raise InputError(
            f'--split={",".join(FLAGS.split)} should be three numbers: train, validation, test'
        ) from error


class Best(NamedTuple):
    """What --keep=best keeps: the first of the best evaluations so far."""

    params: Any
    step: Any  # of lanes this and the score are arrays
    score: Any  # of validation, the greater the better


def saved_tree(
    fingerprint: np.uint32, state: TrainState, best: Best | None, seconds: float
) -> dict[str, Any]:
    """What a checkpoint of a run holds: among others the state after the last step that was taken."""
    tree = {
        'state': state.replace(step=state.taken),
        'seconds': np.float64(seconds),
        'fingerprint': fingerprint,
    }
    return tree | {'best': best._asdict()} if best else tree


def summarise(
    rows: list[Row],
    tested: Row,
    kept_step: int,
    goal: str,
    plan: Plan,
    parameters: int,
    seconds: float,
) -> Row:
    """What came out of a run: its best row, its last one, the figures of the test."""
    summary: Row = {}
    if rows and (field := f'validation_{goal}') in rows[-1]:
        summary[f'best_{field}'] = max((row[field] for row in rows), key=partial(score, field))
    summary |= (
        {
            name: value
            for name, value in rows[-1].items()
            if name.startswith(('validation', 'train_'))
        }
        if rows
        else {}
    )
    summary |= (
        tested
        | {'kept_step': kept_step}
        | ({} if plan.data.baseline is None else {'baseline': plan.data.baseline})
    )
    return summary | {
        'parameters': parameters,
        'steps': plan.steps,
        'wall_seconds': round(seconds, 3),
    }


def new_folder(experiment: str) -> str:
    if FLAGS.resume:
        raise InputError('--resume goes with --out, the folder of the run to go on with')
    return f'runs/{experiment}-{datetime.datetime.now():%Y%m%d-%H%M%S}'


def copied(params: Any) -> Any:
    """On the host, in memory of its own: the next chunk of steps uses the state's."""
    return jax.tree.map(np.array, params)


def watched(
    states: Iterable[TrainState], save: Callable[[], None], asked: list[int]
) -> Iterator[TrainState]:
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
