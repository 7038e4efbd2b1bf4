"""The memory tasks: labels, memoryless baselines, and fresh examples at every step."""

import math
from collections import Counter
from functools import cache, partial
from itertools import permutations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlab.cells import elman, lstm
from rnnlab.data import TASKS, memory_sequences, of_lengths
from rnnlab.errors import InputError
from rnnlab.models import network
from rnnlab.recurrence import recurrent
from rnnlab.training.batches import Batch, generated
from rnnlab.training.devices import batch_mesh
from rnnlab.training.losses import cross_entropy, squared_error
from rnnlab.training.optim import Hyper, optimizer
from rnnlab.training.train import fit, make_run, sums
from tests.conftest import close, noisy, same

LENGTHS = {
    'adding': 7,
    'copy': 5,
    'parity': 12,
    'recall': 9,
    'flipflop': 20,
    'integrate': 9,
    'delayed_match': 6,
    's3': 4,
    's5': 2,
    'a5': 2,
    'modular': 5,
    'dyck': 4,
    'counting': 6,
    'mqar': 20,
    'selective_copy': 25,
    'induction': 9,
}
MANY = 4000
AUTOMATA = ['s3', 's5', 'a5', 'modular', 'dyck', 'counting']


@cache
def examples(name):
    task = TASKS[name](LENGTHS[name])
    inputs, labels = map(
        np.asarray, jax.jit(jax.vmap(task.sample))(jax.random.split(jax.random.key(0), MANY))
    )
    return task, inputs, labels


def answer_adding(steps):
    return [sum(value for value, mark in steps if mark)]


def answer_copy(steps):
    symbols = steps.argmax(axis=-1)
    assert (symbols[10:-11] == 8).all()
    assert symbols[-11] == 9
    assert (symbols[-10:] == 8).all()
    return [8] * (len(steps) - 10) + symbols[:10].tolist()


def answer_parity(steps):
    return [int(steps[: t + 1].sum()) % 2 for t in range(len(steps))]


def answer_recall(steps):
    *pairs, question = steps.argmax(axis=-1)
    known = dict(zip(pairs[::2], pairs[1::2], strict=True))
    assert len(known) == len(pairs) // 2
    return [-1] * len(pairs) + [known[question] - 26]


def answer_flipflop(steps):
    state, states = [0, 0, 0], []
    for pulses in steps:
        state = [pulse or before for pulse, before in zip(pulses, state, strict=True)]
        states.append(state)
    assert set(np.unique(steps)) == {-1, 0, 1}
    return states


def answer_integrate(steps):
    return [[sum(steps[: t + 1, 0])] for t in range(len(steps))]


def answer_delayed_match(steps):
    shown = steps.sum(axis=-1)
    assert shown.tolist() == [1] + [0] * (len(steps) - 2) + [1]
    return [-1] * (len(steps) - 1) + [int(steps[0].argmax() == steps[-1].argmax())]


def even(permutation):
    """Whether it takes an even number of exchanges to sort it."""
    things, exchanges = list(permutation), 0
    for at in range(len(things)):
        while (other := things[at]) != at:
            things[at], things[other] = things[other], things[at]
            exchanges += 1
    return exchanges % 2 == 0


def answer_group(elements, steps):
    where, answers = elements[0], []  # where each thing is
    for token in steps:
        where = tuple(elements[token][place] for place in where)
        answers.append(elements.index(where))
    return answers


def answer_modular(steps):
    text = [str(token) if token < 5 else '+-*'[token - 5] for token in steps]
    assert all(part.isdigit() == (at % 2 == 0) for at, part in enumerate(text))
    values = [eval(''.join(text[: at + 1])) % 5 for at in range(0, len(text), 2)]
    return [values[at // 2] if at % 2 == 0 else -1 for at in range(len(text))]


def answer_dyck(steps):
    stack, answers = [], []
    for token in steps:
        if token < 8:
            stack.append(token)
        else:
            assert stack.pop() == token - 8
        assert len(stack) <= 3
        answers.append(stack[-1] if stack else 8)
    return answers


def answer_counting(steps):
    counts = [Counter(steps[: at + 1].tolist()) for at in range(len(steps))]
    return [1 + (count[1] > count[0]) - (count[1] < count[0]) for count in counts]


def answer_mqar(steps):
    known = dict(zip(steps[:8:2], steps[1:8:2], strict=True))
    assert len(known) == 4
    assert all(1 <= key <= 16 < value <= 32 for key, value in known.items())
    assert sorted(token for token in steps[8:] if token) == sorted(known)
    return [-1] * 8 + [known[token] - 17 if token else -1 for token in steps[8:]]


def answer_selective_copy(steps):
    told = [token for token in steps if token < 8]
    assert (len(told), steps[-10:].tolist()) == (10, [9] * 10)
    return [-1] * (len(steps) - 10) + told


def answer_induction(steps):
    first, last = np.flatnonzero(steps == 16)
    assert last == len(steps) - 1
    return [-1] * last + [steps[first + 1]]


S5 = [*permutations(range(5))]
ANSWERS = {
    's3': partial(answer_group, [*permutations(range(3))]),
    's5': partial(answer_group, S5),
    'a5': partial(answer_group, [*filter(even, S5)]),
    'modular': answer_modular,
    'dyck': answer_dyck,
    'counting': answer_counting,
    'mqar': answer_mqar,
    'selective_copy': answer_selective_copy,
    'induction': answer_induction,
    'adding': answer_adding,
    'copy': answer_copy,
    'parity': answer_parity,
    'recall': answer_recall,
    'flipflop': answer_flipflop,
    'integrate': answer_integrate,
    'delayed_match': answer_delayed_match,
}


@pytest.mark.parametrize('name', TASKS)
def test_labels_are_the_answers(name):
    task, inputs, labels = examples(name)
    assert inputs.shape[-1] == task.inputs if inputs.ndim == 3 else inputs.max() < task.inputs
    assert task.numbers or labels.max() == task.outputs - 1
    for steps, label in zip(inputs[:50], labels[:50], strict=True):
        np.testing.assert_allclose(label, ANSWERS[name](steps), rtol=1e-12)
    assert len({steps.tobytes() for steps in inputs[:50]}) > 20


def every_dyck(length, depth=0):
    """(probability, tokens) of every sequence, up to the kinds of its closing brackets."""
    if not length:
        return [(1.0, ())]
    opens = {0: 1.0, 3: 0.0}.get(depth, 0.5)
    found = []
    for way, odds in ((1, opens), (-1, 1 - opens)):
        for p, tokens in every_dyck(length - 1, depth + way) if odds else ():
            found += [(odds * p, (way, *tokens))]
    return found


def brackets(ways):
    """Every sequence of brackets that opens and closes like this."""
    sequences = [((), ())]
    for way in ways:
        longer = []
        for tokens, stack in sequences:
            if way == 1:
                longer += [((*tokens, kind), (*stack, kind)) for kind in range(8)]
            else:
                longer += [((*tokens, 8 + stack[-1]), stack[:-1])]
        sequences = longer
    return [tokens for tokens, _ in sequences]


def every(name):
    """(probability, tokens) of every sequence of a task that an automaton answers."""
    length = LENGTHS[name]
    if name == 'dyck':
        ways = [(p, brackets(ways)) for p, ways in every_dyck(length)]
        return [(p / len(own), tokens) for p, own in ways for tokens in own]
    if name == 'modular':
        tokens = [range(5) if at % 2 == 0 else range(5, 8) for at in range(length)]
    else:
        tokens = [range(TASKS[name](length).inputs)] * length
    sequences = [*product(*tokens)]
    return [(1 / len(sequences), sequence) for sequence in sequences]


def given_token_and_place(name):
    """{(place, token): {label: joint probability}}, by all sequences there are."""
    odds = {}
    for p, tokens in every(name):
        answers = ANSWERS[name](np.array(tokens))
        for at in zip(range(len(tokens)), tokens, answers, strict=True):
            if at[2] >= 0:
                own = odds.setdefault(at[:2], Counter())
                own[at[2]] += p
    return odds


def memoryless(name, task, inputs, labels):
    """Outputs of the best memoryless guess; parity's first label is its first input."""
    if name in AUTOMATA:
        logits = np.full((*labels.shape, task.outputs), -1e3)
        for (place, token), own in given_token_and_place(name).items():
            for label, p in own.items():
                logits[inputs[:, place] == token, place, label] = math.log(p)
        return logits
    if name == 'adding':
        return np.ones((len(labels), 1))
    if task.numbers:
        return inputs
    logits = np.zeros((*labels.shape, task.outputs))
    if name == 'copy':
        logits[:, :-10, 8], logits[:, -10:, 8] = 1e3, -1e3
    if name == 'parity':
        logits[:, 0] = 1e3 * np.eye(2)[labels[:, 0]]
    return logits


@pytest.mark.parametrize('name', TASKS)
def test_the_baseline_is_the_loss_of_the_memoryless_guess(name):
    task, inputs, labels = examples(name)
    loss = squared_error() if task.numbers else cross_entropy()
    outputs = jnp.asarray(memoryless(name, task, inputs, labels))
    mask = jnp.ones(outputs.shape[:-1], bool)
    metrics, count = loss.sums(outputs, jnp.asarray(labels), mask)
    exact = not task.numbers and name not in AUTOMATA
    tolerance = 1e-6 if exact else 5 * 0.5 / math.sqrt(MANY)
    assert float(metrics['loss']) / int(count) == pytest.approx(task.baseline, abs=tolerance)


@pytest.mark.parametrize('name', AUTOMATA)
def test_the_baseline_is_the_entropy_given_token_and_place(name):
    odds = given_token_and_place(name)
    entropy = -sum(
        p * math.log(p / sum(own.values())) for own in odds.values() for p in own.values()
    )
    labels = sum(p for own in odds.values() for p in own.values())
    assert TASKS[name](LENGTHS[name]).baseline == pytest.approx(entropy / labels, rel=1e-12)


@pytest.mark.parametrize('name', ['modular', 'dyck', 'counting'])
def test_the_baseline_of_long_sequences(name):
    """Places far from the start differ at most by whether they are even."""
    short, long = TASKS[name](100), TASKS[name](200)
    keys = jax.random.split(jax.random.key(1), 1000)
    inputs, labels = (np.asarray(part)[:, 100:] for part in jax.jit(jax.vmap(long.sample))(keys))
    shown = labels >= 0
    place = np.broadcast_to(np.arange(100) % 2, labels.shape)
    joint = np.zeros((2, long.inputs, long.outputs))
    np.add.at(joint, (place[shown], inputs[shown], labels[shown]), 1 / shown.sum())
    given = joint / np.maximum(joint.sum(axis=-1, keepdims=True), 1e-9)
    entropy = -np.sum(joint * np.log(np.where(given > 0, given, 1)))
    more = 2 * long.baseline - short.baseline
    assert entropy == pytest.approx(more, abs=0.02)


@pytest.mark.parametrize(('name', 'elements'), [('s3', 6), ('s5', 120), ('a5', 60)])
def test_every_product_is_as_likely(name, elements):
    for length in (2, 64, 10**6):
        expected = (length - 1) / length * math.log(elements)
        assert TASKS[name](length).baseline == pytest.approx(expected, rel=1e-12)


def test_the_baselines_of_the_papers():
    assert TASKS['copy'](100).baseline == pytest.approx(10 * math.log(8) / 120)
    assert TASKS['adding'](200).baseline == pytest.approx(0.1667, abs=1e-4)


@pytest.mark.parametrize(
    ('name', 'length'),
    [
        ('adding', 1),
        ('recall', 4),
        ('recall', 1),
        ('recall', 55),
        ('copy', 0),
        ('parity', 0),
        ('flipflop', 1),
        ('integrate', 1),
        ('delayed_match', 1),
        ('s3', 1),
        ('modular', 2),
        ('dyck', 1),
        ('counting', 1),
        ('counting', 10**6 + 1),
        ('mqar', 15),
        ('selective_copy', 19),
        ('induction', 2),
    ],
)
def test_impossible_lengths_are_refused(name, length):
    with pytest.raises(InputError, match='length'):
        TASKS[name](length)


@cache
def of_any_length(name):
    return jax.jit(TASKS[name](LENGTHS[name]).sample)


LEAST = {'mqar': 16, 'selective_copy': 20, 'recall': 3, 'modular': 3, 'induction': 3, 'copy': 1}


@pytest.mark.parametrize('name', TASKS)
@settings(deadline=None, derandomize=True, database=None, max_examples=8)
@given(data=st.data())
def test_a_sequence_of_fewer_steps_is_one_of_that_length(name, data):
    task, least = TASKS[name](LENGTHS[name]), LEAST.get(name, 2)
    length = data.draw(st.sampled_from(range(least, task.length + 1, task.spacing)))
    key = jax.random.key(data.draw(st.integers(0, 10**6)))
    inputs, labels = map(np.asarray, of_any_length(name)(key, length))
    steps = length + len(inputs) - task.length
    labels = labels if task.pool else labels[:steps]
    np.testing.assert_allclose(labels, ANSWERS[name](inputs[:steps]), rtol=1e-12)
    if length == task.length:
        close((inputs, labels), tuple(map(np.asarray, task.sample(key))))


@pytest.mark.parametrize('name', ['copy', 'recall', 's3'])
def test_a_curriculum_draws_all_lengths_alike(name):
    task, least = TASKS[name](LENGTHS[name]), LEAST.get(name, 2)
    draw = jax.jit(jax.vmap(of_lengths(task, least)))
    inputs, _, steps = map(np.asarray, draw(jax.random.split(jax.random.key(3), MANY)))
    lengths = steps - inputs.shape[1] + task.length
    there = range(least, task.length + 1, task.spacing)
    counts = Counter(lengths.tolist())
    assert counts.keys() == {*there}
    assert min(counts.values()) > 0.8 * MANY / len(there)
    same(steps, np.asarray(draw(jax.random.split(jax.random.key(3), MANY))[2]))


def test_a_batch_of_a_curriculum_is_its_sequences_alone():
    """The loss of a padded batch is the sum over its sequences without padding."""
    task, loss = TASKS['dyck'](LENGTHS['dyck']), cross_entropy()
    net = network([recurrent(elman(3))], inputs=task.inputs, outputs=task.outputs)
    params = noisy(net.init(jax.random.key(0)))
    batches = generated(of_lengths(task, 2), 3, 1)
    draws = jax.random.split(jax.random.key(4), 3)
    batch = Batch(jnp.arange(3, dtype=jnp.int32), None, draws)
    (padded, count), *_ = sums(net, loss, batches)[0](params, None, None, batch, jnp.int32(0))
    total, targets, apply = 0.0, 0, jax.jit(net.apply)
    for inputs, labels, steps in zip(*jax.vmap(of_lengths(task, 2))(draws), strict=True):
        outputs = apply(params, inputs[None, :steps])
        mask = jnp.ones(outputs.shape[:-1], bool)
        own, number = loss.sums(outputs, labels[None, :steps], mask)
        total, targets = total + own['loss'], targets + number
    close((padded['loss'], count), (total, targets))


def test_sequences_to_evaluate_are_always_the_same_and_apart():
    task = TASKS['recall'](9)
    data, again = (memory_sequences(task, 20, 30) for _ in range(2))
    same((data.validation, data.test), (again.validation, again.test))
    assert data.train is None
    validation, test = (
        {row.tobytes() for row in part.inputs} for part in (data.validation, data.test)
    )
    assert not validation & test


def test_longer_tests_are_the_same_sequences_for_every_run():
    data, again = (
        memory_sequences(TASKS['induction'](9), 2, 3, {n: TASKS['induction'](n) for n in (9, 30)})
        for _ in range(2)
    )
    same(data.tests, again.tests)
    same(data.tests[9], data.test)
    assert data.tests[30].inputs.shape == (3, 30)


def run(task, size=4, mesh=None):
    def loss(hyper):
        return squared_error() if task.numbers else cross_entropy(hyper.label_smoothing)

    def model(hyper):
        sizes = {'inputs': task.inputs, 'outputs': task.outputs}
        return network([recurrent(lstm(8))], **sizes, pool=task.pool)

    batches = generated(task.sample, size, 7)
    return make_run(model, optimizer('adam'), batches, every=5, loss=loss, mesh=mesh)


HYPER, KEY = Hyper(lr=0.01, clip=1.0), jax.random.key(2)


@pytest.mark.parametrize('name', ['adding', 'recall', 'flipflop'])
def test_a_run_on_generated_examples(name):
    """Chunks change no bit, devices agree, and every step has other examples."""
    own = run(TASKS[name](LENGTHS[name]))
    whole = own.advance(HYPER, KEY, None, own.start(HYPER, KEY), 12)
    state = own.start(HYPER, KEY)
    for steps in (1, 4, 7):
        state = own.advance(HYPER, KEY, None, state, steps)
    same(state, whole)
    both = run(TASKS[name](LENGTHS[name]), mesh=batch_mesh(4))
    close(both.advance(HYPER, KEY, None, both.start(HYPER, KEY), 12).params, whole.params)
    still = HYPER._replace(lr=0.0)
    losses = [
        state.totals.means()['loss']
        for state in fit(own, still, KEY, None, own.start(still, KEY), stop=3, every=1)
    ]
    assert len(set(losses)) == 3
