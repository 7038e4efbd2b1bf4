"""The one training loop: it trains lanes of one compiled program, and a run alone is one lane.

Between chunks of steps it evaluates, keeps the best parameters, saves, and stops on a signal.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.runner import processes
from experiments.runner.interrupts import Interrupts
from experiments.runner.program import Program
from rnnlab.analysis.describe import count
from rnnlab.cells.base import Params, Tree
from rnnlab.errors import InputError
from rnnlab.results.records import SPLITS, Json, Row, Summary, Values
from rnnlab.training import checkpoint, lanes
from rnnlab.training.optim import Hyper
from rnnlab.training.train import TrainState, fit


class Best(NamedTuple):
    """What --keep=best keeps in each lane: the first of the best evaluations so far."""

    params: Params
    step: np.ndarray  # [lanes]
    score: np.ndarray  # [lanes], of the selection metric; greater is better


@dataclass(kw_only=True)
class Progress:
    """How far the lanes of a program are."""

    program: Program
    hypers: Hyper
    keys: Array
    trials: int  # lanes that are not there only to fill the program up
    state: TrainState
    history: dict[str, Tree]  # of every evaluation [evaluations, lanes]
    best: Best | None
    fingerprint: np.uint32  # of the settings that they train with
    stop: int  # the step at which they end
    seconds_before: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    @property
    def step(self) -> int:
        return int(self.state.step)

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.began

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        return self.step == self.stop or not np.any(self.state.training)

    @property
    def evaluations(self) -> int:
        """Evaluations so far."""
        plan = self.program.plan
        return plan.evaluations if self.step == plan.steps else self.step // plan.every

    @property
    def evaluated(self) -> bool:
        """Whether there is an evaluation of this very step."""
        return self.step % self.program.plan.every == 0 or self.step == self.program.plan.steps

    def tree(self) -> dict[str, Tree]:
        """What a checkpoint holds."""
        parts = {'state': self.state, 'history': self.history, 'fingerprint': self.fingerprint}
        parts['seconds'] = np.float64(self.seconds)
        return parts | {'best': self.best._asdict()} if self.best else parts

    def params(self) -> Params:
        """The parameters that are kept, of all lanes."""
        return self.best.params if self.best else self.state.params


def begin(
    program: Program,
    hypers: Sequence[Hyper],
    seeds: Sequence[int],
    fingerprint: np.uint32,
    stop: int | None = None,
) -> Progress:
    """Lanes at step 0; the last trial fills up those that are left over."""
    trials, plan = len(hypers), program.plan
    extra = program.lanes - trials
    keys = [jax.random.key(seed) for seed in seeds]
    stacked = lanes.stacked([*hypers, *[hypers[-1]] * extra], [*keys, *[keys[-1]] * extra])
    state = program.place(program.run.start(*stacked))
    names = [metric.name for metric in plan.metrics.every]

    def zeros() -> np.ndarray:
        return np.zeros((plan.evaluations, program.lanes))

    splits = ['train', *([plan.config.eval_split] if plan.held_out else [])]
    history: dict[str, Tree] = {split: {name: zeros() for name in names} for split in splits}
    history |= {name: zeros() for name in ('grad_norm', 'finite', 'seconds')}
    if program.gradients:
        parts = stacked[0], stacked[1], program.train_split, state.params, state.carry, state.step
        shapes = jax.eval_shape(program.gradients, *parts)
        history['gradients'] = {
            name: np.zeros((plan.evaluations, *leaf.shape)) for name, leaf in shapes.items()
        }
    best = None
    if plan.config.keep == 'best':
        steps, scores = np.zeros(program.lanes, np.int32), np.full(program.lanes, -np.inf)
        best = Best(jax.tree.map(jnp.copy, state.params), steps, scores)
    if plan.config.patience:
        state = program.place(state.replace(stopped=np.zeros(program.lanes, bool)))
    return Progress(
        program=program,
        hypers=stacked[0],
        keys=stacked[1],
        trials=trials,
        state=state,
        history=history,
        best=best,
        fingerprint=fingerprint,
        stop=stop or plan.steps,
    )


def restore(progress: Progress, checkpoints: checkpoint.Checkpoints) -> bool:
    """Takes up the newest checkpoint; False where there is none, InputError for another run's."""
    checkpoint.remove_unfinished(checkpoints)
    saved = checkpoint.restore(checkpoints, progress.tree(), adapt=partial(extended, progress))
    if not saved:
        return False
    if saved['fingerprint'] != progress.fingerprint:
        raise InputError(f'the checkpoint in {checkpoints.folder} belongs to another run')
    take_up(progress, saved)
    return True


def share(progress: Progress) -> None:
    """Where several processes train, all continue from what the first has restored."""
    processes.wait()
    tree = processes.of_first(progress.tree())
    if not processes.first():
        take_up(progress, tree)


def take_up(progress: Progress, saved: dict[str, Tree]) -> None:
    """Continues from a tree like that of the progress."""
    progress.state = progress.program.place(saved['state'])
    progress.history = saved['history']
    progress.seconds_before = float(saved['seconds'])
    progress.best = Best(**saved['best']) if progress.best else None


def extended(progress: Progress, saved: Json) -> Json:
    """A checkpoint whose history has room for the evaluations of a run that is made longer."""

    def longer(before: np.ndarray) -> np.ndarray:
        more = progress.program.plan.evaluations - len(before)
        return np.concatenate([before, np.zeros((max(more, 0), *before.shape[1:]))])

    return saved | {'history': jax.tree.map(longer, saved.get('history', {}))}


def train(
    progress: Progress, checkpoints: checkpoint.Checkpoints | None, interrupts: Interrupts
) -> Iterator[Progress]:
    """Trains to the step `progress.stop`, yielding the progress after each chunk of steps.

    Ends early when a signal asks to stop, or when all lanes have diverged or stopped. Without
    checkpoints another process saves.
    """
    program, plan = progress.program, progress.program.plan
    saved_at = time.perf_counter()

    def after(state: TrainState) -> TrainState:
        progress.state = state
        if progress.evaluated:
            evaluate(progress)
        return progress.state

    settings, data = (progress.hypers, progress.keys), program.train_split
    begun = fit(
        program.run,
        *settings,
        data,
        progress.state,
        stop=progress.stop,
        every=plan.every,
        after=after,
        agree=processes.least,
    )
    for _ in begun:
        if checkpoints:
            checkpoints.check()
        yield progress
        if processes.signalled(interrupts):
            return
        if checkpoints and time.perf_counter() - saved_at >= plan.config.checkpoint_every:
            save(progress, checkpoints)
            saved_at = time.perf_counter()


def save(progress: Progress, checkpoints: checkpoint.Checkpoints) -> None:
    checkpoint.save(checkpoints, progress.step, progress.tree())


def evaluate(progress: Progress) -> None:
    """Records the means since the last evaluation and a new evaluation.

    Keeps the best parameters, and stops the lanes of which --patience is at an end.
    """
    program, plan, state = progress.program, progress.program.plan, progress.state
    record: dict[str, Tree] = {
        'train': state.totals.means(),
        'grad_norm': state.totals.mean_grad_norm(),
        'finite': state.training,
        'seconds': progress.seconds / progress.trials,
    }
    at = progress.evaluations - 1
    if program.gradients:
        settings = progress.hypers, progress.keys, program.train_split
        record['gradients'] = program.gradients(*settings, state.params, state.carry, state.step)
    if program.evaluate and program.held_out:
        split = plan.config.eval_split
        start = at * plan.window % len(program.held_out.labels) if plan.config.eval_next else 0
        record[split] = program.evaluate(state.params, program.held_out, start, plan.window)
    jax.tree.map(lambda history, now: np.copyto(history[at], now), progress.history, record)
    if progress.best:
        metric = plan.metrics.selection
        scores = metric.score(np.asarray(record['validation'][metric.name]))
        progress.best = improved(progress.best, state, scores)
    if plan.config.patience:
        stopped = state.stopped | state.training & (stale(progress) >= plan.config.patience)
        progress.state = program.place(state.replace(stopped=stopped))


def stale(progress: Progress) -> np.ndarray:
    """The number of evaluations [lanes] since the first of the best of each lane."""
    metric, number = progress.program.plan.metrics.selection, progress.evaluations
    scores = metric.score(progress.history['validation'][metric.name][:number])
    return number - 1 - np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=0)


def improved(best: Best, state: TrainState, scores: np.ndarray) -> Best:
    """The best of each lane, this evaluation included."""
    higher = np.asarray(state.training) & (scores > best.score)
    params = lanes.better(best.params, state.params, higher)
    step = np.where(higher, np.int32(state.step), best.step)
    return Best(params, step, np.where(higher, scores, best.score))


def running_best(progress: Progress) -> np.ndarray | None:
    """The best value of the selection metric in each lane, NaN where it diverged.

    None before the first evaluation.
    """
    if not (number := progress.evaluations):
        return None
    metric, history = progress.program.plan.metrics.selection, progress.history
    split = progress.program.plan.config.eval_split
    values = history[split if split in history else 'train'][metric.name][:number]
    best = metric.score(np.max(metric.score(values), axis=0))
    return np.where(progress.state.finite, best, np.nan)[: progress.trials]


def rows(progress: Progress, lane: int, begin: int = 0) -> list[Row]:
    """The evaluations of a lane, up to its last step; of so many the later ones."""
    history, plan = progress.history, progress.program.plan
    number = int(np.sum(history['finite'][: progress.evaluations, lane]))

    def row(at: int) -> Row:
        step = min((at + 1) * plan.every, plan.steps)

        def values(split: str) -> Values:
            names = (metric.name for metric in plan.metrics.every)
            return {name: finite(history[split][name][at, lane]) for name in names}

        def gradients() -> dict[str, list[float | None]]:
            norms = history['gradients'].items()
            return {name: [*map(short, values[at, lane])] for name, values in norms}

        return Row(
            step=step,
            epoch=plan.epoch(step),
            splits={split: values(split) for split in SPLITS if split in history},
            grad_norm=finite(history['grad_norm'][at, lane]),
            gradients=gradients() if 'gradients' in history else None,
            seconds=round(float(history['seconds'][at, lane]), 3),
        )

    return [row(at) for at in range(begin, number)]


def finite(value: SupportsFloat | str) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


def short(value: float) -> float | None:
    """A number with four digits, since there are as many as time steps."""
    return finite(f'{value:.4g}')


class Tested(NamedTuple):
    """The metrics of the kept parameters of a lane."""

    test: Values  # on the test split; none without one
    tests: dict[int, Values]  # on the further ones, by length

    @property
    def finite(self) -> bool:
        """Whether the test is; what is longer than in training may overflow."""
        return all(value is not None for value in self.test.values())

    def lost(self) -> 'Tested':
        """What a diverged lane has."""
        return Tested(
            dict.fromkeys(self.test), {n: dict.fromkeys(own) for n, own in self.tests.items()}
        )


def tested(progress: Progress) -> list[Tested]:
    """The tests of each lane."""
    program, params = progress.program, progress.params()
    test = program.test(params, program.test_split) if program.test else {}
    tests = {n: own(params, program.test_splits[n]) for n, own in program.tests.items()}

    def of(values: dict[str, np.ndarray], lane: int) -> Values:
        return {name: finite(every[lane]) for name, every in values.items()}

    return [
        Tested(of(test, lane), {n: of(values, lane) for n, values in tests.items()})
        for lane in range(progress.trials)
    ]


def summarise(progress: Progress, lane: int, rows: list[Row], tested: Tested) -> Summary:
    """The result of a lane, from its evaluations and its test."""
    plan, best = progress.program.plan, progress.best
    metric = plan.metrics.selection
    validated = [row.splits.get('validation', {}).get(metric.name) for row in rows]
    values = [value for value in validated if value is not None]
    last = rows[-1].splits if rows else {}
    examples = {'validation': plan.window} if validated else {}
    examples |= {'test': len(plan.data.test.labels)} if plan.data.test else {}
    state = progress.state
    impatient = state.stopped is not None and bool(state.stopped[lane])
    ended = int(state.taken[lane]) if impatient else progress.stop
    return Summary(
        best=max(values, key=metric.score, default=None),
        last={name: last[name] for name in ('train', 'validation') if name in last},
        test=tested.test,
        tests=tested.tests,
        examples=examples,
        kept_step=int((best.step if best else progress.state.taken)[lane]),
        stopped_at=ended if ended < plan.steps else None,
        baseline=plan.data.baseline,
        parameters=count(progress.state.params) // progress.program.lanes,
        steps=plan.steps,
        seconds=round(progress.seconds / progress.trials, 3),
    )
