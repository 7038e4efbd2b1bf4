"""Tasks that need what was read earlier, found by its content or order. Ids in, classes at the end.

Letters in shapes: T time steps.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from rnnlab.data.tasks.memory import COPIED, SYMBOLS
from rnnlab.data.tasks.task import Task, at_least

PAIRS, KEYS, VALUES, POWER = 4, 16, 16, 0.01  # of the recall of several keys
WORDS = 16  # of the induction task


def mqar(length: int = 64) -> Task:
    """The value of each key that is asked for: pairs of key and value, then each key once more
    (multi-query associative recall; Arora et al. 2023, Zoology).

    There are 4 pairs, of 16 keys, which differ, and 16 values. A key is asked for after an even
    number of blanks from the pairs on, of which small ones are likelier, by a power law; the other
    steps are blank. Labelled where a key is asked for. Tokens are the blank, the keys, the values.
    """
    context, longest = 2 * PAIRS, length // 2 - PAIRS
    at_least('mqar', 2 * context, length, f'{PAIRS} pairs and as many questions, two steps each')

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        of_keys, of_values, of_places = jax.random.split(key, 3)
        keys = jax.random.permutation(of_keys, KEYS)[:PAIRS].astype(jnp.int32)
        values = jax.random.randint(of_values, (PAIRS,), 0, VALUES, jnp.int32)
        gaps = jnp.arange(longest)
        odds = (1 + gaps).astype(float) ** (POWER - 1)
        odds = jnp.where(gaps < steps // 2 - PAIRS, odds, 0)
        odds = odds / jnp.sum(odds)
        asked = jax.random.choice(of_places, longest, (PAIRS,), replace=False, p=odds)
        told = jnp.stack([1 + keys, 1 + KEYS + values], axis=-1).ravel()
        at = context + 2 * asked
        tokens = jnp.zeros(length, jnp.int32).at[:context].set(told).at[at].set(1 + keys)
        return tokens, jnp.full(length, -1, jnp.int32).at[at].set(values)

    baseline = math.log(VALUES)
    return Task(sample, length, inputs=1 + KEYS + VALUES, outputs=VALUES, baseline=baseline)


def selective_copy(length: int = 64) -> Task:
    """Ten symbols out of eight, strewn among blanks, in their order at the end (Jing et al. 2019,
    denoising; Gu and Dao 2023, selective copying).

    The last ten steps are markers, and labelled. Tokens are the symbols, the blank, the marker.
    """
    at_least('selective_copy', 2 * COPIED, length, f'{COPIED} symbols, read and answered')
    blank, marker = SYMBOLS, SYMBOLS + 1

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        of_symbols, of_places = jax.random.split(key)
        symbols = jax.random.randint(of_symbols, (COPIED,), 0, SYMBOLS, jnp.int32)
        time, end = jnp.arange(length), steps - COPIED
        order = jnp.where(time < end, jax.random.uniform(of_places, (length,)), 2)
        at = jnp.sort(jnp.argsort(order)[:COPIED])
        tokens = jnp.where(time < end, blank, marker).astype(jnp.int32).at[at].set(symbols)
        labels = jnp.full(length, -1, jnp.int32)
        return tokens, labels.at[end + jnp.arange(COPIED)].set(symbols)

    baseline = math.log(SYMBOLS)
    return Task(sample, length, inputs=SYMBOLS + 2, outputs=SYMBOLS, baseline=baseline)


def induction(length: int = 64) -> Task:
    """The word after the first of two equal marks, when the second comes: an induction head
    (Olsson et al. 2022; as a task Gu and Dao 2023).

    All other steps are random words, of 16. The second mark is the last step, which alone is
    labelled. Tokens are the words, then the mark.
    """
    at_least('induction', 3, length, 'a mark, a word and a mark')

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        of_words, of_place = jax.random.split(key)
        words = jax.random.randint(of_words, (length,), 0, WORDS, jnp.int32)
        first = jax.random.randint(of_place, (), 0, steps - 2)
        tokens = words.at[jnp.stack([first, jnp.asarray(steps - 1)])].set(WORDS)
        return tokens, jnp.full(length, -1, jnp.int32).at[steps - 1].set(words[first + 1])

    baseline = math.log(WORDS)
    return Task(sample, length, inputs=WORDS + 1, outputs=WORDS, baseline=baseline)
