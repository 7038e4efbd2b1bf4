"""Every cell's equations once more, as plain NumPy in float64: what the fast code is held against.

Each step takes the cell's params, x [D] and the carry's arrays [H]; it returns the carry's arrays, the gates' values in the order
of the cell's gates, and the output.
"""

from collections.abc import Callable

import numpy as np


def unroll(name, params, xs, *carry):
    """The named cell in a loop over xs [T, D]: the carry's arrays, the gates' values and the output of every step, each [T, H]."""
    steps = []
    for x in xs:
        carry, gates, y = REFERENCES[name](params, x, *carry)
        steps.append([carry, gates, [y]])
    carries, gates, (ys,) = ([np.array(series) for series in zip(*part, strict=True)] for part in zip(*steps, strict=True))
    return carries, gates, ys


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def joint(params, x, h):
    return np.concatenate([x, h]) @ params['kernel'] + params['bias'] + params.get('recurrent_bias', 0)


def elman(params, x, h):
    h = np.tanh(joint(params, x, h))
    return (h,), (h,), h


def irnn(params, x, h):
    h = np.maximum(joint(params, x, h), 0)
    return (h,), (h,), h


def lstm(params, x, c, h):
    i, f, g, o = np.split(joint(params, x, h), 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(c)
    return (c, h), (i, f, g, o), h


def gru(params, x, h):
    x_r, x_z, x_n = np.split(x @ params['kernel'] + params['bias'], 3)
    h_r, h_z, h_n = np.split(h @ params['recurrent_kernel'] + params['recurrent_bias'], 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    h = (1 - z) * n + z * h
    return (h,), (r, z, n), h


def gru_reset_before(params, x, h):
    x_r, x_z, x_n = np.split(x @ params['kernel'] + params['bias'], 3)
    u_r, u_z, u_n = np.split(params['recurrent_kernel'], 3, axis=1)
    r, z = sigmoid(x_r + h @ u_r), sigmoid(x_z + h @ u_z)
    n = np.tanh(x_n + (r * h) @ u_n)
    h = (1 - z) * n + z * h
    return (h,), (r, z, n), h


def mingru(params, x, h):
    z, n = np.split(x @ params['kernel'] + params['bias'], 2)
    z = sigmoid(z)
    h = (1 - z) * h + z * n
    return (h,), (z, n), h


def minlstm(params, x, h):
    i, f, g = np.split(x @ params['kernel'] + params['bias'], 3)
    i, f = sigmoid(i), sigmoid(f)
    i, f = i / (i + f), f / (i + f)
    h = f * h + i * g
    return (h,), (i, f, g), h


def lru(params, x, h):
    a = np.exp(-np.exp(params['nu_log'])) * np.exp(1j * np.exp(params['theta_log']))
    h = a * h + np.exp(params['gamma_log']) * (x @ (params['B_re'] + 1j * params['B_im']))
    return (h,), (), (h @ (params['C_re'] + 1j * params['C_im'])).real + x @ params['D']


REFERENCES: dict[str, Callable] = {
    'elman': elman,
    'irnn': irnn,
    'lstm': lstm,
    'gru': gru,
    'gru_reset_before': gru_reset_before,
    'mingru': mingru,
    'minlstm': minlstm,
    'lru': lru,
}
