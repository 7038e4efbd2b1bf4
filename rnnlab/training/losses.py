"""What a model is trained for: a loss, and the figures that are shown beside it, as sums over all that is asked for."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from rnnlab.errors import InputError


class Loss(NamedTuple):
    """figures: the names and types of what is summed; 'loss' is what training makes small.

    sums: (outputs [B, K] or [B, T, K], labels, asked bool [B] or [B, T]) -> (the sum of each figure, by name; over how many).
    """

    figures: dict[str, Any]
    sums: Callable[[Array, Array, Array], tuple[dict[str, Array], Array]]


def cross_entropy(smoothing: float | Array | None = None, *, bits: bool = False) -> Loss:
    """For outputs that are logits and labels that are classes, int [B] or [B, T]: nats and right answers, with `bits` bits too.

    A label below 0 is not asked for. Smoothing is the share of each label that is spread evenly over all classes (Szegedy et
    al. 2016, section 7).
    """

    def sums(logits, labels, asked):
        one_each(labels, logits.shape[:-1])
        asked = asked & (labels >= 0)
        labels = jnp.maximum(labels, 0)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        if smoothing is not None:
            even = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
            losses = losses + jnp.asarray(smoothing, losses.dtype) * (even - losses)
        right = jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels
        nats = jnp.sum(jnp.where(asked, losses, 0))
        figures = {
            'loss': nats,
            'accuracy': jnp.sum(right & asked, dtype=jnp.int32),
            'bits': nats / math.log(2),
        }
        return {name: figures[name] for name in names}, jnp.sum(asked, dtype=jnp.int32)

    names = {'loss': float, 'accuracy': jnp.int32, 'bits': float}
    if not bits:
        del names['bits']
    return Loss(names, sums)


def squared_error() -> Loss:
    """For outputs and labels that are numbers, [B, K] or [B, T, K]: the squares of the differences ('loss'), and their sizes ('mae').

    A label that is NaN is not asked for.
    """

    def sums(outputs, labels, asked):
        one_each(labels, outputs.shape)
        asked = jnp.expand_dims(asked, -1) & ~jnp.isnan(labels)
        error = jnp.where(asked, outputs - jnp.where(asked, labels, 0).astype(outputs.dtype), 0)
        return {'loss': jnp.sum(error**2), 'mae': jnp.sum(jnp.abs(error))}, jnp.sum(
            asked, dtype=jnp.int32
        )

    return Loss({'loss': float, 'mae': float}, sums)


def one_each(labels: Array, shape: tuple[int, ...]) -> None:
    """Raises InputError for labels that would be spread over outputs of another shape."""
    if labels.shape != shape:
        raise InputError(
            f'labels should be {list(shape)}, one for each of the outputs, not {list(labels.shape)}'
        )
