"""Losses and the metrics reported with them, as sums and counts over the unmasked targets."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Integer

from rnnlab.errors import InputError

Number = TypeVar('Number', float, np.ndarray)


class Metric(NamedTuple):
    """A quantity averaged over targets."""

    name: str
    unit: str
    higher_is_better: bool = False

    @property
    def label(self) -> str:
        """The name for an axis or a heading, with the unit unless it is plain."""
        plain = self.is_fraction or self.unit == self.name
        return self.name if plain else f'{self.name} ({self.unit})'

    @property
    def is_fraction(self) -> bool:
        return self.unit == 'fraction'

    def score(self, value: Number) -> Number:
        """The value, or its negative: greater is better."""
        return value if self.higher_is_better else -value


ACCURACY = Metric('accuracy', 'fraction', higher_is_better=True)
CROSS_ENTROPY = Metric('loss', 'nats')
BITS = Metric('bits', 'bits')
SQUARED = Metric('loss', 'mean squared error')
MAE = Metric('mae', 'mean absolute error')
MSE = Metric('mse', 'mean squared error')
ABSOLUTE = Metric('loss', 'mean absolute error')
PINBALL = Metric('loss', 'mean pinball loss')
COVERAGE = Metric('coverage', 'fraction', higher_is_better=True)


class Loss(NamedTuple):
    """What training minimises, and the metrics reported with it.

    metrics: each with the type of its sum; the first, named 'loss', is minimised.
    sums: (outputs [B, K] or [B, T, K], labels, mask bool [B] or [B, T])
        -> (the sum of each metric by name, the count of targets).
    """

    metrics: dict[Metric, DTypeLike]
    sums: Callable[[Array, Array, Array], tuple[dict[str, Array], Array]]


def cross_entropy(smoothing: float | Array | None = None, *, bits: bool = False) -> Loss:
    """Cross-entropy in nats and the accuracy, for logits and class labels int [B] or [B, T].

    Args:
        smoothing: fraction of each label's probability that is spread evenly over all classes
            (Szegedy et al. 2016, section 7).
        bits: reports the loss in bits too.

    Targets with a label below 0 are masked.
    """
    metrics: dict[Metric, DTypeLike] = {CROSS_ENTROPY: float, ACCURACY: jnp.int32} | (
        {BITS: float} if bits else {}
    )

    def sums(
        logits: Float[Array, 'B *T K'], labels: Integer[Array, ' B *T'], mask: Bool[Array, ' B *T']
    ) -> tuple[dict[str, Array], Array]:
        check_labels(labels, logits.shape[:-1])
        mask = mask & (labels >= 0)
        labels = jnp.maximum(labels, 0)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        if smoothing is not None:
            even = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
            losses = losses + jnp.asarray(smoothing, losses.dtype) * (even - losses)
        right = jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels
        nats = jnp.sum(jnp.where(mask, losses, 0))
        values = {'loss': nats, 'accuracy': jnp.sum(right & mask, dtype=jnp.int32)}
        if bits:
            values['bits'] = nats / math.log(2)
        return values, jnp.sum(mask, dtype=jnp.int32)

    return Loss(metrics, sums)


def squared_error() -> Loss:
    """Squared error and absolute error, for numbers [B, K] or [B, T, K]. NaN labels are masked."""
    return Loss({SQUARED: float, MAE: float}, partial(error_sums, {'loss': square, 'mae': jnp.abs}))


def absolute_error() -> Loss:
    """The same, of which the absolute error is minimised: forecasts of the median."""
    return Loss(
        {ABSOLUTE: float, MSE: float}, partial(error_sums, {'loss': jnp.abs, 'mse': square})
    )


def error_sums(
    of: dict[str, Callable[[Array], Array]],
    outputs: Float[Array, 'B *T K'],
    labels: Float[Array, 'B *T K'],
    mask: Bool[Array, ' B *T'],
) -> tuple[dict[str, Array], Array]:
    """The sums of functions of outputs - labels, and the count of labels."""
    check_labels(labels, outputs.shape)
    mask = numbers(labels, mask)
    error = jnp.where(mask, outputs - jnp.where(mask, labels, 0).astype(outputs.dtype), 0)
    values = {name: jnp.sum(function(error)) for name, function in of.items()}
    return values, jnp.sum(mask, dtype=jnp.int32)


def square(error: Array) -> Array:
    return error**2


def pinball(quantiles: Sequence[float]) -> Loss:
    """The pinball loss of quantiles, for outputs [..., Q, K] and numbers [..., K].

    It is the mean over the quantiles (Koenker and Bassett 1978). Beside it are the absolute error
    of the middle one, and the coverage: the fraction of labels from the first to the last quantile.

    quantiles: Q of them, an odd number, in increasing order. NaN labels are masked.
    """
    middle = len(quantiles) // 2

    def sums(outputs: Array, labels: Array, mask: Array) -> tuple[dict[str, Array], Array]:
        check_labels(labels, (*outputs.shape[:-2], outputs.shape[-1]))
        mask = numbers(labels, mask)
        labels = jnp.expand_dims(jnp.where(mask, labels, 0).astype(outputs.dtype), -2)
        above = jnp.where(jnp.expand_dims(mask, -2), labels - outputs, 0)
        level = jnp.asarray(quantiles, outputs.dtype).reshape((1,) * (above.ndim - 2) + (-1, 1))
        losses = jnp.maximum(level * above, (level - 1) * above)
        inside = (above[..., 0, :] >= 0) & (above[..., -1, :] <= 0) & mask
        values = {
            'loss': jnp.sum(losses) / len(quantiles),
            'mae': jnp.sum(jnp.abs(above[..., middle, :])),
            'coverage': jnp.sum(inside, dtype=jnp.int32),
        }
        return values, jnp.sum(mask, dtype=jnp.int32)

    return Loss({PINBALL: float, MAE: float, COVERAGE: jnp.int32}, sums)


def over_horizon(loss: Loss, horizon: int) -> Loss:
    """A loss for outputs [B, T, horizon, K] of the rows after each step, or [B, T, horizon, Q, K].

    Its labels are the rows [B, T + horizon - 1, K] from the one after the first step on. A step
    counts where no column of its rows is NaN.
    """

    def sums(outputs: Array, labels: Array, mask: Array) -> tuple[dict[str, Array], Array]:
        time_steps = outputs.shape[1]
        if labels.shape[1] != time_steps + horizon - 1:
            words = f'labels should be {time_steps + horizon - 1} rows'
            raise InputError(f'{words}, {horizon} after each step, not {labels.shape[1]}')
        rows = labels[:, np.arange(time_steps)[:, None] + np.arange(horizon)]
        whole = ~jnp.any(jnp.isnan(rows), axis=(2, 3), keepdims=True)
        return loss.sums(outputs, jnp.where(whole, rows, jnp.nan), mask)

    return Loss(loss.metrics, sums)


def numbers(labels: Array, mask: Array) -> Array:
    """The mask of labels that are no NaN, from that of their examples or time steps."""
    return mask.reshape(mask.shape + (1,) * (labels.ndim - mask.ndim)) & ~jnp.isnan(labels)


def check_labels(labels: Array, shape: tuple[int, ...]) -> None:
    """Raises InputError for labels that would broadcast against outputs of another shape."""
    if labels.shape != shape:
        words = f'labels should be {list(shape)}, one for each of the outputs'
        raise InputError(f'{words}, not {list(labels.shape)}')
