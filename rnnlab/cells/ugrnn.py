"""The update gate RNN."""

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import Cell, Hidden, Params, Step, joint, joint_params, maker, zero_carry
from rnnlab.cells.lstm import initial_weights
from rnnlab.initializers import Initializer, initializer


@maker
def ugrnn(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Initializer = 'keras',
) -> Cell:
    """The UGRNN (Collins, Sohl-Dickstein, Sussillo 2017): an Elman cell with one gate.

        g, n = split([x, h] W + b)          [B, D+H] [D+H, 2H] + [2H] -> 2 of [B, H]
        g, n = sigmoid(g), tanh(n)          [B, H]: gate, candidate
        h' = g h + (1 - g) n                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [2H] with torch's initializer).
    forget_bias and chrono are for the gate, as in lstm.
    """
    weights = initial_weights(hidden_size, forget_bias, chrono, init, gates='fn')

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        return joint_params(initializer(init), weights(key, inputs, dtype))

    return joint(init_params, zero_carry(Hidden, hidden_size), elementwise, ('g', 'n'))


def elementwise(params: Params, carry: Hidden, z: Array) -> Step:
    g, n = jnp.split(z, 2, axis=-1)
    g, n = sigmoid(g), jnp.tanh(n)
    h = g * carry.h + (1 - g) * n
    return Hidden(h), h, (g, n)
