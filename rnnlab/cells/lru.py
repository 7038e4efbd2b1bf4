"""The linear recurrent unit."""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from rnnlab.cells.base import Blocks, Cell, Gates, Hidden, Params, linear, maker
from rnnlab.errors import InputError, positive
from rnnlab.precision import product

LAYOUT = {  # B counts as recurrent, as in the papers of the LRU and S5
    **dict.fromkeys(('B_re', 'B_im'), Blocks(('x',), recurrent=True)),
    **dict.fromkeys(('C_re', 'C_im'), Blocks(('h',), recurrent=False)),
    'D': Blocks(('x',)),
}
STATE = Blocks(recurrent=True)


@maker
def lru(
    hidden_size: int, *, r_min: float = 0.0, r_max: float = 1.0, max_phase: float = 2 * math.pi
) -> Cell:
    """The LRU (Orvieto et al. 2023, appendix A): a complex state, diagonal and linear.

        a = exp(-exp(nu_log) + i exp(theta_log))            [H]: modulus below 1, and phase
        h' = a h + exp(gamma_log) (x B)                     [B, D] [D, H] -> [B, H], complex
        y = Re(h' C) + x D                                  [B, H] [H, H] + [B, D] [D, H] -> [B, H]

    All params are real: B is B_re + i B_im, C likewise. Here D is a matrix, since inputs and
    outputs may differ in number.

    The initial moduli are uniform on the ring from r_min to r_max, the phases below max_phase, and
    gamma keeps the size of h. Raises InputError unless 0 <= r_min < r_max <= 1 and max_phase is
    above zero.
    """
    positive('hidden_size', hidden_size)
    if not 0 <= r_min < r_max <= 1:
        raise InputError(
            f'r_min and r_max must be 0 <= r_min < r_max <= 1, not {r_min} and {r_max}'
        )
    if not max_phase > 0:
        raise InputError(f'max_phase must be above zero, not {max_phase}')

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        keys = jax.random.split(key, 7)
        modulus, phase = (
            jax.random.uniform(k, (hidden_size,), dtype, minval=jnp.finfo(dtype).eps)
            for k in keys[:2]
        )
        nu = jnp.maximum(
            -0.5 * jnp.log(r_min**2 + modulus * (r_max**2 - r_min**2)), jnp.finfo(dtype).eps
        )

        def normal(key: Array, rows: int, variance: float) -> Array:
            return math.sqrt(variance) * jax.random.normal(key, (rows, hidden_size), dtype)

        return {
            'nu_log': jnp.log(nu),
            'theta_log': jnp.log(max_phase * phase),
            'gamma_log': 0.5 * jnp.log(-jnp.expm1(-2 * nu)),
            'B_re': normal(keys[2], inputs, 0.5 / inputs),
            'B_im': normal(keys[3], inputs, 0.5 / inputs),
            'C_re': normal(keys[4], hidden_size, 1 / hidden_size),
            'C_im': normal(keys[5], hidden_size, 1 / hidden_size),
            'D': normal(keys[6], inputs, 1 / inputs),
        }

    def carry(params: Params, batch_shape: tuple[int, ...]) -> Hidden:
        zeros = jnp.zeros((*batch_shape, hidden_size), params['nu_log'].dtype)
        return Hidden(lax.complex(zeros, zeros))

    def drive(params: Params, x: Array) -> tuple[Array, Array, Gates]:
        a = jnp.exp(lax.complex(-jnp.exp(params['nu_log']), jnp.exp(params['theta_log'])))
        gamma = jnp.expand_dims(jnp.exp(params['gamma_log']), 0)
        b = lax.complex(product(x, params['B_re'] * gamma), product(x, params['B_im'] * gamma))
        return a, b, ()

    def read(params: Params, h: Array, x: Array) -> Array:
        return (
            product(h.real, params['C_re'])
            - product(h.imag, params['C_im'])
            + product(x, params['D'])
        )

    layout = LAYOUT | dict.fromkeys(('nu_log', 'theta_log', 'gamma_log'), STATE)
    return linear(init_params, carry, drive, read, (), layout=layout)
