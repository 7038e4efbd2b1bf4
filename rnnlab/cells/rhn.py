"""The recurrent highway network."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import (
    Blocks,
    Cell,
    Hidden,
    Params,
    Step,
    biased,
    dropped,
    maker,
    named,
    plain,
    zero_carry,
)
from rnnlab.errors import positive
from rnnlab.initializers import Initializer, initializer
from rnnlab.precision import product


@maker
def rhn(
    hidden_size: int,
    *,
    depth: int = 3,
    transform_bias: float = -2.0,
    init: str | Initializer = 'keras',
) -> Cell:
    """The RHN with coupled gates (Zilly et al. 2017, equations 6 to 9): `depth` highway layers l in
    every step.

        s = h                               [B, H]
        for l = 1, 2, ... depth:
            z = s U_l + b_l                 [B, H] [H, 2H] + [2H] -> [B, 2H]
            z = z + x W, if l = 1           [B, 2H] + [B, D] [D, 2H] -> [B, 2H]
            n_l, t_l = split(z)             2 of [B, H]: candidate, transform
            n_l, t_l = tanh(n_l), sigmoid(t_l)
            s = t_l n_l + (1 - t_l) s       [B, H]
        h' = s                              [B, H]
        y = h'                              [B, H]

    W is params['kernel'], U_l recurrent_kernel_l and b_l bias_l; transform_bias is added to the
    initial biases of the transform gates. The mask multiplies what all U_l read, as in the paper's
    variational dropout.
    """
    positive('hidden_size', hidden_size)
    positive('depth', depth)
    drawn = initializer(init)
    layers = range(1, depth + 1)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        params: dict[str, Array] = {}
        for layer, layer_key in zip(layers, jax.random.split(key, depth), strict=True):
            kernel, recurrent, biases = drawn.recurrent(layer_key, inputs, hidden_size, (2,), dtype)
            params |= {'kernel': kernel} if layer == 1 else {}
            bias = biases.sum(axis=0).at[hidden_size:].add(transform_bias)
            params |= {f'recurrent_kernel_{layer}': recurrent, f'bias_{layer}': bias}
        return params

    def whole(params: Params, carry: Hidden, x: Array, mask: Array | None = None) -> Step:
        state, values = carry, list[Array]()
        for layer in layers:
            of_h = product(dropped(state, mask).h, params[f'recurrent_kernel_{layer}'])
            z = biased(of_h, params[f'bias_{layer}'])
            z = named(z + product(x, params['kernel']) if layer == 1 else z)
            n, t = jnp.split(z, 2, axis=-1)
            n, t = jnp.tanh(n), sigmoid(t)
            state = Hidden(t * n + (1 - t) * state.h)
            values += [n, t]
        return state, state.h, tuple(values)

    layout = {'kernel': Blocks(('x',))}
    for layer in layers:
        gates = f'n_{layer}', f't_{layer}'
        layout[f'recurrent_kernel_{layer}'] = Blocks(('h',), gates)
        layout[f'bias_{layer}'] = Blocks(columns=gates)
    names = tuple(f'{gate}_{layer}' for layer in layers for gate in 'nt')
    carry = zero_carry(Hidden, hidden_size, like='bias_1')
    return plain(init_params, carry, whole, names, layout=layout)
