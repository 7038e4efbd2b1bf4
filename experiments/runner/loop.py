"""The one training loop: it trains lanes of one compiled program, and a run alone is one lane.

Between chunks of steps it evaluates, keeps the best parameters, saves, and stops on a signal.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.runner import processes
from experiments.runner.interrupts import Interrupts
from experiments.runner.program import Program
from rnnlab.cells.base import Params, Tree
from rnnlab.errors import InputError
from rnnlab.results.records import Json
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
