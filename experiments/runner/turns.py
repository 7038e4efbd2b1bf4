"""Which batch this process trains next, where other processes train batches of the same sweep."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from experiments.runner.groups import Batch
from experiments.runner.lanes import Sweep, Turn, ended_trial
from experiments.runner.task import Task
from rnnlab.results import claims, trials
from rnnlab.results.records import FAILED, Summary

WAIT = 1.0  # seconds, until the folder is looked at again
DEATHS = 3  # of processes that began a batch at the same step, which make it failed


def turns(task: Task, rounds: Iterable[Iterable[Batch]], shared: Sweep) -> Iterator[Turn]:
    """The batches that are left to train, each with a claim that no other process has.

    A round begins once all trials of the one before are finished, also those that other processes
    train. Ends on a signal.
    """
    for batches in rounds:
        every = [*batches]
        while left := [b for b in (b.unfinished(shared.finished) for b in every) if b.trials]:
            if turn := next_turn(task, left, shared):
                yield turn
            elif not shared.interrupts:
                time.sleep(WAIT)
            if shared.interrupts:
                return
            shared.refresh()
            if turn and not turn.batch.unfinished(shared.finished).trials:
                claims.drop(shared.folder, turn.batch.name)


def next_turn(task: Task, left: list[Batch], shared: Sweep) -> Turn | None:
    """A batch that can be claimed, if there is one; first those on which fewer processes died.

    The trials of a batch on which too many died at the same step have failed.
    """
    folder, there = shared.folder, claims.read(shared.folder)
    for batch in sorted(left, key=lambda batch: len(there.get(batch.name, ()))):
        before = there.get(batch.name, [])
        if shared.alone:
            claims.drop(folder, batch.name)
            before = []
        elif before and not before[-1].stale:
            continue
        attempt = before[-1].attempt + 1 if before else 1
        step, numbers = saved_step(folder, batch.name), [trial.number for trial in batch.trials]
        if not (claim := claims.take(folder, batch.name, attempt, numbers, step)):
            continue
        if batch.path(folder).exists():  # another process has finished it since
            claims.drop(folder, batch.name)
        elif len(died := [each for each in before if each.began_at(step)]) < DEATHS:
            return Turn(batch, claim, None if shared.alone else attempt)
        else:
            give_up(task, batch, died[-1].last_words, shared)
            claims.drop(folder, batch.name)
    return None


def saved_step(folder: Path, batch: str) -> int:
    """The step of the newest checkpoint of a batch, 0 where there is none."""
    rooms = folder / trials.WAVES, folder / trials.STATES
    folders = [path for room in rooms for path in room.glob(f'{batch}.*/')]
    return max(map(trials.saved_step, folders), default=0)


def give_up(task: Task, batch: Batch, error: str, sweep: Sweep) -> None:
    """Writes that the trials of a batch have failed."""
    names, steps = sweep.record.names, batch.group.rungs[-1].stop
    summary = Summary(
        best=None,
        last={},
        test={},
        examples={},
        kept_step=0,
        baseline=None,
        parameters=0,
        steps=steps,
        seconds=0.0,
    )
    result = {'status': FAILED, 'summary': summary, 'error': error}
    results = [ended_trial(task, batch, trial, names, **result) for trial in batch.trials]
    trials.write_wave(sweep.folder, results, {}, sweep.record.metrics)
