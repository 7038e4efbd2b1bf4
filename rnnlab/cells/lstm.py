"""The long short-term memory, and its forms with peepholes, coupled gates, a projection and layer
normalization."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import (
    Blocks,
    Cell,
    Gates,
    Params,
    Step,
    biased,
    gated,
    joint,
    joint_params,
    maker,
    norm,
    split_layout,
    times,
    zero_carry,
)
from rnnlab.errors import positive
from rnnlab.initializers import (
    Drawn,
    Initializer,
    another,
    forget_and_input_bias,
    initializer,
    nonzero_bias,
)
from rnnlab.precision import product

GATES = ('i', 'f', 'g', 'o')
ZONEOUT = ('h', 'c')


class LSTMCarry(NamedTuple):
    c: Array  # [..., H]
    h: Array  # [..., H]


@maker
def lstm(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Initializer = 'keras',
) -> Cell:
    """The LSTM (Hochreiter and Schmidhuber 1997) with a forget gate (Gers, Schmidhuber, Cummins
    2000).

        z = [x, h] W + b                    [B, D+H] [D+H, 4H] + [4H] -> [B, 4H]
        i, f, g, o = split(z)               4 of [B, H]: input, forget, candidate, output
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c' = f c + i g                      [B, H]
        h' = o tanh(c')                     [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [4H] with torch's initializer).

    forget_bias is added to the initial bias of the forget gate (Jozefowicz, Zaremba, Sutskever
    2015); None takes the initializer's. TF1 adds it at every step instead, which is the same
    function, and the same training without weight decay. chrono, in its place, is the longest
    memory in steps that the initial cell has: the forget gate's bias is that of `chrono_bias`, the
    input gate's its negative. Raises InputError for both together.
    """
    weights = initial_weights(hidden_size, forget_bias, chrono, init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        return joint_params(initializer(init), weights(key, inputs, dtype))

    def elementwise(params: Params, carry: LSTMCarry, z: Array) -> Step:
        c, gates = remembered(carry.c, z)
        h = gates[-1] * jnp.tanh(c)
        return LSTMCarry(c, h), h, gates

    carry = zero_carry(LSTMCarry, hidden_size)
    return joint(init_params, carry, elementwise, GATES, zoneout=ZONEOUT, native='lstm')


@maker
def lstm_peephole(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Initializer = 'keras',
) -> Cell:
    """The LSTM whose gates see the memory (Gers, Schraudolph, Schmidhuber 2002): the output gate
    the new one.

        i, f, g, o = split([x, h] W + b)    [B, D+H] [D+H, 4H] + [4H] -> 4 of [B, H]
        i, f = sigmoid(i + p_i c), sigmoid(f + p_f c)
        c' = f c + i tanh(g)                [B, H]
        h' = sigmoid(o + p_o c') tanh(c')   [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [4H] with torch's initializer);
    the rows of params['peephole'] [3, H] are p_i, p_f, p_o, initially 0. forget_bias and chrono as
    in lstm.
    """
    weights = initial_weights(hidden_size, forget_bias, chrono, init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        params = joint_params(initializer(init), weights(key, inputs, dtype))
        return params | {'peephole': jnp.zeros((3, hidden_size), dtype)}

    def elementwise(params: Params, carry: LSTMCarry, z: Array) -> Step:
        return through_peepholes(params, carry, tuple(jnp.split(z, 4, axis=-1)))

    carry = zero_carry(LSTMCarry, hidden_size)
    return joint(init_params, carry, elementwise, GATES, zoneout=ZONEOUT)


@maker
def lstm_coupled(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Initializer = 'keras',
) -> Cell:
    """The LSTM with coupled input and forget gates (CIFG in Greff et al. 2017): its input gate is
    1 - f.

        f, g, o = split([x, h] W + b)       [B, D+H] [D+H, 3H] + [3H] -> 3 of [B, H]
        f, g, o = sigmoid(f), tanh(g), sigmoid(o)           forget, candidate, output
        c' = f c + (1 - f) g                [B, H]
        h' = o tanh(c')                     [B, H]
        y = h'                              [B, H]

    W is params['kernel'], b params['bias'] (plus recurrent_bias [3H] with torch's initializer).
    forget_bias and chrono as in lstm.
    """
    weights = initial_weights(hidden_size, forget_bias, chrono, init, gates='fgo')

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        return joint_params(initializer(init), weights(key, inputs, dtype))

    def elementwise(params: Params, carry: LSTMCarry, z: Array) -> Step:
        f, g, o = jnp.split(z, 3, axis=-1)
        f, g, o = sigmoid(f), jnp.tanh(g), sigmoid(o)
        c = f * carry.c + (1 - f) * g
        h = o * jnp.tanh(c)
        return LSTMCarry(c, h), h, (f, g, o)

    carry = zero_carry(LSTMCarry, hidden_size)
    return joint(init_params, carry, elementwise, ('f', 'g', 'o'), zoneout=ZONEOUT)


@maker
def lstm_projected(
    hidden_size: int,
    *,
    projection: int | None = None,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Initializer = 'keras',
) -> Cell:
    """The LSTM whose output is a projection to P units, by default half as many (LSTMP: Sak,
    Senior, Beaufays 2014; torch's proj_size).

        i, f, g, o = split([x, h] W + b)    [B, D+P] [D+P, 4H] + [4H] -> 4 of [B, H]
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c' = f c + i g                      [B, H]
        h' = (o tanh(c')) V                 [B, H] [H, P] -> [B, P]
        y = h'                              [B, P]

    W is params['kernel'], V projection, b bias (plus recurrent_bias [4H] with torch's
    initializer). forget_bias and chrono as in lstm.
    """
    size = max(hidden_size // 2, 1) if projection is None else projection
    positive('projection', size)
    weights = initial_weights(hidden_size, forget_bias, chrono, init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        kernel, recurrent, biases = weights(key, inputs, dtype)
        matrix, _ = initializer(init).dense(another(key, 1), hidden_size, size, dtype)
        params = joint_params(initializer(init), (kernel, recurrent[:size], biases))
        return params | {'projection': matrix}

    def carry(params: Params, batch_shape: tuple[int, ...]) -> LSTMCarry:
        c, h = (
            jnp.zeros((*batch_shape, width), params['bias'].dtype) for width in (hidden_size, size)
        )
        return LSTMCarry(c, h)

    def elementwise(params: Params, carry: LSTMCarry, z: Array) -> Step:
        c, gates = remembered(carry.c, z)
        h = product(gates[-1] * jnp.tanh(c), params['projection'])
        return LSTMCarry(c, h), h, gates

    return joint(init_params, carry, elementwise, GATES, zoneout=ZONEOUT)


@maker
def lstm_layer_norm(
    hidden_size: int,
    *,
    forget_bias: float | Array | None = None,
    chrono: float | None = None,
    init: str | Initializer = 'keras',
) -> Cell:
    """The LSTM with layer normalization (Ba, Kiros, Hinton 2016, supplement).

        z = norm(x W) s + norm(h U) t + b   [B, D] [D, 4H], [B, H] [H, 4H] -> [B, 4H]
        i, f, g, o = split(z)               4 of [B, H]
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c' = f c + i g                      [B, H]
        h' = o tanh(norm(c') u + d)         [B, H]
        y = h'                              [B, H]

    norm subtracts the mean over the features and divides by their standard deviation. W is
    params['kernel'], U recurrent_kernel, s scale and t recurrent_scale [4H], b bias (the sum of
    the paper's shifts), u cell_scale and d cell_bias [H]. b of g is initialized off zero;
    otherwise blank inputs at the beginning would make the gradient overflow. forget_bias and
    chrono as in lstm.
    """
    weights = initial_weights(hidden_size, forget_bias, chrono, init)
    candidate = slice(2 * hidden_size, 3 * hidden_size)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        kernel, recurrent, biases = weights(key, inputs, dtype)
        bias = biases.sum(axis=0).at[candidate].add(nonzero_bias(key, hidden_size, dtype))
        return {
            'kernel': kernel,
            'recurrent_kernel': recurrent,
            'scale': jnp.ones_like(bias),
            'recurrent_scale': jnp.ones_like(bias),
            'bias': bias,
            'cell_scale': jnp.ones(hidden_size, dtype),
            'cell_bias': jnp.zeros(hidden_size, dtype),
        }

    def affine(params: Params, carry: LSTMCarry, x: Array) -> tuple[Array, Array]:
        return product(x, params['kernel']), product(carry.h, params['recurrent_kernel'])

    def elementwise(params: Params, carry: LSTMCarry, z: tuple[Array, Array]) -> Step:
        of_x, of_h = z
        scaled = times(norm(of_x), params['scale']) + times(norm(of_h), params['recurrent_scale'])
        c, gates = remembered(carry.c, biased(scaled, params['bias']))
        shown = biased(times(norm(c), params['cell_scale']), params['cell_bias'])
        h = gates[-1] * jnp.tanh(shown)
        return LSTMCarry(c, h), h, gates

    columns = Blocks(columns=GATES)
    return gated(
        init_params,
        zero_carry(LSTMCarry, hidden_size),
        affine,
        elementwise,
        GATES,
        zoneout=ZONEOUT,
        layout=split_layout(GATES) | {'scale': columns, 'recurrent_scale': columns},
    )


def initial_weights(
    hidden_size: int,
    forget_bias: float | Array | None,
    chrono: float | None,
    init: str | Initializer,
    gates: str = 'ifgo',
) -> Callable[[Array, int, DTypeLike], Drawn]:
    """(key, D, dtype) -> initial kernels [D, N] and [H, N] and biases [2, N] of these gates."""
    positive('hidden_size', hidden_size)
    drawn = initializer(init)

    def draw(key: Array, inputs: int, dtype: DTypeLike) -> Drawn:
        kernel, recurrent, bias = drawn.recurrent(key, inputs, hidden_size, (len(gates),), dtype)
        added = forget_and_input_bias(
            drawn, key, hidden_size, dtype, forget_bias=forget_bias, chrono=chrono
        )
        for gate, of_gate in zip('fi', added, strict=True):
            if gate in gates:
                begin = gates.index(gate) * hidden_size
                bias = bias.at[0, begin : begin + hidden_size].add(of_gate)
        return kernel, recurrent, bias

    return draw


def remembered(c: Array, z: Array) -> tuple[Array, Gates]:
    """The new memory c' of an LSTM, and its gates i, f, g, o, from c and the gates' sums z."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    return f * c + i * g, (i, f, g, o)


def through_peepholes(params: Params, carry: LSTMCarry, sums: Gates) -> Step:
    """The elementwise work of an LSTM with peepholes, from the sums of its four gates."""
    i, f, g, o = sums
    p_i, p_f, p_o = params['peephole']
    i, f, g = sigmoid(i + times(carry.c, p_i)), sigmoid(f + times(carry.c, p_f)), jnp.tanh(g)
    c = f * carry.c + i * g
    o = sigmoid(o + times(c, p_o))
    h = o * jnp.tanh(c)
    return LSTMCarry(c, h), h, (i, f, g, o)
