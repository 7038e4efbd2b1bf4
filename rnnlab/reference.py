"""Every cell's equations once more, as plain NumPy loops in float64: what the fast code is held against.

Each function takes the cell's params, xs [T, D] and the carry's arrays [H], and returns (the carry's arrays, ys [T, H]).
"""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def joint(params, x, h):
    return np.concatenate([x, h]) @ params['kernel'] + params['bias'] + params.get('recurrent_bias', 0)


def elman(params, xs, h, act=np.tanh):
    ys = []
    for x in xs:
        h = act(joint(params, x, h))
        ys.append(h)
    return (h,), np.stack(ys)


def irnn(params, xs, h):
    return elman(params, xs, h, act=lambda z: np.maximum(z, 0))


def lstm(params, xs, c, h):
    ys = []
    for x in xs:
        i, f, g, o = np.split(joint(params, x, h), 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    return (c, h), np.stack(ys)


def gru(params, xs, h):
    ys = []
    for x in xs:
        xr, xz, xn = np.split(x @ params['kernel'] + params['bias'], 3)
        hr, hz, hn = np.split(h @ params['recurrent_kernel'] + params['recurrent_bias'], 3)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        h = (1 - z) * np.tanh(xn + r * hn) + z * h
        ys.append(h)
    return (h,), np.stack(ys)


def gru_reset_before(params, xs, h):
    ys = []
    for x in xs:
        xr, xz, xn = np.split(x @ params['kernel'] + params['bias'], 3)
        u_r, u_z, u_n = np.split(params['recurrent_kernel'], 3, axis=1)
        r, z = sigmoid(xr + h @ u_r), sigmoid(xz + h @ u_z)
        h = (1 - z) * np.tanh(xn + (r * h) @ u_n) + z * h
        ys.append(h)
    return (h,), np.stack(ys)


REFERENCES = {'elman': elman, 'irnn': irnn, 'lstm': lstm, 'gru': gru, 'gru_reset_before': gru_reset_before}
