"""The equations of every cell in plain NumPy and float64, as reference for tests and `explain`.

A step takes a cell's params, x [D] and the arrays [H] of the carry; it returns the arrays of the
new carry, the values of the gates in the order of the cell's gates, and the output.
"""

from collections.abc import Callable, Mapping

import numpy as np

Array = np.ndarray
Params = Mapping[str, Array]
Step = tuple[tuple[Array, ...], tuple[Array, ...], Array]


def unroll(
    name: str, params: Params, xs: Array, *carry: Array
) -> tuple[list[Array], list[Array], Array]:
    """The arrays of the carry, the values of the gates and the output, each [T, H], of every step
    of the named cell over xs [T, D]."""
    steps = []
    for x in xs:
        carry, gates, y = REFERENCES[name](params, x, *carry)
        steps.append((carry, gates, (y,)))
    carries, values, (ys,) = (
        [np.array(series) for series in zip(*part, strict=True)]
        for part in zip(*steps, strict=True)
    )
    return carries, values, ys


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def joint(params: Params, x: Array, h: Array) -> Array:
    return (
        np.concatenate([x, h]) @ params['kernel'] + params['bias'] + params.get('recurrent_bias', 0)
    )


def elman(params: Params, x: Array, h: Array) -> Step:
    h = np.tanh(joint(params, x, h))
    return (h,), (h,), h


def irnn(params: Params, x: Array, h: Array) -> Step:
    h = np.maximum(joint(params, x, h), 0)
    return (h,), (h,), h


def lstm(params: Params, x: Array, c: Array, h: Array) -> Step:
    i, f, g, o = np.split(joint(params, x, h), 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(c)
    return (c, h), (i, f, g, o), h


def gru(params: Params, x: Array, h: Array) -> Step:
    x_r, x_z, x_n = np.split(x @ params['kernel'] + params['bias'], 3)
    h_r, h_z, h_n = np.split(h @ params['recurrent_kernel'] + params['recurrent_bias'], 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    h = (1 - z) * n + z * h
    return (h,), (r, z, n), h


def gru_reset_before(params: Params, x: Array, h: Array) -> Step:
    x_r, x_z, x_n = np.split(x @ params['kernel'] + params['bias'], 3)
    u_r, u_z, u_n = np.split(params['recurrent_kernel'], 3, axis=1)
    r, z = sigmoid(x_r + h @ u_r), sigmoid(x_z + h @ u_z)
    n = np.tanh(x_n + (r * h) @ u_n)
    h = (1 - z) * n + z * h
    return (h,), (r, z, n), h


def mingru(params: Params, x: Array, h: Array) -> Step:
    z, n = np.split(x @ params['kernel'] + params['bias'], 2)
    z = sigmoid(z)
    h = (1 - z) * h + z * n
    return (h,), (z, n), h


def minlstm(params: Params, x: Array, h: Array) -> Step:
    i, f, g = np.split(x @ params['kernel'] + params['bias'], 3)
    i, f = sigmoid(i), sigmoid(f)
    i, f = i / (i + f), f / (i + f)
    h = f * h + i * g
    return (h,), (i, f, g), h


def lru(params: Params, x: Array, h: Array) -> Step:
    a = np.exp(-np.exp(params['nu_log'])) * np.exp(1j * np.exp(params['theta_log']))
    h = a * h + np.exp(params['gamma_log']) * (x @ (params['B_re'] + 1j * params['B_im']))
    return (h,), (), (h @ (params['C_re'] + 1j * params['C_im'])).real + x @ params['D']


def indrnn(params: Params, x: Array, h: Array) -> Step:
    h = np.maximum(x @ params['kernel'] + params['recurrent_scale'] * h + params['bias'], 0)
    return (h,), (h,), h


def lstm_peephole(params: Params, x: Array, c: Array, h: Array) -> Step:
    p_i, p_f, p_o = params['peephole']
    i, f, g, o = np.split(joint(params, x, h), 4)
    i, f, g = sigmoid(i + p_i * c), sigmoid(f + p_f * c), np.tanh(g)
    c = f * c + i * g
    o = sigmoid(o + p_o * c)
    h = o * np.tanh(c)
    return (c, h), (i, f, g, o), h


def lstm_coupled(params: Params, x: Array, c: Array, h: Array) -> Step:
    f, g, o = np.split(joint(params, x, h), 3)
    f, g, o = sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + (1 - f) * g
    h = o * np.tanh(c)
    return (c, h), (f, g, o), h


def lstm_projected(params: Params, x: Array, c: Array, h: Array) -> Step:
    (c, h), gates, _ = lstm(params, x, c, h)
    h = h @ params['projection']
    return (c, h), gates, h


def normed(z: Array) -> Array:
    return (z - z.mean()) / np.sqrt(z.var() + 1e-5)


def lstm_layer_norm(params: Params, x: Array, c: Array, h: Array) -> Step:
    of_x, of_h = (
        normed(x @ params['kernel']) * params['scale'],
        normed(h @ params['recurrent_kernel']) * params['recurrent_scale'],
    )
    i, f, g, o = np.split(of_x + of_h + params['bias'], 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(normed(c) * params['cell_scale'] + params['cell_bias'])
    return (c, h), (i, f, g, o), h


def slstm(params: Params, x: Array, c: Array, n: Array, m: Array, h: Array) -> Step:
    i, f, g, o = np.split(joint(params, x, h), 4)
    log_f = np.log(sigmoid(f)) + m
    m = np.maximum(log_f, i)
    i, f, g, o = np.exp(i - m), np.exp(log_f - m), np.tanh(g), sigmoid(o)
    c, n = f * c + i * g, f * n + i
    h = o * c / n
    return (c, n, m, h), (i, f, g, o), h


def conv_lstm(
    params: Params, x: Array, c: Array, h: Array, image: tuple[int, ...] | None = None
) -> Step:
    """Over an image of this shape; None: a line of positions with one channel."""
    image = image or (len(x),)
    kernel, axes = params['kernel'], tuple(range(len(image)))
    p_i, p_f, p_o = params['peephole']
    xh = np.concatenate([side.reshape(*image, -1) for side in (x, h)], axis=-1)
    xh = np.pad(xh, [(size // 2, size // 2) for size in kernel.shape[:-2]] + [(0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(
        xh, kernel.shape[:-2], axes
    )  # [*image, C + H, *window]
    z = np.tensordot(
        windows, kernel, ([*(len(axes) + 1 + axis for axis in axes), len(axes)], [*axes, len(axes)])
    )
    i, f, g, o = (gate.ravel() for gate in np.split(z + params['bias'], 4, axis=-1))
    i, f, g = sigmoid(i + p_i * c), sigmoid(f + p_f * c), np.tanh(g)
    c = f * c + i * g
    o = sigmoid(o + p_o * c)
    h = o * np.tanh(c)
    return (c, h), (i, f, g, o), h


def gru_chung(params: Params, x: Array, h: Array) -> Step:
    _, (r, z, n), _ = gru_reset_before(params, x, h)
    h = z * n + (1 - z) * h
    return (h,), (r, z, n), h


def gru_layer_norm(params: Params, x: Array, h: Array) -> Step:
    (x_rz, x_n), (h_rz, h_n) = (
        np.split(side, [2 * len(h)])
        for side in (x @ params['kernel'], h @ params['recurrent_kernel'])
    )
    (s_rz, s_n), (t_rz, t_n), (b_rz, b_n) = (
        np.split(params[name], [2 * len(h)]) for name in ('scale', 'recurrent_scale', 'bias')
    )
    r, z = np.split(sigmoid(normed(x_rz) * s_rz + normed(h_rz) * t_rz + b_rz), 2)
    n = np.tanh(normed(x_n) * s_n + b_n + r * (normed(h_n) * t_n + params['recurrent_bias']))
    h = z * n + (1 - z) * h
    return (h,), (r, z, n), h


def mgu(params: Params, x: Array, h: Array) -> Step:
    (x_f, x_n), (u_f, u_n) = (
        np.split(x @ params['kernel'] + params['bias'], 2),
        np.split(params['recurrent_kernel'], 2, axis=1),
    )
    f = sigmoid(x_f + h @ u_f)
    n = np.tanh(x_n + (f * h) @ u_n)
    h = (1 - f) * h + f * n
    return (h,), (f, n), h


def ugrnn(params: Params, x: Array, h: Array) -> Step:
    g, n = np.split(joint(params, x, h), 2)
    g, n = sigmoid(g), np.tanh(n)
    h = g * h + (1 - g) * n
    return (h,), (g, n), h


def rhn(params: Params, x: Array, h: Array) -> Step:
    gates: list[Array] = []
    layer = 1
    while f'bias_{layer}' in params:
        z = (
            h @ params[f'recurrent_kernel_{layer}']
            + params[f'bias_{layer}']
            + (x @ params['kernel'] if layer == 1 else 0)
        )
        n, t = np.split(z, 2)
        n, t = np.tanh(n), sigmoid(t)
        h = t * n + (1 - t) * h
        gates, layer = [*gates, n, t], layer + 1
    return (h,), tuple(gates), h


def qrnn(params: Params, x: Array, before: Array, h: Array) -> Step:
    n, f, o = np.split(np.concatenate([before, x]) @ params['kernel'] + params['bias'], 3)
    n, f, o = np.tanh(n), sigmoid(f), sigmoid(o)
    h = f * h + (1 - f) * n
    return (x, h), (n, f, o), o * h


def sru(params: Params, x: Array, h: Array) -> Step:
    n, f, r, *skip = np.split(x @ params['kernel'], params['kernel'].shape[1] // len(h))
    (v_f, v_r), (b_f, b_r) = np.split(params['recurrent_scale'], 2), np.split(params['bias'], 2)
    f, r = sigmoid(f + v_f * h + b_f), sigmoid(r + v_r * h + b_r)
    h = f * h + (1 - f) * n
    return (h,), (n, f, r), r * h + (1 - r) * (skip[0] if skip else x)


def rg_lru(params: Params, x: Array, h: Array) -> Step:
    u = x @ params['kernel']
    r, i = np.split(sigmoid(u @ params['gate_kernel'] + params['gate_bias']), 2)
    a = sigmoid(params['lambda']) ** (8 * r)
    h = a * h + np.sqrt(1 - a**2) * (i * u)
    return (h,), (r, i), h


def s5(params: Params, x: Array, h: Array) -> Step:
    rate = -np.exp(params['log_decay']) + 1j * params['phase']
    a = np.exp(rate * np.exp(params['log_step']))
    h = a * h + (a - 1) / rate * (x @ (params['B_re'] + 1j * params['B_im']))
    return (h,), (), 2 * (h @ (params['C_re'] + 1j * params['C_im'])).real + x @ params['D']


STEPS: tuple[Callable[..., Step], ...] = (
    elman, irnn, indrnn, lstm, lstm_peephole, lstm_coupled, lstm_projected, lstm_layer_norm, slstm,
    conv_lstm, gru, gru_reset_before, gru_chung, gru_layer_norm, mgu, ugrnn, rhn, qrnn, sru, mingru,
    minlstm, lru, rg_lru, s5,
)  # fmt: skip
REFERENCES = {step.__name__: step for step in STEPS}
