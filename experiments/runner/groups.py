"""The programs of a sweep: its trials by static configuration, and how many lanes train them."""

from itertools import pairwise

import jax
from jax.tree_util import PyTreeDef

from experiments.runner import machine
from experiments.runner.axes import static_names
from experiments.runner.config import Layers
from experiments.runner.fields import Kind
from experiments.runner.planned import Group, Planned, Rung
from experiments.runner.rounds import POINTS, together
from experiments.runner.task import Plan, Task, make_plan
from rnnlab.errors import InputError
from rnnlab.results import ranking
from rnnlab.results.records import Metrics
from rnnlab.sweeps.rungs import Bracket, brackets, evenly, halving, rung_steps, survivors
from rnnlab.training.lanes import each_on, in_turn, lane_bytes, lane_mesh, lanes_per_batch
from rnnlab.training.memory import device_memory, size

MEMORY = 0.5  # the fraction of it that lanes may fill


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
                static = {name: getattr(first, name) for name in static_names(config, names)}
                workers = parts if part is None else 1
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
