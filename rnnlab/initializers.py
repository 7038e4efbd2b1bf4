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
from jax.nn.initializers import glorot_uniform, normal, orthogonal

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
    """

    recurrent: Callable
    dense: Callable
    embedding: Callable
    forget_bias: float
    gate_bias: float
    two_biases: bool = False

    def biases(self, pair):
        """The params for biases [2, N] of a cell that needs their sum."""
        return {'bias': pair[0], 'recurrent_bias': pair[1]} if self.two_biases else {'bias': pair.sum(axis=0)}


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
    return symmetric(kernel, (inputs, outputs), limit, dtype), symmetric(bias, (outputs,), limit, dtype)


def tf1_recurrent(key, inputs, hidden, blocks, dtype):
    """Glorot-uniform on the joint matrix of [x, h] and each block of gates, zero biases (tf.nn.rnn_cell)."""
    joint = [
        glorot_uniform()(block_key, (inputs + hidden, gates * hidden), dtype)
        for block_key, gates in zip(jax.random.split(key, len(blocks)), blocks, strict=True)
    ]
    kernel = jnp.concatenate(joint, axis=1)
    return kernel[:inputs], kernel[inputs:], jnp.zeros((2, kernel.shape[1]), dtype)


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
    return glorot_uniform()(kernel, (inputs, square.shape[1]), dtype), square, jnp.zeros((2, square.shape[1]), dtype)


def chrono_bias(key: Array, hidden: int, longest: float, dtype) -> Array:
    """[H], the logarithms of numbers uniform in [1, longest - 1): the gate that keeps starts with memories of up to `longest` steps,
    of every length alike (Tallec and Ollivier 2018, equations 16 and 17).

    Raises InputError unless `longest` is 2 or more.
    """
    if longest < 2:
        raise InputError(f'chrono must be 2 time steps or more, not {longest}')
    return jnp.log(jax.random.uniform(key, (hidden,), dtype, 1.0, max(longest - 1.0, 1.0)))


def small_uniform(key, vocabulary, features, dtype):
    """Uniform within 0.05 (keras.layers.Embedding)."""
    return symmetric(key, (vocabulary, features), 0.05, dtype)


def unit_normal(key, vocabulary, features, dtype):
    """Standard normal (torch.nn.Embedding)."""
    return normal(1.0)(key, (vocabulary, features), dtype)


def glorot_table(key, vocabulary, features, dtype):
    """Glorot-uniform, what tf.get_variable starts with."""
    return glorot_uniform()(key, (vocabulary, features), dtype)


PRESETS = {
    'keras': Preset(keras_recurrent, keras_dense, small_uniform, forget_bias=1.0, gate_bias=0.0),
    'torch': Preset(torch_recurrent, torch_dense, unit_normal, forget_bias=0.0, gate_bias=0.0, two_biases=True),
    'tf1': Preset(tf1_recurrent, keras_dense, glorot_table, forget_bias=1.0, gate_bias=1.0),
    'orthogonal': Preset(orthogonal_recurrent, keras_dense, small_uniform, forget_bias=1.0, gate_bias=0.0),
    'identity': Preset(identity_recurrent, keras_dense, small_uniform, forget_bias=0.0, gate_bias=0.0),
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
