"""A group of trials: one static configuration, in batches, each trial on a lane of a program."""

import math
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.runner import attempts, lane_results, loop, machine
from experiments.runner.config import Layers
from experiments.runner.gather import gather, states_of
from experiments.runner.groups import Batch, Planned
from experiments.runner.interrupts import Interrupts, undisturbed
from experiments.runner.logs import Logs
from experiments.runner.loop import Progress
from experiments.runner.program import Program, program_over_lanes
from experiments.runner.progress import SweepProgress
from experiments.runner.task import Plan, Task, make_plan, settings
from rnnlab.cells.base import Arrays
from rnnlab.errors import InputError
from rnnlab.results import claims, ranking, runs, schedule, tensorboard, trials
from rnnlab.results.records import CHANCE, DIVERGED, FINISHED, Json, Status, Summary, Trial
from rnnlab.results.trials import Curves, Place, SweepRecord
from rnnlab.training import checkpoint


class Sweep(NamedTuple):
    """What all batches of a sweep share."""

    folder: Path
    record: SweepRecord
    finished: dict[Place, Trial]
    interrupts: Interrupts
    alone: bool  # whether no other process trains the same batches
    read: set[Path]  # the files whose trials are in `finished`

    def refresh(self) -> None:
        """Adds what has been finished since."""
        for path in trials.wave_paths(self.folder) - self.read:
            own, _ = trials.read_wave(path, self.record.metrics)
            self.finished.update({(trial.reached, trial.number): trial for trial in own})
            self.read.add(path)


class Turn(NamedTuple):
    """A batch that this process is to train."""

    batch: Batch
    claim: Path
    attempt: int | None  # None: no other process trains it


def train_rounds(
    task: Task, config: Layers, turns: Iterable[Turn], shared: Sweep, shown: SweepProgress
) -> None:
    """Trains one batch after the other, until a signal asks to stop."""
    program, made_for = None, None
    for batch, claim, attempt in turns:
        first, memory = batch.trials[0].config, enough_memory(batch.rung.lanes, shared.folder)
        with claims.held(claim, batch.path(shared.folder)), machine.precision(first), memory:
            if program is None or made_for != (batch.group.label, batch.rung.lanes):
                made_for = batch.group.label, batch.rung.lanes
                shown.compile(batch)
                devices = machine.devices(config)[: batch.group.devices]
                plan = make_plan(task, first)
                program = program_over_lanes(plan, batch.rung.lanes, devices)
            train_batch(program, batch, attempt, shared, partial(shown.train, batch))
        if not config.shard:
            trials.merge(shared.folder, shared.record.metrics, shared.record.ranked_by)


@contextmanager
def enough_memory(lanes: int, folder: Path) -> Iterator[None]:
    """Inside, a lack of memory is an InputError that says what to do."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        words = f'{lanes} lanes take more memory than there is'
        advice = f'resume with --max_lanes=N for fewer at once and --out={folder}'
        raise InputError(f'{words}; {advice} --resume') from error


def train_batch(
    program: Program, batch: Batch, attempt: int | None, sweep: Sweep, show: Callable
) -> None:
    """Trains one batch of trials and writes its results.

    If a signal interrupts it, it leaves a checkpoint, and at the end of a rung those that continue.
    Several processes may do the same at once, if the number of the attempt differs.
    `show` is called after every chunk of steps with the step and the best value of each trial so
    far (see `lane_results.running_best`).
    """
    planned = batch.trials
    path = batch.path(sweep.folder)
    identity = [
        program.lanes,
        *((trial.number, recorded(program.plan.task, trial)) for trial in planned),
    ]
    own = zlib.crc32(str(identity).encode())  # else of trials that were batched differently
    room = sweep.folder / (trials.WAVES if len(batch.group.rungs) == 1 else trials.STATES)
    state = room / f'{path.stem}.{own:08x}'
    room.mkdir(exist_ok=True)
    folder = attempts.checkpoint_folder(state, attempt)
    hypers, seeds = [t.config.hyper for t in planned], [t.config.seed for t in planned]
    progress = loop.begin(program, hypers, seeds, np.uint32(own), batch.rung.stop)
    with checkpoint.open_checkpoints(folder) as checkpoints:
        before = batch.number - 1, planned[0].number
        if not loop.restore(progress, checkpoints) and before in sweep.finished:
            numbers = [trial.source for trial in planned]
            found = states_of(sweep.folder, batch.number - 1, numbers)
            gather(progress, found, batch.group.rungs[batch.number - 2].stop)
        logs = Logs(
            progress,
            [sweep.folder / tensorboard.FOLDER / str(trial.number) for trial in planned],
            [trial.config for trial in planned],
        )
        for _ in loop.train(progress, checkpoints, sweep.interrupts):
            logs.append(progress)
            show(progress.step, lane_results.running_best(progress))
        if not (progress.ended and batch.last):
            with undisturbed():
                loop.save(progress, checkpoints)
                checkpoints.wait_until_finished()
        if not progress.ended:
            return
        results, curves = judge(progress, batch, sweep.record.names)
        logs.end([None if r.lost else r.summary for r in results])
        winner = ranking.best(results, sweep.record.ranked_by)
        sweep.refresh()
        rivals = sweep.finished.values()
        if winner and ranking.best([*rivals, winner], sweep.record.ranked_by) is winner:
            lane = results.index(winner)
            run = path.with_name(f'{state.name}.{attempt}.run')
            lineage = schedule.lineage(winner, sweep.finished)
            write_run(run, progress, lane, planned[lane], winner, curves, lineage)
            runs.move_folder(run, path.with_suffix(''))
    if not batch.last:
        attempts.keep(folder, state)
    attempts.remove(room, path.stem, lambda left: not left.name.startswith(state.name))
    trials.write_wave(sweep.folder, results, curves, sweep.record.metrics)
    attempts.remove(room, path.stem, lambda left: batch.last or left != state)


def judge(progress: Progress, batch: Batch, names: list[str]) -> tuple[list[Trial], Curves]:
    """The results of the trials, from a test of the parameters that are kept, and their curves."""
    results, curves, plan = [], {}, progress.program.plan
    for lane, (trial, tested) in enumerate(
        zip(batch.trials, lane_results.tested(progress), strict=True)
    ):
        curves[trial.number] = rows = lane_results.rows(progress, lane)
        sound = bool(progress.state.finite[lane]) and tested.finite
        summary = lane_results.summarise(progress, lane, rows, tested if sound else tested.lost())
        ended = status(summary, plan) if sound else DIVERGED
        own = {'status': ended, 'summary': summary, 'copied_from': trial.copied_from}
        results.append(ended_trial(plan.task, batch, trial, names, **own))
    return results, curves


def ended_trial(task: Task, batch: Batch, trial: Planned, names: list[str], **result: Any) -> Trial:
    """A trial at the end of a batch, with those of its settings that the sweep names."""
    own, several = recorded(task, trial), len(batch.group.rungs) > 1
    return Trial(
        number=trial.number,
        settings={name: own[name] for name in names},
        rung=batch.number if several else None,
        **result,
    )


def recorded(task: Task, trial: Planned) -> Json:
    """The settings of the run that a trial is."""
    return settings(task, trial.config) | {'devices': 1}


def status(summary: Summary, plan: Plan) -> Status:
    """Whether a trial ended no better than chance.

    That is a loss hardly below that of the memoryless baseline, or an accuracy not two standard
    errors above that of always predicting the most frequent label.
    """
    validation = summary.last.get('validation', {})
    if plan.data.baseline is not None:
        loss = validation.get('loss', summary.test.get('loss'))
        return CHANCE if loss is not None and loss > 0.99 * plan.data.baseline else FINISHED
    if plan.held_out and 'accuracy' in validation:
        accuracy, split, examples = validation['accuracy'], plan.held_out, plan.window
    else:
        assert plan.data.test is not None
        accuracy, split = summary.test['accuracy'], plan.data.test
        examples = len(split.labels)
    frequency = np.max(np.bincount(np.asarray(split.labels))) / len(split.labels)
    limit = frequency + 2 * math.sqrt(frequency * (1 - frequency) / examples)
    return CHANCE if accuracy is None or accuracy <= limit else FINISHED


def write_run(
    folder: Path,
    progress: Progress,
    lane: int,
    trial: Planned,
    result: Trial,
    curves: Curves,
    lineage: list[Json],
) -> None:
    """The folder of a trial as a run alone would have left it, without its picture.

    If its settings changed on the way, config.json has the last ones, and its lineage.
    """
    plan = progress.program.plan
    shutil.rmtree(folder, ignore_errors=True)
    own = recorded(plan.task, trial) | ({'lineage': lineage} if len(lineage) > 1 else {})
    files = runs.settings_files(own, plan.data)
    runs.write_settings(folder, files)
    runs.write_lines(folder / runs.METRICS, (row.to_json() for row in curves[trial.number]))

    def of_lane(leaf: Arrays) -> np.ndarray:
        own = np.asarray(leaf)  # on the host, where a part of it needs no program
        return np.array(own[lane : lane + 1] if own.ndim else own)

    tree = jax.tree.map(of_lane, progress.tree() | {'history': {}})
    tree['history'] = jax.tree.map(lambda leaf: leaf[:, lane : lane + 1], progress.history)
    tree |= {'fingerprint': runs.fingerprint(files), 'seconds': np.float64(result.summary.seconds)}
    with checkpoint.open_checkpoints(folder / runs.CHECKPOINT) as checkpoints:
        checkpoint.save(checkpoints, progress.step, tree)
    summary = {'trial': trial.number} | result.summary.to_json(plan.metrics)
    runs.write_summary(folder, summary)
