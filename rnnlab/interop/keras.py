"""Keras: SimpleRNN, LSTM, GRU and their cells, Bidirectional, Dense, Embedding."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rnnlab.errors import InputError, known
from rnnlab.interop.weights import (
    GATES,
    Array,
    CellWeights,
    Params,
    Part,
    Weights,
    arrays,
    assembled,
    check_attributes,
    dense,
    joined,
    kind_by_shape,
    ordered,
    taken_apart,
    zeros,
)
from rnnlab.recurrence import Layer

if TYPE_CHECKING:
    from keras import Layer as KerasLayer

KINDS = ('elman', 'irnn', 'lstm', 'gru', 'gru_reset_before')
GRU = 'zrn'  # order of Keras's gates
ACTIVATIONS = {'tanh': 'elman', 'relu': 'irnn'}
LEFT_OUT = (  # of no effect outside training
    'InputLayer', 'Dropout', 'SpatialDropout1D', 'GaussianNoise', 'GaussianDropout', 'AlphaDropout',
)  # fmt: skip
PLAIN = {'lora_enabled': (False,), 'quantization_mode': (None,)}
READOUT = ('linear', 'sigmoid', 'softmax')


def from_keras(source: object, *, activation: str = 'tanh') -> Weights:
    """Keras layers as layers and params.

    source: a layer of any backend, a Sequential, a list of layers, or of what their get_weights
        returns (traced arrays too). SimpleRNN (tanh or relu), LSTM, GRU, their cells, RNN of one
        of these, and Bidirectional with merge_mode concat are layers; a Dense is the readout, or
        before the first layer the dense map; an Embedding is the embedding. Dropout is left out.
    activation: tanh or relu, that of a SimpleRNN given as arrays. A GRU given as arrays is one
        with reset_after, unless its bias is [3H].

    A readout gives logits here: sigmoid or softmax is part of the loss. mask_zero of an Embedding
    is `lengths` of the network, for padding after the end. Without use_bias biases are zeros.
    to_keras returns the same bits.

    Raises InputError for other activations, go_backwards, other merge modes and other layers.
    """
    known('activation', activation, ACTIVATIONS)
    parts: list[Part] = []
    layers = [layer for layer in listed(source) if type(layer).__name__ not in LEFT_OUT]
    for number, layer in enumerate(layers, 1):
        if hasattr(layer, 'get_weights'):
            parts.append(part_of_layer(layer, last=number == len(layers)))
        else:
            recurrent_before = any(not isinstance(part, dict) for part in parts)
            parts.append(part_of_arrays(arrays([*layer]), activation, recurrent_before))
    return assembled(parts)


def to_keras(layers: Sequence[Layer], params: Params) -> list[list[Array]]:
    """The arrays for set_weights of each Keras layer.

        for layer, weights in zip(model.layers, to_keras(layers, params)):
            layer.set_weights(weights)

    The layers are Embedding, Dense, SimpleRNN, LSTM, GRU or Bidirectional of them, Dense. An Elman
    cell or LSTM with two biases gets their sum. An irnn needs activation='relu' in Keras, a
    gru_reset_before reset_after=False. Raises InputError for a cell that Keras does not have.
    """
    return [weights_of(part) for part in taken_apart(layers, params, 'Keras', KINDS)]


def listed(source: Any) -> list['KerasLayer | list[Array]']:
    """The layers, or lists of arrays, that from_keras takes."""
    if any(base.__name__ == 'Sequential' for base in type(source).__mro__):
        return source.layers
    if hasattr(source, 'get_weights'):
        return [source]
    if not isinstance(source, list | tuple):
        raise InputError(
            f'from_keras takes layers and what get_weights returns, not {type(source).__name__}'
        )
    return [source] if any(hasattr(part, 'ndim') for part in source) else [*source]


def part_of_layer(layer: 'KerasLayer', last: bool) -> Part:
    name, weights = type(layer).__name__, layer.get_weights()
    if not layer.built:
        raise InputError(f'the Keras layer {layer.name} ({name}) has no weights: build it first')
    check_attributes(layer, layer.name, PLAIN)
    if name == 'Embedding':
        return {'table': weights[0]}
    if name == 'Dense':
        check_attributes(layer, layer.name, {'activation': READOUT if last else READOUT[:1]})
        return dense(*weights)
    if name != 'Bidirectional':
        return cell_of_layer(layer, backwards=False)
    check_attributes(layer, layer.name, {'merge_mode': ('concat',)})
    return (
        cell_of_layer(layer.forward_layer, backwards=False),
        cell_of_layer(layer.backward_layer, backwards=True),
    )


def cell_of_layer(layer: 'KerasLayer', backwards: bool) -> CellWeights:
    if getattr(layer, 'go_backwards', backwards) != backwards:
        raise InputError(
            f'{layer.name}: go_backwards is only for the second direction of a Bidirectional'
        )
    cell, weights = getattr(layer, 'cell', layer), layer.get_weights()
    name = type(cell).__name__
    if name == 'SimpleRNNCell':
        check_attributes(cell, layer.name, {'activation': (*ACTIVATIONS,)})
        return cell_of(ACTIVATIONS[cell.activation.__name__], weights)
    if name not in ('LSTMCell', 'GRUCell'):
        raise InputError(
            f'{layer.name}: a Keras {name} is not supported; SimpleRNN, LSTM, GRU, Bidirectional, '
            f'Dense, Embedding and Dropout are'
        )
    functions = {'activation': ('tanh',), 'recurrent_activation': ('sigmoid',)}
    check_attributes(cell, layer.name, functions)
    if name == 'LSTMCell':
        return cell_of('lstm', weights)
    return cell_of('gru' if cell.reset_after else 'gru_reset_before', weights)


def part_of_arrays(weights: list[Array], activation: str, recurrent_before: bool) -> Part:
    if len(weights) == 1 and not recurrent_before:
        return {'table': weights[0]}
    if len(weights) == 1 or (len(weights) == 2 and weights[1].ndim == 1):
        return dense(*weights)
    if len(weights) not in (2, 3, 4, 6) or weights[1].ndim != 2:
        raise InputError(f'{len(weights)} arrays are not the weights of one Keras layer')
    if len(weights) < 4:
        return cell_of_arrays(weights, activation)
    half = len(weights) // 2
    return cell_of_arrays(weights[:half], activation), cell_of_arrays(weights[half:], activation)


def cell_of_arrays(weights: list[Array], activation: str) -> CellWeights:
    kind = kind_by_shape(weights[1], 'weights[1]')
    if kind == 'gru' and len(weights) == 3 and weights[2].ndim == 1:
        kind = 'gru_reset_before'
    return cell_of(ACTIVATIONS[activation] if kind == 'elman' else kind, weights)


def cell_of(kind: str, weights: Sequence[Array]) -> CellWeights:
    kernel, recurrent_kernel, *biases = weights
    bias = biases[0] if biases else zeros(kernel, kernel.shape[1])
    if kind in ('gru', 'gru_reset_before'):
        kernel, recurrent_kernel, bias = (
            ordered(array, GRU, GATES[kind]) for array in (kernel, recurrent_kernel, bias)
        )
    recurrent_bias = None
    if kind == 'gru':
        bias, recurrent_bias = bias if biases else (bias, bias)
    return CellWeights(
        kind=kind,
        kernel=kernel,
        recurrent_kernel=recurrent_kernel,
        bias=bias,
        recurrent_bias=recurrent_bias,
    )


def weights_of(part: Part) -> list[Array]:
    """The arrays that set_weights of the part's layer takes."""
    if isinstance(part, dict):
        return [part['table']] if 'table' in part else [part['kernel'], part['bias']]
    if isinstance(part, tuple):
        return [array for weights in part for array in weights_of(weights)]
    bias = part.bias_sum
    if part.kind == 'gru':
        bias = joined([bias.reshape(1, -1) for bias in part.both_biases], axis=0)
    weights = [part.kernel, part.recurrent_kernel, bias]
    if part.kind in ('gru', 'gru_reset_before'):
        return [ordered(array, GATES[part.kind], GRU) for array in weights]
    return weights
