"""The Elman cell, also called simple or vanilla RNN, and its ReLU form IRNN."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from rnnlab.cells.base import Cell, Hidden, Params, Step, joint, joint_params, maker, zero_carry
from rnnlab.errors import known, positive
from rnnlab.initializers import Initializer, initializer

ACTIVATIONS = {'tanh': jnp.tanh, 'relu': jax.nn.relu}


@maker
def elman(hidden_size: int, *, activation: str = 'tanh', init: str | Initializer = 'keras') -> Cell:
    """The Elman cell (Elman 1990); activation is tanh or relu.

        h' = tanh([x, h] W + b)             [B, D+H] [D+H, H] + [H] -> [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [H] with torch's initializer).
    """
    positive('hidden_size', hidden_size)
    known('activation', activation, ACTIVATIONS)
    act, drawn = ACTIVATIONS[activation], initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        return joint_params(drawn, drawn.recurrent(key, inputs, hidden_size, (1,), dtype))

    def elementwise(params: Params, carry: Hidden, z: Array) -> Step:
        h = act(z)
        return Hidden(h), h, (h,)

    return joint(
        init_params,
        zero_carry(Hidden, hidden_size),
        elementwise,
        ('h',),
        native=f'elman_{activation}',
    )


@maker
def irnn(hidden_size: int, *, init: str | Initializer = 'identity') -> Cell:
    """The Elman cell with ReLU and the identity as initial recurrent kernel (Le, Jaitly, Hinton
    2015).

        h' = relu([x, h] W + b)             [B, D+H] [D+H, H] + [H] -> [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [H] with torch's initializer).
    """
    return elman(hidden_size, activation='relu', init=init)
