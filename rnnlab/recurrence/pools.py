"""Pools: what is read out of the outputs of the highest layer at all steps.

Letters in shapes: T time steps, B batch, H outputs.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from rnnlab.cells.base import Arrays, Params, biased
from rnnlab.precision import product
from rnnlab.recurrence.masking import choose, within, zeroed

Steps = Float[Array, 'T B H']
Pooled = Float[Array, 'B H']
Lengths = Int[Arrays, ' B'] | None


def mean(_: Params, ys: Steps, lengths: Lengths) -> Pooled:
    """The mean over time of ys [T, B, H] -> [B, H]; 0 for length 0."""
    if lengths is None:
        return jnp.mean(ys, axis=0)
    total = jnp.sum(zeroed(within(len(ys), lengths), ys), axis=0)
    return total / jnp.expand_dims(jnp.maximum(lengths, 1), -1).astype(ys.dtype)


def maximum(_: Params, ys: Steps, lengths: Lengths) -> Pooled:
    """The maximum over time of ys [T, B, H] -> [B, H]; 0 for length 0."""
    if lengths is None:
        return jnp.max(ys, axis=0)
    lengths = jnp.asarray(lengths)
    high = jnp.max(choose(within(len(ys), lengths), ys, jnp.full_like(ys, -jnp.inf)), axis=0)
    return zeroed(lengths > 0, high)


def attention(params: Params, ys: Steps, lengths: Lengths) -> Pooled:
    """The attention-weighted mean over time of ys [T, B, H] -> [B, H]; 0 for length 0.

    The weights are softmax(tanh(ys W + b) q) over the valid steps (Yang et al. 2016, equations 5 to
    7), with params kernel W [H, H], bias b and query q [H].
    """
    scores = jnp.tanh(biased(product(ys, params['kernel']), params['bias'])) @ params['query']
    valid = jnp.ones(scores.shape, bool) if lengths is None else within(len(ys), lengths)
    finite = choose(valid, scores, jnp.full_like(scores, -1e30))
    weights = zeroed(valid, jax.nn.softmax(finite, axis=0))
    return jnp.sum(jnp.expand_dims(weights, -1) * ys, axis=0)


def last(_: Params, y: Pooled, lengths: Lengths) -> Pooled:
    """y [B, H]: with this pool the highest layer returns its last output alone."""
    return y


POOLS: dict[str, Callable[[Params, Array, Lengths], Array]] = {
    'last': last,
    'mean': mean,
    'max': maximum,
    'attention': attention,
}
