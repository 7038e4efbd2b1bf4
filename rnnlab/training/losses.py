"""Losses and the metrics reported with them, as sums and counts over the unmasked targets."""

import math
from collections.abc import Callable
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

    def sums(
        outputs: Float[Array, 'B *T K'], labels: Float[Array, 'B *T K'], mask: Bool[Array, ' B *T']
    ) -> tuple[dict[str, Array], Array]:
        check_labels(labels, outputs.shape)
        mask = jnp.expand_dims(mask, -1) & ~jnp.isnan(labels)
        error = jnp.where(mask, outputs - jnp.where(mask, labels, 0).astype(outputs.dtype), 0)
        values = {'loss': jnp.sum(error**2), 'mae': jnp.sum(jnp.abs(error))}
        return values, jnp.sum(mask, dtype=jnp.int32)

    return Loss({SQUARED: float, MAE: float}, sums)


def check_labels(labels: Array, shape: tuple[int, ...]) -> None:
    """Raises InputError for labels that would broadcast against outputs of another shape."""
    if labels.shape != shape:
        words = f'labels should be {list(shape)}, one for each of the outputs'
        raise InputError(f'{words}, not {list(labels.shape)}')
