"""A wave of a sweep: trials of one structure that train side by side, each on a lane of one program."""

import math
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.runner.cli import FLAGS, devices
from experiments.runner.task import (
    Best,
    Plan,
    Row,
    measure,
    named,
    saved_tree,
    summarise,
    undisturbed,
    watched,
)
from rnnlab.analysis.describe import count
from rnnlab.data import Split
from rnnlab.results import runs, trials
from rnnlab.sweeps.axes import Settings
from rnnlab.training import checkpoint
from rnnlab.training.lanes import (
    better,
    evaluation_over_lanes,
    lane_mesh,
    one_lane,
    over_lanes,
    placed,
    stacked,
)
from rnnlab.training.optim import Hyper
from rnnlab.training.train import Run, TrainState, everywhere, fit


class Member(NamedTuple):
    """A trial that is still to be trained, as its flags describe it."""

    number: int
    flags: Settings  # the swept ones
    config: dict[str, Any]  # all of them, as of a run alone
    hyper: Hyper


class Sweep(NamedTuple):
    """What all waves of a sweep share."""

    folder: Path
    names: list[str]  # of the settings that are noted with a trial
    metric: str  # by which trials are ranked
    finished: dict[int, trials.Trial]
    asked: list[int]  # the signals that asked to stop


class Trained(NamedTuple):
    """A wave at its end; all but `seconds` have an entry a lane."""

    state: TrainState
    best: Best | None
    history: dict[str, np.ndarray]
    seconds: float


class Lanes(NamedTuple):
    """What trains one wave after the other of a structure, compiled once, with the data on the devices."""

    plan: Plan
    number: int
    goal: str
    mesh: Mesh
    run: Run
    evaluate: Callable | None
    test: Callable | None
    train_data: Split | None
    held_out: Split | None
    test_data: Split | None


def make_lanes(plan: Plan, number: int, goal: str) -> Lanes:
    mesh = lane_mesh(number, devices())
    program = evaluation_over_lanes(mesh)
    evaluate = (
        plan.make_evaluate(plan.held_out, plan.window, program=program) if plan.held_out else None
    )
    test = (
        plan.make_evaluate(plan.data.test, len(plan.data.test.labels), program=program)
        if plan.data.test
        else None
    )
    data = jax.device_put((plan.data.train, plan.held_out, plan.data.test), everywhere(mesh))
    return Lanes(plan, number, goal, mesh, over_lanes(plan.make_run(), mesh), evaluate, test, *data)


def train_wave(lanes: Lanes, wave: list[Member], sweep: Sweep, show: Callable) -> bool:
    """Trains what is a wave and writes what came out, also into `sweep.finished`; False where a signal asked to stop before the end.

    After every chunk of steps `show` is called with the step and each trial's highest accuracy so far, NaN where it diverged, None
    before the first evaluation.
    """
    place = trials.wave_path(sweep.folder, wave[0].number)
    who = [lanes.number, *((member.number, member.flags) for member in wave)]
    own = zlib.crc32(
        str(who).encode()
    )  # a wave that is cut otherwise does not take the checkpoint for its own
    with checkpoint.open_checkpoints(place.with_suffix(f'.{own:08x}')) as checkpoints:
        trained = train(lanes, wave, checkpoints, sweep.asked, show)
        if trained is None:
            return False
        results, curves = judge(lanes, wave, trained, sweep.names)
        winner = trials.best(results, sweep.metric)
        if (
            winner
            and trials.best([*trials.read_waves(sweep.folder)[0], winner], sweep.metric) is winner
        ):
            lane = results.index(winner)
            write_run(
                place.with_suffix(''), wave[lane], lanes.plan, curves[lane], winner, trained, lane
            )
        rows = [
            {'trial': member.number} | row
            for member, curve in zip(wave, curves, strict=True)
            for row in curve
        ]
        trials.write_wave(sweep.folder, results, rows)
    shutil.rmtree(checkpoints.directory)
    sweep.finished.update({result['trial']: result for result in results})
    return True


def train(
    lanes: Lanes, wave: list[Member], checkpoints: Any, asked: list[int], show: Callable
) -> Trained | None:
    """To the last step, from the checkpoint if there is one; None where a signal asked to stop before, after a checkpoint."""
    plan, number, began = lanes.plan, lanes.number, time.perf_counter()
    members = wave + wave[-1:] * (
        number - len(wave)
    )  # a smaller wave is filled up, so that it compiles nothing new
    hypers, keys = stacked(
        [member.hyper for member in members],
        [jax.random.key(member.config['seed']) for member in members],
    )
    state, spent = lanes.run.start(hypers, keys), 0.0
    history = new_history(plan, number)
    best = None
    if FLAGS.keep == 'best':
        best = Best(
            jax.tree.map(jnp.copy, state.params),
            np.zeros(number, np.int32),
            np.full(number, -np.inf),
        )

    def seconds() -> float:
        return spent + time.perf_counter() - began

    def tree() -> dict[str, Any]:
        parts = {'state': state, 'history': history, 'seconds': np.float64(seconds())}
        return parts | {'best': best._asdict()} if best else parts

    def save() -> None:
        checkpoint.save(checkpoints, int(state.step), tree())

    if saved := checkpoint.restore(checkpoints, tree()):
        state, spent = placed(saved['state'], lanes.mesh), float(saved['seconds'])
        history = {
            name: saved['history'][name] for name in history
        }  # in their order, which a checkpoint does not keep
        best = Best(**saved['best']) if best else None
    states = fit(
        lanes.run, hypers, keys, lanes.train_data, state, stop=plan.steps, every=plan.every
    )
    for state in watched(states, save, asked):
        step = int(state.step)
        if step % plan.every == 0 or step == plan.steps:
            row = measure(state, plan, lanes.evaluate, lanes.held_out) | {
                'finite': state.finite,
                'seconds': seconds() / len(wave),
            }
            for name, values in history.items():
                values[evaluations(step, plan) - 1] = row[name]
            if best:
                best = improved(
                    best, state, trials.score(lanes.goal, row[f'validation_{lanes.goal}'])
                )
        done = step // plan.every + (step == plan.steps and step % plan.every > 0)
        show(step, figures(history, state, lanes.goal, done)[: len(wave)] if done else None)
    if asked and int(state.step) < plan.steps and np.any(state.finite):
        with undisturbed():
            save()
            checkpoints.close()
        return None
    return Trained(state, best, history, seconds())


def judge(
    lanes: Lanes, wave: list[Member], trained: Trained, names: list[str]
) -> tuple[list[trials.Trial], list[list[Row]]]:
    """Tests the parameters that are kept: what came out of each trial, and the rows of its curve."""
    state, best, plan = trained.state, trained.best, lanes.plan
    tested = (
        lanes.test(best.params if best else state.params, lanes.test_data) if lanes.test else {}
    )
    results, curves = [], []
    for lane, member in enumerate(wave):
        curves.append(rows_of(trained.history, lane, plan))
        figures = {name: float(values[lane]) for name, values in tested.items()}
        sound = bool(state.finite[lane]) and all(map(math.isfinite, figures.values()))
        kept_step = int((best.step if best else state.taken)[lane])
        parameters, share = count(state.params) // lanes.number, trained.seconds / len(wave)
        lost = {name: value if sound else None for name, value in named('test', figures).items()}
        summary = summarise(curves[-1], lost, kept_step, lanes.goal, plan, parameters, share)
        summary['seconds'] = summary.pop('wall_seconds')
        settings = {name: member.config[name] for name in names}
        ended = status(summary, plan) if sound else trials.DIVERGED
        results.append({'trial': member.number, 'settings': settings, 'status': ended} | summary)
    return results, curves


def new_history(plan: Plan, number: int) -> dict[str, np.ndarray]:
    """Room for the figures of every evaluation [evaluations, lanes]."""
    own = dict.fromkeys(plan.loss(Hyper()).figures)
    names = [
        *named('train', own),
        'grad_norm',
        'finite',
        'seconds',
        *(named(FLAGS.eval_split, own) if plan.held_out else {}),
    ]
    return {name: np.zeros((evaluations(plan.steps, plan), number)) for name in names}


def evaluations(step: int, plan: Plan) -> int:
    """How many there are up to a step, that in which it lies counted in."""
    return -(-step // plan.every)


def rows_of(history: dict[str, np.ndarray], lane: int, plan: Plan) -> list[Row]:
    """The rows of metrics.jsonl that a run alone would have written: up to the step that was not finite, if any."""
    rows = []
    for number in range(int(np.sum(history['finite'][:, lane]))):
        step = min((number + 1) * plan.every, plan.steps)
        figures = {
            name: float(values[number, lane])
            for name, values in history.items()
            if name != 'finite'
        }
        as_json: Row = {
            name: value if math.isfinite(value) else None for name, value in figures.items()
        }
        rows.append({'step': step, 'epoch': plan.epoch(step), **as_json})
    return rows


def figures(
    history: dict[str, np.ndarray], state: TrainState, goal: str, evaluated: int
) -> np.ndarray:
    """The best that each lane has reached in so many evaluations, NaN where it diverged."""
    field = next(
        name for name in (f'{FLAGS.eval_split}_{goal}', f'train_{goal}') if name in history
    )
    best = np.max(trials.score(field, history[field][:evaluated]), axis=0)
    return np.where(state.finite, trials.score(field, best), np.nan)


def improved(best: Best, state: TrainState, scores: np.ndarray) -> Best:
    """What --keep=best keeps, in each lane."""
    higher = np.asarray(state.finite) & (scores > best.score)
    params = better(best.params, state.params, higher)
    return Best(
        params,
        np.where(higher, np.int32(state.step), best.step),
        np.where(higher, scores, best.score),
    )


def status(summary: Row, plan: Plan) -> str:
    """Whether a trial that did not diverge ended no better than chance: its loss hardly below that of what knows nothing, or its
    accuracy not above that of always naming the most frequent label by two standard errors."""
    if plan.data.baseline is not None:
        loss = summary.get('validation_loss', summary.get('test_loss'))
        return (
            trials.CHANCE
            if loss is not None and loss > 0.99 * plan.data.baseline
            else trials.FINISHED
        )
    assert plan.data.test is not None
    accuracy, labels, examples = (
        summary['test_accuracy'],
        plan.data.test.labels,
        len(plan.data.test.labels),
    )
    if plan.held_out and 'validation_accuracy' in summary:
        accuracy, labels, examples = (
            summary['validation_accuracy'],
            plan.held_out.labels,
            plan.window,
        )
    share = np.max(np.bincount(np.asarray(labels))) / len(labels)
    limit = share + 2 * math.sqrt(share * (1 - share) / examples)
    return trials.CHANCE if accuracy <= limit else trials.FINISHED


def write_run(
    folder: Path,
    member: Member,
    plan: Plan,
    rows: list[Row],
    result: trials.Trial,
    trained: Trained,
    lane: int,
) -> None:
    """The folder of a trial as a run alone would have left it, but for its picture."""
    state, best = one_lane(trained.state, lane), trained.best
    kept = best and Best(one_lane(best.params, lane), best.step[lane], best.score[lane])
    shutil.rmtree(folder, ignore_errors=True)
    runs.note(folder, member.config, plan.data)
    for row in rows:
        runs.append_row(folder, row)
    with checkpoint.open_checkpoints(folder / runs.CHECKPOINT) as checkpoints:
        checkpoint.save(
            checkpoints,
            int(state.taken),
            saved_tree(runs.fingerprint(folder), state, kept, result['seconds']),
        )
    summary = {
        name: value
        for name, value in result.items()
        if name not in ('settings', 'status', 'seconds')
    }
    runs.write_json(folder / runs.SUMMARY, summary | {'wall_seconds': result['seconds']})
