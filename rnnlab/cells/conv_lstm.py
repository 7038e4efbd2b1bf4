"""The LSTM over images, whose products are convolutions."""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import glorot_uniform, orthogonal

from rnnlab.cells.base import Cell, biased, gated, maker
from rnnlab.cells.lstm import GATES, LSTMCarry, through_peepholes
from rnnlab.errors import InputError, positive
from rnnlab.precision import product


@maker
def conv_lstm(
    hidden_size: int,
    *,
    image: tuple[int, ...] | None = None,
    window: int = 3,
    forget_bias: float | Array = 1.0,
) -> Cell:
    """The ConvLSTM (Shi et al. 2015, equation 3), for H channels of P places each.

        z = [x, h] * W + b                  [B, P, C+H] * [3, C+H, 4H] + [4H] -> [B, P, 4H]
        i, f, g, o = split(z)               4 of [B, P, H]: input, forget, candidate, output
        i, f = sigmoid(i + p_i c), sigmoid(f + p_f c)
        c' = f c + i tanh(g)                [B, P, H]
        h' = sigmoid(o + p_o c') tanh(c')   [B, P, H]
        y = h'                              [B, P, H]

    * is a convolution that keeps the places, with zeros beyond the border. W is params['kernel'], b params['bias'], and the rows of
    params['peephole'] [3, PH] are p_i, p_f, p_o. Inputs, carry and output are flat, [B, PC] and [B, PH], as layers and masks take them.

    Args:
        hidden_size: H, the channels that come out.
        image: the places of an image, (rows, columns), its inputs [rows, columns, C] flattened; None: a line of D places with one value.
        window: width of the convolution along each axis, an odd number.
        forget_bias: what the forget gate's bias starts with.

    Raises InputError for an even window, and at init for inputs that no image of that shape has.
    """
    positive('hidden_size', hidden_size)
    positive('window', window)
    if window % 2 == 0:
        raise InputError(f'window must be odd, so that it has a middle, not {window}')
    for size in image or ():
        positive('image', size)

    def shape(places):
        return image or (places,)

    def init_params(key, inputs, dtype=float):
        places = math.prod(shape(inputs))
        if inputs % places:
            raise InputError(
                f'{inputs} inputs are no image of {" x ".join(map(str, shape(inputs)))} places with the same channels each'
            )
        channels, across = inputs // places, (window,) * len(shape(inputs))
        key_x, key_h = jax.random.split(key)
        kernel = glorot_uniform()(key_x, (*across, channels, 4 * hidden_size), dtype)
        recurrent = orthogonal()(key_h, (*across, hidden_size, 4 * hidden_size), dtype)
        return {
            'kernel': jnp.concatenate([kernel, recurrent], axis=-2),
            'bias': jnp.zeros(4 * hidden_size, dtype)
            .at[hidden_size : 2 * hidden_size]
            .add(forget_bias),
            'peephole': jnp.zeros((3, places * hidden_size), dtype),
        }

    def carry(params, batch_shape):
        zeros = jnp.zeros((*batch_shape, params['peephole'].shape[-1]), params['bias'].dtype)
        return LSTMCarry(zeros, zeros)

    def affine(params, carry, x):
        batch, places = x.shape[:-1], shape(carry.h.shape[-1] // hidden_size)
        xh = jnp.concatenate(
            [
                flat.reshape(-1, *places, flat.shape[-1] // math.prod(places))
                for flat in (x, carry.h)
            ],
            axis=-1,
        )
        # What lies around each place, times one matrix: on a CPU the gradient takes a third to a tenth of XLA's convolution.
        wide = jnp.pad(xh, [(0, 0), *[(window // 2, window // 2)] * len(places), (0, 0)])
        shifts = itertools.product(range(window), repeat=len(places))
        windows = [
            wide[
                :, *(slice(start, start + size) for start, size in zip(shift, places, strict=True))
            ]
            for shift in shifts
        ]
        z = product(
            jnp.concatenate(windows, axis=-1), params['kernel'].reshape(-1, 4 * hidden_size)
        )
        return tuple(
            gate.reshape(*batch, -1) for gate in jnp.split(biased(z, params['bias']), 4, axis=-1)
        )

    return gated(init_params, carry, affine, through_peepholes, GATES, zoneout=('h', 'c'))
