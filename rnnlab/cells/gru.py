"""The gated recurrent unit, with the reset after or before the recurrent product."""

import jax.numpy as jnp
from jax.nn import sigmoid

from rnnlab.cells.base import Cell, Hidden, biased, dropped, gated, maker, named, norm, plain, times
from rnnlab.errors import positive
from rnnlab.initializers import Preset, keeping, off_zero, preset
from rnnlab.precision import product


@maker
def gru(
    hidden_size: int,
    *,
    reset_after: bool = True,
    writes: bool = False,
    chrono: float | None = None,
    init: str | Preset = 'keras',
) -> Cell:
    """The GRU of torch, Flax, cuDNN and, by default, Keras: the reset gate acts after the recurrent product.

        x_r, x_z, x_n = split(x W + b)      [B, D] [D, 3H] + [3H] -> [B, 3H], 3 of [B, H]
        h_r, h_z, h_n = split(h U + c)      [B, H] [H, 3H] + [3H] -> [B, 3H], 3 of [B, H]
        r = sigmoid(x_r + h_r)              [B, H]: reset
        z = sigmoid(x_z + h_z)              [B, H]: update
        n = tanh(x_n + r h_n)               [B, H]: candidate
        h' = (1 - z) n + z h                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], U recurrent_kernel, b bias and c recurrent_bias. reset_after=False is gru_reset_before, and
    with writes, so that z weighs n and not h, gru_chung.

    chrono is the longest time in steps that the cell starts to remember: the update gate's bias is that of `chrono_bias`.
    """
    positive('hidden_size', hidden_size)
    start = preset(init)
    gates = ('r', 'z', 'n')

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, (bias, recurrent_bias) = start.recurrent(
            key, inputs, hidden_size, (2, 1), dtype
        )
        keep, _ = keeping(start, key, hidden_size, dtype, chrono, usual=start.gate_bias)
        update = -keep if writes else keep
        bias = (
            bias.at[:hidden_size].add(start.gate_bias).at[hidden_size : 2 * hidden_size].add(update)
        )
        params = {'kernel': kernel, 'recurrent_kernel': recurrent, 'bias': bias}
        if reset_after:
            return params | {'recurrent_bias': recurrent_bias}
        return params | {'bias': bias + recurrent_bias}

    def carry(params, batch_shape):
        return Hidden(jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype))

    def from_input(params, x):
        return biased(product(x, params['kernel']), params['bias'])

    def blend(r, z, n, h):
        keep, write = (1 - z, z) if writes else (z, 1 - z)
        h = write * n + keep * h
        return Hidden(h), h, (r, z, n)

    def parted(name, params):
        return jnp.split(params[name], [2 * hidden_size], axis=-1)

    # reset after: affine maps, in which the candidate keeps the input and the recurrent side apart, then elementwise work
    def affine(params, carry, x):
        (bias_rz, bias_n), (recurrent_bias_rz, recurrent_bias_n) = (
            parted('bias', params),
            parted('recurrent_bias', params),
        )
        x_n, h_n = product(x, params['kernel']), product(carry.h, params['recurrent_kernel'])
        if 'kernel_rz' in params:
            rz = product(jnp.concatenate([x, carry.h], axis=-1), params['kernel_rz'])
        else:
            (x_rz, x_n), (h_rz, h_n) = (
                jnp.split(side, [2 * hidden_size], axis=-1) for side in (x_n, h_n)
            )
            rz = x_rz + h_rz
        return (
            biased(rz, bias_rz + recurrent_bias_rz),
            biased(x_n, bias_n),
            biased(h_n, recurrent_bias_n),
        )

    def together(params, inputs):
        """With few inputs, r and z take [x, h] at once. Milliseconds of a gradient on one core, so and otherwise: 290 and 380
        (784, 64, 1, 128), but 17 and 13 (28, 64, 28, 150)."""
        if 6 * inputs >= hidden_size:
            return params
        (kernel_rz, kernel), (recurrent_rz, recurrent) = (
            parted('kernel', params),
            parted('recurrent_kernel', params),
        )
        return params | {
            'kernel': kernel,
            'recurrent_kernel': recurrent,
            'kernel_rz': jnp.concatenate([kernel_rz, recurrent_rz]),
        }

    def elementwise(params, carry, z):
        rz, x_n, h_n = z
        r, z = jnp.split(sigmoid(rz), 2, axis=-1)
        return blend(r, z, jnp.tanh(x_n + r * h_n), carry.h)

    # reset before: a second product waits for r
    def whole(params, carry, x, mask=None):
        recurrent_rz, recurrent_n = parted('recurrent_kernel', params)
        x_rz, x_n = jnp.split(from_input(params, x), [2 * hidden_size], axis=-1)
        h = dropped(carry, mask).h
        r, z = jnp.split(sigmoid(named(x_rz + product(h, recurrent_rz))), 2, axis=-1)
        return blend(r, z, jnp.tanh(named(x_n + product(r * h, recurrent_n))), carry.h)

    if reset_after:
        return gated(init_params, carry, affine, elementwise, gates, prepare=together)
    return plain(init_params, carry, whole, gates)


@maker
def gru_reset_before(
    hidden_size: int, *, chrono: float | None = None, init: str | Preset = 'keras'
) -> Cell:
    """The GRU of Cho et al. 2014 (equations 5 to 8) and TF1: the reset gate acts before the recurrent product.

        x_r, x_z, x_n = split(x W + b)      [B, D] [D, 3H] + [3H] -> [B, 3H], 3 of [B, H]
        U_r, U_z, U_n = split(U)            [H, 3H], 3 of [H, H]
        r = sigmoid(x_r + h U_r)            [B, H]: reset
        z = sigmoid(x_z + h U_z)            [B, H]: update
        n = tanh(x_n + (r h) U_n)           [B, H]: candidate
        h' = (1 - z) n + z h                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], U recurrent_kernel and b bias. chrono as in gru.
    """
    return gru(hidden_size, reset_after=False, chrono=chrono, init=init)


@maker
def gru_chung(
    hidden_size: int, *, chrono: float | None = None, init: str | Preset = 'keras'
) -> Cell:
    """The GRU of Chung et al. 2014 (equations 5 to 8) and Haiku: the reset gate acts before the product, and z writes.

        x_r, x_z, x_n = split(x W + b)      [B, D] [D, 3H] + [3H] -> [B, 3H], 3 of [B, H]
        U_r, U_z, U_n = split(U)            [H, 3H], 3 of [H, H]
        r = sigmoid(x_r + h U_r)            [B, H]: reset
        z = sigmoid(x_z + h U_z)            [B, H]: update
        n = tanh(x_n + (r h) U_n)           [B, H]: candidate
        h' = z n + (1 - z) h                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], U recurrent_kernel and b bias. chrono as in gru.
    """
    return gru(hidden_size, reset_after=False, writes=True, chrono=chrono, init=init)


@maker
def gru_layer_norm(
    hidden_size: int, *, chrono: float | None = None, init: str | Preset = 'keras'
) -> Cell:
    """The GRU with layer normalisation (Ba, Kiros, Hinton 2016, supplement), where z writes.

        x_rz, x_n = split(x W)              [B, D] [D, 3H] -> [B, 2H], [B, H]
        h_rz, h_n = split(h U)              [B, H] [H, 3H] -> [B, 2H], [B, H]
        r, z = split(sigmoid(norm(x_rz) s_rz + norm(h_rz) t_rz + b_rz))       2 of [B, H]: reset, update
        n = tanh(norm(x_n) s_n + b_n + r (norm(h_n) t_n + c))                 [B, H]: candidate
        h' = z n + (1 - z) h                [B, H]
        y = h'                              [B, H]

    norm takes away the mean over the features and divides by their deviation. W is params['kernel'], U recurrent_kernel, s and t are scale
    and recurrent_scale [3H], b is bias [3H] (of r and z the sum of the paper's shifts), c recurrent_bias [H]. b_n starts off zero, or
    blank inputs at the beginning would make the gradient overflow. chrono as in gru.
    """
    positive('hidden_size', hidden_size)
    start = preset(init)

    def init_params(key, inputs, dtype=float):
        kernel, recurrent, (bias, recurrent_bias) = start.recurrent(
            key, inputs, hidden_size, (2, 1), dtype
        )
        keep, _ = keeping(start, key, hidden_size, dtype, chrono, usual=start.gate_bias)
        gates = (
            (bias + recurrent_bias)[: 2 * hidden_size]
            .at[:hidden_size]
            .add(start.gate_bias)
            .at[hidden_size:]
            .add(-keep)
        )
        return {
            'kernel': kernel,
            'recurrent_kernel': recurrent,
            'scale': jnp.ones_like(bias),
            'recurrent_scale': jnp.ones_like(bias),
            'bias': jnp.concatenate(
                [gates, bias[2 * hidden_size :] + off_zero(key, hidden_size, dtype)]
            ),
            'recurrent_bias': recurrent_bias[2 * hidden_size :],
        }

    def carry(params, batch_shape):
        return Hidden(jnp.zeros((*batch_shape, hidden_size), params['bias'].dtype))

    def affine(params, carry, x):
        return product(x, params['kernel']), product(carry.h, params['recurrent_kernel'])

    def elementwise(params, carry, z):
        (x_rz, x_n), (h_rz, h_n) = (jnp.split(side, [2 * hidden_size], axis=-1) for side in z)
        (s_rz, s_n), (t_rz, t_n), (b_rz, b_n) = (
            jnp.split(params[name], [2 * hidden_size])
            for name in ('scale', 'recurrent_scale', 'bias')
        )
        r, z = jnp.split(
            sigmoid(biased(times(norm(x_rz), s_rz) + times(norm(h_rz), t_rz), b_rz)), 2, axis=-1
        )
        n = jnp.tanh(
            biased(times(norm(x_n), s_n), b_n)
            + r * biased(times(norm(h_n), t_n), params['recurrent_bias'])
        )
        h = z * n + (1 - z) * carry.h
        return Hidden(h), h, (r, z, n)

    return gated(init_params, carry, affine, elementwise, ('r', 'z', 'n'))
