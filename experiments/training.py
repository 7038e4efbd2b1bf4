"""The loop that every experiment shares: train in chunks; between them show, evaluate, save and stop when asked."""

import datetime
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from experiments.flags import FLAGS, config
from rnnlab import checkpoint, plots, runs
from rnnlab.data import Dataset, Split
from rnnlab.describe import count, describe
from rnnlab.errors import InputError
from rnnlab.models import Model
from rnnlab.optim import WEIGHT_DECAY, Hyper, optimizer
from rnnlab.train import batch_mesh, epoch_steps, fit, make_evaluate, make_run

EVAL_BATCH = 500

console = Console(highlight=False, markup=False, soft_wrap=True)


def train(experiment: str, load: Callable[[], Dataset], build: Callable[[Dataset, Hyper], Model]) -> None:
    """Trains the model that `build` makes for the data that `load` gives, as the flags say, and writes its folder.

    Raises InputError for what the user can mend, before anything compiles; but a loss that is not finite, when it comes.
    """
    began = time.perf_counter()
    hyper, make_optimizer = make_hyper(), optimizer(FLAGS.optimizer, FLAGS.optimizer_constants)
    folder, settings = Path(FLAGS.out or new_folder(experiment)), config(experiment)
    runs.check_folder(folder, settings, FLAGS.resume)
    data = load()
    every, stop, held_out = plan(data)
    model = build(data, hyper)
    runs.write_json(folder / runs.CONFIG, settings)

    mesh = batch_mesh(FLAGS.batch_size)
    console.print(f'{folder} on {mesh.size if mesh else 1} {settings["platform"]} device(s)')
    console.print(describe(model))
    run = make_run(lambda hyper: build(data, hyper), make_optimizer, batch_size=FLAGS.batch_size, every=every, mesh=mesh)
    key = jax.random.key(FLAGS.seed)
    state, spent = run.start(hyper, key), 0.0
    checkpoints = checkpoint.open_checkpoints(folder / runs.CHECKPOINT)
    if saved := checkpoint.restore(checkpoints, state):
        state, spent = saved
        state = state.replace(finite=jnp.bool(True))
        console.print(f'goes on from step {int(state.step)}')
    rows = runs.rewind(folder, int(state.step))

    def seconds() -> float:
        return spent + time.perf_counter() - began

    place = NamedSharding(mesh, PartitionSpec()) if mesh else None
    state, examples = jax.device_put((state, data.train), place)
    evaluate_at = evaluator(model, held_out, every, mesh, place)
    asked, saved_at = watch_signals(), time.perf_counter()
    with progress(stop, int(state.step)) as show:
        for state in fit(run, hyper, key, examples, state, stop=stop, every=every):  # noqa: B020
            if not state.finite:
                break
            step, means = int(state.step), state.totals.means()
            show(step, means)
            if step % every == 0 or step == stop:
                row = {'step': step, 'epoch': round(step / epoch_steps(len(data.train.labels), FLAGS.batch_size), 4)}
                row |= {'train_loss': means['loss'], 'train_accuracy': means['accuracy'], 'grad_norm': means['grad_norm']}
                row |= evaluate_at(step, state.params) | {'seconds': round(seconds(), 3)}
                rows.append(row)
                runs.append_row(folder, row)
                show(step, means, row)
            if asked:
                break
            if time.perf_counter() - saved_at >= FLAGS.checkpoint_every:
                checkpoint.save(checkpoints, state, seconds())
                saved_at = time.perf_counter()
    checkpoint.save(checkpoints, state, seconds())
    checkpoints.close()
    if not state.finite:
        raise not_finite(f'the loss or gradient of step {int(state.step) + 1}', folder)
    if int(state.step) < stop:
        console.print(f'stopped at step {int(state.step)} of {stop}; the same command with --out={folder} --resume goes on')
        raise SystemExit(128 + asked[0])

    evaluate = make_evaluate(model, batch_size=eval_batch(len(data.test.labels), mesh), mesh=mesh)
    loss, accuracy = evaluate(state.params, jax.device_put(data.test, place))
    if not math.isfinite(loss):
        raise not_finite('the test loss', folder)
    summary = {'test_accuracy': accuracy, 'test_loss': loss}
    summary |= {name: value for name, value in rows[-1].items() if name.startswith(('validation', 'train'))} if rows else {}
    summary |= {'parameters': count(state.params), 'steps': stop, 'wall_seconds': round(seconds(), 3)}
    runs.write_json(folder / runs.SUMMARY, summary)
    plots.curves(rows, folder / runs.CURVES, f'{experiment}: {FLAGS.cell}, {FLAGS.hidden_size} units, test accuracy {accuracy:.2%}')
    console.print(summary_table(summary))
    console.print(prediction_table(model, jax.device_get(state.params), data.test))


def make_hyper() -> Hyper:
    """The continuous settings; InputError for one that the rest of the flags has no use for."""
    if FLAGS.momentum and FLAGS.optimizer != 'sgd':
        raise InputError(f'--momentum={FLAGS.momentum:g} goes with --optimizer=sgd, not {FLAGS.optimizer}')
    if FLAGS.weight_decay is not None and FLAGS.optimizer != 'adamw':
        raise InputError(f'--weight_decay={FLAGS.weight_decay:g} goes with --optimizer=adamw, not {FLAGS.optimizer}')
    decay = WEIGHT_DECAY.get(FLAGS.optimizer_constants, 0.0) if FLAGS.weight_decay is None else FLAGS.weight_decay
    hyper = Hyper(lr=FLAGS.lr, clip=FLAGS.clip, weight_decay=decay, momentum=FLAGS.momentum)
    return hyper if FLAGS.forget_bias is None else hyper._replace(forget_bias=FLAGS.forget_bias)


def not_finite(what: str, folder: Path) -> InputError:
    settings = f'--lr={FLAGS.lr:g} and --clip={FLAGS.clip:g}'
    return InputError(f'{what} is not finite, with {settings}: try a lower one of them in a new folder; {folder} keeps the state before')


def new_folder(experiment: str) -> str:
    if FLAGS.resume:
        raise InputError('--resume goes with --out, the folder of the run to go on with')
    return f'runs/{experiment}-{datetime.datetime.now():%Y%m%d-%H%M%S}'


def plan(data: Dataset) -> tuple[int, int, Split | None]:
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
    epoch = epoch_steps(examples, FLAGS.batch_size)
    return FLAGS.eval_every or epoch, FLAGS.steps or FLAGS.epochs * epoch, held_out


def evaluator(model: Model, held_out: Split | None, every: int, mesh, place) -> Callable[[int, Any], dict[str, float]]:
    """(step, params) -> the loss and accuracy of the evaluation that is due at that step."""
    if held_out is None:
        return lambda step, params: {}
    examples = jax.device_put(held_out, place)
    window = FLAGS.eval_examples or len(held_out.labels)
    evaluate = make_evaluate(model, batch_size=eval_batch(window, mesh), mesh=mesh)

    def at(step, params):
        start = (math.ceil(step / every) - 1) * window % len(held_out.labels) if FLAGS.eval_next else 0
        loss, accuracy = evaluate(params, examples, start, window)
        return {f'{FLAGS.eval_split}_loss': loss, f'{FLAGS.eval_split}_accuracy': accuracy}

    return at


def eval_batch(examples: int, mesh) -> int:
    """A batch for that many examples that the devices share evenly."""
    devices = mesh.size if mesh else 1
    return -(-min(EVAL_BATCH, examples) // devices) * devices


def watch_signals() -> list[int]:
    """The signals that asked to stop, empty until one comes; a second Ctrl-C ends the process as usual."""
    asked: list[int] = []

    def ask(number, frame):
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return asked


@contextmanager
def progress(stop: int, step: int) -> Iterator[Callable]:
    """A bar where there is a terminal, and a line for each evaluation, at most one a second between epochs."""
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, shown_at = bar.add_task('compiling', total=stop, completed=step), -math.inf

        def show(step: int, means: dict[str, float], row: dict[str, Any] | None = None) -> None:
            nonlocal shown_at
            bar.update(task, completed=step, description=f'loss {means["loss"]:.4f}  accuracy {means["accuracy"]:.4f}')
            now = time.perf_counter()
            if row and (row['epoch'] == int(row['epoch']) or step == stop or now - shown_at > 1):
                shown_at = now
                parts = [part for part in ('train', 'validation', 'test') if f'{part}_loss' in row]
                figures = '   '.join(f'{part} loss {row[f"{part}_loss"]:.4f} accuracy {row[f"{part}_accuracy"]:.4f}' for part in parts)
                console.print(f'epoch {row["epoch"]:5.2f}  step {step:6d}   {figures}   {row["seconds"]:.1f} s')

        yield show


def summary_table(summary: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ('test accuracy', 'test loss', 'parameters', 'steps', 'seconds'):
        table.add_column(heading, justify='right')
    figures = f'{summary["test_accuracy"]:.4f}', f'{summary["test_loss"]:.4f}'
    table.add_row(*figures, f'{summary["parameters"]:,}', f'{summary["steps"]:,}', f'{summary["wall_seconds"]:.1f}')
    return table


def prediction_table(model: Model, params, test: Split) -> Table:
    """The first ten test examples: what they are and what the model takes them for."""
    first = jax.tree.map(lambda leaf: leaf[:10], test)
    predicted = np.argmax(jax.jit(model.apply)(params, first.inputs, first.lengths), axis=-1)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column('test example')
    for number in range(len(predicted)):
        table.add_column(str(number), justify='right')
    table.add_row('label', *map(str, first.labels))
    table.add_row('predicted', *map(str, predicted))
    return table
