"""A run alone: train in chunks; between them show, evaluate, save and stop when asked."""

import math
import time
from pathlib import Path

import jax
import numpy as np

from experiments.runner.budget import settle
from experiments.runner.cli import FLAGS, devices, devices_asked, devices_noted
from experiments.runner.console import console, progress, summary_table
from experiments.runner.task import (
    Best,
    Experiment,
    copied,
    measure,
    named,
    new_folder,
    plan,
    saved_tree,
    summarise,
    undisturbed,
    watch_signals,
    watched,
)
from rnnlab.analysis.describe import count, describe
from rnnlab.errors import InputError
from rnnlab.results import plots, runs, trials
from rnnlab.results.trials import score
from rnnlab.training import checkpoint
from rnnlab.training.train import everywhere, fit


def train(experiment: Experiment) -> None:
    """Trains as the flags say, and writes the run's folder.

    Raises InputError for what the user can mend, before anything compiles; but a loss that is not finite, when it comes.
    """
    began = time.perf_counter()
    if alien := [
        name
        for name in (
            'trials',
            'sweep_seed',
            'search',
            'dry_run',
            'max_lanes',
            'max_trials',
            'shard',
        )
        if FLAGS[name].present
    ]:
        raise InputError(f'--{alien[0]} goes with --sweep')
    if FLAGS.force and not (FLAGS.resume and FLAGS['devices'].present):
        raise InputError('--force goes with --resume and --devices=N')
    settle(experiment)
    folder, settings = Path(FLAGS.out or new_folder(experiment.name)), experiment.settings()
    if FLAGS.force:  # what is noted stays how the run began
        settings['devices'] = devices_noted()
    runs.check_folder(folder, settings, FLAGS.resume)
    todo = plan(experiment)
    data, model, every, stop, goal = todo.data, todo.model, todo.every, todo.steps, experiment.goal
    mesh = todo.mesh(devices(), asked=devices_asked() is not None)
    settings['devices'] = settings['devices'] or (mesh.size if mesh else 1)
    runs.note(folder, settings, data)
    fingerprint = runs.fingerprint(folder)

    console.print(f'{folder} on {mesh.size if mesh else 1} {settings["platform"]} device(s)')
    if FLAGS.parameters:
        console.print(f'--parameters={FLAGS.parameters}: hidden_size={FLAGS.hidden_size}')
    console.print(f'\n{describe(model)}\n')
    run, key = todo.make_run(mesh), jax.random.key(FLAGS.seed)
    state, spent = run.start(todo.hyper, key), 0.0
    best = (
        Best(copied(state.params), np.int32(0), np.float64(-np.inf))
        if FLAGS.keep == 'best'
        else None
    )
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
        checkpoint.save(
            checkpoints, int(state.taken), saved_tree(fingerprint, state, best, seconds())
        )

    state, examples, held_out, test = jax.device_put(
        (state, data.train, todo.held_out, data.test), everywhere(mesh) if mesh else None
    )
    evaluate = todo.make_evaluate(held_out, todo.window, mesh) if held_out else None
    asked = watch_signals()
    with progress(stop, int(state.step)) as show:
        for state in watched(
            fit(run, todo.hyper, key, examples, state, stop=stop, every=every), save, asked
        ):
            if not state.finite:
                break
            step, means = int(state.step), state.totals.means()
            show(step, means)
            if step % every == 0 or step == stop:
                row = measure(state, todo, evaluate, held_out) | {'seconds': round(seconds(), 3)}
                if best and (now := score(goal, row[f'validation_{goal}'])) > best.score:
                    best = Best(copied(state.params), np.int32(step), np.float64(now))
                rows.append(row)
                runs.append_row(folder, row)
                show(step, means, row)
    with undisturbed():
        save()
        checkpoints.close()
    if not state.finite:
        raise not_finite(f'the loss or gradient of step {int(state.taken) + 1}', folder)
    if int(state.step) < stop:
        console.print(
            f'stopped at step {int(state.step)} of {stop}; the same command with --out={folder} --resume goes on'
        )
        raise SystemExit(128 + asked[0])

    kept = best.params if best else copied(state.params)
    tested = (
        named('test', todo.make_evaluate(test, len(test.labels), mesh)(kept, test)) if test else {}
    )
    if not all(map(math.isfinite, tested.values())):
        raise not_finite('the test loss', folder)
    summary = summarise(
        rows, tested, int(best.step) if best else stop, goal, todo, count(kept), seconds()
    )
    runs.write_json(folder / runs.SUMMARY, summary)
    net = f'{FLAGS.cell}, {FLAGS.hidden_size} units' if FLAGS.cell else 'no recurrence'
    figure = next(name for name in (f'test_{goal}', f'best_validation_{goal}') if name in summary)
    value = format(summary[figure], '.2%' if trials.is_share(figure) else '.4g')
    title = f'{experiment.name}: {net}, {figure.replace("_", " ")} {value} at step {summary["kept_step"]:,}'
    plots.curves(rows, folder / runs.CURVES, title, data.baseline)
    console.print(f'\n{summary_table(summary, goal)}')
    experiment.finish(todo, kept, folder)


def not_finite(what: str, folder: Path) -> InputError:
    settings = f'--lr={FLAGS.lr:g} and --clip={FLAGS.clip:g}'
    return InputError(
        f'{what} is not finite, with {settings}: try a lower one of them in a new folder; {folder} keeps the state before'
    )
