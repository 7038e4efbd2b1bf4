"""The timed work in Haiku."""

from typing import Any

import haiku
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.benchmark.peers import functional
from experiments.benchmark.work import CLASSES, Shape, Work, make_data, make_weights
from rnnlab.interop.weights import one_bias, ordered, taken_apart


def prepare(cell: str, shape: Shape, kind: str) -> Work | None:
    """None for elman and gru: Haiku's VanillaRNN has ReLUs, its GRU is gru_chung."""
    if cell != 'lstm':
        return None

    def forward(inputs: Array) -> Array:
        xs: Any = inputs
        if shape.vocabulary:
            xs = haiku.Embed(shape.vocabulary, shape.inputs, name='embedding')(inputs)
        xs = jnp.swapaxes(xs, 0, 1)
        for number in range(shape.layers):
            core = haiku.LSTM(shape.hidden, name=f'layer_{number}')
            xs, _ = haiku.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))
        return haiku.Linear(CLASSES, name='readout')(xs[-1])

    model: Any = haiku.without_apply_rng(haiku.transform(forward))
    parts: list[Any] = taken_apart(*make_weights(cell, shape), 'Haiku', ('lstm',))
    *layers, readout = parts
    params: Any = {'readout': {'w': readout['kernel'], 'b': readout['bias']}}
    if shape.vocabulary:
        params['embedding'] = {'embeddings': layers.pop(0)['table']}
    for number, layer in enumerate(layers):
        forget = np.repeat(np.array([0, 0, 1, 0], np.float32), shape.hidden)
        params[f'layer_{number}/linear'] = {
            'w': ordered(np.concatenate([layer.kernel, layer.recurrent_kernel]), 'ifgo', 'igfo'),
            'b': ordered(one_bias(layer), 'ifgo', 'igfo') - forget,
        }
    return functional.prepare(model.apply, params, make_data(shape, kind), shape, kind)
