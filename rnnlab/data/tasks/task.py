"""The record that a task of generated sequences is. Letters in shapes: T time steps, D inputs."""

from collections.abc import Callable
from typing import NamedTuple

from jax import Array

from rnnlab.errors import InputError


class Task(NamedTuple):
    """A task that generates its sequences.

    sample: (key, steps=length) -> (inputs, labels): numbers [T, D] or ids int [T] below D;
        classes int [T], negative where the loss is masked, or numbers [T, K], or [K] at the end.
        With fewer steps than the length, which may be traced, padding follows.
    length: of the longest sequence, T for most tasks.
    inputs: D.
    outputs: number of classes, or K.
    baseline: loss of the best memoryless guess, nats per label or mean squared error.
    numbers: whether numbers are predicted, not classes.
    pool: 'last' for labels at the end alone.
    spacing: of the lengths that there are.
    """

    sample: Callable[..., tuple[Array, Array]]
    length: int
    inputs: int
    outputs: int
    baseline: float
    numbers: bool = False
    pool: str | None = None
    spacing: int = 1


def at_least(name: str, least: int, length: int, why: str = '') -> None:
    """Raises InputError for a length below the least that a task has."""
    if length < least:
        reason = f' ({why})' if why else ''
        words = f'the {name} task needs a `length` of {least} or more{reason}'
        raise InputError(f'{words}, not {length}')
