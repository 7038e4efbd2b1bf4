"""A program: the compiled training of lanes of one static configuration, alone or in a sweep."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
from jax.sharding import Mesh

from experiments.runner.task import EVAL_BATCH, Plan
from rnnlab.data import Dataset, Split
from rnnlab.training import lanes
from rnnlab.training.devices import replicated
from rnnlab.training.train import Run, TrainState


@dataclass(frozen=True, kw_only=True)
class Program:
    """The compiled training of lanes of one static configuration, with its data on the devices."""

    plan: Plan
    lanes: int
    run: Run
    place: Callable[[TrainState], TrainState]
    evaluate: Callable | None  # (params, split, start, count) -> the mean of each metric [lanes]
    test: Callable | None
    tests: dict[int, Callable]  # of the further test splits, by length
    gradients: Callable | None  # of --log_gradients: norms [lanes, T] by field of the carry
    train_split: Split | None
    held_out: Split | None
    test_split: Split | None
    test_splits: dict[int, Split]


def program_alone(plan: Plan, mesh: Mesh | None) -> Program:
    """A program of one lane, whose batches the devices of the mesh share."""
    place = partial(replicated, mesh=mesh)
    evaluation = partial(plan.make_evaluate, mesh=mesh, program=lanes.evaluation_alone)
    return make_program(plan, 1, lanes.alone(plan.make_run(mesh), mesh), place, place, evaluation)


def program_over_lanes(plan: Plan, number: int, devices: Sequence[jax.Device]) -> Program:
    """A program of several lanes, which the devices share."""
    mesh = lanes.lane_mesh(number, devices)
    evaluation = partial(plan.make_evaluate, program=lanes.evaluation_over_lanes(mesh))
    run = lanes.over_lanes(plan.make_run(), mesh)
    place = partial(lanes.placed, mesh=mesh), partial(replicated, mesh=mesh)
    return make_program(plan, number, run, *place, evaluation)


def make_program(
    plan: Plan, number: int, run: Run, place: Callable, replicate: Callable, evaluation: Callable
) -> Program:
    held_out, test = plan.held_out, plan.data.test
    splits = replicate((plan.data.train, held_out, test, plan.data.tests))
    return Program(
        plan=plan,
        lanes=number,
        run=run,
        place=place,
        evaluate=evaluation(held_out, plan.window) if held_out else None,
        test=evaluation(test, len(test.labels)) if test else None,
        tests={
            length: evaluation(split, len(split.labels), at_once=fewer(plan.data, split))
            for length, split in plan.data.tests.items()
        },
        gradients=plan.make_gradient_norms() if plan.config.log_gradients else None,
        train_split=splits[0],
        held_out=splits[1],
        test_split=splits[2],
        test_splits=splits[3],
    )


def fewer(data: Dataset, split: Split) -> int:
    """The examples of a further test split that take no more memory than those of the test."""
    assert data.test
    return max(1, EVAL_BATCH * data.test.inputs.shape[1] // split.inputs.shape[1])
