"""Which examples each step of an epoch takes, and how long its sequences are: pure functions of the key and the step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnlab.errors import positive

SCHEDULE_SEED = 0  # names the one order that mixes long and short batches


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
    return Buckets((time_steps,), np.zeros(examples, np.int32), np.zeros(steps, np.int32), np.arange(steps))


def length_buckets(lengths: np.ndarray, batch_size: int, number: int) -> Buckets:
    """At most `number` buckets of about as many batches each; those as long as each other are one."""
    positive('buckets', number)
    steps = epoch_steps(len(lengths), batch_size)
    order = np.argsort(lengths, kind='stable')
    ends = np.array([part[-1] + 1 for part in np.array_split(np.arange(steps), number) if len(part)])  # in batches
    longest = np.maximum(lengths[order[np.minimum(ends * batch_size, len(lengths)) - 1]], 1)
    time_steps, bucket = np.unique(longest, return_inverse=True)
    of_batch = np.repeat(bucket, np.diff(ends, prepend=0)).astype(np.int32)
    of_example = np.empty(len(lengths), np.int32)
    of_example[order] = np.repeat(of_batch, batch_size)[: len(lengths)]
    schedule = np.random.RandomState(SCHEDULE_SEED).permutation(steps)
    return Buckets(tuple(time_steps.tolist()), of_example, of_batch, schedule)


def epoch_order(key: Array, buckets: Buckets, batch_size: int) -> Array:
    """int [steps, batch_size], the batches in order of their buckets: each example once; -1 fills the last batch up."""
    examples = len(buckets.of_example)
    shuffled = jax.random.permutation(key, examples)
    shuffled = shuffled[jnp.argsort(jnp.asarray(buckets.of_example)[shuffled], stable=True)]
    missing = epoch_steps(examples, batch_size) * batch_size - examples
    return jnp.pad(shuffled, (0, missing), constant_values=-1).reshape(-1, batch_size)
