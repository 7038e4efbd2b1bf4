"""Batches of examples: shuffled, in order, windows of long streams, or generated from keys.

All are pure functions of the key and the step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Int, Key

from rnnlab.cells.base import Tree
from rnnlab.data import Split
from rnnlab.errors import positive

SCHEDULE_SEED = 0  # of the fixed order in which long and short batches are mixed


class Batch(NamedTuple):
    examples: Array  # int [B], indices into the data; -1 fills up the last batch
    keys: Array | None = None  # [B], for dropout; None turns it off
    draws: Array | None = None  # keys [B], for generated examples


Order: TypeAlias = Tree  # of an epoch
Take = Callable[[Any, Batch, Array], Split]


@dataclass(frozen=True, eq=False, kw_only=True)
class Batches:
    """The batches of an epoch.

    size: examples per batch.
    steps: batches per epoch.
    order: (key), in evaluation ((start, count)) -> the order of an epoch, as `pick` takes it.
    pick: (order, at) -> (examples int [size], index into `takes`) of the epoch's batch `at`.
    takes: (data, batch, at) -> Split, the examples of a Batch; several if batches differ in their
        time steps.
    carried: whether a batch continues the sequences of the one before, within an epoch.
    """

    size: int
    steps: int
    order: Callable[[Tree], Order]
    pick: Callable[[Order, Array], tuple[Array, Array]]
    takes: tuple[Take, ...]
    carried: bool = False


def shuffled(data: Split, size: int, buckets: int = 1) -> Batches:
    """Each example once per epoch, in a new order each; one batch may be smaller.

    Sequences with lengths are batched with others of similar length, in at most `buckets` groups.
    """
    groups = grouped(data, size, buckets)
    schedule, bucket_of = np.asarray(groups.schedule, np.int32), np.asarray(groups.of_batch)

    def pick(order: Array, at: Array) -> tuple[Array, Array]:
        number = jnp.asarray(schedule)[at]
        return order[number], jnp.asarray(bucket_of)[number]

    return Batches(
        size=size,
        steps=len(schedule),
        order=lambda key: epoch_order(key, groups, size),
        pick=pick,
        takes=gathers(groups),
    )


def in_order(data: Split, size: int, buckets: int = 1) -> Batches:
    """`count` examples from `start` on; an epoch's order is (start, count), and wraps around.

    Examples are ordered by bucket, of which there are at most `buckets`.
    """
    groups = grouped(data, size, buckets)
    order = np.argsort(groups.of_example, kind='stable').astype(np.int32)
    bucket_of = np.asarray(groups.of_batch)

    def pick(part: tuple[Array, Array], at: Array) -> tuple[Array, Array]:
        start, count = part
        index = at * size + jnp.arange(size, dtype=jnp.int32)
        examples = jnp.where(index < count, jnp.asarray(order)[(start + index) % len(order)], -1)
        return examples, jnp.asarray(bucket_of)[at]

    return Batches(
        size=size,
        steps=len(groups.schedule),
        order=lambda part: part,
        pick=pick,
        takes=gathers(groups),
    )


def streams(number: int, time_steps: int, window: int) -> Batches:
    """The next `window` steps of each of `number` streams of `time_steps` steps in every batch."""
    positive('window', window)

    def take(data: Split, batch: Batch, at: Array) -> Split:
        def part(leaf: Array | np.ndarray) -> Array:
            steps = lax.dynamic_slice_in_dim(jnp.asarray(leaf), at * window, window, axis=1)
            return steps[batch.examples]

        lengths = None
        if data.lengths is not None:
            lengths = jnp.clip(data.lengths[batch.examples] - at * window, 0, window)
        return Split(part(data.inputs), part(data.labels), lengths)

    return Batches(
        size=number,
        steps=time_steps // window,
        order=no_order,
        pick=partial(pick_all, number),
        takes=(take,),
        carried=True,
    )


def generated(sample: Callable[[Array], tuple[Array, ...]], size: int, steps: int) -> Batches:
    """New examples in every batch, `steps` to an epoch.

    sample: key -> (inputs, labels) of an example, or (inputs, labels, length) of a padded one.
    """

    def take(data: None, batch: Batch, at: Array) -> Split:
        assert batch.draws is not None
        return Split(*jax.vmap(sample)(batch.draws))

    return Batches(
        size=size, steps=steps, order=no_order, pick=partial(pick_all, size), takes=(take,)
    )


def no_order(_: Tree) -> None:
    return None


def pick_all(size: int, order: None, at: Array) -> tuple[Array, Array]:
    return jnp.asarray(np.arange(size, dtype=np.int32)), jnp.int32(0)


class Buckets(NamedTuple):
    """Examples grouped by length, so that short ones are not padded to the longest.

    A bucket is a number of batches of examples of similar length, padded to its longest. The bucket
    of each step of an epoch depends on the lengths alone; its examples and their order depend on
    the key.
    """

    time_steps: tuple[int, ...]  # of each bucket, the shortest first
    of_example: np.ndarray  # int [N], the bucket of each example
    of_batch: np.ndarray  # int [steps], the bucket of each batch, in order
    schedule: np.ndarray  # int [steps], the batch of each step of an epoch


def epoch_steps(examples: int, batch_size: int) -> int:
    """Batches per epoch, including a smaller last one."""
    return -(-examples // batch_size)


def one_bucket(examples: int, time_steps: int, batch_size: int) -> Buckets:
    """All examples in one bucket."""
    steps = epoch_steps(examples, batch_size)
    return Buckets(
        (time_steps,), np.zeros(examples, np.int32), np.zeros(steps, np.int32), np.arange(steps)
    )


def grouped(data: Split, batch_size: int, number: int) -> Buckets:
    """At most `number` buckets of the examples; one if they have no lengths."""
    if data.lengths is None or number == 1:
        return one_bucket(len(data.labels), data.inputs.shape[1], batch_size)
    return length_buckets(np.asarray(data.lengths), batch_size, number)


def length_buckets(lengths: Int[np.ndarray, ' N'], batch_size: int, number: int) -> Buckets:
    """At most `number` buckets of about as many batches; those of equal length are joined."""
    positive('buckets', number)
    steps = epoch_steps(len(lengths), batch_size)
    order = np.argsort(lengths, kind='stable')
    parts = [part for part in np.array_split(np.arange(steps), number) if len(part)]
    ends = np.array([part[-1] + 1 for part in parts])  # in batches
    longest = np.maximum(lengths[order[np.minimum(ends * batch_size, len(lengths)) - 1]], 1)
    time_steps, bucket = np.unique(longest, return_inverse=True)
    of_batch = np.repeat(bucket, np.diff(ends, prepend=0)).astype(np.int32)
    of_example = np.empty(len(lengths), np.int32)
    of_example[order] = np.repeat(of_batch, batch_size)[: len(lengths)]
    schedule = np.random.RandomState(SCHEDULE_SEED).permutation(steps)
    return Buckets(tuple(time_steps.tolist()), of_example, of_batch, schedule)


def gathers(buckets: Buckets) -> tuple[Take, ...]:
    """For each bucket the function that takes a batch of its time steps from the data."""

    def gather(time_steps: int, data: Split, batch: Batch, at: Array) -> Split:
        inputs, labels, lengths = jax.tree.map(lambda leaf: leaf[batch.examples], data)
        return Split(inputs[:, :time_steps], labels, lengths)

    return tuple(partial(gather, time_steps) for time_steps in buckets.time_steps)


def epoch_order(
    key: Key[Array, ''], buckets: Buckets, batch_size: int
) -> Int[Array, 'steps {batch_size}']:
    """int [steps, batch_size], batches in order of their buckets: each example once, then -1."""
    examples = len(buckets.of_example)
    order = jax.random.permutation(key, examples)
    if np.any(buckets.of_example):  # else all are in one: a TPU's compiler takes long for a sort
        order = order[jnp.argsort(jnp.asarray(buckets.of_example)[order], stable=True)]
    missing = epoch_steps(examples, batch_size) * batch_size - examples
    return jnp.pad(order, (0, missing), constant_values=-1).reshape(-1, batch_size)
