"""The programs of a sweep: its trials by static configuration, and how many lanes train them."""

from typing import Any

import jax

from experiments.runner import machine
from experiments.runner.axes import static_names
from experiments.runner.fields import Kind
from experiments.runner.lanes import Group, Planned, Rung
from experiments.runner.rounds import POINTS
from experiments.runner.task import Plan, Task, make_plan
from rnnlab.errors import InputError
from rnnlab.results import trials
from rnnlab.results.records import Metrics
from rnnlab.sweeps.rungs import rung_steps
from rnnlab.training.lanes import each_on, lane_bytes, lane_mesh, lanes_per_batch
from rnnlab.training.memory import device_memory, size

MEMORY = 0.5  # the fraction of it that lanes may fill


def make_groups(
    task: Task,
    config: Any,
    planned: list[Planned],
    names: list[str],
    most: list[int],
    part: int,
    parts: int,
) -> tuple[list[Group], Metrics, bool]:
    """The trials of this part by static configuration, their metrics, and whether all validate.

    most: how many trials are on each rung, at most. Raises InputError for settings that do not fit
    the data.
    """
    kinds: dict[Any, list[Planned]] = {}
    for trial in planned:
        static = trial.config.reduced(lambda spec: spec.kind is not Kind.DYNAMIC)
        kinds.setdefault((static, jax.tree.structure(trial.config.hyper)), []).append(trial)
    groups: list[Group] = []
    validated, dealt = True, 0
    for members in kinds.values():
        mine = members[(part - dealt) % parts :: parts]
        first = members[0].config
        with machine.precision(first):
            plan = make_plan(task, first)
            validated &= plan.held_out is not None and first.eval_split == 'validation'
            numbers, at_once = [trial.number for trial in mine], len(mine)
            if config.search:
                begin, end = dealt * config.trials, (dealt + len(members)) * config.trials
                numbers = list(range(begin, end))
                at_once = len(members) * min(POINTS, config.trials)
            dealt += len(members)
            if mine:
                static = {name: getattr(first, name) for name in static_names(config, names)}
                label = trials.label(static, static)
                rungs, devices = make_rungs(plan, at_once, len(numbers), most, config)
                groups.append(
                    Group(label=label, trials=mine, numbers=numbers, rungs=rungs, devices=devices)
                )
    if (config.search or config.rungs > 1) and not validated:
        words = f'--{"search" if config.search else "rungs"} ranks by the validation split'
        raise InputError(f'{words}: it needs --validation above 0 and --eval_split=validation')
    return groups, plan.metrics, validated


def make_rungs(
    plan: Plan, at_once: int, trials: int, most: list[int], config: Any
) -> tuple[list[Rung], int]:
    """The rungs of a group, `most` of whose trials are on each, and how many devices train them.

    Where fewer are left, fewer lanes train, on as many devices as on the first rung. A device
    keeps two: XLA compiles the loop over a single lane as no loop, which changes the last bits.
    """
    lanes, memory = fit_lanes(plan, at_once, config)
    devices = lane_mesh(lanes, machine.devices(config)).size
    ends = rung_steps(config.rungs, config.eta, plan.steps, plan.every)
    rungs = [Rung(ends[0], trials, lanes, memory)]
    for stop, number in zip(ends[1:], most[1:], strict=True):
        number = min(trials, number)
        batches = -(-number // lanes)
        fewer = min(lanes, max(2, -(-number // (batches * devices))) * devices)
        rungs.append(Rung(stop, number, fewer, memory * fewer // lanes))
    return rungs, devices


def fit_lanes(plan: Plan, trials: int, config: Any) -> tuple[int, int]:
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
