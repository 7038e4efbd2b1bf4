"""The simplified state space layer."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.nn.initializers import lecun_normal
from jax.typing import DTypeLike

from rnnlab.cells.base import Cell, Gates, Hidden, Params, linear, maker
from rnnlab.cells.lru import LAYOUT, STATE
from rnnlab.errors import positive
from rnnlab.precision import product


@maker
def s5(hidden_size: int) -> Cell:
    """The diagonal state space model of S5 (Smith, Warrington, Linderman 2023), discretized by
    zero-order hold.

        lambda = -exp(log_decay) + i phase                  [H]: a rate, in continuous time
        a = exp(lambda exp(log_step))                       [H]
        h' = a h + (x B) (a - 1) / lambda                   [B, D] [D, H] -> [B, H], complex
        y = 2 Re(h' C) + x D                                [B, H] [H, H] + [B, D] [D, H] -> [B, H]

    All params are real: B is B_re + i B_im, C likewise. The 2H states of the paper come in
    conjugate pairs, of which one each is kept. They are initialized to the normal part of
    HiPPO-LegS with its eigenvectors folded into B and C, the steps log-uniform between 0.001 and
    0.1. D is a matrix, since inputs and outputs may differ in number, and the real part of lambda
    is kept below 0, as in S4D.
    """
    positive('hidden_size', hidden_size)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        keys = jax.random.split(key, 4)
        phases, re, im = (jnp.asarray(part, dtype) for part in hippo(hidden_size))
        b = lecun_normal()(keys[0], (inputs, 2 * hidden_size), dtype)
        c = lecun_normal()(keys[1], (2 * hidden_size, hidden_size), dtype)
        return {
            'log_decay': jnp.full(hidden_size, np.log(0.5), dtype),
            'phase': phases,
            'log_step': jax.random.uniform(
                keys[2], (hidden_size,), dtype, np.log(0.001), np.log(0.1)
            ),
            'B_re': b @ re,
            'B_im': -b @ im,
            'C_re': re.T @ c,
            'C_im': im.T @ c,
            'D': lecun_normal()(keys[3], (inputs, hidden_size), dtype),
        }

    def carry(params: Params, batch_shape: tuple[int, ...]) -> Hidden:
        zeros = jnp.zeros((*batch_shape, hidden_size), params['phase'].dtype)
        return Hidden(lax.complex(zeros, zeros))

    def drive(params: Params, x: Array) -> tuple[Array, Array, Gates]:
        decay, step = -jnp.exp(params['log_decay']), jnp.exp(params['log_step'])
        a = jnp.exp(lax.complex(decay * step, params['phase'] * step))
        scale = jnp.expand_dims((a - 1) / lax.complex(decay, params['phase']), 0)
        of_x = lax.complex(params['B_re'], params['B_im']) * scale
        b = lax.complex(product(x, of_x.real), product(x, of_x.imag))
        return a, b, ()

    def read(params: Params, h: Array, x: Array) -> Array:
        of_h = product(h.real, params['C_re']) - product(h.imag, params['C_im'])
        return 2 * of_h + product(x, params['D'])

    layout = LAYOUT | dict.fromkeys(('log_decay', 'phase', 'log_step'), STATE)
    return linear(init_params, carry, drive, read, (), layout=layout)


@cache
def hippo(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The positive imaginary parts [H] of the eigenvalues of HiPPO-LegS's normal part with 2H
    states, and the real and imaginary parts [2H, H] of their eigenvectors (Smith et al. 2023). The
    real parts of all eigenvalues are -1/2."""
    n = np.arange(2 * size)
    root = np.sqrt(2 * n + 1.0)
    legs = -np.tril(np.outer(root, root), -1) - np.diag(n + 1.0)
    normal = legs + np.outer(root, root) / 2
    skew = normal + np.eye(2 * size) / 2
    phases, vectors = np.linalg.eigh(-1j * skew)
    return phases[size:], vectors.real[:, size:], vectors.imag[:, size:]
