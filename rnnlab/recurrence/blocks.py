"""Pre-norm residual blocks around recurrent layers, as the papers of S5 and the LRU stack them.

Smith, Warrington, Linderman 2023 (arXiv 2208.04933); Orvieto et al. 2023 (arXiv 2303.06349).

Letters in shapes: T time steps, B batch, D features that a block reads and returns, H outputs of
its layer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.nn import gelu, glu
from jax.typing import DTypeLike

from rnnlab.cells.base import Params, Rate, biased, norm, times
from rnnlab.errors import fraction, known
from rnnlab.initializers import Initializer
from rnnlab.precision import product
from rnnlab.recurrence.dropout import dropout_mask, fold
from rnnlab.recurrence.masking import within, zeroed
from rnnlab.recurrence.pools import Lengths

NORMS = ('layer', 'batch')
MOMENTUM = 0.95  # fraction of the running statistics that a step keeps, as in the code of S5
EPSILON = 1e-5  # added to the variance

Moments = tuple[Array, Array]  # mean [D] and variance [D]


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """What surrounds each recurrent layer of a network:

        y = layer(norm(x))                                  [T, B, D] -> [T, B, H]
        x' = x + dropout(GLU(dropout(gelu(y))))             [T, B, H] -> [T, B, D]

    norm: 'layer', over the features of a step; 'batch', over all steps of a batch in training, by
        running statistics without.
    dropout: the rate, the same mask at every step; None is off.

    GLU(y) is the first half of y W + b times the sigmoid of the second (Dauphin et al. 2017), with
    params glu_kernel W [H, 2D] and glu_bias b [2D]; norm_scale and norm_bias [D] follow the norm.
    """

    norm: str = 'layer'
    dropout: Rate | None = None

    def __post_init__(self) -> None:
        known('norm', self.norm, NORMS)
        fraction('dropout', self.dropout)

    def init(
        self, key: Array, features: int, outputs: int, initializer: Initializer, dtype: DTypeLike
    ) -> Params:
        """params, for D features and H outputs of the layer."""
        halves = [initializer.dense(k, outputs, features, dtype) for k in jax.random.split(key)]
        kernel, bias = (jnp.concatenate(parts, axis=-1) for parts in zip(*halves, strict=True))
        return {
            'norm_scale': jnp.ones(features, dtype),
            'norm_bias': jnp.zeros(features, dtype),
            'glu_kernel': kernel,
            'glu_bias': bias,
        }

    def init_statistics(self, features: int, dtype: DTypeLike) -> Params:
        """The running statistics of a batch norm, which are updated but not learned; else {}."""
        if self.norm == 'layer':
            return {}
        return {'mean': jnp.zeros(features, dtype), 'variance': jnp.ones(features, dtype)}

    def normalized(
        self,
        params: Params,
        statistics: Params,
        x: Array,
        moments: Callable[[Array], Moments] | None,
    ) -> tuple[Array, Params]:
        """(norm(x), the running statistics after this batch) for x [T, B, D].

        moments: of x, for a batch norm in training; None takes the running ones.
        """
        if self.norm == 'layer':
            normed = norm(x)
        elif moments is None:
            normed = standardized(x, (statistics['mean'], statistics['variance']))
        else:
            mean, variance = own = moments(x)
            normed = standardized(x, own)
            statistics = {
                'mean': kept(statistics['mean'], mean),
                'variance': kept(statistics['variance'], variance),
            }
        return biased(times(normed, params['norm_scale']), params['norm_bias']), statistics

    def joined(self, params: Params, x: Array, y: Array, keys: Array | None) -> Array:
        """x + dropout(GLU(dropout(gelu(y)))): [..., B, D] for x [..., B, D] and y [..., B, H].

        With keys [B], one per sequence, dropout is on.
        """
        y = self.dropped(gelu(y), keys, 0)
        y = glu(biased(product(y, params['glu_kernel']), params['glu_bias']))
        return x + self.dropped(y, keys, 1)

    def dropped(self, y: Array, keys: Array | None, number: int) -> Array:
        if keys is None or self.dropout is None:
            return y
        mask = dropout_mask(fold(keys, number), self.dropout, y.shape[-1], y.dtype)
        return y * jnp.broadcast_to(mask, y.shape)


def standardized(x: Array, moments: Moments) -> Array:
    """x [..., D] minus the mean, divided by the standard deviation."""
    mean, variance = moments
    return times(biased(x, -mean), lax.rsqrt(variance + EPSILON))


def kept(running: Array, new: Array) -> Array:
    """The running statistic after a batch; no gradient flows through it."""
    return lax.stop_gradient(MOMENTUM * running + (1 - MOMENTUM) * new)


def batch_moments(x: Array, valid: Array | None, axis: str | None = None) -> Moments:
    """Mean and variance of x [T, B, D] over the valid steps.

    valid: bool [T, B]; None: all are.
    axis: of the mesh whose devices share the batch, over all of which the moments are.
    """

    def total(values: Array) -> Array:
        summed = jnp.sum(values, axis=(0, 1))
        return summed if axis is None else lax.psum(summed, axis)

    if valid is None:
        valid = jnp.ones(x.shape[:2], bool)
    count = jnp.broadcast_to(jnp.maximum(total(valid.astype(x.dtype)), 1), x.shape[-1:])
    mean = total(zeroed(valid, x)) / count
    return mean, total(zeroed(valid, biased(x, -mean)) ** 2) / count


def counted(time_steps: int, lengths: Lengths, present: Array | None) -> Array | None:
    """bool [T, B]: the steps before the end of sequences that are present; None: all are."""
    valid = None if lengths is None else within(time_steps, lengths)
    if present is None:
        return valid
    there = jnp.broadcast_to(present, (time_steps, len(present)))
    return there if valid is None else there & valid


def at_end(xs: Array, lengths: Lengths) -> Array:
    """The last step [B, D] of each sequence of xs [T, B, D]; 0 for length 0."""
    if lengths is None:
        return xs[-1]
    last = jnp.expand_dims(jnp.maximum(jnp.asarray(lengths) - 1, 0), (0, 2))
    return zeroed(jnp.asarray(lengths) > 0, jnp.take_along_axis(xs, last, axis=0)[0])
