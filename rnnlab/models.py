"""Models: an optional embedding, one or more recurrent layers, and a dense readout of the last output."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnlab.cells.cell import biased
from rnnlab.errors import InputError, positive
from rnnlab.initializers import Preset, preset
from rnnlab.recurrence import Layer


class Model(NamedTuple):
    """init: (key, dtype=float) -> params, a dict by layer.

    apply: (params, inputs, lengths=None) -> logits [B, K], for inputs [B, T, D], or ids [B, T] with an embedding.
    layers: the recurrent layers, by the name of their params.
    inputs: D of the first recurrent layer.
    """

    init: Callable
    apply: Callable
    layers: dict[str, Layer]
    inputs: int


def classifier(
    layers: Sequence[Layer],
    *,
    inputs: int,
    classes: int,
    vocabulary: int | None = None,
    scale: float = 1.0,
    init: str | Preset = 'keras',
) -> Model:
    """A sequence in, the logits of its class out.

    Args:
        layers: recurrent layers, the lowest first; the last output of the highest is read out.
        inputs: D, the values of one time step; with a vocabulary, the features that an id is embedded in.
        classes: K.
        vocabulary: V, the number of ids; None takes numbers [B, T, D] as they are.
        scale: what numbers are multiplied by, so that bytes can stay bytes until they are used.
        init: the start of embedding and readout; cells have their own.
    """
    positive('inputs', inputs)
    positive('classes', classes)
    if not layers:
        raise InputError('a classifier takes at least one recurrent layer')
    start = preset(init)
    named = {f'layer_{number}': layer for number, layer in enumerate(layers, 1)}

    def init_params(key, dtype=float):
        embedding_key, readout_key, *keys = jax.random.split(key, len(layers) + 2)
        params = {}
        if vocabulary is not None:
            params['embedding'] = {'table': start.embedding(embedding_key, vocabulary, inputs, dtype)}
        width = inputs
        for layer_key, (name, layer) in zip(keys, named.items(), strict=True):
            params[name] = layer.init(layer_key, width, dtype)
            width = output_size(layer, params[name], width)
        kernel, bias = start.dense(readout_key, width, classes, dtype)
        params['readout'] = {'kernel': kernel, 'bias': bias}
        return params

    def apply(params, inputs, lengths=None):
        embedded = params['embedding']['table'][inputs] if vocabulary is not None else inputs.astype(dtype_of(params)) * scale
        xs = jnp.moveaxis(embedded, 0, 1)
        *lower, highest = named.items()
        for name, layer in lower:
            _, xs = layer.apply(params[name], xs, lengths=lengths)
        name, layer = highest
        _, y = layer.apply(params[name], xs, lengths=lengths, last=True)
        return biased(y @ params['readout']['kernel'], params['readout']['bias'])

    return Model(init_params, apply, named, inputs)


def output_size(layer: Layer, params, inputs: int) -> int:
    """The outputs of a layer at each step, for params of it and its number of inputs."""
    return jax.eval_shape(layer.apply, params, jax.ShapeDtypeStruct((1, 1, inputs), dtype_of(params)))[1].shape[-1]


def dtype_of(params):
    return jax.tree.leaves(params)[0].dtype
