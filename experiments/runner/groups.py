"""What a sweep is to train: trials, groups of one static configuration, and batches of them."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
from jax.tree_util import PyTreeDef

from experiments.runner import machine
from experiments.runner.axes import is_dynamic
from experiments.runner.config import Layers
from experiments.runner.fields import Kind, parsed
from experiments.runner.task import Plan, Task, make_plan, resolve
from rnnlab.errors import InputError
from rnnlab.results import ranking, trials
from rnnlab.results.records import Metrics
from rnnlab.results.tables import new_table, render
from rnnlab.results.trials import Place
from rnnlab.sweeps.axes import Settings
from rnnlab.sweeps.rungs import Bracket, brackets, evenly, halving, rung_steps, survivors
from rnnlab.training.lanes import each_on, in_turn, lane_bytes, lane_mesh, lanes_per_batch
from rnnlab.training.memory import device_memory, size

MEMORY = 0.5  # the fraction of it that lanes may fill
POINTS = 8  # that a search tries at once


class Planned(NamedTuple):
    """A trial that is still to be trained."""

    number: int
    settings: Settings  # the swept ones, as text
    config: Layers  # resolved
    copied_from: int | None = None  # another trial, whose state it continues from

    @property
    def source(self) -> int:
        return self.number if self.copied_from is None else self.copied_from


class Rung(NamedTuple):
    """The part of a training at whose end trials are compared; a sweep without has one."""

    stop: int  # its last step
    trials: int  # at most
    lane_steps: int  # of all its trials together
    lanes: int  # that train at once
    batches: int  # of them
    batch_bytes: int


@dataclass(frozen=True, kw_only=True)
class Group:
    """Trials of one static configuration, which a program for each rung trains."""

    label: str
    trials: list[Planned]  # in a search those of one point, whose drawn settings are open
    numbers: list[int]  # of all its trials
    rungs: list[Rung]
    brackets: list[Bracket]  # of its points, or of all settings of the sweep
    devices: int  # on all rungs: a lane's last bits depend on it


class Batch(NamedTuple):
    """Trials of a group that a program trains side by side, on one rung."""

    group: Group
    trials: Sequence[Planned]
    number: int = 1  # of the rung

    @property
    def rung(self) -> Rung:
        return self.group.rungs[self.number - 1]

    @property
    def last(self) -> bool:
        return self.number == len(self.group.rungs)

    @property
    def name(self) -> str:
        return trials.wave_name(self.trials[0].number, self.number)

    def path(self, folder: Path) -> Path:
        """The file of its results."""
        return trials.wave_path(folder, self.trials[0].number, self.number)

    def unfinished(self, finished: Container[Place]) -> 'Batch':
        """What is left to train."""
        left = [trial for trial in self.trials if (self.number, trial.number) not in finished]
        return self._replace(trials=left)


def plan_trial(task: Task, config: Layers, number: int, settings: Settings) -> Planned:
    """The trial with these settings; InputError for what a run alone would refuse."""
    values = {name: parsed(type(config), name, text) for name, text in settings.items()}
    own = config.replace(**values, given=config.given | values.keys())
    return Planned(number, settings, resolve(task, own))


def make_groups(
    task: Task,
    config: Layers,
    planned: list[Planned],
    names: list[str],
    part: int | None,
    parts: int,
) -> tuple[list[Group], Metrics, bool]:
    """The trials of this part (None: all) by static configuration, their metrics, and whether all
    validate.

    Raises InputError for settings that do not fit the data, and too few for the rungs.
    """
    kinds: dict[tuple[Layers, PyTreeDef], list[Planned]] = {}
    for trial in planned:
        shared = trial.config.reduced(lambda spec: spec.kind is not Kind.DYNAMIC)
        kinds.setdefault((shared, jax.tree.structure(trial.config.hyper)), []).append(trial)
    brackets, each = make_brackets(config, planned)
    groups: list[Group] = []
    validated, dealt = True, 0
    for members in kinds.values():
        mine = members if part is None else members[(part - dealt) % parts :: parts]
        first = members[0].config
        with machine.precision(first):
            plan = make_plan(task, first)
            validated &= plan.held_out is not None and first.eval_split == 'validation'
            numbers = [trial.number for trial in mine]
            if config.asks:
                begin, end = dealt * config.draws, (dealt + len(members)) * config.draws
                numbers, each = list(range(begin, end)), len(members)
            dealt += len(members)
            if mine:
                own = [n for n in names if hasattr(first, n) and not is_dynamic(config, n)]
                static = {name: getattr(first, name) for name in own}
                workers = 1 if part is not None else sharing(parts, len(kinds))
                rungs, devices = make_rungs(plan, brackets, each, len(numbers), workers, config)
                group = Group(
                    label=ranking.label(static, static),
                    trials=mine,
                    numbers=numbers,
                    rungs=rungs,
                    brackets=brackets,
                    devices=devices,
                )
                groups.append(group)
    if (config.search or config.rungs > 1) and not validated:
        words = f'--{"search" if config.search else "rungs"} ranks by the validation split'
        raise InputError(f'{words}: it needs --validation above 0 and --eval_split=validation')
    return groups, plan.metrics, validated


def sharing(workers: int, programs: int) -> int:
    """How many workers divide the trials of a program, each of which compiles it.

    One, if there are two programs or more for each worker.
    """
    return min(workers, -(-2 * workers // programs))


def make_brackets(config: Layers, planned: list[Planned]) -> tuple[list[Bracket], int]:
    """How many settings are on each rung, and the trials of one, at most.

    They are the points of each search, else all settings of the sweep.
    """
    if config.asks:
        return brackets(config.draws, config.eta, config.rungs), 1
    settings = together(planned)
    if config.search:  # a population keeps its members
        counts = [len(settings)] * config.rungs
    else:
        counts = survivors(len(settings), config.eta, config.rungs)
    return [Bracket(1, counts)], max(map(len, settings))


def make_rungs(
    plan: Plan, brackets: list[Bracket], each: int, most: int, workers: int, config: Layers
) -> tuple[list[Rung], int]:
    """The rungs of a group of `most` trials, and how many devices of each worker train them.

    each: the trials of a setting. Where fewer are left, fewer lanes train, on as many devices. A
    device keeps two: XLA compiles the loop over a single lane as no loop, which changes the last
    bits. All rounds on a rung have the same lanes, those that cost least: lanes that only fill a
    batch up take time where they train in turn, more batches where they train at once.
    """
    parts = evenly(config.rungs) if config.search == 'pbt' else halving(config.rungs, config.eta)
    ends = [0, *rung_steps(parts, plan.steps, plan.every)]
    portion = each * POINTS if config.asks else most
    rounds = [sizes(rung, brackets, each, most, portion) for rung in range(1, len(ends))]
    largest = max(number for own in rounds for number, _ in own)
    fewest = 2 * len(machine.devices(config))
    lanes, memory = fit_lanes(plan, min(largest, max(-(-largest // workers), fewest)), config)
    mesh = lane_mesh(lanes, machine.devices(config))
    fillers_cost = each_on(mesh.devices.flat[0]) is in_turn

    def fewer(number: int) -> int:
        batches = -(-number // lanes)
        return min(lanes, max(2, -(-number // (batches * mesh.size))) * mesh.size)

    rungs = []
    for own, (begin, end) in zip(rounds, pairwise(ends), strict=True):
        batches = {
            width: sum(-(-number // width) for number, _ in own)
            for width in sorted((fewer(number) for number, _ in own), reverse=True)
        }
        width = min(batches, key=lambda w: batches[w] * (w if fillers_cost else 1))
        rung = Rung(
            stop=end,
            trials=sum(number for number, _ in own),
            lane_steps=sum(number * (end if new else end - begin) for number, new in own),
            lanes=width,
            batches=batches[width],
            batch_bytes=memory * width // lanes,
        )
        rungs.append(rung)
    return rungs, mesh.size


def sizes(
    rung: int, brackets: list[Bracket], each: int, most: int, portion: int
) -> list[tuple[int, bool]]:
    """(trials, whether they are new) of each round on a rung, `portion` new ones at most."""
    made = []
    for bracket in brackets:
        if bracket.first <= rung:
            count = min(most, each * bracket.counts[rung - bracket.first])
            new = bracket.first == rung
            size = portion if new else count
            made += [(min(size, count - begin), new) for begin in range(0, count, size)]
    return made


def fit_lanes(plan: Plan, trials: int, config: Layers) -> tuple[int, int]:
    """(lanes that train at once, bytes that they take together) for so many trials."""
    devices = machine.devices(config)
    each, hyper, data = each_on(devices[0]), plan.config.hyper, plan.data
    loss = plan.task.loss(plan.config)(hyper)
    run, train_split = plan.make_run(), data.train
    own, shared = lane_bytes(run, plan.model, loss, hyper, train_split, plan.batches, each)
    sharing = len(devices) if devices[0].platform == 'cpu' else 1
    used = size((train_split, plan.held_out, data.test, data.tests)) + shared
    free = MEMORY * device_memory(devices[0]) / sharing - used
    most = config.max_lanes or len(devices) * max(1, int(free // own))
    lanes = lanes_per_batch(trials, most, len(devices))
    return lanes, lanes * own + min(lanes, len(devices)) * shared


def together(planned: Sequence[Planned]) -> list[list[Planned]]:
    """The trials that differ in their seed alone."""
    settings: dict[Layers, list[Planned]] = {}
    for trial in planned:
        settings.setdefault(trial.config.replace(seed=0), []).append(trial)
    return [*settings.values()]


def groups_table(groups: Sequence[Group]) -> str:
    """The programs of a sweep, and how the trials of each are divided into batches of lanes."""
    columns = 'trials', 'lanes', 'batches', 'steps', 'MB a batch'
    table = new_table('program', *columns, right=columns)
    for at, group in enumerate(groups, 1):
        for place, rung in enumerate(group.rungs, 1):
            values = rung.trials, rung.lanes, rung.batches, rung.stop, rung.batch_bytes / 1e6
            label = program_label(group, at, place)
            table.add_row(label, *(f'{value:,.0f}' for value in values))
    return render(table)


def program_label(group: Group, at: int, number: int) -> str:
    """What the program of a rung is called, its group being the `at`-th of the sweep."""
    parts = group.label or str(at), f'rung {number}' if len(group.rungs) > 1 else ''
    return '  '.join(filter(None, parts))
