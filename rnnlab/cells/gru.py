"""The gated recurrent unit, with the reset after or before the recurrent product."""

import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid
from jax.typing import DTypeLike

from rnnlab.cells.base import (
    Blocks,
    Cell,
    Hidden,
    Params,
    Step,
    biased,
    dropped,
    gated,
    maker,
    named,
    norm,
    plain,
    split_layout,
    times,
    zero_carry,
)
from rnnlab.errors import positive
from rnnlab.initializers import Initializer, initializer, keep_and_write_bias, nonzero_bias
from rnnlab.precision import product

GATES = ('r', 'z', 'n')
LAYOUT = split_layout(GATES)


@maker
def gru(
    hidden_size: int,
    *,
    reset_after: bool = True,
    chrono: float | None = None,
    init: str | Initializer = 'keras',
) -> Cell:
    """The GRU of torch, Flax, cuDNN and, by default, Keras: the reset gate acts after the
    recurrent product.

        x_r, x_z, x_n = split(x W + b)      [B, D] [D, 3H] + [3H] -> [B, 3H], 3 of [B, H]
        h_r, h_z, h_n = split(h U + c)      [B, H] [H, 3H] + [3H] -> [B, 3H], 3 of [B, H]
        r = sigmoid(x_r + h_r)              [B, H]: reset
        z = sigmoid(x_z + h_z)              [B, H]: update
        n = tanh(x_n + r h_n)               [B, H]: candidate
        h' = (1 - z) n + z h                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], U recurrent_kernel, b bias and c recurrent_bias. reset_after=False is
    gru_reset_before.

    chrono is the longest memory in steps that the initial cell has: the update gate's bias is that
    of `chrono_bias`.
    """
    if not reset_after:
        return gru_reset_before(hidden_size, chrono=chrono, init=init)
    positive('hidden_size', hidden_size)
    drawn = initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        params, keep = initial(drawn, key, inputs, hidden_size, chrono, dtype)
        return params | {'bias': with_gates(params['bias'], drawn.gate_bias, keep)}

    def elementwise(params: Params, carry: Hidden, sums: tuple[Array, Array, Array]) -> Step:
        rz, x_n, h_n = sums
        r, z = jnp.split(sigmoid(rz), 2, axis=-1)
        n = jnp.tanh(x_n + r * h_n)
        h = (1 - z) * n + z * carry.h
        return Hidden(h), h, (r, z, n)

    return gated(
        init_params,
        zero_carry(Hidden, hidden_size),
        affine,
        elementwise,
        GATES,
        prepare=fuse_weights,
        native='gru',
        layout=LAYOUT | {'recurrent_bias': Blocks(columns=GATES)},
    )


@maker
def gru_reset_before(
    hidden_size: int, *, chrono: float | None = None, init: str | Initializer = 'keras'
) -> Cell:
    """The GRU of Cho et al. 2014 (equations 5 to 8) and TF1: the reset gate acts before the
    recurrent product.

        x_r, x_z, x_n = split(x W + b)      [B, D] [D, 3H] + [3H] -> [B, 3H], 3 of [B, H]
        U_r, U_z, U_n = split(U)            [H, 3H], 3 of [H, H]
        r = sigmoid(x_r + h U_r)            [B, H]: reset
        z = sigmoid(x_z + h U_z)            [B, H]: update
        n = tanh(x_n + (r h) U_n)           [B, H]: candidate
        h' = (1 - z) n + z h                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], U recurrent_kernel and b bias. chrono as in gru.
    """
    return reset_before(hidden_size, chrono, init, z_writes=False)


@maker
def gru_chung(
    hidden_size: int, *, chrono: float | None = None, init: str | Initializer = 'keras'
) -> Cell:
    """The GRU of Chung et al. 2014 (equations 5 to 8) and Haiku: the reset gate acts before the
    product, and z weights the candidate.

        x_r, x_z, x_n = split(x W + b)      [B, D] [D, 3H] + [3H] -> [B, 3H], 3 of [B, H]
        U_r, U_z, U_n = split(U)            [H, 3H], 3 of [H, H]
        r = sigmoid(x_r + h U_r)            [B, H]: reset
        z = sigmoid(x_z + h U_z)            [B, H]: update
        n = tanh(x_n + (r h) U_n)           [B, H]: candidate
        h' = z n + (1 - z) h                [B, H]
        y = h'                              [B, H]

    W is params['kernel'], U recurrent_kernel and b bias. chrono as in gru.
    """
    return reset_before(hidden_size, chrono, init, z_writes=True)


@maker
def gru_layer_norm(
    hidden_size: int, *, chrono: float | None = None, init: str | Initializer = 'keras'
) -> Cell:
    """The GRU with layer normalization (Ba, Kiros, Hinton 2016, supplement), where z weights the
    candidate.

        x_rz, x_n = split(x W)              [B, D] [D, 3H] -> [B, 2H], [B, H]
        h_rz, h_n = split(h U)              [B, H] [H, 3H] -> [B, 2H], [B, H]
        r, z = split(sigmoid(norm(x_rz) s_rz + norm(h_rz) t_rz + b_rz))   2 of [B, H]: reset, update
        n = tanh(norm(x_n) s_n + b_n + r (norm(h_n) t_n + c))             [B, H]: candidate
        h' = z n + (1 - z) h                [B, H]
        y = h'                              [B, H]

    norm subtracts the mean over the features and divides by their standard deviation. W is
    params['kernel'], U recurrent_kernel, s and t are scale and recurrent_scale [3H], b is bias
    [3H] (of r and z the sum of the paper's shifts), c recurrent_bias [H]. b_n is initialized off
    zero; otherwise blank inputs at the beginning would make the gradient overflow. chrono as in
    gru.
    """
    positive('hidden_size', hidden_size)
    drawn = initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        params, keep = initial(drawn, key, inputs, hidden_size, chrono, dtype)
        (_, bias_n), (_, recurrent_bias_n) = parts(params['bias']), parts(params['recurrent_bias'])
        bias = with_gates(params['bias'] + params['recurrent_bias'], drawn.gate_bias, -keep)
        bias_n = bias_n + nonzero_bias(key, hidden_size, dtype)
        return {
            'kernel': params['kernel'],
            'recurrent_kernel': params['recurrent_kernel'],
            'scale': jnp.ones_like(bias),
            'recurrent_scale': jnp.ones_like(bias),
            'bias': jnp.concatenate([parts(bias)[0], bias_n]),
            'recurrent_bias': recurrent_bias_n,
        }

    def affine(params: Params, carry: Hidden, x: Array) -> tuple[Array, Array]:
        return product(x, params['kernel']), product(carry.h, params['recurrent_kernel'])

    def elementwise(params: Params, carry: Hidden, sums: tuple[Array, Array]) -> Step:
        (x_rz, x_n), (h_rz, h_n) = map(parts, sums)
        (s_rz, s_n), (t_rz, t_n), (b_rz, b_n) = (
            parts(params[name]) for name in ('scale', 'recurrent_scale', 'bias')
        )
        rz = biased(times(norm(x_rz), s_rz) + times(norm(h_rz), t_rz), b_rz)
        r, z = jnp.split(sigmoid(rz), 2, axis=-1)
        of_h = biased(times(norm(h_n), t_n), params['recurrent_bias'])
        n = jnp.tanh(biased(times(norm(x_n), s_n), b_n) + r * of_h)
        h = z * n + (1 - z) * carry.h
        return Hidden(h), h, (r, z, n)

    columns = Blocks(columns=GATES)
    layout = LAYOUT | {'scale': columns, 'recurrent_scale': columns}
    layout['recurrent_bias'] = Blocks()  # of n alone
    return gated(
        init_params, zero_carry(Hidden, hidden_size), affine, elementwise, GATES, layout=layout
    )


def initial(
    drawn: Initializer,
    key: Array,
    inputs: int,
    hidden_size: int,
    chrono: float | None,
    dtype: DTypeLike,
) -> tuple[dict[str, Array], Array]:
    """The initial kernels and both biases, and what to add to an update gate [H] that keeps h."""
    kernel, recurrent, biases = drawn.recurrent(key, inputs, hidden_size, (2, 1), dtype)
    params = {'kernel': kernel, 'recurrent_kernel': recurrent}
    params |= {'bias': biases[0], 'recurrent_bias': biases[1]}
    constant = drawn.gate_bias
    keep, _ = keep_and_write_bias(drawn, key, hidden_size, dtype, constant=constant, chrono=chrono)
    return params, keep


def with_gates(bias: Array, reset: float, update: Array) -> Array:
    """bias [3H] with these added for the reset gate and the update gate."""
    size = len(update)
    return bias.at[:size].add(reset).at[size : 2 * size].add(update)


def parts(array: Array) -> list[Array]:
    """Of [..., 3H] the part [..., 2H] of r and z, and the part [..., H] of n."""
    return jnp.split(array, [array.shape[-1] // 3 * 2], axis=-1)


# Reset after: affine maps, with separate input and recurrent sums for the candidate.


def affine(params: Params, carry: Hidden, x: Array) -> tuple[Array, Array, Array]:
    """The sums of r and z [..., 2H], and of n those of the input and of h [..., H]."""
    bias_rz, bias_n = parts(params['bias'])
    recurrent_bias_rz, recurrent_bias_n = parts(params['recurrent_bias'])
    x_n, h_n = product(x, params['kernel']), product(carry.h, params['recurrent_kernel'])
    if 'kernel_rz' in params:
        rz = product(jnp.concatenate([x, carry.h], axis=-1), params['kernel_rz'])
    else:
        (x_rz, x_n), (h_rz, h_n) = parts(x_n), parts(h_n)
        rz = x_rz + h_rz
    return (
        biased(rz, bias_rz + recurrent_bias_rz),
        biased(x_n, bias_n),
        biased(h_n, recurrent_bias_n),
    )


def fuse_weights(params: Params, inputs: int) -> Params:
    """The params with one kernel of [x, h] for r and z if D is far below H, which is faster."""
    if 6 * inputs >= len(params['recurrent_kernel']):
        return params
    kernel_rz, kernel = parts(params['kernel'])
    recurrent_rz, recurrent = parts(params['recurrent_kernel'])
    return params | {
        'kernel': kernel,
        'recurrent_kernel': recurrent,
        'kernel_rz': jnp.concatenate([kernel_rz, recurrent_rz]),
    }


def reset_before(
    hidden_size: int, chrono: float | None, init: str | Initializer, z_writes: bool
) -> Cell:
    """The GRU whose second product needs r; z weights the candidate with z_writes, else h."""
    positive('hidden_size', hidden_size)
    drawn = initializer(init)

    def init_params(key: Array, inputs: int, dtype: DTypeLike = float) -> Params:
        params, keep = initial(drawn, key, inputs, hidden_size, chrono, dtype)
        bias = with_gates(params['bias'], drawn.gate_bias, -keep if z_writes else keep)
        recurrent_bias = params.pop('recurrent_bias')
        return params | {'bias': bias + recurrent_bias}

    def whole(params: Params, carry: Hidden, x: Array, mask: Array | None = None) -> Step:
        recurrent_rz, recurrent_n = parts(params['recurrent_kernel'])
        x_rz, x_n = parts(biased(product(x, params['kernel']), params['bias']))
        h = dropped(carry, mask).h
        r, z = jnp.split(sigmoid(named(x_rz + product(h, recurrent_rz))), 2, axis=-1)
        n = jnp.tanh(named(x_n + product(r * h, recurrent_n)))
        keep, write = (1 - z, z) if z_writes else (z, 1 - z)
        h = write * n + keep * carry.h
        return Hidden(h), h, (r, z, n)

    return plain(init_params, zero_carry(Hidden, hidden_size), whole, GATES, layout=LAYOUT)
