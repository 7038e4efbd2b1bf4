"""Which examples each step of an epoch takes, and how long its sequences are: pure functions of the key and the step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnlab.errors import positive


class Buckets(NamedTuple):
    """Examples grouped by their length, so that the short ones do not pay for the long ones.

    A bucket is whole batches of examples of like length, and all its batches have the time steps of its longest. Which
    bucket each step of an epoch takes is fixed by the lengths alone; who of the bucket, and in what order, by the key.
    """

    of: np.ndarray  # int [N], the bucket of each example
    time_steps: tuple[int, ...]  # of each bucket
    turn: np.ndarray  # int [steps], the batch that each step of an epoch takes, the batches in order of their buckets
    batches: np.ndarray  # int [steps], the bucket of each batch


def epoch_steps(examples: int, batch_size: int) -> int:
    """Batches in an epoch, the last and smaller one counted."""
    return -(-examples // batch_size)


def one_bucket(examples: int, time_steps: int, batch_size: int) -> Buckets:
    """Everybody in one bucket."""
    steps = epoch_steps(examples, batch_size)
    return Buckets(np.zeros(examples, np.int32), (time_steps,), np.arange(steps), np.zeros(steps, np.int32))


def length_buckets(lengths: np.ndarray, batch_size: int, number: int) -> Buckets:
    """At most `number` buckets of about as many batches each; buckets as long as each other are one."""
    positive('buckets', number)
    order, steps = np.argsort(lengths, kind='stable'), epoch_steps(len(lengths), batch_size)
    last = np.minimum(np.arange(1, steps + 1) * batch_size, len(lengths)) - 1  # of each batch, the shortest first
    longest = np.concatenate(
        [np.full(len(part), lengths[order[last[part[-1]]]]) for part in np.array_split(np.arange(steps), number) if len(part)]
    )
    time_steps, batches = np.unique(longest, return_inverse=True)
    of = np.empty(len(lengths), np.int32)
    of[order] = np.repeat(batches, batch_size)[: len(lengths)]
    turn = np.random.RandomState(0).permutation(steps)  # any one order that mixes long and short
    return Buckets(of, tuple(max(1, int(t)) for t in time_steps), turn, batches.astype(np.int32))


def epoch_order(key: Array, buckets: Buckets, batch_size: int) -> Array:
    """int [steps, batch_size], the batches in order of their buckets: each example once; -1 fills the last batch up."""
    examples = len(buckets.of)
    shuffled = jax.random.permutation(key, examples)
    shuffled = shuffled[jnp.argsort(jnp.asarray(buckets.of)[shuffled], stable=True)]
    missing = epoch_steps(examples, batch_size) * batch_size - examples
    return jnp.pad(shuffled, (0, missing), constant_values=-1).reshape(-1, batch_size)
