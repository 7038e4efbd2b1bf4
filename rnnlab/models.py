"""Models: an embedding or a dense map of the inputs, recurrent layers, and a dense readout at every step or of what is pooled."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rnnlab.cells.base import biased
from rnnlab.errors import InputError, known, positive, share
from rnnlab.initializers import Preset, preset
from rnnlab.precision import product
from rnnlab.recurrence import Layer, dropout_mask
from rnnlab.recurrence.dropout import fold
from rnnlab.recurrence.masking import choose, within, zeroed


class Model(NamedTuple):
    """init: (key, dtype=float) -> params, a dict by layer.

    run: (params, inputs, lengths=None, keys=None, carry=None) -> (carry, outputs [B, K] or [B, T, K]), for inputs [B, T, D],
        or ids [B, T] with an embedding. With keys [B], one a sequence, dropout is on. It goes on from a carry that it gave.
    carry: (params, B) -> the carry that sequences start from.
    layers: the recurrent layers, by the name of their params.
    inputs: D of the first recurrent layer.
    """

    init: Callable
    run: Callable
    carry: Callable
    layers: dict[str, Layer]
    inputs: int

    def apply(self, params, inputs, lengths=None, keys=None) -> Array:
        """The outputs of whole sequences."""
        return self.run(params, inputs, lengths, keys)[1]


def classifier(
    layers: Sequence[Layer],
    *,
    inputs: int,
    classes: int,
    vocabulary: int | None = None,
    scale: float = 1.0,
    pool: str = 'last',
    dropout: float | Array | None = None,
    init: str | Preset = 'keras',
) -> Model:
    """A sequence in, the logits of its class out: a network with `classes` outputs, and a pool.

    Of two classes, the readout has the logit of the second alone; that of the first is 0. A readout of two logits, as other frameworks
    have it, is that of a network with outputs=2 and a pool.
    """
    positive('classes', classes)
    known('pool', pool, POOLS)
    if not layers and pool == 'last':
        raise InputError(
            'without a recurrent layer the last output is that of the last input alone; pool mean or max'
        )
    outputs = 1 if classes == 2 else classes
    options: dict = {
        'vocabulary': vocabulary,
        'scale': scale,
        'pool': pool,
        'dropout': dropout,
        'init': init,
    }
    net = network(layers, inputs=inputs, outputs=outputs, **options)

    def run(params, inputs, lengths=None, keys=None, carry=None):
        carry, logits = net.run(params, inputs, lengths, keys, carry)
        return carry, jnp.pad(logits, ((0, 0), (1, 0)))

    return net._replace(run=run) if classes == 2 else net


def network(
    layers: Sequence[Layer],
    *,
    inputs: int,
    outputs: int,
    vocabulary: int | None = None,
    dense: int | None = None,
    scale: float = 1.0,
    pool: str | None = None,
    dropout: float | Array | None = None,
    init: str | Preset = 'keras',
) -> Model:
    """A sequence in, and numbers or logits out: at every step, or with a pool once.

    Args:
        layers: recurrent layers, the lowest first; none of them is a bag of words, with pool mean or max.
        inputs: D, the values of one time step; with a vocabulary, the features that an id is embedded in.
        outputs: K.
        vocabulary: V, the number of ids; None takes numbers [B, T, D] as they are.
        dense: P, what a dense map makes of the inputs of each step, before the layers; None: there is none.
        scale: what numbers are multiplied by, so that bytes can stay bytes until they are used.
        pool: what of the highest layer's outputs is read out: a name of POOLS; None: those of every step.
        dropout: the share of it that is left out in training, the same at every step; None is off. Layers have their own.
        init: the start of embedding and dense maps; cells have their own.

    What it gives raises InputError for params and inputs of other shapes than these.
    """
    positive('inputs', inputs)
    positive('outputs', outputs)
    share('dropout', dropout)
    if pool is not None:
        known('pool', pool, POOLS)
    for layer in layers:
        if not isinstance(layer, Layer):
            raise InputError(
                f'layers are a list of what recurrent(cell) and bidirectional(cell, cell) give, not of {type(layer).__name__}'
            )
    start, features = preset(init), inputs
    named = {f'layer_{number}': layer for number, layer in enumerate(layers, 1)}

    def init_params(key, dtype=float):
        embedding_key, readout_key, *keys = jax.random.split(key, len(layers) + 2)
        dense_key = jax.random.fold_in(embedding_key, 0)
        params = {}
        if vocabulary is not None:
            params['embedding'] = {
                'table': start.embedding(embedding_key, vocabulary, inputs, dtype)
            }
        width = inputs
        if dense is not None:
            kernel, bias = start.dense(dense_key, width, dense, dtype)
            params['dense'], width = {'kernel': kernel, 'bias': bias}, dense
        for layer_key, (name, layer) in zip(keys, named.items(), strict=True):
            params[name] = layer.init(layer_key, width, dtype)
            width = output_size(layer, params[name], width)
        if pool == 'attention':
            attention_key, query_key = jax.random.split(jax.random.fold_in(readout_key, 0))
            kernel, bias = start.dense(attention_key, width, width, dtype)
            params['attention'] = {
                'kernel': kernel,
                'bias': bias,
                'query': start.dense(query_key, width, 1, dtype)[0][:, 0],
            }
        kernel, bias = start.dense(readout_key, width, outputs, dtype)
        params['readout'] = {'kernel': kernel, 'bias': bias}
        return params

    def run(params, inputs, lengths=None, keys=None, carry=None):
        there = [*params] if isinstance(params, Mapping) else type(params).__name__
        for name in (*named, 'readout'):
            if name not in there:
                raise InputError(
                    f'params must be what init of this network gives, with {name!r} among them; these are {there}'
                )
        if vocabulary is None and (inputs.ndim != 3 or inputs.shape[-1] != features):
            raise InputError(
                f'inputs {list(inputs.shape)} should be [B, T, {features}], of as many features as the network was made for'
            )
        inputs = jnp.moveaxis(inputs, 0, 1)  # time first
        ys = (
            params['embedding']['table'][inputs]
            if vocabulary is not None
            else inputs.astype(dtype_of(params)) * scale
        )
        if dense is not None:
            ys = affine(params['dense'], ys)
        after = {}
        for number, (name, layer) in enumerate(named.items(), 1):
            options = {
                'last': pool == 'last' and number == len(named),
                'keys': None if keys is None else fold(keys, number),
            }
            after[name], ys = layer.apply(
                params[name], ys, None if carry is None else carry[name], lengths=lengths, **options
            )
        y = ys if pool is None else POOLS[pool](params.get(pool), ys, lengths)
        if (kernel := params['readout']['kernel'].shape) != (y.shape[-1], outputs):
            two = (
                '; of two classes a classifier has one logit, and network(..., outputs=2) both'
                if (kernel[-1], outputs) == (2, 1)
                else ''
            )
            raise InputError(
                f'the params of the readout have a kernel {list(kernel)}, the network {[y.shape[-1], outputs]}{two}'
            )
        if keys is not None and dropout is not None:
            mask = dropout_mask(fold(keys, 0), dropout, y.shape[-1], y.dtype)
            y = y * (jnp.expand_dims(mask, 0) if pool is None else mask)
        read = affine(params['readout'], y)
        return after, jnp.moveaxis(read, 0, 1) if pool is None else read

    def carry(params, batch: int):
        return {name: layer.carry(params[name], (batch,)) for name, layer in named.items()}

    return Model(init_params, run, carry, named, dense or inputs)


def affine(params, x: Array) -> Array:
    return biased(product(x, params['kernel']), params['bias'])


def mean(_, ys: Array, lengths: Array | None) -> Array:
    """The mean over time of ys [T, B, H] -> [B, H]; zero for length 0."""
    if lengths is None:
        return jnp.mean(ys, axis=0)
    total = jnp.sum(zeroed(within(len(ys), lengths), ys), axis=0)
    return total / jnp.expand_dims(jnp.maximum(lengths, 1), -1).astype(ys.dtype)


def greatest(_, ys: Array, lengths: Array | None) -> Array:
    """The greatest of each feature over time, ys [T, B, H] -> [B, H]; zero for length 0."""
    if lengths is None:
        return jnp.max(ys, axis=0)
    high = jnp.max(choose(within(len(ys), lengths), ys, jnp.full_like(ys, -jnp.inf)), axis=0)
    return zeroed(lengths > 0, high)


def attend(params, ys: Array, lengths: Array | None) -> Array:
    """The mean over time of ys [T, B, H] -> [B, H], weighted by softmax(tanh(ys W + b) q) over the steps that are no padding (Yang et al.
    2016, equations 5 to 7); zero for length 0. W is params['kernel'] [H, H], b bias, q query [H]."""
    scores = jnp.tanh(affine(params, ys)) @ params['query']
    valid = jnp.ones(scores.shape, bool) if lengths is None else within(len(ys), lengths)
    weights = zeroed(
        valid, jax.nn.softmax(choose(valid, scores, jnp.full_like(scores, -1e30)), axis=0)
    )
    return jnp.sum(jnp.expand_dims(weights, -1) * ys, axis=0)


POOLS = {
    'last': lambda _, y, lengths: y,
    'mean': mean,
    'max': greatest,
    'attention': attend,
}  # the layer itself gives its last output


def output_size(layer: Layer, params, inputs: int) -> int:
    """The outputs of a layer at each step, for params of it and its number of inputs."""
    return jax.eval_shape(
        layer.apply, params, jax.ShapeDtypeStruct((1, 1, inputs), dtype_of(params))
    )[1].shape[-1]


def dtype_of(params):
    return jax.tree.leaves(params)[0].dtype
