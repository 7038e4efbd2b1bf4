"""Tasks that an automaton answers: state tracking. Ids in, a class at each step.

Letters in shapes: S states, M equally probable moves, T time steps.
"""

from collections.abc import Callable, Hashable
from functools import cache
from itertools import permutations
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rnnlab.data.tasks.task import Task, at_least
from rnnlab.errors import InputError

MODULUS = 5
KINDS, DEPTH = 8, 3  # of brackets, and how deep they are nested
MOST_COUNTED = 10**6  # steps of the counting task, whose baseline is a sum over all of them
TINY = 1e-300

State = TypeVar('State', bound=Hashable)


class Automaton(NamedTuple):
    """A finite automaton, begun in state 0, that draws one of its moves at each step.

    tokens: int [S, M], the id that a move shows.
    states: int [S, M], the state after it.
    labels: int [S], the class of a state; -1 for none.
    """

    tokens: np.ndarray
    states: np.ndarray
    labels: np.ndarray


def automaton(
    start: State, moves: Callable[[State], list[tuple[int, State]]], label: Callable[[State], int]
) -> Automaton:
    """The automaton of all states that can be reached.

    moves: state -> (token, next state) of each move, as many in every state.
    """
    place, states = {start: 0}, [start]
    for state in states:  # which grows meanwhile
        for _, after in moves(state):
            if after not in place:
                place[after] = len(states)
                states.append(after)
    every = [moves(state) for state in states]
    return Automaton(
        np.array([[token for token, _ in own] for own in every]),
        np.array([[place[after] for _, after in own] for own in every]),
        np.array([label(state) for state in states]),
    )


def answered(machine: Automaton, length: int) -> Task:
    """The task to tell the class of the state after each token."""

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        tokens, states, labels = (jnp.asarray(table, jnp.int32) for table in machine)

        def step(state: Array, move: Array) -> tuple[Array, tuple[Array, Array]]:
            after = states[state, move]
            return after, (tokens[state, move], labels[after])

        moves = jax.random.randint(key, (length,), 0, tokens.shape[1], jnp.int32)
        return lax.scan(step, jnp.int32(0), moves)[1]

    return Task(
        sample,
        length=length,
        inputs=int(machine.tokens.max()) + 1,
        outputs=int(machine.labels.max()) + 1,
        baseline=memoryless(machine, length),
    )


def memoryless(machine: Automaton, length: int) -> float:
    """The mean entropy of a label given its token and its place, in nats.

    Once the odds of the states are those of two steps before, what follows repeats two steps.
    """
    labels = machine.labels[machine.states]
    shown, (number, moves) = labels >= 0, labels.shape
    odds, steps = [np.eye(number)[0]], list[np.ndarray]()
    while len(steps) < length and not (steps[1:] and np.allclose(odds[-1], odds[-3], 0, 1e-13)):
        of_move = np.repeat(odds[-1][:, None] / moves, moves, axis=1)
        joint = np.zeros((machine.tokens.max() + 1, labels.max() + 1))
        np.add.at(joint, (machine.tokens[shown], labels[shown]), of_move[shown])
        given = joint / np.maximum(joint.sum(axis=1, keepdims=True), TINY)
        entropy = -np.sum(joint * np.log(np.maximum(given, TINY)))
        steps.append(np.array([entropy, joint.sum()]))
        odds.append(np.bincount(machine.states.ravel(), of_move.ravel(), number))
    left = length - len(steps)
    entropy, count = sum(steps) + (left + 1) // 2 * steps[-2:][0] + left // 2 * steps[-1]
    return float(entropy / count)


@cache
def word_problem(elements: tuple[tuple[int, ...], ...]) -> Automaton:
    """The product of permutations so far, each drawn from `elements`, a group, the identity first.

    The token or class of a permutation is its place there.
    """
    place = {element: number for number, element in enumerate(elements)}

    def moves(before: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
        return [(number, tuple(g[i] for i in before)) for g, number in place.items()]

    return automaton(elements[0], moves, place.__getitem__)


def s3(length: int = 64) -> Task:
    """The product of the permutations of three things so far, at each step: the word problem of S3,
    the smallest group that does not commute (Merrill, Petty, Sabharwal 2024; Grazzi et al. 2024).

    Tokens and classes are its 6 elements, in lexicographic order. A permutation is applied after
    those before it.
    """
    at_least('s3', 2, length)
    return answered(word_problem(tuple(permutations(range(3)))), length)


def s5(length: int = 64) -> Task:
    """The word problem of S5, the 120 permutations of five things, as that of `s3`.

    It is complete for NC1, and so beyond linear recurrences with diagonal matrices, which are in
    TC0, unless the two are equal (Merrill, Petty, Sabharwal 2024).
    """
    at_least('s5', 2, length)
    return answered(word_problem(tuple(permutations(range(5)))), length)


def a5(length: int = 64) -> Task:
    """The word problem of A5, the 60 even permutations of five things, as that of `s3`.

    The smallest group that is not solvable: as hard as S5.
    """
    at_least('a5', 2, length)
    return answered(word_problem(tuple(filter(is_even, permutations(range(5))))), length)


def is_even(permutation: tuple[int, ...]) -> bool:
    pairs = ((a, b) for at, b in enumerate(permutation) for a in permutation[:at])
    return sum(a > b for a, b in pairs) % 2 == 0


def modular(length: int = 63) -> Task:
    """The value of an expression modulo 5: numbers and operators +, -, * in turn, without brackets
    (Delétang et al. 2023, modular arithmetic, simple).

    They label the end alone, of expressions of random length; here each number has the value of the
    expression that ends there, the same for all lengths at once. Products come before sums. Tokens
    are the numbers 0 to 4, then +, -, *.
    """
    at_least('modular', 3, length, 'two numbers and an operator')
    return answered(arithmetic(), length)


@cache
def arithmetic() -> Automaton:
    """A state is the sum of the terms before the last one, that one or, after an operator, the
    factor of the number that comes, and whether a number came last."""

    def moves(state: tuple[int, int, bool]) -> list[tuple[int, tuple[int, int, bool]]]:
        total, term, number = state
        if not number:
            return 3 * [(n, (total, term * n % MODULUS, True)) for n in range(MODULUS)]
        plus = (total + term) % MODULUS
        after = (plus, 1, False), (plus, MODULUS - 1, False), (total, term, False)
        return MODULUS * [*enumerate(after, MODULUS)]

    return automaton((0, 1, False), moves, lambda s: (s[0] + s[1]) % MODULUS if s[2] else -1)


def dyck(length: int = 64) -> Task:
    """The bracket to be closed next, at each step: brackets of 8 kinds, at most 3 deep (Hewitt et
    al. 2020, Dyck-(k, m)).

    Where both are possible, a bracket opens or closes with even odds. Tokens are the opening, then
    the closing brackets; classes are the kinds, and the last one says that none is open.
    """
    at_least('dyck', 2, length)
    return answered(brackets(), length)


@cache
def brackets() -> Automaton:
    """A state is the stack of open brackets."""

    def moves(stack: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
        opening = [(kind, (*stack, kind)) for kind in range(KINDS)]
        closing = KINDS * [(KINDS + kind, stack[:-1]) for kind in stack[-1:]]
        if not stack:
            return 2 * opening
        return 2 * closing if len(stack) == DEPTH else opening + closing

    empty: tuple[int, ...] = ()
    return automaton(empty, moves, lambda stack: stack[-1] if stack else KINDS)


def counting(length: int = 64) -> Task:
    """Whether ones have been fewer than zeros, as many, or more, at each step: a counter that rises
    and falls (Weiss, Goldberg, Yahav 2018; Suzgun et al. 2019), here the majority of each prefix.

    Bits have even odds. Classes are 0 for fewer, 1 for as many, 2 for more.
    """
    at_least('counting', 2, length)
    if length > MOST_COUNTED:
        raise InputError(f'the counting task has a `length` of at most {MOST_COUNTED}')

    def sample(key: Array, steps: int | Array = length) -> tuple[Array, Array]:
        bits = jax.random.bernoulli(key, shape=(length,)).astype(jnp.int32)
        count = jnp.cumsum(2 * bits - 1, dtype=jnp.int32)
        return bits, jnp.sign(count) + 1

    return Task(sample, length=length, inputs=2, outputs=3, baseline=uncounted(length))


def uncounted(length: int) -> float:
    """The mean entropy of a label of the counting task given its bit and its place, in nats.

    After n steps both counts are equal with probability p(n), n even, and one leads by one with
    p(n + 1), n odd, each. So after a one, as many as zeros are there with 0 or p(n + 1), and fewer
    with 1/2 - p(n)/2 or 1/2 - p(n + 1).
    """
    pairs = np.arange(1, length // 2 + 1)
    tie = np.cumprod([1.0, *((2 * pairs - 1) / (2 * pairs))])  # p(0), p(2), ...
    even, odd = tie[: (length + 1) // 2], tie[1:]  # n = 0, 2, ... and 1, 3, ...
    odds = [0.5 + even / 2, 0.5 - even / 2, np.full(len(odd), 0.5), odd, 0.5 - odd]
    return float(sum(-np.sum(p * np.log(np.maximum(p, TINY))) for p in odds) / length)
