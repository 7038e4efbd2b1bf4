"""--compile_for: the programs of a command, compiled for a TPU that is not there, and their memory.

All are made from shapes, and nothing is trained.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, Sharding, SingleDeviceSharding

from experiments.runner import console, machine
from experiments.runner.config import Layers
from experiments.runner.groups import Group, program_label
from experiments.runner.program import make_program
from experiments.runner.task import Plan, Task, make_plan
from rnnlab.cells.base import Tree
from rnnlab.errors import InputError, first_line
from rnnlab.results.tables import new_table, render
from rnnlab.training import lanes, memory
from rnnlab.training.devices import everywhere
from rnnlab.training.train import Run


class Need(NamedTuple):
    """What a program takes of a device."""

    program: str
    peak: int  # bytes; 0 where the compiler refuses it
    beside: int  # bytes of arrays that are there meanwhile and none of its arguments
    refused: str = ''  # the compiler's words


def alone(plan: Plan) -> None:
    """Shows what the programs of a run take; InputError where one does not fit."""
    devices = machine.devices(plan.config)
    mesh = plan.mesh(devices, machine.shared(plan.config))
    whole = everywhere(mesh) if mesh else SingleDeviceSharding(devices[0])
    run = lanes.alone(plan.make_run(mesh), mesh)
    evaluation = partial(plan.make_evaluate, mesh=mesh), lanes.evaluation_alone
    show(needs('', plan, run, 1, evaluation, whole, whole), devices[0])


def sweep(task: Task, config: Layers, groups: Sequence[Group]) -> None:
    """Shows what the programs of each rung of groups take; InputError where one does not fit."""
    devices, needed = machine.devices(config), []
    for at, group in enumerate(groups, 1):
        first = group.trials[0].config
        with machine.precision(first):
            plan = make_plan(task, first)
            for number, rung in enumerate(group.rungs, 1):
                label = program_label(group, at, number)
                needed += over_lanes(label, plan, rung.lanes, devices[: group.devices])
    show(needed, devices[0])


def over_lanes(label: str, plan: Plan, number: int, devices: Sequence[jax.Device]) -> list[Need]:
    """What the programs of so many lanes take, which the devices share."""
    mesh = lanes.lane_mesh(number, devices)
    run = lanes.over_lanes(plan.make_run(), mesh)
    evaluation = plan.make_evaluate, lanes.evaluation_over_lanes(mesh)
    part = NamedSharding(mesh, lanes.PART)
    return needs(label, plan, run, number, evaluation, part, everywhere(mesh))


def needs(
    label: str,
    plan: Plan,
    run: Run,
    number: int,
    evaluation: tuple[Callable, Callable],  # make_evaluate, and its `program`
    part: Sharding,  # of lanes
    whole: Sharding,  # of what they share
) -> list[Need]:
    """What each program of some lanes takes."""

    def evaluated(*args: Tree, **options: int) -> Callable:
        make_evaluate, compiled = evaluation
        made: list[Callable] = []
        make_evaluate(*args, **options, program=lambda totals: made.append(compiled(totals)))
        return made[0]

    program = make_program(plan, number, run, partial(on, part), partial(on, whole), evaluated)
    hypers, keys = [plan.config.hyper] * number, [jax.random.key(0)] * number
    settings = on(part, lanes.stacked(hypers, keys))
    state = jax.eval_shape(run.start, *settings)
    if plan.config.patience:
        state = state.replace(stopped=jax.eval_shape(partial(jnp.zeros, number, bool)))
    state = on(part, state.replace(step=None)).replace(step=on(whole, state.step))
    params, train, examples = state.params, program.train_split, (np.int32(0), np.int32(1))
    every: dict[str, tuple[Callable | None, tuple[Tree, ...]]] = {
        'initial state': (run.start, settings),
        'training': (run.advance, (*settings, train, state, 1)),
        'evaluation': (program.evaluate, (params, program.held_out, *examples)),
        'test': (program.test, (params, program.test_split, *examples)),
        'gradients': (program.gradients, (*settings, train, params, state.carry, state.step)),
    }
    for length, test in program.tests.items():
        every[f'test, length {length}'] = test, (params, program.test_splits[length], *examples)
    splits = train, program.held_out, program.test_split, program.test_splits
    held = bytes_of((settings, state, params if plan.config.keep == 'best' else None, splits))
    return [need(f'{label}  {n}'.strip(), *own, held) for n, own in every.items() if own[0]]


def need(name: str, function: Any, arguments: tuple[Tree, ...], held: int) -> Need:
    """Compiles a program, beside whose arguments `held` bytes are on each device in all."""
    beside = held - bytes_of(arguments)
    try:
        stats = function.lower(*arguments).compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        return Need(name, 0, beside, first_line(error))
    return Need(name, stats.peak_memory_in_bytes, beside)


def show(needed: Sequence[Need], device: jax.Device) -> None:
    """Prints what programs take; InputError where one does not fit into the device's memory."""
    there = memory.device_memory(device)
    columns = 'MB at its peak', 'MB beside it', f'MB of a {device.device_kind}'
    table = new_table('program', *columns, right=columns)
    for name, peak, beside, refused in needed:
        values = [f'{size / 1e6:,.1f}' for size in (peak, beside, there)]
        table.add_row(name, '-' if refused else values[0], *values[1:])
    console.console.print(f'\n{render(table)}')
    for name, peak, beside, refused in needed:
        words = f'{name} does not fit into a {device.device_kind}'
        if refused:
            raise InputError(f'{words}: {refused}')
        if peak + beside > there:
            sizes = f'{(peak + beside) / 1e9:,.2f} GB, more than its {there / 1e9:,.2f} GB'
            raise InputError(f'{words}: it takes {sizes}; choose smaller sizes')


def on(sharding: Sharding, tree: Tree) -> Tree:
    """The shapes of a tree of arrays, and where they are."""

    def shape(leaf: Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(shape, tree)


def bytes_of(tree: Tree) -> int:
    """The bytes of a tree of such shapes on each device; numbers have none."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.ShapeDtypeStruct)]
    shapes = [(leaf.sharding.shard_shape(leaf.shape), leaf.dtype.itemsize) for leaf in leaves]
    return sum(int(np.prod(shape)) * itemsize for shape, itemsize in shapes)
