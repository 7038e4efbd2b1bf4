"""Which trials are trained when: rounds of batches, each chosen by the results of those before."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.runner.config import Layers
from experiments.runner.groups import POINTS, Batch, Group, Planned, plan_trial, together
from experiments.runner.lanes import Sweep
from experiments.runner.task import Task
from rnnlab.results import ranking, trials
from rnnlab.results.records import DIVERGED, FAILED, Outcome
from rnnlab.sweeps import population, search
from rnnlab.sweeps.axes import Drawn, Grid, Settings
from rnnlab.sweeps.rungs import Bracket

Axes = Sequence[Grid | Drawn]
Round = list[Batch]  # batches that need no result of each other


class Entry(NamedTuple):
    """Trials that stay or stop together: those of a point, or of a setting with all its seeds."""

    group: Group
    trials: Sequence[Planned]

    def score(self, rung: int, outcome: Outcome, shared: Sweep) -> float:
        """The mean over its trials at the end of a rung, greater is better."""
        results = [shared.finished[rung, trial.number] for trial in self.trials]
        return ranking.Setting({}, results).score(outcome)


def rounds(
    task: Task, config: Layers, groups: list[Group], axes: Axes, shared: Sweep
) -> Iterator[Round]:
    """The rounds of a sweep.

    Take the next round once the trials of the last are in `shared.finished`. The same results make
    the same rounds, so that a resumed sweep begins with the finished ones.
    """
    if config.asks:
        for group in groups:
            yield from searched(task, config, group, axes, shared)
    elif config.search:
        yield from evolved(task, config, groups, axes, shared)
    else:
        entries = [Entry(group, own) for group in groups for own in together(group.trials)]
        yield batches(entries, 1)
        yield from halved(entries, groups[0].brackets[0], shared)


def batches(entries: Sequence[Entry], rung: int) -> Round:
    """The batches of all entries on a rung."""
    members: dict[int, tuple[Group, list[Planned]]] = {}
    for group, own in sorted(entries, key=lambda entry: entry.trials[0].number):
        members.setdefault(id(group), (group, []))[1].extend(own)
    made = []
    for group, planned in members.values():
        planned.sort(key=lambda trial: trial.number)
        lanes = group.rungs[rung - 1].lanes
        begins = range(0, len(planned), lanes)
        made += [Batch(group, planned[begin : begin + lanes], rung) for begin in begins]
    return made


def drop_states(folder: Path, entries: Sequence[Entry], rung: int) -> None:
    """Removes the states of the entries before a rung that has ended."""
    numbers = {trial.number for entry in entries for trial in entry.trials}
    for path in (folder / trials.STATES).glob('*/'):
        if trials.rung_of(path) < rung and trials.first_of(path) in numbers:
            shutil.rmtree(path, ignore_errors=True)


def ranked(entries: Sequence[Entry], rung: int, shared: Sweep) -> list[Entry]:
    """The entries by the validation metric at the end of a rung, the best first."""
    outcome = Outcome('last', shared.record.metrics.selection)
    order = sorted(entries, key=lambda entry: entry.trials[0].number)
    return sorted(order, key=lambda entry: -entry.score(rung, outcome, shared))


def failed(rung: int, shared: Sweep) -> set[int]:
    """The trials that failed on a rung: they have no state to continue from."""
    return {n for (at, n), trial in shared.finished.items() if (at, trial.status) == (rung, FAILED)}


def halved(entries: Sequence[Entry], bracket: Bracket, shared: Sweep) -> Iterator[Round]:
    """Rounds of the entries of a bracket that did best, after its first rung."""
    left = entries
    for rung, count in enumerate(bracket.counts[1:], bracket.first + 1):
        kept, lost = ranked(left, rung - 1, shared)[:count], failed(rung - 1, shared)
        left = [entry for entry in kept if not any(t.number in lost for t in entry.trials)]
        yield batches(left, rung)
        drop_states(shared.folder, entries, rung)


def searched(
    task: Task, config: Layers, group: Group, axes: Axes, shared: Sweep
) -> Iterator[Round]:
    """Rounds of the points that earlier results make promising, in brackets one after another.

    TPE is told of a point the best value up to the end of a rung, in the mean over its trials.
    """
    drawn, each = [axis for axis in axes if isinstance(axis, Drawn)], len(group.trials)
    told: dict[int, list[tuple[Settings, float]]] = {}
    asked = 0

    def tell(entries: Sequence[Entry], rung: int) -> None:
        for entry in entries:
            point = {axis.name: entry.trials[0].settings[axis.name] for axis in drawn}
            score = entry.score(rung, shared.record.ranked_by, shared)
            told.setdefault(rung, []).append((point, score))

    for bracket in group.brackets:
        entries: list[Entry] = []
        while left := bracket.counts[0] - len(entries):
            count = min(POINTS, left)
            points = search.ask(drawn, search.comparable(told), count, config.sweep_seed, asked)
            new = []
            for point in points:
                numbers = group.numbers[each * asked : each * (asked + 1)]
                pairs = zip(numbers, group.trials, strict=True)
                own = [plan_trial(task, config, n, trial.settings | point) for n, trial in pairs]
                new.append(Entry(group, own))
                asked += 1
            yield batches(new, bracket.first)
            tell(new, bracket.first)
            entries += new
        yield from halved(entries, bracket, shared)
        for rung in range(bracket.first + 1, bracket.first + len(bracket.counts)):
            tell([e for e in entries if (rung, e.trials[0].number) in shared.finished], rung)


def evolved(
    task: Task, config: Layers, groups: list[Group], axes: Axes, shared: Sweep
) -> Iterator[Round]:
    """A round of all trials for each rung, before which each population changes.

    A population is the trials that differ in nothing but what is drawn.
    """
    drawn = [axis for axis in axes if isinstance(axis, Drawn)]
    names = {axis.name for axis in drawn}
    populations: dict[tuple[tuple[str, str], ...], list[Entry]] = {}
    for group in groups:
        for trial in group.trials:
            shared_settings = [(n, v) for n, v in trial.settings.items() if n not in names]
            populations.setdefault(tuple(shared_settings), []).append(Entry(group, [trial]))
    for rung in range(1, len(groups[0].rungs) + 1):
        if rung > 1:
            for key, members in populations.items():
                populations[key] = changed(task, config, members, drawn, rung, shared)
        entries = [entry for members in populations.values() for entry in members]
        yield batches(entries, rung)
        drop_states(shared.folder, entries, rung)


def changed(
    task: Task,
    config: Layers,
    members: Sequence[Entry],
    drawn: Sequence[Drawn],
    rung: int,
    shared: Sweep,
) -> list[Entry]:
    """A population on the next rung: its worst quarter has states and settings near the best."""
    before = {e.trials[0].number: e.trials[0] for e in ranked(members, rung - 1, shared)}
    lost = failed(rung - 1, shared) & before.keys()
    sound = {n for n in before if shared.finished[rung - 1, n].status != DIVERGED}
    alive = sound - lost
    copied = population.copies([*before], alive, sorted(lost), config.sweep_seed, rung)
    after = []
    for group, (trial,) in members:
        source = copied.get(trial.number)
        if source is not None:
            near = (drawn, before[source].settings, config.sweep_seed, rung, trial.number)
            settings = trial.settings | population.perturbed(*near)
            trial = plan_trial(task, config, trial.number, settings)
        elif trial.number in lost:
            continue
        after.append(Entry(group, [trial._replace(copied_from=source)]))
    return after
