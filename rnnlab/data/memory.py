"""Tasks that only a memory solves, made from keys: what the literature measures by how long a cell remembers."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnlab.data.dataset import Dataset, Split
from rnnlab.errors import InputError, positive

EXAMPLES_SEED = 4711  # names the sequences that validate and test, the same for every run
SYMBOLS, COPIED = 8, 10  # of the copy task: how many there are, how many are to be remembered
LETTERS, DIGITS = 26, 10  # of the recall task


class Task(NamedTuple):
    """sample: (key) -> (inputs [T, D], labels: classes int [T], of which those below 0 are not asked for, or a number [1] at the end).

    inputs: D.
    outputs: classes, or 1 number.
    baseline: the loss of the best guess that knows nothing of earlier steps: nats a step, or the mean squared error.
    """

    sample: Callable[[Array], tuple[Array, Array]]
    inputs: int
    outputs: int
    baseline: float

    @property
    def numbers(self) -> bool:
        return self.outputs == 1


def adding(length: int) -> Task:
    """The sum of two marked numbers among `length`, told at the end (Hochreiter and Schmidhuber 1997; Le, Jaitly, Hinton 2015).

    A step is a number from [0, 1) and a mark: one in the first half, one in the second. To guess 1 always has the variance of
    the sum, 1/6, as its error.
    """
    if length < 2:
        raise InputError(f'the adding task takes a length of 2 or more, not {length}')

    def sample(key):
        of_values, of_first, of_second = jax.random.split(key, 3)
        values = jax.random.uniform(of_values, (length,))
        first = jax.random.randint(of_first, (), 0, length // 2)
        second = jax.random.randint(of_second, (), length // 2, length)
        time = jnp.arange(length)
        marks = ((time == first) | (time == second)).astype(values.dtype)
        return jnp.stack([values, marks], axis=-1), jnp.sum(values * marks, keepdims=True)

    return Task(sample, 2, 1, 1 / 6)


def copy(length: int) -> Task:
    """Ten symbols of eight, then `length` steps without any, the last of which asks for the ten in ten more (Hochreiter and
    Schmidhuber 1997; Arjovsky, Shah, Bengio 2016, section 4.1).

    The answer before is blank. Who remembers nothing knows when, but not what: 10 ln 8 nats over all length + 20 steps.
    """
    positive('length', length)
    blank, ask = SYMBOLS, SYMBOLS + 1

    def sample(key):
        symbols = jax.random.randint(key, (COPIED,), 0, SYMBOLS, jnp.int32)
        empty = jnp.full(length + COPIED, blank, jnp.int32)
        steps = jnp.concatenate([symbols, empty.at[length - 1].set(ask)])
        return jax.nn.one_hot(steps, SYMBOLS + 2), jnp.concatenate([empty, symbols])

    return Task(
        sample, SYMBOLS + 2, SYMBOLS + 1, COPIED * math.log(SYMBOLS) / (length + 2 * COPIED)
    )


def parity(length: int) -> Task:
    """After every bit, whether there were oddly many ones so far (state tracking; Merrill, Petty, Sabharwal 2024).

    Only the first answer is seen from its own bit; the others are ln 2 nats each.
    """
    if length < 2:
        raise InputError(f'the parity task takes a length of 2 or more, not {length}')

    def sample(key):
        bits = jax.random.bernoulli(key, shape=(length,))
        return jnp.expand_dims(bits.astype(float), -1), jnp.cumsum(
            bits.astype(jnp.int32), dtype=jnp.int32
        ) % 2

    return Task(sample, 1, 2, (length - 1) / length * math.log(2))


def recall(length: int) -> Task:
    """Pairs of a letter and a digit, then a letter that came: which digit followed it? (Ba et al. 2016, section 4.1,
    there with two question marks before the last letter.)

    The letters of a sequence differ. An odd length of 3 (one pair) to 53 (26 pairs); the digit is asked for at the last step.
    """
    if length % 2 == 0 or not 3 <= length <= 2 * LETTERS + 1:
        raise InputError(
            f'the recall task takes an odd length from 3 to {2 * LETTERS + 1}, pairs and the question, not {length}'
        )
    pairs = length // 2

    def sample(key):
        of_letters, of_digits, of_question = jax.random.split(key, 3)
        letters = jax.random.permutation(of_letters, LETTERS)[:pairs].astype(jnp.int32)
        digits = jax.random.randint(of_digits, (pairs,), 0, DIGITS, jnp.int32)
        asked = jax.random.randint(of_question, (), 0, pairs)
        steps = jnp.concatenate(
            [jnp.stack([letters, digits + LETTERS], axis=-1).ravel(), letters[asked][None]]
        )
        return jax.nn.one_hot(steps, LETTERS + DIGITS), jnp.full(length, -1, jnp.int32).at[-1].set(
            digits[asked]
        )

    return Task(sample, LETTERS + DIGITS, DIGITS, math.log(DIGITS))


TASKS: dict[str, Callable[[int], Task]] = {
    'adding': adding,
    'copy': copy,
    'parity': parity,
    'recall': recall,
}


def memory_sequences(task: Task, validation: int, test: int) -> Dataset:
    """Sequences to validate and test on, always the same; those to train on are made while training."""

    def split(count: int, number: int) -> Split:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(EXAMPLES_SEED), number), count)
        return Split(*map(np.asarray, jax.jit(jax.vmap(task.sample))(keys)))

    return Dataset(
        None,
        split(validation, 0) if validation else None,
        split(test, 1),
        task.outputs,
        baseline=task.baseline,
    )
