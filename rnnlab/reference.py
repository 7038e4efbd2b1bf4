"""Every cell's equations once more, as plain NumPy in float64: what the fast code is held against.

Each step takes the cell's params, x [D] and the carry's arrays [H], the last of which is h, the output; it returns the
carry's arrays and the gates' values, in the order of the cell's gates.
"""

from collections.abc import Callable

import numpy as np


def unroll(name, params, xs, *carry):
    """The named cell in a loop over xs [T, D]: the gates' values and then the carry's arrays of every step, [T, both, H]."""
    steps = []
    for x in xs:
        carry, gates = REFERENCES[name](params, x, *carry)
        steps.append([*gates, *carry])
    return np.array(steps)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def joint(params, x, h):
    return np.concatenate([x, h]) @ params['kernel'] + params['bias'] + params.get('recurrent_bias', 0)


def elman(params, x, h):
    h = np.tanh(joint(params, x, h))
    return (h,), (h,)


def irnn(params, x, h):
    h = np.maximum(joint(params, x, h), 0)
    return (h,), (h,)


def lstm(params, x, c, h):
    i, f, g, o = np.split(joint(params, x, h), 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(c)
    return (c, h), (i, f, g, o)


def gru(params, x, h):
    x_r, x_z, x_n = np.split(x @ params['kernel'] + params['bias'], 3)
    h_r, h_z, h_n = np.split(h @ params['recurrent_kernel'] + params['recurrent_bias'], 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * h,), (r, z, n)


def gru_reset_before(params, x, h):
    x_r, x_z, x_n = np.split(x @ params['kernel'] + params['bias'], 3)
    u_r, u_z, u_n = np.split(params['recurrent_kernel'], 3, axis=1)
    r, z = sigmoid(x_r + h @ u_r), sigmoid(x_z + h @ u_z)
    n = np.tanh(x_n + (r * h) @ u_n)
    return ((1 - z) * n + z * h,), (r, z, n)


REFERENCES: dict[str, Callable] = {'elman': elman, 'irnn': irnn, 'lstm': lstm, 'gru': gru, 'gru_reset_before': gru_reset_before}
