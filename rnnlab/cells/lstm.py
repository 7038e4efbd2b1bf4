"""The long short-term memory, and its forms with peepholes, coupled gates, a projection, layer normalisation."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

from rnnlab.cells.base import Cell, apart, biased, gated, joint, maker, norm, times
from rnnlab.errors import positive
from rnnlab.initializers import Preset, keeping, off_zero, other, preset
from rnnlab.precision import product

GATES = ('i', 'f', 'g', 'o')


class LSTMCarry(NamedTuple):
    c: Array  # [..., H]
    h: Array  # [..., H]


@maker
def lstm(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Preset = 'keras',
) -> Cell:
    """The LSTM (Hochreiter and Schmidhuber 1997) with a forget gate (Gers, Schmidhuber, Cummins 2000).

        z = [x, h] W + b                    [B, D+H] [D+H, 4H] + [4H] -> [B, 4H]
        i, f, g, o = split(z)               4 of [B, H]: input, forget, candidate, output
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c' = f c + i g                      [B, H]
        h' = o tanh(c')                     [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [4H] with torch's start).

    forget_bias is added to the forget gate's bias at the start (Jozefowicz, Zaremba, Sutskever 2015); None takes the
    preset's own. TF1 adds it at every step instead, which is the same function and the same training without decay.
    chrono, in its place, is the longest time in steps that the cell starts to remember: the forget gate's bias is that of
    `chrono_bias`, the input gate's its negative. Raises InputError for both together.
    """
    start = starting(hidden_size, forget_bias, chrono, init)

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, bias = start(key, inputs, dtype)
        return {'kernel': jnp.concatenate([kernel, recurrent])} | preset(init).biases(bias)

    def elementwise(params, carry, z):
        i, f, g, o = jnp.split(z, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
        c = f * carry.c + i * g
        h = o * jnp.tanh(c)
        return LSTMCarry(c, h), h, (i, f, g, o)

    return gated(
        init_params,
        zeros(hidden_size),
        of_both,
        elementwise,
        GATES,
        prepare=apart,
        zoneout=('h', 'c'),
    )


@maker
def lstm_peephole(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Preset = 'keras',
) -> Cell:
    """The LSTM whose gates see the memory (Gers, Schraudolph, Schmidhuber 2002): the output gate the new one.

        i, f, g, o = split([x, h] W + b)    [B, D+H] [D+H, 4H] + [4H] -> 4 of [B, H]
        i, f = sigmoid(i + p_i c), sigmoid(f + p_f c)
        c' = f c + i tanh(g)                [B, H]
        h' = sigmoid(o + p_o c') tanh(c')   [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [4H] with torch's start); the rows of params['peephole'] [3, H] are p_i,
    p_f, p_o, which start at 0. forget_bias and chrono as in lstm.
    """
    start = starting(hidden_size, forget_bias, chrono, init)

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, bias = start(key, inputs, dtype)
        peephole = jnp.zeros((3, hidden_size), dtype)
        return {'kernel': jnp.concatenate([kernel, recurrent]), 'peephole': peephole} | preset(
            init
        ).biases(bias)

    def elementwise(params, carry, z):
        return through_peepholes(params, carry, jnp.split(z, 4, axis=-1))

    return gated(
        init_params,
        zeros(hidden_size),
        of_both,
        elementwise,
        GATES,
        prepare=apart,
        zoneout=('h', 'c'),
    )


@maker
def lstm_coupled(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Preset = 'keras',
) -> Cell:
    """The LSTM that writes what it forgets (CIFG in Greff et al. 2017): its input gate is 1 - f.

        f, g, o = split([x, h] W + b)       [B, D+H] [D+H, 3H] + [3H] -> 3 of [B, H]: forget, candidate, output
        f, g, o = sigmoid(f), tanh(g), sigmoid(o)
        c' = f c + (1 - f) g                [B, H]
        h' = o tanh(c')                     [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [3H] with torch's start). forget_bias and chrono as in lstm.
    """
    start = starting(hidden_size, forget_bias, chrono, init, gates='fgo')

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, bias = start(key, inputs, dtype)
        return {'kernel': jnp.concatenate([kernel, recurrent])} | preset(init).biases(bias)

    def elementwise(params, carry, z):
        f, g, o = jnp.split(z, 3, axis=-1)
        f, g, o = sigmoid(f), jnp.tanh(g), sigmoid(o)
        c = f * carry.c + (1 - f) * g
        h = o * jnp.tanh(c)
        return LSTMCarry(c, h), h, (f, g, o)

    return gated(
        init_params,
        zeros(hidden_size),
        of_both,
        elementwise,
        ('f', 'g', 'o'),
        prepare=apart,
        zoneout=('h', 'c'),
    )


@maker
def lstm_projected(
    hidden_size: int,
    *,
    projection: int | None = None,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Preset = 'keras',
) -> Cell:
    """The LSTM whose output is a projection to fewer units P, by default half as many (LSTMP: Sak, Senior, Beaufays 2014;
    torch's proj_size).

        i, f, g, o = split([x, h] W + b)    [B, D+P] [D+P, 4H] + [4H] -> 4 of [B, H]
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c' = f c + i g                      [B, H]
        h' = (o tanh(c')) V                 [B, H] [H, P] -> [B, P]
        y = h'                              [B, P]

    W is params['kernel'], V projection, b bias (plus recurrent_bias [4H] with torch's start). forget_bias and chrono as in lstm.
    """
    size = max(hidden_size // 2, 1) if projection is None else projection
    positive('projection', size)
    start = starting(hidden_size, forget_bias, chrono, init)

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, bias = start(key, inputs, dtype)
        map_out, _ = preset(init).dense(other(key, 1), hidden_size, size, dtype)
        return {
            'kernel': jnp.concatenate([kernel, recurrent[:size]]),
            'projection': map_out,
        } | preset(init).biases(bias)

    def carry(params, batch_shape):
        c, h = (
            jnp.zeros((*batch_shape, width), params['bias'].dtype) for width in (hidden_size, size)
        )
        return LSTMCarry(c, h)

    def elementwise(params, carry, z):
        i, f, g, o = jnp.split(z, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
        c = f * carry.c + i * g
        h = product(o * jnp.tanh(c), params['projection'])
        return LSTMCarry(c, h), h, (i, f, g, o)

    return gated(init_params, carry, of_both, elementwise, GATES, prepare=apart, zoneout=('h', 'c'))


@maker
def lstm_layer_norm(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Preset = 'keras',
) -> Cell:
    """The LSTM with layer normalisation (Ba, Kiros, Hinton 2016, supplement).

        z = norm(x W) s + norm(h U) t + b   [B, D] [D, 4H], [B, H] [H, 4H] -> [B, 4H]
        i, f, g, o = split(z)               4 of [B, H]
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c' = f c + i g                      [B, H]
        h' = o tanh(norm(c') u + d)         [B, H]
        y = h'                              [B, H]

    norm takes away the mean over the features and divides by their deviation. W is params['kernel'], U recurrent_kernel, s scale and t
    recurrent_scale [4H], b bias (the sum of the paper's shifts), u cell_scale and d cell_bias [H]. b of g starts off zero, or blank
    inputs at the beginning would make the gradient overflow. forget_bias and chrono as in lstm.
    """
    start = starting(hidden_size, forget_bias, chrono, init)

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, biases = start(key, inputs, dtype)
        bias = (
            biases.sum(axis=0)
            .at[2 * hidden_size : 3 * hidden_size]
            .add(off_zero(key, hidden_size, dtype))
        )
        return {
            'kernel': kernel,
            'recurrent_kernel': recurrent,
            'scale': jnp.ones_like(bias),
            'recurrent_scale': jnp.ones_like(bias),
            'bias': bias,
            'cell_scale': jnp.ones(hidden_size, dtype),
            'cell_bias': jnp.zeros(hidden_size, dtype),
        }

    def affine(params, carry, x):
        return product(x, params['kernel']), product(carry.h, params['recurrent_kernel'])

    def elementwise(params, carry, z):
        of_x, of_h = z
        z = biased(
            times(norm(of_x), params['scale']) + times(norm(of_h), params['recurrent_scale']),
            params['bias'],
        )
        i, f, g, o = jnp.split(z, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
        c = f * carry.c + i * g
        h = o * jnp.tanh(biased(times(norm(c), params['cell_scale']), params['cell_bias']))
        return LSTMCarry(c, h), h, (i, f, g, o)

    return gated(init_params, zeros(hidden_size), affine, elementwise, GATES, zoneout=('h', 'c'))


def through_peepholes(params, carry, gates):
    """The elementwise work of an LSTM with peepholes, from the four sums."""
    i, f, g, o = gates
    p_i, p_f, p_o = params['peephole']
    i, f, g = sigmoid(i + times(carry.c, p_i)), sigmoid(f + times(carry.c, p_f)), jnp.tanh(g)
    c = f * carry.c + i * g
    o = sigmoid(o + times(c, p_o))
    h = o * jnp.tanh(c)
    return LSTMCarry(c, h), h, (i, f, g, o)


def starting(hidden_size: int, forget_bias, chrono, init: str | Preset, gates: str = 'ifgo'):
    """(key, D, dtype) -> the kernels [D, N] and [H, N] and the biases [2, N] that these gates start with."""
    positive('hidden_size', hidden_size)
    start = preset(init)

    def draw(key, inputs, dtype):
        kernel, recurrent, bias = start.recurrent(key, inputs, hidden_size, (len(gates),), dtype)
        for gate, of_gate in zip(
            'fi', keeping(start, key, hidden_size, dtype, chrono, forget_bias), strict=True
        ):
            if gate in gates:
                begin = gates.index(gate) * hidden_size
                bias = bias.at[0, begin : begin + hidden_size].add(of_gate)
        return kernel, recurrent, bias

    return draw


def zeros(hidden_size: int):
    """The carry function of a memory c and an output h that both start at 0."""

    def carry(params, batch_shape):
        nothing = jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype)
        return LSTMCarry(nothing, nothing)

    return carry


def of_both(params, carry, x):
    return joint(params, x, carry.h)
