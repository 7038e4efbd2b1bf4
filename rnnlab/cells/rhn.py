"""The recurrent highway network."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

from rnnlab.cells.base import Cell, Hidden, biased, dropped, maker, named, plain
from rnnlab.errors import positive
from rnnlab.initializers import Preset, preset
from rnnlab.precision import product


@maker
def rhn(
    hidden_size: int, *, depth: int = 3, transform_bias: float = -2.0, init: str | Preset = 'keras'
) -> Cell:
    """The RHN with coupled gates (Zilly et al. 2017, equations 6 to 9): `depth` highway layers l in every step.

        s = h                               [B, H]
        for l = 1, 2, ... depth:
            z = s U_l + b_l                 [B, H] [H, 2H] + [2H] -> [B, 2H]; of the first layer + x W, [B, D] [D, 2H]
            n_l, t_l = split(z)             2 of [B, H]: candidate, transform
            n_l, t_l = tanh(n_l), sigmoid(t_l)
            s = t_l n_l + (1 - t_l) s       [B, H]
        h' = s                              [B, H]
        y = h'                              [B, H]

    W is params['kernel'], U_l recurrent_kernel_l and b_l bias_l; the transform gates' biases start with transform_bias on top. Noise
    multiplies what all U_l read, as in the paper's variational dropout.
    """
    positive('hidden_size', hidden_size)
    positive('depth', depth)
    start = preset(init)
    layers = range(1, depth + 1)

    def init_params(key, inputs, dtype=float):
        params: dict[str, Array] = {}
        for layer, layer_key in zip(layers, jax.random.split(key, depth), strict=True):
            kernel, recurrent, biases = start.recurrent(layer_key, inputs, hidden_size, (2,), dtype)
            params |= {'kernel': kernel} if layer == 1 else {}
            bias = biases.sum(axis=0).at[hidden_size:].add(transform_bias)
            params |= {f'recurrent_kernel_{layer}': recurrent, f'bias_{layer}': bias}
        return params

    def carry(params, batch_shape):
        return Hidden(jnp.zeros((*batch_shape, hidden_size), params['bias_1'].dtype))

    def whole(params, carry, x, mask=None):
        state, values = carry, list[Array]()
        for layer in layers:
            z = biased(
                product(dropped(state, mask).h, params[f'recurrent_kernel_{layer}']),
                params[f'bias_{layer}'],
            )
            z = named(z + product(x, params['kernel']) if layer == 1 else z)
            n, t = jnp.split(z, 2, axis=-1)
            n, t = jnp.tanh(n), sigmoid(t)
            state = Hidden(t * n + (1 - t) * state.h)
            values += [n, t]
        return state, state.h, tuple(values)

    return plain(
        init_params, carry, whole, tuple(f'{gate}_{layer}' for layer in layers for gate in 'nt')
    )
