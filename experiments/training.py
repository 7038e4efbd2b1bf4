"""The loop that every experiment shares: train in chunks; between them show, evaluate, save and stop when asked."""

import datetime
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.display import console, prediction_table, progress, summary_table
from experiments.flags import FLAGS, config
from rnnlab import checkpoint, plots, runs
from rnnlab.batches import Buckets, epoch_steps, length_buckets
from rnnlab.data import Dataset, Split
from rnnlab.describe import count, describe
from rnnlab.errors import InputError
from rnnlab.models import Model
from rnnlab.optim import WEIGHT_DECAY, Hyper, optimizer
from rnnlab.train import TrainState, batch_mesh, fit, make_evaluate, make_run

EVAL_BATCH = 500


class Best(NamedTuple):
    """What --keep=best keeps: the first of the best evaluations so far."""

    params: Any
    step: np.integer
    accuracy: np.floating  # of validation


def train(experiment: str, load: Callable[[], Dataset], build: Callable[[Dataset, Hyper], Model], buckets: int = 1) -> None:
    """Trains the model that `build` makes for the data that `load` gives, as the flags say, and writes its folder.

    Sequences with padding behind are taken from at most `buckets` groups of like length.

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
    if data.vocabulary:
        runs.write_json(folder / runs.VOCABULARY, data.vocabulary)
    fingerprint = runs.fingerprint(folder)

    mesh = batch_mesh(FLAGS.batch_size)
    console.print(f'{folder} on {mesh.size if mesh else 1} {settings["platform"]} device(s)')
    console.print(f'\n{describe(model)}\n')
    groups = grouped(data.train, FLAGS.batch_size, buckets)
    run = make_run(lambda hyper: build(data, hyper), make_optimizer, batch_size=FLAGS.batch_size, every=every, buckets=groups, mesh=mesh)
    key = jax.random.key(FLAGS.seed)
    state, spent = run.start(hyper, key), 0.0
    best = Best(copied(state.params), np.int32(0), np.float64(-1)) if FLAGS.keep == 'best' else None
    checkpoints = checkpoint.open_checkpoints(folder / runs.CHECKPOINT)
    if saved := checkpoint.restore(checkpoints, saved_tree(fingerprint, state, best, spent)):
        runs.check_fingerprint(folder, saved['fingerprint'])
        state, spent = saved['state'], float(saved['seconds'])
        best = Best(**saved['best']) if best else None
        console.print(f'goes on from step {int(state.step)}')
    rows = runs.rewind(folder, int(state.step))

    def seconds() -> float:
        return spent + time.perf_counter() - began

    def save() -> None:
        checkpoint.save(checkpoints, int(state.taken), saved_tree(fingerprint, state, best, seconds()))

    state, examples = jax.device_put((state, data.train), everywhere(mesh))
    window = FLAGS.eval_examples or (len(held_out.labels) if held_out else 0)
    evaluate = evaluator(model, held_out, window, buckets, mesh) if held_out else None
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
                if evaluate:
                    loss, accuracy = evaluate(state.params, (math.ceil(step / every) - 1) * window if FLAGS.eval_next else 0)
                    row |= {f'{FLAGS.eval_split}_loss': loss, f'{FLAGS.eval_split}_accuracy': accuracy}
                row['seconds'] = round(seconds(), 3)
                if best and row['validation_accuracy'] > best.accuracy:
                    best = Best(copied(state.params), np.int32(step), np.float64(row['validation_accuracy']))
                rows.append(row)
                runs.append_row(folder, row)
                show(step, means, row)
            if asked:
                break
            if time.perf_counter() - saved_at >= FLAGS.checkpoint_every:
                save()
                saved_at = time.perf_counter()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the saving short
    save()
    checkpoints.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not state.finite:
        raise not_finite(f'the loss or gradient of step {int(state.taken) + 1}', folder)
    if int(state.step) < stop:
        console.print(f'stopped at step {int(state.step)} of {stop}; the same command with --out={folder} --resume goes on')
        raise SystemExit(128 + asked[0])

    kept = best.params if best else copied(state.params)
    loss, accuracy = evaluator(model, data.test, len(data.test.labels), buckets, mesh)(kept)
    if not math.isfinite(loss):
        raise not_finite('the test loss', folder)
    summary = {'test_accuracy': accuracy, 'test_loss': loss, 'kept_step': int(best.step) if best else stop}
    summary |= {name: value for name, value in rows[-1].items() if name.startswith(('validation', 'train'))} if rows else {}
    if rows and 'validation_accuracy' in rows[-1]:
        summary['best_validation_accuracy'] = max(row['validation_accuracy'] for row in rows)
    summary |= {'parameters': count(kept), 'steps': stop, 'wall_seconds': round(seconds(), 3)}
    runs.write_json(folder / runs.SUMMARY, summary)
    net = f'{FLAGS.cell}, {FLAGS.hidden_size} units' if FLAGS.cell else 'no recurrence'
    plots.curves(rows, folder / runs.CURVES, f'{experiment}: {net}, test accuracy {accuracy:.2%} at step {summary["kept_step"]:,}')
    console.print(f'\n{summary_table(summary)}\n\n{prediction_table(model, kept, data.test)}')


def copied(params):
    """On the host, in memory of its own: the next chunk of steps uses the state's."""
    return jax.tree.map(np.array, params)


def saved_tree(fingerprint: np.uint32, state: TrainState, best: Best | None, seconds: float) -> dict[str, Any]:
    """What a checkpoint holds: among others the state after the last step that was taken."""
    tree = {'state': state.replace(step=state.taken), 'seconds': np.float64(seconds), 'fingerprint': fingerprint}
    return tree | {'best': best._asdict()} if best else tree


def make_hyper() -> Hyper:
    """The continuous settings; InputError for one that the rest of the flags has no use for."""
    if FLAGS.momentum and FLAGS.optimizer != 'sgd':
        raise InputError(f'--momentum={FLAGS.momentum:g} goes with --optimizer=sgd, not {FLAGS.optimizer}')
    if FLAGS.weight_decay is not None and FLAGS.optimizer != 'adamw':
        raise InputError(f'--weight_decay={FLAGS.weight_decay:g} goes with --optimizer=adamw, not {FLAGS.optimizer}')
    decay = WEIGHT_DECAY.get(FLAGS.optimizer_constants, 0.0) if FLAGS.weight_decay is None else FLAGS.weight_decay
    hyper = Hyper(lr=FLAGS.lr, clip=FLAGS.clip, weight_decay=decay, momentum=FLAGS.momentum)
    given: dict[str, Any] = {name: FLAGS[name].value for name in ('forget_bias', 'dropout', 'recurrent_dropout')}
    return hyper._replace(**{name: value for name, value in given.items() if value is not None})


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
    if FLAGS.keep == 'best' and (held_out is None or FLAGS.eval_split != 'validation'):
        raise InputError('--keep=best goes by validation: it needs --validation above 0 and --eval_split=validation')
    epoch = epoch_steps(examples, FLAGS.batch_size)
    return FLAGS.eval_every or epoch, FLAGS.steps or FLAGS.epochs * epoch, held_out


def grouped(split: Split, batch_size: int, number: int) -> Buckets | None:
    """The buckets of a split whose sequences have lengths."""
    return None if split.lengths is None or number == 1 else length_buckets(np.asarray(split.lengths), batch_size, number)


def evaluator(model: Model, split: Split, window: int, buckets: int, mesh) -> Callable[..., tuple[float, float]]:
    """(params, start=0) -> the loss and accuracy on `window` examples of the split."""
    size = eval_batch(window, mesh)
    groups = grouped(split, size, buckets) if window == len(split.labels) else None
    evaluate = make_evaluate(model, batch_size=size, buckets=groups, mesh=mesh)
    examples = jax.device_put(split, everywhere(mesh))
    return lambda params, start=0: evaluate(params, examples, start % len(split.labels), window)


def everywhere(mesh: Mesh | None) -> NamedSharding | None:
    """A copy on each device of the mesh."""
    return NamedSharding(mesh, PartitionSpec()) if mesh else None


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
