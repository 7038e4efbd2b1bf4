"""The memory tasks: labels, memoryless baselines, and fresh examples at every step."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlab.cells import lstm
from rnnlab.data import TASKS, memory_sequences
from rnnlab.errors import InputError
from rnnlab.models import network
from rnnlab.recurrence import recurrent
from rnnlab.training.batches import generated
from rnnlab.training.losses import cross_entropy, squared_error
from rnnlab.training.optim import Hyper, optimizer
from rnnlab.training.train import batch_mesh, fit, make_run
from tests.conftest import close, same

LENGTHS = {
    'adding': 7,
    'copy': 5,
    'parity': 12,
    'recall': 9,
    'flipflop': 20,
    'integrate': 9,
    'delayed_match': 6,
}
MANY = 4000


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


ANSWERS = {
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
    assert inputs.shape[-1] == task.inputs
    for steps, label in zip(inputs[:50], labels[:50], strict=True):
        np.testing.assert_allclose(label, ANSWERS[name](steps), rtol=1e-12)
    assert len({steps.tobytes() for steps in inputs[:50]}) > 20


def memoryless(name, task, inputs, labels):
    """Outputs of the best memoryless guess; parity's first label is its first input."""
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
    tolerance = 5 * 0.5 / math.sqrt(MANY) if task.numbers else 1e-6
    assert float(metrics['loss']) / int(count) == pytest.approx(task.baseline, abs=tolerance)


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
    ],
)
def test_impossible_lengths_are_refused(name, length):
    with pytest.raises(InputError, match='length'):
        TASKS[name](length)


def test_sequences_to_evaluate_are_always_the_same_and_apart():
    task = TASKS['recall'](9)
    data, again = (memory_sequences(task, 20, 30) for _ in range(2))
    same((data.validation, data.test), (again.validation, again.test))
    assert data.train is None
    validation, test = (
        {row.tobytes() for row in part.inputs} for part in (data.validation, data.test)
    )
    assert not validation & test


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
