"""Initializers of parameters, one for each framework that people compare with.

Letters in shapes: D inputs, H hidden size, N the columns of all gates (4H in an LSTM).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers
from jax.nn.initializers import (
    glorot_uniform,
    lecun_normal,
    normal,
    truncated_normal,
    variance_scaling,
)
from jax.typing import DTypeLike as Dtype

from rnnlab.errors import InputError, known

Counts = tuple[int, ...]  # of the gates in each matrix
Drawn = tuple[Array, Array, Array]  # kernel [D, N], recurrent kernel [H, N], biases [2, N]
Dense = tuple[Array, Array]  # kernel [D, K], bias [K]


@dataclass(frozen=True, kw_only=True)
class Initializer:
    """How a framework initializes the three kinds of layers that models here have.

    recurrent: (key, D, H, blocks, dtype) -> kernel [D, N], recurrent kernel [H, N], biases [2, N]
        of the input's and the recurrent side. blocks are the numbers of gates that the
        framework's own cell keeps in one matrix: (4,) in an LSTM.
    dense: (key, D, K, dtype) -> kernel [D, K], bias [K].
    embedding: (key, vocabulary size V, features E, dtype) -> table [V, E].
    forget_bias: constant added to the bias of an LSTM's forget gate.
    gate_bias: constant added to the biases of both gates of a GRU.
    two_biases: whether Elman cells and LSTMs keep the biases of both sides as two parameters, as
        torch does. The function is the same as with their sum; but both get the sum's gradient,
        so an optimizer moves the sum twice as far.
    retention_bias: (key, H, dtype) -> [H], random, in place of these constants: for the gate
        that keeps the carry; the gate that writes to it gets the negative.
    """

    recurrent: Callable[[Array, int, int, Counts, Dtype], Drawn]
    dense: Callable[[Array, int, int, Dtype], Dense]
    embedding: Callable[[Array, int, int, Dtype], Array]
    forget_bias: float | Array = 0.0
    gate_bias: float = 0.0
    two_biases: bool = False
    retention_bias: Callable[[Array, int, Dtype], Array] | None = None

    def biases(self, pair: Array) -> dict[str, Array]:
        """The bias parameters of a cell that needs the sum of `pair` [2, N]."""
        if self.two_biases:
            return {'bias': pair[0], 'recurrent_bias': pair[1]}
        return {'bias': pair.sum(axis=0)}


def symmetric(key: Array, shape: tuple[int, ...], limit: float, dtype: Dtype) -> Array:
    """Uniform on [-limit, limit)."""
    return jax.random.uniform(key, shape, dtype, -limit, limit)


def orthogonal(key: Array, shape: tuple[int, ...], dtype: Dtype) -> Array:
    """Orthogonal over the last axis; drawn in float32 for types that have no QR decomposition."""
    wide = jnp.finfo(dtype).bits >= 32
    return initializers.orthogonal()(key, shape, dtype if wide else jnp.float32).astype(dtype)


def keras_recurrent(key: Array, inputs: int, hidden: int, blocks: Counts, dtype: Dtype) -> Drawn:
    """Glorot-uniform kernel, one orthogonal matrix [H, N] over all gates, zero biases
    (keras.layers.LSTM)."""
    kernel, recurrent = jax.random.split(key)
    columns = sum(blocks) * hidden
    return (
        glorot_uniform()(kernel, (inputs, columns), dtype),
        orthogonal(recurrent, (hidden, columns), dtype),
        jnp.zeros((2, columns), dtype),
    )


def dense(init: Callable[..., Array]) -> Callable[..., Dense]:
    """The function that draws a dense layer: a kernel by `init`, a zero bias."""

    def draw(key: Array, inputs: int, outputs: int, dtype: Dtype) -> Dense:
        return init(key, (inputs, outputs), dtype), jnp.zeros(outputs, dtype)

    return draw


def table(init: Callable[..., Array]) -> Callable[..., Array]:
    """The function that draws an embedding by `init`."""
    return lambda key, vocabulary, features, dtype: init(key, (vocabulary, features), dtype)


def torch_recurrent(key: Array, inputs: int, hidden: int, blocks: Counts, dtype: Dtype) -> Drawn:
    """Everything uniform within 1/sqrt(H), both biases too (torch.nn.RNNBase.reset_parameters)."""
    kernel, recurrent, bias = jax.random.split(key, 3)
    columns, limit = sum(blocks) * hidden, 1 / math.sqrt(hidden)
    return (
        symmetric(kernel, (inputs, columns), limit, dtype),
        symmetric(recurrent, (hidden, columns), limit, dtype),
        symmetric(bias, (2, columns), limit, dtype),
    )


def torch_dense(key: Array, inputs: int, outputs: int, dtype: Dtype) -> Dense:
    """Kernel and bias uniform within 1/sqrt(D) (torch.nn.Linear.reset_parameters)."""
    kernel, bias = jax.random.split(key)
    limit = 1 / math.sqrt(inputs)
    return (
        symmetric(kernel, (inputs, outputs), limit, dtype),
        symmetric(bias, (outputs,), limit, dtype),
    )


def tf1_recurrent(key: Array, inputs: int, hidden: int, blocks: Counts, dtype: Dtype) -> Drawn:
    """Glorot-uniform on the matrix of [x, h] for each block of gates, zero biases
    (tf.nn.rnn_cell)."""
    joint = [
        glorot_uniform()(block_key, (inputs + hidden, gates * hidden), dtype)
        for block_key, gates in zip(jax.random.split(key, len(blocks)), blocks, strict=True)
    ]
    kernel = jnp.concatenate(joint, axis=1)
    return kernel[:inputs], kernel[inputs:], jnp.zeros((2, kernel.shape[1]), dtype)


def flax_recurrent(key: Array, inputs: int, hidden: int, blocks: Counts, dtype: Dtype) -> Drawn:
    """Lecun-normal kernel, an orthogonal recurrent matrix for each gate, zero biases
    (flax.linen.LSTMCell)."""
    _, recurrent, biases = orthogonal_recurrent(key, inputs, hidden, blocks, dtype)
    shape = inputs, recurrent.shape[1]
    return lecun_normal()(jax.random.fold_in(key, 0), shape, dtype), recurrent, biases


def haiku_recurrent(key: Array, inputs: int, hidden: int, blocks: Counts, dtype: Dtype) -> Drawn:
    """Truncated normal within two standard deviations, zero biases.

    The standard deviation is 1/sqrt(D + H) before truncation where all gates share a matrix
    (hk.LSTM), 1/sqrt(D) and 1/sqrt(H) before truncation for a single gate (hk.VanillaRNN), and
    the same after truncation otherwise (hk.GRU).
    """
    kernel_key, recurrent_key = jax.random.split(key)
    columns = sum(blocks) * hidden

    def draw(key: Array, rows: int) -> Array:
        if len(blocks) > 1:
            return lecun_normal()(key, (rows, columns), dtype)
        fan_in = rows if blocks == (1,) else inputs + hidden
        return truncated(1 / math.sqrt(fan_in))(key, (rows, columns), dtype)

    return draw(kernel_key, inputs), draw(recurrent_key, hidden), jnp.zeros((2, columns), dtype)


def haiku_dense(key: Array, inputs: int, outputs: int, dtype: Dtype) -> Dense:
    """Truncated-normal kernel, standard deviation 1/sqrt(D) before truncation, zero bias
    (hk.Linear)."""
    kernel = truncated(1 / math.sqrt(inputs))(key, (inputs, outputs), dtype)
    return kernel, jnp.zeros(outputs, dtype)


def truncated(deviation: float) -> Callable[..., Array]:
    """The initializer of a normal distribution truncated at two standard deviations."""
    return truncated_normal(deviation, lower=-2.0, upper=2.0)


def identity_recurrent(key: Array, inputs: int, hidden: int, blocks: Counts, dtype: Dtype) -> Drawn:
    """The identity as the recurrent matrix of each gate, normal kernel with standard deviation
    0.001, zero biases (Le, Jaitly, Hinton 2015, section 4)."""
    columns = sum(blocks) * hidden
    recurrent = jnp.tile(jnp.eye(hidden, dtype=dtype), (1, sum(blocks)))
    return normal(1e-3)(key, (inputs, columns), dtype), recurrent, jnp.zeros((2, columns), dtype)


def orthogonal_recurrent(
    key: Array, inputs: int, hidden: int, blocks: Counts, dtype: Dtype
) -> Drawn:
    """Glorot-uniform kernel, an orthogonal recurrent matrix for each gate, zero biases
    (Saxe, McClelland, Ganguli 2014; Arjovsky, Shah, Bengio 2016)."""
    kernel, *keys = jax.random.split(key, 1 + sum(blocks))
    square = jnp.concatenate([orthogonal(gate, (hidden, hidden), dtype) for gate in keys], axis=1)
    columns = square.shape[1]
    kernel = glorot_uniform()(kernel, (inputs, columns), dtype)
    return kernel, square, jnp.zeros((2, columns), dtype)


def chrono_bias(key: Array, hidden: int, longest: float, dtype: Dtype) -> Array:
    """[H], the logarithms of numbers uniform in [1, longest - 1), for the gate that keeps the
    carry: memories of all lengths up to `longest` steps (Tallec and Ollivier 2018, equations 16
    and 17).

    Raises InputError unless `longest` is 2 or more.
    """
    if longest < 2:
        raise InputError(f'chrono must be 2 time steps or more, not {longest}')
    return jnp.log(jax.random.uniform(key, (hidden,), dtype, 1.0, max(longest - 1.0, 1.0)))


def uniform_gate_bias(key: Array, hidden: int, dtype: Dtype) -> Array:
    """[H], the logits of numbers uniform in [1/H, 1 - 1/H), for the gate that keeps the carry:
    anywhere between open and shut (Gu et al. 2020)."""
    edge = min(1 / hidden, 0.25)
    openness = jax.random.uniform(key, (hidden,), dtype, edge, 1 - edge)
    return jnp.log(openness) - jnp.log1p(-openness)


def nonzero_bias(key: Array, hidden: int, dtype: Dtype) -> Array:
    """[H], uniform within 1/sqrt(H), added to a candidate's bias where the carry is normalized.

    Over blank rows at the beginning of an image the carry would otherwise stay 0, where layer
    normalization multiplies the gradient by 316 at every step.
    """
    return symmetric(another(key, 1), (hidden,), hidden**-0.5, dtype)


def another(key: Array, number: int = 0) -> Array:
    """A key that splitting `key` does not give: the first of a split is fold_in(key, 0)."""
    return jax.random.fold_in(key, 2**31 + number)


def keep_and_write_bias(
    initializer: Initializer,
    key: Array,
    hidden: int,
    dtype: Dtype,
    *,
    constant: float | Array,
    chrono: float | None,
) -> tuple[Array, Array]:
    """What is added to the biases [H] of the gate that keeps the carry and the gate that writes
    to it: with chrono, or an initializer with a retention_bias, a random bias and its negative;
    otherwise `constant` and 0."""
    if chrono is not None:
        keep = chrono_bias(another(key), hidden, chrono, dtype)
    elif initializer.retention_bias is not None:
        keep = initializer.retention_bias(another(key), hidden, dtype)
    else:
        constant = jnp.broadcast_to(jnp.asarray(constant, dtype), (hidden,))
        return constant, jnp.zeros(hidden, dtype)
    return keep, -keep


def forget_and_input_bias(
    initializer: Initializer,
    key: Array,
    hidden: int,
    dtype: Dtype,
    *,
    forget_bias: float | Array | None,
    chrono: float | None,
) -> tuple[Array, Array]:
    """What is added to the biases [H] of a forget gate and an input gate; forget_bias takes the
    place of the initializer's own.

    Raises InputError for chrono and forget_bias together.
    """
    if forget_bias is not None:
        if chrono is not None:
            raise InputError(
                'chrono and forget_bias both initialize the forget gate: give one of them'
            )
        initializer = replace(initializer, forget_bias=forget_bias, retention_bias=None)
    return keep_and_write_bias(
        initializer, key, hidden, dtype, constant=initializer.forget_bias, chrono=chrono
    )


def small_uniform(key: Array, shape: tuple[int, ...], dtype: Dtype) -> Array:
    return symmetric(key, shape, 0.05, dtype)


# Dense layers and embeddings as in keras.layers.Dense and Embedding, torch.nn.Linear and Embedding,
# tf.get_variable, flax.linen.Dense and Embed, hk.Linear and Embed.
KERAS = Initializer(
    recurrent=keras_recurrent,
    dense=dense(glorot_uniform()),
    embedding=table(small_uniform),
    forget_bias=1.0,
)
INITIALIZERS = {
    'keras': KERAS,
    'torch': Initializer(
        recurrent=torch_recurrent, dense=torch_dense, embedding=table(normal(1.0)), two_biases=True
    ),
    'tf1': Initializer(
        recurrent=tf1_recurrent,
        dense=dense(glorot_uniform()),
        embedding=table(glorot_uniform()),
        forget_bias=1.0,
        gate_bias=1.0,
    ),
    'flax': Initializer(
        recurrent=flax_recurrent,
        dense=dense(lecun_normal()),
        embedding=table(variance_scaling(1.0, 'fan_in', 'normal', out_axis=0)),
    ),
    'haiku': Initializer(
        recurrent=haiku_recurrent,
        dense=haiku_dense,
        embedding=table(truncated(1.0)),
        forget_bias=1.0,
    ),
    'orthogonal': replace(KERAS, recurrent=orthogonal_recurrent),
    'identity': replace(KERAS, recurrent=identity_recurrent, forget_bias=0.0),
    'uniform_gate': replace(KERAS, forget_bias=0.0, retention_bias=uniform_gate_bias),
}


def initializer(init: str | Initializer) -> Initializer:
    """The initializer of that name, or `init` itself if it is one."""
    if isinstance(init, Initializer):
        return init
    known('initializer', init, INITIALIZERS)
    return INITIALIZERS[init]


def scaled(init: str | Initializer, scale: float | Array) -> Initializer:
    """That initializer with the matrices of recurrent layers multiplied by `scale`; biases,
    readout and embedding stay."""
    unscaled = initializer(init)

    def recurrent(key: Array, inputs: int, hidden: int, blocks: Counts, dtype: Dtype) -> Drawn:
        kernel, recurrent_kernel, biases = unscaled.recurrent(key, inputs, hidden, blocks, dtype)
        factor = jnp.asarray(scale, kernel.dtype)
        return factor * kernel, factor * recurrent_kernel, biases

    return replace(unscaled, recurrent=recurrent)
