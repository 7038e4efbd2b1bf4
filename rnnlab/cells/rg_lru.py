"""The real-gated linear recurrent unit."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import log_sigmoid, sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import (
    Blocks,
    Cell,
    Gates,
    Hidden,
    Params,
    biased,
    linear,
    maker,
    named,
    times,
    zero_carry,
)
from rnnlab.errors import positive
from rnnlab.initializers import Initializer, initializer
from rnnlab.precision import product

SHARPNESS = 8  # c of the paper
GATES = ('r', 'i')
LAYOUT = {
    'kernel': Blocks(('x',)),
    'gate_kernel': Blocks(columns=GATES),
    'gate_bias': Blocks(columns=GATES),
    'lambda': Blocks(recurrent=True),
}


@maker
def rg_lru(hidden_size: int, *, init: str | Initializer = 'keras') -> Cell:
    """The RG-LRU (De et al. 2024, section 2.4), after a dense map that gives it as many inputs as
    units.

        u = x W                             [B, D] [D, H] -> [B, H]
        r, i = sigmoid(split(u V + b))      [B, H] [H, 2H] + [2H] -> 2 of [B, H]: recurrence, input
        a = sigmoid(lambda)^(8 r)           [B, H]
        h' = a h + sqrt(1 - a^2) (i u)      [B, H]
        y = h'                              [B, H]

    W is params['kernel'], V gate_kernel (dense here, block-diagonal in the paper), b gate_bias;
    the initial sigmoid(lambda)^8 is uniform between 0.9 and 0.999.
    """
    positive('hidden_size', hidden_size)
    drawn = initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        input_key, gate_key, lambda_key = jax.random.split(key, 3)
        gate_kernel, gate_bias = drawn.dense(gate_key, hidden_size, 2 * hidden_size, dtype)
        log_a = (
            jnp.log(jax.random.uniform(lambda_key, (hidden_size,), dtype, 0.9, 0.999)) / SHARPNESS
        )
        return {
            'kernel': drawn.dense(input_key, inputs, hidden_size, dtype)[0],
            'gate_kernel': gate_kernel,
            'gate_bias': gate_bias,
            'lambda': log_a - jnp.log(-jnp.expm1(log_a)),
        }

    def drive(params: Params, x: Array) -> tuple[Array, Array, Gates]:
        u = named(product(x, params['kernel']))
        z = named(biased(product(u, params['gate_kernel']), params['gate_bias']))
        r, i = jnp.split(sigmoid(z), 2, axis=-1)
        log_a = times(SHARPNESS * r, log_sigmoid(params['lambda']))
        rest = jnp.maximum(-jnp.expm1(2 * log_a), 1e-12)  # at 0 the root has no derivative
        return jnp.exp(log_a), jnp.sqrt(rest) * i * u, (r, i)

    return linear(
        init_params,
        zero_carry(Hidden, hidden_size, like='lambda'),
        drive,
        lambda params, h, x: h,
        GATES,
        layout=LAYOUT,
    )
