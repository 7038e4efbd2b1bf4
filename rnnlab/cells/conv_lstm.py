"""The LSTM over images, whose products are convolutions."""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import glorot_uniform
from jax.typing import DTypeLike

from rnnlab.cells.base import Blocks, Cell, Gates, Params, biased, gated, maker
from rnnlab.cells.lstm import GATES, ZONEOUT, LSTMCarry, through_peepholes
from rnnlab.errors import InputError, positive
from rnnlab.initializers import orthogonal
from rnnlab.precision import product


@maker
def conv_lstm(
    hidden_size: int,
    *,
    image: tuple[int, ...] | None = None,
    window: int = 3,
    forget_bias: float | Array = 1.0,
) -> Cell:
    """The ConvLSTM (Shi et al. 2015, equation 3), with H channels at each of P positions.

        z = [x, h] * W + b                  [B, P, C+H] * [3, C+H, 4H] + [4H] -> [B, P, 4H]
        i, f, g, o = split(z)               4 of [B, P, H]: input, forget, candidate, output
        i, f = sigmoid(i + p_i c), sigmoid(f + p_f c)
        c' = f c + i tanh(g)                [B, P, H]
        h' = sigmoid(o + p_o c') tanh(c')   [B, P, H]
        y = h'                              [B, P, H]

    * is a convolution that keeps the number of positions, with zero padding. W is params['kernel'],
    b params['bias'], and the rows of params['peephole'] [3, PH] are p_i, p_f, p_o. Inputs, carry
    and output are flat, [B, PC] and [B, PH], as layers and masks take them.

    Args:
        hidden_size: H, the output channels.
        image: the shape of the positions, (rows, columns), for inputs [rows, columns, C] flattened;
            None: a line of D positions with one channel.
        window: width of the convolution along each axis, an odd number.
        forget_bias: the initial bias of the forget gate.

    Raises InputError for an even window, and at init for inputs that are no image of that shape.
    """
    positive('hidden_size', hidden_size)
    positive('window', window)
    if window % 2 == 0:
        raise InputError(f'window must be odd, so that it has a middle, not {window}')
    for size in image or ():
        positive('image', size)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        shape = image or (inputs,)
        positions = math.prod(shape)
        if inputs % positions:
            raise InputError(
                f'{inputs} inputs are no image of {" x ".join(map(str, shape))} positions '
                'with the same number of channels each'
            )
        channels, across = inputs // positions, (window,) * len(shape)
        key_x, key_h = jax.random.split(key)
        kernel = glorot_uniform()(key_x, (*across, channels, 4 * hidden_size), dtype)
        recurrent = orthogonal(key_h, (*across, hidden_size, 4 * hidden_size), dtype)
        bias = jnp.zeros(4 * hidden_size, dtype)
        return {
            'kernel': jnp.concatenate([kernel, recurrent], axis=-2),
            'bias': bias.at[hidden_size : 2 * hidden_size].add(forget_bias),
            'peephole': jnp.zeros((3, positions * hidden_size), dtype),
        }

    def carry(params: Params, batch_shape: tuple[int, ...]) -> LSTMCarry:
        zeros = jnp.zeros((*batch_shape, params['peephole'].shape[-1]), params['bias'].dtype)
        return LSTMCarry(zeros, zeros)

    def affine(params: Params, carry: LSTMCarry, x: Array) -> Gates:
        batch = x.shape[:-1]
        shape = image or (carry.h.shape[-1] // hidden_size,)
        positions = math.prod(shape)
        xh = jnp.concatenate(
            [flat.reshape(-1, *shape, flat.shape[-1] // positions) for flat in (x, carry.h)],
            axis=-1,
        )
        z = product(
            neighbourhoods(xh, shape, window), params['kernel'].reshape(-1, 4 * hidden_size)
        )
        gates = jnp.split(biased(z, params['bias']), 4, axis=-1)
        return tuple(gate.reshape(*batch, -1) for gate in gates)

    columns = Blocks(columns=GATES)  # described where a gate has as many columns as values
    return gated(
        init_params,
        carry,
        affine,
        through_peepholes,
        GATES,
        zoneout=ZONEOUT,
        layout={'kernel': columns, 'bias': columns},
    )


def neighbourhoods(x: Array, shape: tuple[int, ...], window: int) -> Array:
    """What a window sees around each position, [B, *shape, window ** axes * channels], of x
    [B, *shape, channels].

    Times one matrix it is a convolution whose gradient is faster on a CPU than XLA's.
    """
    padded = jnp.pad(x, [(0, 0), *[(window // 2, window // 2)] * len(shape), (0, 0)])
    shifts = itertools.product(range(window), repeat=len(shape))
    shifted = [
        padded[:, *(slice(begin, begin + size) for begin, size in zip(shift, shape, strict=True))]
        for shift in shifts
    ]
    return jnp.concatenate(shifted, axis=-1)
