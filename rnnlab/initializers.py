"""How parameters start: one preset for each framework whose start people compare with.

A preset draws the three kinds of parameters that models here have. D is the number of inputs, H the hidden size, N the
columns of all gates together (4H in an LSTM).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import (
    glorot_uniform,
    lecun_normal,
    normal,
    orthogonal,
    truncated_normal,
    variance_scaling,
)

from rnnlab.errors import InputError, known


class Preset(NamedTuple):
    """A framework's start.

    recurrent: (key, D, H, blocks, dtype) -> kernel [D, N], recurrent kernel [H, N], biases [2, N] of the input's and of
        the recurrent side; blocks are the gates that the framework's own cell keeps in one matrix: (4,) in an LSTM.
    dense: (key, D, K, dtype) -> kernel [D, K], bias [K].
    embedding: (key, vocabulary size V, features E, dtype) -> table [V, E].
    forget_bias: what an LSTM's forget gate starts with on top of its bias.
    gate_bias: the same for both gates of a GRU.
    two_biases: whether Elman cells and LSTMs keep the biases of both sides, as torch does, not their sum alone. The function is
        the same, but both get the gradient of the sum, and so an optimizer moves it twice as far.
    gates: (key, H, dtype) -> [H], in the place of these two biases; the gate that writes starts with the opposite.
    """

    recurrent: Callable
    dense: Callable
    embedding: Callable
    forget_bias: float
    gate_bias: float
    two_biases: bool = False
    gates: Callable | None = None

    def biases(self, pair):
        """The params for biases [2, N] of a cell that needs their sum."""
        return (
            {'bias': pair[0], 'recurrent_bias': pair[1]}
            if self.two_biases
            else {'bias': pair.sum(axis=0)}
        )


def symmetric(key, shape, limit, dtype):
    """Uniform on [-limit, limit)."""
    return jax.random.uniform(key, shape, dtype, -limit, limit)


def keras_recurrent(key, inputs, hidden, blocks, dtype):
    """Glorot-uniform kernel, one orthogonal matrix [H, N] over all gates, zero biases (keras.layers.LSTM)."""
    kernel, recurrent = jax.random.split(key)
    columns = sum(blocks) * hidden
    return (
        glorot_uniform()(kernel, (inputs, columns), dtype),
        orthogonal()(recurrent, (hidden, columns), dtype),
        jnp.zeros((2, columns), dtype),
    )


def keras_dense(key, inputs, outputs, dtype):
    """Glorot-uniform kernel, zero bias (keras.layers.Dense)."""
    return glorot_uniform()(key, (inputs, outputs), dtype), jnp.zeros(outputs, dtype)


def torch_recurrent(key, inputs, hidden, blocks, dtype):
    """Everything uniform within 1/sqrt(H), both biases too (torch.nn.RNNBase.reset_parameters)."""
    kernel, recurrent, bias = jax.random.split(key, 3)
    columns, limit = sum(blocks) * hidden, 1 / math.sqrt(hidden)
    return (
        symmetric(kernel, (inputs, columns), limit, dtype),
        symmetric(recurrent, (hidden, columns), limit, dtype),
        symmetric(bias, (2, columns), limit, dtype),
    )


def torch_dense(key, inputs, outputs, dtype):
    """Kernel and bias uniform within 1/sqrt(D) (torch.nn.Linear.reset_parameters)."""
    kernel, bias = jax.random.split(key)
    limit = 1 / math.sqrt(inputs)
    return symmetric(kernel, (inputs, outputs), limit, dtype), symmetric(
        bias, (outputs,), limit, dtype
    )


def tf1_recurrent(key, inputs, hidden, blocks, dtype):
    """Glorot-uniform on the joint matrix of [x, h] and each block of gates, zero biases (tf.nn.rnn_cell)."""
    joint = [
        glorot_uniform()(block_key, (inputs + hidden, gates * hidden), dtype)
        for block_key, gates in zip(jax.random.split(key, len(blocks)), blocks, strict=True)
    ]
    kernel = jnp.concatenate(joint, axis=1)
    return kernel[:inputs], kernel[inputs:], jnp.zeros((2, kernel.shape[1]), dtype)


def flax_recurrent(key, inputs, hidden, blocks, dtype):
    """Lecun-normal kernel, an orthogonal recurrent matrix for each gate, zero biases (flax.linen.LSTMCell)."""
    _, recurrent, biases = orthogonal_recurrent(key, inputs, hidden, blocks, dtype)
    return (
        lecun_normal()(jax.random.fold_in(key, 0), (inputs, recurrent.shape[1]), dtype),
        recurrent,
        biases,
    )


def flax_dense(key, inputs, outputs, dtype):
    """Lecun-normal kernel, zero bias (flax.linen.Dense)."""
    return lecun_normal()(key, (inputs, outputs), dtype), jnp.zeros(outputs, dtype)


def haiku_recurrent(key, inputs, hidden, blocks, dtype):
    """Truncated normal, cut at two deviations: with deviation 1/sqrt(D + H) before the cut where all gates share a matrix (hk.LSTM), with
    1/sqrt(D) and 1/sqrt(H) before it where there is one gate (hk.VanillaRNN), after it otherwise (hk.GRU); zero biases."""
    kernel_key, recurrent_key = jax.random.split(key)
    columns = sum(blocks) * hidden

    def draw(key, rows):
        if len(blocks) > 1:
            return lecun_normal()(key, (rows, columns), dtype)
        fan_in = rows if blocks == (1,) else inputs + hidden
        return truncated_normal(1 / math.sqrt(fan_in), lower=-2.0, upper=2.0)(
            key, (rows, columns), dtype
        )

    return draw(kernel_key, inputs), draw(recurrent_key, hidden), jnp.zeros((2, columns), dtype)


def haiku_dense(key, inputs, outputs, dtype):
    """Truncated normal kernel, deviation 1/sqrt(D) before the cut, zero bias (hk.Linear)."""
    return truncated_normal(1 / math.sqrt(inputs), lower=-2.0, upper=2.0)(
        key, (inputs, outputs), dtype
    ), jnp.zeros(outputs, dtype)


def identity_recurrent(key, inputs, hidden, blocks, dtype):
    """Recurrent kernel the identity for each gate, kernel normal with deviation 0.001 (Le, Jaitly, Hinton 2015, section 4)."""
    columns = sum(blocks) * hidden
    recurrent = jnp.tile(jnp.eye(hidden, dtype=dtype), (1, sum(blocks)))
    return normal(1e-3)(key, (inputs, columns), dtype), recurrent, jnp.zeros((2, columns), dtype)


def orthogonal_recurrent(key, inputs, hidden, blocks, dtype):
    """Glorot-uniform kernel, an orthogonal recurrent matrix for each gate, zero biases (Saxe, McClelland, Ganguli 2014; Arjovsky,
    Shah, Bengio 2016)."""
    kernel, *keys = jax.random.split(key, 1 + sum(blocks))
    square = jnp.concatenate([orthogonal()(gate, (hidden, hidden), dtype) for gate in keys], axis=1)
    return (
        glorot_uniform()(kernel, (inputs, square.shape[1]), dtype),
        square,
        jnp.zeros((2, square.shape[1]), dtype),
    )


def chrono_bias(key: Array, hidden: int, longest: float, dtype) -> Array:
    """[H], the logarithms of numbers uniform in [1, longest - 1): the gate that keeps starts with memories of up to `longest` steps,
    of every length alike (Tallec and Ollivier 2018, equations 16 and 17).

    Raises InputError unless `longest` is 2 or more.
    """
    if longest < 2:
        raise InputError(f'chrono must be 2 time steps or more, not {longest}')
    return jnp.log(jax.random.uniform(key, (hidden,), dtype, 1.0, max(longest - 1.0, 1.0)))


def other(key: Array, number: int = 0) -> Array:
    """Keys that splitting `key` does not give: the first of a split is fold_in(key, 0)."""
    return jax.random.fold_in(key, 2**31 + number)


def uniform_gate_bias(key: Array, hidden: int, dtype) -> Array:
    """[H], the logits of numbers uniform in [1/H, 1 - 1/H): the gate that keeps starts anywhere between open and shut (Gu et al. 2020)."""
    edge = min(1 / hidden, 0.25)
    share = jax.random.uniform(key, (hidden,), dtype, edge, 1 - edge)
    return jnp.log(share) - jnp.log1p(-share)


def keeping(
    start: 'Preset', key, hidden: int, dtype, chrono=None, forget_bias=None, usual=None
) -> tuple[Array, Array]:
    """What the biases of the gates that keep and that write [H] start with on top: of a chrono or uniform-gate start opposite numbers,
    else a forget bias, by default that of the preset (`usual`, if the cell has another), and 0.

    Raises InputError for chrono and forget_bias together.
    """
    if chrono is not None and forget_bias is not None:
        raise InputError(
            'chrono is a start of the forget gate, and so is forget_bias: give one of them'
        )
    gates_key = other(key)
    if chrono is not None:
        keep = chrono_bias(gates_key, hidden, chrono, dtype)
    elif start.gates is not None and forget_bias is None:
        keep = start.gates(gates_key, hidden, dtype)
    else:
        bias = (
            forget_bias
            if forget_bias is not None
            else start.forget_bias
            if usual is None
            else usual
        )
        return jnp.broadcast_to(jnp.asarray(bias, dtype), (hidden,)), jnp.zeros(hidden, dtype)
    return keep, -keep


def off_zero(key: Array, hidden: int, dtype) -> Array:
    """[H], uniform within 1/sqrt(H): what a candidate's bias starts with on top where the carry is normalised. Over blank rows at the
    beginning of an image the carry would else stay 0, where norm multiplies the gradient by 316 at every step."""
    return symmetric(other(key, 1), (hidden,), hidden**-0.5, dtype)


def small_uniform(key, vocabulary, features, dtype):
    """Uniform within 0.05 (keras.layers.Embedding)."""
    return symmetric(key, (vocabulary, features), 0.05, dtype)


def unit_normal(key, vocabulary, features, dtype):
    """Standard normal (torch.nn.Embedding)."""
    return normal(1.0)(key, (vocabulary, features), dtype)


def feature_normal(key, vocabulary, features, dtype):
    """Normal with deviation 1/sqrt(E) (flax.linen.Embed)."""
    return variance_scaling(1.0, 'fan_in', 'normal', out_axis=0)(key, (vocabulary, features), dtype)


def cut_normal(key, vocabulary, features, dtype):
    """Standard normal, cut at two deviations (hk.Embed)."""
    return truncated_normal(1.0, lower=-2.0, upper=2.0)(key, (vocabulary, features), dtype)


def glorot_table(key, vocabulary, features, dtype):
    """Glorot-uniform, what tf.get_variable starts with."""
    return glorot_uniform()(key, (vocabulary, features), dtype)


PRESETS = {
    'keras': Preset(keras_recurrent, keras_dense, small_uniform, forget_bias=1.0, gate_bias=0.0),
    'torch': Preset(
        torch_recurrent, torch_dense, unit_normal, forget_bias=0.0, gate_bias=0.0, two_biases=True
    ),
    'tf1': Preset(tf1_recurrent, keras_dense, glorot_table, forget_bias=1.0, gate_bias=1.0),
    'flax': Preset(flax_recurrent, flax_dense, feature_normal, forget_bias=0.0, gate_bias=0.0),
    'haiku': Preset(haiku_recurrent, haiku_dense, cut_normal, forget_bias=1.0, gate_bias=0.0),
    'orthogonal': Preset(
        orthogonal_recurrent, keras_dense, small_uniform, forget_bias=1.0, gate_bias=0.0
    ),
    'identity': Preset(
        identity_recurrent, keras_dense, small_uniform, forget_bias=0.0, gate_bias=0.0
    ),
    'uniform_gate': Preset(
        keras_recurrent,
        keras_dense,
        small_uniform,
        forget_bias=0.0,
        gate_bias=0.0,
        gates=uniform_gate_bias,
    ),
}


def scaled(init: str | Preset, scale: float | Array) -> Preset:
    """That preset, with the matrices of recurrent layers multiplied by `scale`; biases, readout and embedding stay."""
    start = preset(init)

    def recurrent(*args):
        kernel, recurrent_kernel, biases = start.recurrent(*args)
        factor = jnp.asarray(scale, kernel.dtype)
        return factor * kernel, factor * recurrent_kernel, biases

    return start._replace(recurrent=recurrent)


def preset(init: str | Preset) -> Preset:
    """The preset of that name, or `init` itself where it is one already."""
    if isinstance(init, Preset):
        return init
    known('initializer', init, PRESETS)
    return PRESETS[init]
