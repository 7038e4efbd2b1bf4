"""The losses against optax and plain sums, and masked targets."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnlab.cells import lstm
from rnnlab.data import Split
from rnnlab.errors import InputError
from rnnlab.models import network
from rnnlab.recurrence import recurrent
from rnnlab.training.batches import Batch, in_order
from rnnlab.training.losses import MAE, cross_entropy, squared_error
from rnnlab.training.train import sums
from tests.conftest import close, noisy

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.standard_normal((3, 5, 4)), RNG.integers(0, 4, (3, 5))
MASK = RNG.random((3, 5)) < 0.6


@pytest.mark.parametrize('smoothing', [None, 0.2])
def test_cross_entropy_is_that_of_optax(smoothing):
    values, count = cross_entropy(smoothing, bits=True).sums(
        jnp.asarray(LOGITS), jnp.asarray(LABELS), jnp.asarray(MASK)
    )
    smooth = optax.smooth_labels(jax.nn.one_hot(LABELS, 4), smoothing or 0.0)
    expected = float(jnp.sum(jnp.where(MASK, optax.softmax_cross_entropy(LOGITS, smooth), 0)))
    right = int(np.sum((LOGITS.argmax(axis=-1) == LABELS) & MASK))
    assert (int(count), int(values['accuracy'])) == (MASK.sum(), right)
    assert float(values['loss']) == pytest.approx(expected, rel=1e-12)
    assert float(values['bits']) == pytest.approx(expected / np.log(2), rel=1e-12)
    assert [metric.name for metric in cross_entropy().metrics] == ['loss', 'accuracy']


@pytest.mark.parametrize('loss', [cross_entropy(), squared_error()], ids=['classes', 'numbers'])
def test_masked_targets_change_neither_value_nor_gradient(loss):
    numbers = MAE in loss.metrics
    labels = RNG.standard_normal((3, 5, 4)) if numbers else LABELS
    masked = np.where(MASK[..., None], labels, np.nan) if numbers else np.where(MASK, labels, -1)

    def value(outputs, labels, mask):
        values, count = loss.sums(outputs, jnp.asarray(labels), jnp.asarray(mask))
        return values['loss'], (values, count)

    gradient = jax.value_and_grad(value, has_aux=True)
    close(
        gradient(jnp.asarray(LOGITS), masked, np.ones((3, 5), bool)),
        gradient(jnp.asarray(LOGITS), labels, MASK),
    )


def test_squared_error_is_over_every_number():
    outputs, labels = RNG.standard_normal((2, 3, 2)), RNG.standard_normal((2, 3, 2))
    labels[0, 1, 0] = np.nan
    values, count = squared_error().sums(
        jnp.asarray(outputs), jnp.asarray(labels), jnp.ones((2, 3), bool)
    )
    error = (outputs - labels)[~np.isnan(labels)]
    assert int(count) == 11
    assert float(values['loss']) == pytest.approx(np.sum(error**2))
    assert float(values['mae']) == pytest.approx(np.sum(np.abs(error)))


@pytest.mark.parametrize('kind', ['classes', 'numbers'])
def test_the_loss_is_a_mean_over_tokens_that_padding_does_not_change(kind):
    """Sequences alone against all in one batch, with padding and an example that fills it up."""
    loss = cross_entropy() if kind == 'classes' else squared_error()
    net = network([recurrent(lstm(4))], inputs=2, outputs=3)
    params = noisy(net.init(jax.random.key(0)))
    lengths = np.array([6, 1, 3])
    inputs = RNG.standard_normal((3, 6, 2))
    labels = RNG.integers(0, 3, (3, 6)) if kind == 'classes' else RNG.standard_normal((3, 6, 3))

    def alone(params):
        total, number = jnp.zeros(()), 0
        for n, t in enumerate(lengths):
            outputs = net.apply(params, inputs[None, n, :t])
            values, count = loss.sums(
                outputs, jnp.asarray(labels[None, n, :t]), jnp.ones((1, t), bool)
            )
            total, number = total + values['loss'], number + count
        return total / number.astype(float)

    def together(params, width, filler):
        data = Split(
            np.full((3, width, 2), np.nan),
            np.full((3, width, *labels.shape[2:]), filler, labels.dtype),
            lengths,
        )
        for n, t in enumerate(lengths):
            data.inputs[n, :t], data.labels[n, :t] = inputs[n, :t], labels[n, :t]
        [total] = sums(net, loss, in_order(data, 4))
        (values, count), *_ = total(
            params,
            None,
            jax.tree.map(jnp.asarray, data),
            Batch(jnp.array([0, 1, 2, -1])),
            jnp.int32(0),
        )
        return values['loss'] / count.astype(float)

    expected = jax.jit(jax.value_and_grad(alone))(params)
    for width, filler in ((6, 0), (9, 2)):
        loss_of = partial(together, width=width, filler=filler)
        close(jax.jit(jax.value_and_grad(loss_of))(params), expected)


@pytest.mark.parametrize('loss', [cross_entropy(), squared_error()], ids=['classes', 'numbers'])
def test_labels_of_another_shape_are_refused(loss):
    with pytest.raises(
        InputError, match=r'labels should be \[3, 5.*, one for each of the outputs, not \[3, 1\]'
    ):
        loss.sums(jnp.asarray(LOGITS), jnp.zeros((3, 1), int), jnp.asarray(MASK))
