"""Where the batches of a run come from: examples that are shuffled or taken in order, long streams, or made on the spot.

All pure functions of the key and the step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rnnlab.data import Split
from rnnlab.errors import positive

SCHEDULE_SEED = 0  # names the one order that mixes long and short batches


class Batch(NamedTuple):
    examples: Array  # int [B], their places in the data; -1 only fills the batch up
    keys: Array | None = None  # [B], for dropout; None: it is off
    draws: Any = None  # keys [B], for examples that are made


class Batches(NamedTuple):
    """What the batches of an epoch are.

    size: examples a batch.
    steps: batches an epoch.
    order: what an epoch begins with: (key) -> anything that `pick` needs.
    pick: (that, at) -> (examples int [size], the number of one of `takes`) for the batch `at` of the epoch.
    takes: (data, batch, at) -> Split, the examples of a Batch; several, where batches differ in their time steps.
    carried: whether the next batch goes on where this one's sequences end, until the epoch ends.
    """

    size: int
    steps: int
    order: Callable[[Any], Any]
    pick: Callable[[Any, Array], tuple[Array, Array]]
    takes: tuple[Callable[[Any, Batch, Array], Split], ...]
    carried: bool = False


def shuffled(data: Split, size: int, buckets: int = 1) -> Batches:
    """Each example once an epoch, in an order that is new in each; one batch may be smaller.

    Sequences that have lengths are batched with others of like length, in at most so many groups.
    """
    groups = grouped(data, size, buckets)
    schedule, bucket_of = np.asarray(groups.schedule, np.int32), np.asarray(groups.of_batch)

    def pick(order, at):
        number = jnp.asarray(schedule)[at]
        return order[number], jnp.asarray(bucket_of)[number]

    return Batches(
        size, len(schedule), lambda key: epoch_order(key, groups, size), pick, gathers(groups)
    )


def in_order(data: Split, size: int, buckets: int = 1) -> Batches:
    """`count` examples from `start` on, with which an epoch begins; behind the last stands the first. Those of like length are side by
    side, in at most so many groups."""
    groups = grouped(data, size, buckets)
    order, bucket_of = (
        np.argsort(groups.of_example, kind='stable').astype(np.int32),
        np.asarray(groups.of_batch),
    )

    def pick(part, at):
        start, count = part
        place = at * size + jnp.arange(size, dtype=jnp.int32)
        return jnp.where(
            place < count, jnp.asarray(order)[(start + place) % len(order)], -1
        ), jnp.asarray(bucket_of)[at]

    return Batches(size, len(groups.schedule), lambda part: part, pick, gathers(groups))


def streams(number: int, time_steps: int, window: int) -> Batches:
    """Every batch has the next `window` steps of each of `number` long sequences, which are `time_steps` long."""
    positive('window', window)

    def take(data: Split, batch: Batch, at: Array) -> Split:
        def cut(leaf):
            return lax.dynamic_slice_in_dim(leaf, at * window, window, axis=1)[batch.examples]

        lengths = (
            None
            if data.lengths is None
            else jnp.clip(data.lengths[batch.examples] - at * window, 0, window)
        )
        return Split(cut(data.inputs), cut(data.labels), lengths)

    everyone = np.arange(number, dtype=np.int32)
    return Batches(
        number,
        time_steps // window,
        lambda key: None,
        lambda _, at: (jnp.asarray(everyone), jnp.int32(0)),
        (take,),
        True,
    )


def generated(sample: Callable[[Array], tuple[Array, Array]], size: int, steps: int) -> Batches:
    """Examples that nobody has seen before, each made from a key: (key) -> (inputs, labels). An epoch is `steps` batches."""

    def take(data: None, batch: Batch, at: Array) -> Split:
        return Split(*jax.vmap(sample)(batch.draws))

    everyone = np.arange(size, dtype=np.int32)
    return Batches(
        size, steps, lambda key: None, lambda _, at: (jnp.asarray(everyone), jnp.int32(0)), (take,)
    )


class Buckets(NamedTuple):
    """Examples grouped by their length, so that the short ones do not pay for the long ones.

    A bucket is whole batches of examples of like length, and all its batches have the time steps of its longest. Which
    bucket each step of an epoch takes is fixed by the lengths alone; who of the bucket, and in what order, by the key.
    """

    time_steps: tuple[int, ...]  # of each bucket, the shortest first
    of_example: np.ndarray  # int [N], the bucket of each example
    of_batch: np.ndarray  # int [steps], the bucket of each batch, in order
    schedule: np.ndarray  # int [steps], the batch that each step of an epoch takes


def epoch_steps(examples: int, batch_size: int) -> int:
    """Batches in an epoch, the last and smaller one counted."""
    return -(-examples // batch_size)


def one_bucket(examples: int, time_steps: int, batch_size: int) -> Buckets:
    """Everybody in one bucket."""
    steps = epoch_steps(examples, batch_size)
    return Buckets(
        (time_steps,), np.zeros(examples, np.int32), np.zeros(steps, np.int32), np.arange(steps)
    )


def grouped(data: Split, batch_size: int, number: int) -> Buckets:
    """At most that many buckets of the examples; one, where they have no lengths."""
    if data.lengths is None or number == 1:
        return one_bucket(len(data.labels), data.inputs.shape[1], batch_size)
    return length_buckets(np.asarray(data.lengths), batch_size, number)


def length_buckets(lengths: np.ndarray, batch_size: int, number: int) -> Buckets:
    """At most `number` buckets of about as many batches each; those as long as each other are one."""
    positive('buckets', number)
    steps = epoch_steps(len(lengths), batch_size)
    order = np.argsort(lengths, kind='stable')
    ends = np.array(
        [part[-1] + 1 for part in np.array_split(np.arange(steps), number) if len(part)]
    )  # in batches
    longest = np.maximum(lengths[order[np.minimum(ends * batch_size, len(lengths)) - 1]], 1)
    time_steps, bucket = np.unique(longest, return_inverse=True)
    of_batch = np.repeat(bucket, np.diff(ends, prepend=0)).astype(np.int32)
    of_example = np.empty(len(lengths), np.int32)
    of_example[order] = np.repeat(of_batch, batch_size)[: len(lengths)]
    schedule = np.random.RandomState(SCHEDULE_SEED).permutation(steps)
    return Buckets(tuple(time_steps.tolist()), of_example, of_batch, schedule)


def gathers(buckets: Buckets) -> tuple[Callable, ...]:
    """What takes the examples of a batch, for each bucket as many time steps as it has."""

    def gather(time_steps):
        def take(data: Split, batch: Batch, at: Array) -> Split:
            inputs, labels, lengths = jax.tree.map(lambda leaf: leaf[batch.examples], data)
            return Split(inputs[:, :time_steps], labels, lengths)

        return take

    return tuple(gather(time_steps) for time_steps in buckets.time_steps)


def epoch_order(key: Array, buckets: Buckets, batch_size: int) -> Array:
    """int [steps, batch_size], the batches in order of their buckets: each example once; -1 fills the last batch up."""
    examples = len(buckets.of_example)
    shuffled = jax.random.permutation(key, examples)
    shuffled = shuffled[jnp.argsort(jnp.asarray(buckets.of_example)[shuffled], stable=True)]
    missing = epoch_steps(examples, batch_size) * batch_size - examples
    return jnp.pad(shuffled, (0, missing), constant_values=-1).reshape(-1, batch_size)
