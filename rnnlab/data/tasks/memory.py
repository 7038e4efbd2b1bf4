"""Tasks that need a memory. Letters in shapes: T time steps, D inputs."""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax

from rnnlab.data.tasks.task import Task, at_least
from rnnlab.errors import InputError, positive

SYMBOLS, COPIED = 8, 10  # of the copy task: different symbols, symbols to remember
LETTERS, DIGITS = 26, 10  # of the recall task
BITS, PULSE = 3, 0.2  # of the flip-flop task: bits, and the probability of a pulse
STIMULI = 8  # of the delayed match


def adding(length: int = 200) -> Task:
    """The sum of two marked numbers among `length`, at the last step (Le, Jaitly, Hinton 2015).

    A step is a number from [0, 1) and a mark; one step of each half is marked. Guessing 1 has the
    variance of the sum, 1/6, as its error. The task is from Hochreiter and Schmidhuber 1997.
    """
    at_least('adding', 2, length)

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        of_values, of_first, of_second = jax.random.split(key, 3)
        values = jax.random.uniform(of_values, (length,))
        first = jax.random.randint(of_first, (), 0, steps // 2)
        second = jax.random.randint(of_second, (), steps // 2, steps)
        time = jnp.arange(length)
        marks = ((time == first) | (time == second)).astype(values.dtype)
        return jnp.stack([values, marks], axis=-1), jnp.sum(values * marks, keepdims=True)

    return Task(sample, length, inputs=2, outputs=1, baseline=1 / 6, numbers=True, pool='last')


def copy(length: int = 100) -> Task:
    """Ten symbols out of eight, repeated `length` steps later (Arjovsky, Shah, Bengio 2016, 4.1).

    The steps between are blank, the last of them is a delimiter; the labels before the answer are
    blank too. The memoryless guess loses 10 ln 8 nats over all length + 20 steps.
    """
    positive('length', length)
    blank, delimiter = SYMBOLS, SYMBOLS + 1
    baseline = COPIED * math.log(SYMBOLS) / (length + 2 * COPIED)

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        symbols = jax.random.randint(key, (COPIED,), 0, SYMBOLS, jnp.int32)
        blanks, order = jnp.full(length + 2 * COPIED, blank, jnp.int32), jnp.arange(COPIED)
        shown = blanks.at[order].set(symbols).at[COPIED + steps - 1].set(delimiter)
        return jax.nn.one_hot(shown, SYMBOLS + 2), blanks.at[COPIED + steps + order].set(symbols)

    return Task(sample, length, inputs=SYMBOLS + 2, outputs=SYMBOLS + 1, baseline=baseline)


def parity(length: int = 40) -> Task:
    """The parity of the random bits so far, at each step (Merrill, Petty, Sabharwal 2024).

    The memoryless guess loses ln 2 nats at every step but the first, which has its own answer.
    """
    at_least('parity', 2, length)

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        bits = jax.random.bernoulli(key, shape=(length,))
        ones = jnp.cumsum(bits.astype(jnp.int32), dtype=jnp.int32)
        return jnp.expand_dims(bits.astype(float), -1), ones % 2

    return Task(sample, length, inputs=1, outputs=2, baseline=(length - 1) / length * math.log(2))


def recall(length: int = 11) -> Task:
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

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        of_letters, of_digits, of_question = jax.random.split(key, 3)
        letters = jax.random.permutation(of_letters, LETTERS)[:pairs].astype(jnp.int32)
        digits = jax.random.randint(of_digits, (pairs,), 0, DIGITS, jnp.int32)
        question = jax.random.randint(of_question, (), 0, steps // 2)
        told = jnp.stack([letters, digits + LETTERS], axis=-1).ravel()
        shown = jnp.pad(told, (0, 1)).at[steps - 1].set(letters[question])
        labels = jnp.full(length, -1, jnp.int32).at[steps - 1].set(digits[question])
        return jax.nn.one_hot(shown, LETTERS + DIGITS), labels

    inputs, baseline = LETTERS + DIGITS, math.log(DIGITS)
    return Task(sample, length, inputs, outputs=DIGITS, baseline=baseline, spacing=2)


def flipflop(length: int = 100) -> Task:
    """The sign of the last pulse of each of three bits, at every step (Sussillo, Barak 2013).

    A step has a pulse of 1 or -1 for a bit with probability 0.2, else 0; the first step has one for
    each. Guessing 0 where there is no pulse has an error of 1.
    """
    at_least('flipflop', 2, length)

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        of_times, of_signs = jax.random.split(key)
        pulse = jax.random.bernoulli(of_times, PULSE, (length, BITS)).at[0].set(True)
        signs = jax.random.rademacher(of_signs, (length, BITS), float)
        time = jnp.broadcast_to(jnp.expand_dims(jnp.arange(length), 1), pulse.shape)
        last = lax.cummax(jnp.where(pulse, time, 0))
        return jnp.where(pulse, signs, 0), jnp.take_along_axis(signs, last, axis=0)

    baseline = (1 - PULSE) * (length - 1) / length
    return Task(sample, length, inputs=BITS, outputs=BITS, baseline=baseline, numbers=True)


def integrate(length: int = 100) -> Task:
    """The sum of the inputs so far, at every step: a line attractor keeps it (Seung 1996).

    Inputs are normal with variance 1 / length, so that the last sum has variance 1. Guessing the
    input itself leaves the variance of the sum before.
    """
    at_least('integrate', 2, length)

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        inputs = jax.random.normal(key, (length, 1)) / math.sqrt(length)
        return inputs, jnp.cumsum(inputs, axis=0)

    baseline = (length - 1) / (2 * length)
    return Task(sample, length, inputs=1, outputs=1, baseline=baseline, numbers=True)


def delayed_match(length: int = 50) -> Task:
    """Whether the last step shows the stimulus of the first (Fuster and Alexander 1971; as a task
    of recurrent networks Yang et al. 2019).

    One of eight stimuli, blank steps, then the same one or, in half of the sequences, another;
    labelled at the last step: 1 for a match.
    """
    at_least('delayed_match', 2, length)

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        of_first, of_match, of_other = jax.random.split(key, 3)
        first = jax.random.randint(of_first, (), 0, STIMULI, jnp.int32)
        match = jax.random.bernoulli(of_match).astype(jnp.int32)
        other = (first + jax.random.randint(of_other, (), 1, STIMULI, jnp.int32)) % STIMULI
        shown = jax.nn.one_hot(jnp.stack([first, jnp.where(match, first, other)]), STIMULI)
        ends = jnp.stack([jnp.asarray(0), jnp.asarray(steps - 1)])
        labels = jnp.full(length, -1, jnp.int32).at[steps - 1].set(match)
        return jnp.zeros((length, STIMULI)).at[ends].set(shown), labels

    return Task(sample, length, inputs=STIMULI, outputs=2, baseline=math.log(2))
