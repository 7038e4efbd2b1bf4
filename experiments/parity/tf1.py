"""TF1's cells as it defines them (tf.nn.rnn_cell, tf.contrib.rnn), in NumPy."""

from functools import partial

import numpy as np

from experiments.parity.harness import PROJECTION, D, H, Image, Peer, normal
from experiments.parity.reference import by_numpy
from rnnlab import interop
from rnnlab.cells.reference import sigmoid

FORGET_BIAS = 0.7  # added at every step

Variables = dict[str, np.ndarray]


def tf1(name: str, image: Image) -> Peer | None:
    """The cell run as bidirectional_dynamic_rnn does with a sequence_length."""
    outputs = PROJECTION if name == 'lstm_projected' else H
    if name not in shapes(D, outputs):
        return None
    weights = [
        tuple(normal(shapes(width, outputs)[name], seed) for seed in (0, 1))
        for width in (D, 2 * outputs)
    ]
    convert = partial(interop.from_tf1, cell=name, forget_bias=FORGET_BIAS)
    return Peer(weights, convert, by_numpy(name, partial(step, name)))


def shapes(inputs: int, outputs: int) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shapes of each cell's variables."""
    both = inputs + outputs
    simple = {'kernel': (both, H), 'bias': (H,)}
    lstm = {'kernel': (both, 4 * H), 'bias': (4 * H,)}
    return {
        'elman': simple,
        'irnn': simple,
        'indrnn': {'kernel_w': (inputs, H), 'kernel_u': (1, H), 'bias': (H,)},
        'lstm': lstm,
        'lstm_peephole': lstm | {'w_i_diag': (H,), 'w_f_diag': (H,), 'w_o_diag': (H,)},
        'lstm_coupled': {'W_0': (both, 3 * H), 'B': (3 * H,)},
        'lstm_projected': lstm | {'projection/kernel': (H, PROJECTION)},
        'gru_reset_before': {
            'gates/kernel': (both, 2 * H), 'gates/bias': (2 * H,),
            'candidate/kernel': (both, H), 'candidate/bias': (H,),
        },
        'ugrnn': {'kernel': (both, 2 * H), 'bias': (2 * H,)},
    }  # fmt: skip


def step(
    name: str, own: Variables, x: np.ndarray, *carry: np.ndarray
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """One step from the state (c, h) or (h,): the new state and the output."""
    if name.startswith('lstm'):
        c, h = lstm(name, own, x, *carry)
        return (c, h), h
    h = hidden(name, own, x, *carry)
    return (h,), h


def hidden(name: str, own: Variables, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """h' of a cell with no other state."""
    if name == 'indrnn':
        return np.maximum(x @ own['kernel_w'] + own['kernel_u'][0] * h + own['bias'], 0)
    xh = np.concatenate([x, h])
    if name == 'gru_reset_before':
        r, u = np.split(sigmoid(xh @ own['gates/kernel'] + own['gates/bias']), 2)
        xrh = np.concatenate([x, r * h])
        candidate = np.tanh(xrh @ own['candidate/kernel'] + own['candidate/bias'])
        return u * h + (1 - u) * candidate
    z = xh @ own['kernel'] + own['bias']
    if name == 'ugrnn':
        g, candidate = np.split(z, 2)
        g = sigmoid(g + FORGET_BIAS)
        return g * h + (1 - g) * np.tanh(candidate)
    return np.tanh(z) if name == 'elman' else np.maximum(z, 0)


def lstm(
    name: str, own: Variables, x: np.ndarray, c: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """c' and h'. j is the candidate; peepholes of i and f read the old c, that of o the new one."""
    xh = np.concatenate([x, h])
    if name == 'lstm_coupled':
        j, f, o = np.split(xh @ own['W_0'] + own['B'], 3)
        f = sigmoid(f + FORGET_BIAS)
        c = f * c + (1 - f) * np.tanh(j)
        return c, sigmoid(o) * np.tanh(c)
    i, j, f, o = np.split(xh @ own['kernel'] + own['bias'], 4)
    see_i, see_f, see_o = (own.get(f'w_{gate}_diag', 0) for gate in 'ifo')
    c = sigmoid(f + FORGET_BIAS + see_f * c) * c + sigmoid(i + see_i * c) * np.tanh(j)
    h = sigmoid(o + see_o * c) * np.tanh(c)
    return c, h @ own['projection/kernel'] if name == 'lstm_projected' else h
