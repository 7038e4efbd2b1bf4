"""Memory tasks, generated from keys. Letters in shapes: T time steps, D inputs."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rnnlab.data.dataset import Dataset, Split
from rnnlab.errors import InputError, positive

EXAMPLES_SEED = 4711  # of the validation and test sequences, the same for every run
SYMBOLS, COPIED = 8, 10  # of the copy task: different symbols, symbols to remember
LETTERS, DIGITS = 26, 10  # of the recall task
BITS, PULSE = 3, 0.2  # of the flip-flop task: bits, and the probability of a pulse
STIMULI = 8  # of the delayed match


class Task(NamedTuple):
    """A task that generates its sequences.

    sample: key -> (inputs [T, D], labels): classes int [T], negative where the loss is masked, or
        numbers [T, K], or [K] at the end.
    inputs: D.
    outputs: number of classes, or K.
    baseline: loss of the best memoryless guess, nats per step or mean squared error.
    numbers: whether numbers are predicted, not classes.
    pool: 'last' for labels at the end alone.
    """

    sample: Callable[[Array], tuple[Array, Array]]
    inputs: int
    outputs: int
    baseline: float
    numbers: bool = False
    pool: str | None = None


def adding(length: int) -> Task:
    """The sum of two marked numbers among `length`, at the last step (Le, Jaitly, Hinton 2015).

    A step is a number from [0, 1) and a mark; one step of each half is marked. Guessing 1 has the
    variance of the sum, 1/6, as its error. The task is from Hochreiter and Schmidhuber 1997.
    """
    if length < 2:
        raise InputError(f'the adding task needs a `length` of 2 or more, not {length}')

    def sample(key: Array) -> tuple[Array, Array]:
        of_values, of_first, of_second = jax.random.split(key, 3)
        values = jax.random.uniform(of_values, (length,))
        first = jax.random.randint(of_first, (), 0, length // 2)
        second = jax.random.randint(of_second, (), length // 2, length)
        time = jnp.arange(length)
        marks = ((time == first) | (time == second)).astype(values.dtype)
        return jnp.stack([values, marks], axis=-1), jnp.sum(values * marks, keepdims=True)

    return Task(sample, inputs=2, outputs=1, baseline=1 / 6, numbers=True, pool='last')


def copy(length: int) -> Task:
    """Ten symbols out of eight, repeated `length` steps later (Arjovsky, Shah, Bengio 2016, 4.1).

    The steps between are blank, the last of them is a delimiter; the labels before the answer are
    blank too. The memoryless guess loses 10 ln 8 nats over all length + 20 steps.
    """
    positive('length', length)
    blank, delimiter = SYMBOLS, SYMBOLS + 1
    baseline = COPIED * math.log(SYMBOLS) / (length + 2 * COPIED)

    def sample(key: Array) -> tuple[Array, Array]:
        symbols = jax.random.randint(key, (COPIED,), 0, SYMBOLS, jnp.int32)
        blanks = jnp.full(length + COPIED, blank, jnp.int32)
        steps = jnp.concatenate([symbols, blanks.at[length - 1].set(delimiter)])
        return jax.nn.one_hot(steps, SYMBOLS + 2), jnp.concatenate([blanks, symbols])

    return Task(sample, inputs=SYMBOLS + 2, outputs=SYMBOLS + 1, baseline=baseline)


def parity(length: int) -> Task:
    """The parity of the random bits so far, at each step (Merrill, Petty, Sabharwal 2024).

    The memoryless guess loses ln 2 nats at every step but the first, which has its own answer.
    """
    if length < 2:
        raise InputError(f'the parity task needs a `length` of 2 or more, not {length}')

    def sample(key: Array) -> tuple[Array, Array]:
        bits = jax.random.bernoulli(key, shape=(length,))
        ones = jnp.cumsum(bits.astype(jnp.int32), dtype=jnp.int32)
        return jnp.expand_dims(bits.astype(float), -1), ones % 2

    return Task(sample, inputs=1, outputs=2, baseline=(length - 1) / length * math.log(2))


def recall(length: int) -> Task:
    """The digit that followed a letter: pairs of letter and digit, then one of the letters.

    The letters differ; an odd length from 3 (one pair) to 53 (26 pairs); labelled at the last step.
    From Ba et al. 2016, section 4.1, who have two question marks before the last letter.
    """
    if length % 2 == 0 or not 3 <= length <= 2 * LETTERS + 1:
        raise InputError(
            f'the recall task needs an odd `length` from 3 to {2 * LETTERS + 1} '
            f'(pairs and a question), not {length}'
        )
    pairs = length // 2

    def sample(key: Array) -> tuple[Array, Array]:
        of_letters, of_digits, of_question = jax.random.split(key, 3)
        letters = jax.random.permutation(of_letters, LETTERS)[:pairs].astype(jnp.int32)
        digits = jax.random.randint(of_digits, (pairs,), 0, DIGITS, jnp.int32)
        question = jax.random.randint(of_question, (), 0, pairs)
        told = jnp.stack([letters, digits + LETTERS], axis=-1).ravel()
        steps = jnp.concatenate([told, letters[question][None]])
        labels = jnp.full(length, -1, jnp.int32).at[-1].set(digits[question])
        return jax.nn.one_hot(steps, LETTERS + DIGITS), labels

    return Task(sample, inputs=LETTERS + DIGITS, outputs=DIGITS, baseline=math.log(DIGITS))


def flipflop(length: int) -> Task:
    """The sign of the last pulse of each of three bits, at every step (Sussillo, Barak 2013).

    A step has a pulse of 1 or -1 for a bit with probability 0.2, else 0; the first step has one for
    each. Guessing 0 where there is no pulse has an error of 1.
    """
    if length < 2:
        raise InputError(f'the flipflop task needs a `length` of 2 or more, not {length}')

    def sample(key: Array) -> tuple[Array, Array]:
        of_times, of_signs = jax.random.split(key)
        pulse = jax.random.bernoulli(of_times, PULSE, (length, BITS)).at[0].set(True)
        signs = jax.random.rademacher(of_signs, (length, BITS), float)
        time = jnp.broadcast_to(jnp.expand_dims(jnp.arange(length), 1), pulse.shape)
        last = lax.cummax(jnp.where(pulse, time, 0))
        return jnp.where(pulse, signs, 0), jnp.take_along_axis(signs, last, axis=0)

    baseline = (1 - PULSE) * (length - 1) / length
    return Task(sample, inputs=BITS, outputs=BITS, baseline=baseline, numbers=True)


def integrate(length: int) -> Task:
    """The sum of the inputs so far, at every step: a line attractor keeps it (Seung 1996).

    Inputs are normal with variance 1 / length, so that the last sum has variance 1. Guessing the
    input itself leaves the variance of the sum before.
    """
    if length < 2:
        raise InputError(f'the integrate task needs a `length` of 2 or more, not {length}')

    def sample(key: Array) -> tuple[Array, Array]:
        steps = jax.random.normal(key, (length, 1)) / math.sqrt(length)
        return steps, jnp.cumsum(steps, axis=0)

    return Task(sample, inputs=1, outputs=1, baseline=(length - 1) / (2 * length), numbers=True)


def delayed_match(length: int) -> Task:
    """Whether the last step shows the stimulus of the first (Fuster and Alexander 1971; as a task
    of recurrent networks Yang et al. 2019).

    One of eight stimuli, blank steps, then the same one or, in half of the sequences, another;
    labelled at the last step: 1 for a match.
    """
    if length < 2:
        raise InputError(f'the delayed_match task needs a `length` of 2 or more, not {length}')

    def sample(key: Array) -> tuple[Array, Array]:
        of_first, of_match, of_other = jax.random.split(key, 3)
        first = jax.random.randint(of_first, (), 0, STIMULI, jnp.int32)
        match = jax.random.bernoulli(of_match).astype(jnp.int32)
        other = (first + jax.random.randint(of_other, (), 1, STIMULI, jnp.int32)) % STIMULI
        shown = jax.nn.one_hot(jnp.stack([first, jnp.where(match, first, other)]), STIMULI)
        steps = jnp.zeros((length, STIMULI)).at[jnp.array([0, -1])].set(shown)
        return steps, jnp.full(length, -1, jnp.int32).at[-1].set(match)

    return Task(sample, inputs=STIMULI, outputs=2, baseline=math.log(2))


TASKS: dict[str, Callable[[int], Task]] = {
    'adding': adding,
    'copy': copy,
    'parity': parity,
    'recall': recall,
    'flipflop': flipflop,
    'integrate': integrate,
    'delayed_match': delayed_match,
}


def memory_sequences(task: Task, validation: int, test: int) -> Dataset:
    """Validation and test sequences, always the same; training generates its own (train is None).

    validation, test: how many sequences; without validation (0) that split is None.
    """

    def split(count: int, number: int) -> Split:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(EXAMPLES_SEED), number), count)
        return Split(*map(np.asarray, jax.jit(jax.vmap(task.sample))(keys)))

    return Dataset(
        train=None,
        validation=split(validation, 0) if validation else None,
        test=split(test, 1),
        outputs=task.outputs,
        baseline=task.baseline,
    )
