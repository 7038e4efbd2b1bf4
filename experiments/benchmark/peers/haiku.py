"""The timed work in Haiku."""

import haiku
import jax.numpy as jnp
from jax import Array

from experiments.benchmark.peers import functional
from experiments.benchmark.work import CLASSES, Shape, Work, make_data, make_weights
from rnnlab.interop import to_haiku


def prepare(cell: str, shape: Shape, kind: str) -> Work | None:
    """None for elman and gru: Haiku's VanillaRNN has ReLUs, its GRU is gru_chung."""
    if cell != 'lstm':
        return None

    def forward(inputs: Array) -> Array:
        xs = inputs
        if shape.vocabulary:
            xs = haiku.Embed(shape.vocabulary, shape.inputs, name='embedding')(inputs)
        xs = jnp.swapaxes(xs, 0, 1)
        for number in range(shape.layers):
            core = haiku.LSTM(shape.hidden, name=f'layer_{number}')
            xs, _ = haiku.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))
        return haiku.Linear(CLASSES, name='readout')(xs[-1])

    model = haiku.without_apply_rng(haiku.transform(forward))
    names = [f'layer_{number}' for number in range(shape.layers)] + ['readout']
    names = ['embedding', *names] if shape.vocabulary else names
    params = to_haiku(*make_weights(cell, shape), names)
    return functional.prepare(model.apply, params, make_data(shape, kind), shape, kind)
