"""The update gate RNN."""

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import Cell, Hidden, Params, Step, joint, joint_params, maker, zero_carry
from rnnlab.errors import positive
from rnnlab.initializers import Initializer, forget_and_input_bias, initializer


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
    positive('hidden_size', hidden_size)
    drawn = initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        kernel, recurrent, bias = drawn.recurrent(key, inputs, hidden_size, (2,), dtype)
        keep, _ = forget_and_input_bias(
            drawn, key, hidden_size, dtype, forget_bias=forget_bias, chrono=chrono
        )
        return joint_params(drawn, (kernel, recurrent, bias.at[0, :hidden_size].add(keep)))

    return joint(init_params, zero_carry(Hidden, hidden_size), elementwise, ('g', 'n'))


def elementwise(params: Params, carry: Hidden, z: Array) -> Step:
    g, n = jnp.split(z, 2, axis=-1)
    g, n = sigmoid(g), jnp.tanh(n)
    h = g * carry.h + (1 - g) * n
    return Hidden(h), h, (g, n)
