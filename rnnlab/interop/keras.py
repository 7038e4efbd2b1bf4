"""Keras: SimpleRNN, LSTM, GRU and their cells, Bidirectional, Dense, Embedding."""

from collections.abc import Sequence
from typing import Any

from rnnlab.errors import InputError, known
from rnnlab.interop.weights import (
    Part,
    Sides,
    Weights,
    arrays,
    assembled,
    joined,
    one_bias,
    ordered,
    taken_apart,
    told_by_shape,
    zeros,
)
from rnnlab.recurrence import Layer

KINDS = ('elman', 'irnn', 'lstm', 'gru', 'gru_reset_before')
ACTIVATIONS = {'tanh': 'elman', 'relu': 'irnn'}
NOTHING_AT_INFERENCE = ('InputLayer', 'Dropout', 'SpatialDropout1D')


def from_keras(source: Any, *, activation: str = 'tanh') -> Weights:
    """Keras layers of any backend, or the arrays that their get_weights gives (traced ones too), as layers and params.

    SimpleRNN (tanh or relu), LSTM, GRU, their cells, keras.layers.RNN of one, and Bidirectional with merge_mode concat become
    layers; a Dense the readout, or before the first layer the dense map; an Embedding the embedding. Dropout is left out.
    A readout gives logits here: its sigmoid or softmax is that of the loss. An Embedding with mask_zero is that of a network
    with `lengths`, for padding behind.

    The kernels of Elman cells and LSTMs are joined to one of [x, h]; the gates z, r, h of a GRU become r, z, n, the two rows of
    its bias `bias` and `recurrent_bias` (reset_after). Without use_bias biases are zeros. to_keras gives back the same bits.

    Args:
        source: a layer, a Sequential, a list of layers, or of what get_weights gives of each.
        activation: tanh or relu, that of a SimpleRNN of which only arrays are given. A GRU's are then taken for those of
            reset_after unless its bias is [3H].

    Raises InputError for what computes something else: other activations, go_backwards, other merge modes and other layers.
    """
    known('activation', activation, ACTIVATIONS)
    parts: list[Part] = []
    for layer in listed(source):
        if type(layer).__name__ in NOTHING_AT_INFERENCE:
            continue
        recurrent_before = any(not isinstance(part, dict) for part in parts)
        parts.append(
            part_of_layer(layer)
            if hasattr(layer, 'get_weights')
            else part_of_arrays(arrays([*layer]), activation, recurrent_before)
        )
    return assembled(parts)


def to_keras(layers: Sequence[Layer], params: dict[str, Any]) -> list[list[Any]]:
    """What set_weights of each Keras layer takes: Embedding, Dense, SimpleRNN, LSTM, GRU or Bidirectional of them, Dense.

        for layer, weights in zip(model.layers, to_keras(layers, params)):
            layer.set_weights(weights)

    Where an Elman cell or LSTM has two biases (torch's start) Keras gets their sum. A relu cell needs activation='relu' there, a
    gru_reset_before reset_after=False. Raises InputError for a cell that Keras does not have.
    """
    return [weights_of(part) for part in taken_apart(layers, params, 'Keras', KINDS)]


def listed(source: Any) -> list[Any]:
    if any(base.__name__ == 'Sequential' for base in type(source).__mro__):
        return source.layers
    if hasattr(source, 'get_weights'):
        return [source]
    if not isinstance(source, list | tuple):
        raise InputError(
            f'from_keras takes layers and what get_weights gives, not {type(source).__name__}'
        )
    return [source] if any(hasattr(part, 'ndim') for part in source) else [*source]


def part_of_layer(layer: Any) -> Part:
    name, weights = type(layer).__name__, layer.get_weights()
    if not weights:
        raise InputError(
            f'the Keras layer {layer.name} ({name}) has no weights that are taken: build it first, or leave it out'
        )
    if name == 'Embedding':
        return {'table': weights[0]}
    if name == 'Dense':
        function(layer, 'activation', ('linear', 'sigmoid', 'softmax'))
        return dense(weights)
    if name != 'Bidirectional':
        return sides_of_layer(layer, backwards=False)
    if layer.merge_mode != 'concat':
        raise InputError(
            f'{layer.name}: Bidirectional is taken with merge_mode concat, not {layer.merge_mode}'
        )
    return sides_of_layer(layer.forward_layer, backwards=False), sides_of_layer(
        layer.backward_layer, backwards=True
    )


def sides_of_layer(layer: Any, backwards: bool) -> Sides:
    if getattr(layer, 'go_backwards', backwards) != backwards:
        raise InputError(
            f'{layer.name}: go_backwards is taken in the second direction of a Bidirectional, and there alone'
        )
    cell, weights = getattr(layer, 'cell', layer), layer.get_weights()
    name = type(cell).__name__
    if name == 'SimpleRNNCell':
        return sides_of(ACTIVATIONS[function(cell, 'activation', ('tanh', 'relu'))], weights)
    if name not in ('LSTMCell', 'GRUCell'):
        raise InputError(
            f'{layer.name}: a Keras {name} is not taken; SimpleRNN, LSTM, GRU, Bidirectional, Dense, Embedding and Dropout are'
        )
    function(cell, 'activation', ('tanh',))
    function(cell, 'recurrent_activation', ('sigmoid',))
    if name == 'LSTMCell':
        return sides_of('lstm', weights)
    return sides_of('gru' if cell.reset_after else 'gru_reset_before', weights)


def function(layer: Any, which: str, names: Sequence[str]) -> str:
    name = getattr(getattr(layer, which), '__name__', '')
    if name not in names:
        raise InputError(
            f'{layer.name}: {which} {name} is not what the cell here computes; {" or ".join(names)} is'
        )
    return name


def part_of_arrays(weights: list[Any], activation: str, recurrent_before: bool) -> Part:
    if len(weights) == 1 and not recurrent_before:
        return {'table': weights[0]}
    if len(weights) == 1 or (len(weights) == 2 and weights[1].ndim == 1):
        return dense(weights)
    if len(weights) not in (2, 3, 4, 6) or weights[1].ndim != 2:
        raise InputError(f'{len(weights)} arrays are not the weights of one Keras layer')
    if len(weights) > 3:
        half = len(weights) // 2
        return sides_of_arrays(weights[:half], activation), sides_of_arrays(
            weights[half:], activation
        )
    return sides_of_arrays(weights, activation)


def sides_of_arrays(weights: list[Any], activation: str) -> Sides:
    kind = told_by_shape(weights[1], 'weights[1]')
    if kind == 'gru' and len(weights) == 3 and weights[2].ndim == 1:
        kind = 'gru_reset_before'
    return sides_of(ACTIVATIONS[activation] if kind == 'elman' else kind, weights)


def dense(weights: Sequence[Any]) -> Part:
    kernel = weights[0]
    return {
        'kernel': kernel,
        'bias': weights[1] if len(weights) > 1 else zeros(kernel, kernel.shape[1]),
    }


def sides_of(kind: str, weights: Sequence[Any]) -> Sides:
    kernel, recurrent_kernel, *biases = weights
    bias = biases[0] if biases else zeros(kernel, kernel.shape[1])
    if not kind.startswith('gru'):
        return Sides(kind, kernel, recurrent_kernel, bias)
    kernel, recurrent_kernel, bias = (
        ordered(array, 'zrn', 'rzn') for array in (kernel, recurrent_kernel, bias)
    )
    if kind == 'gru_reset_before':
        return Sides(kind, kernel, recurrent_kernel, bias)
    return Sides(kind, kernel, recurrent_kernel, *((bias[0], bias[1]) if biases else (bias, bias)))


def weights_of(part: Part) -> list[Any]:
    if isinstance(part, dict):
        return [part['table']] if 'table' in part else [part['kernel'], part['bias']]
    if not isinstance(part, Sides):
        return [array for sides in part for array in weights_of(sides)]
    if part.kind == 'gru':
        both = [bias.reshape(1, -1) for bias in (part.bias, part.recurrent_bias)]
        weights = [part.kernel, part.recurrent_kernel, joined(both, axis=0)]
    else:
        weights = [part.kernel, part.recurrent_kernel, one_bias(part)]
    return (
        [ordered(array, 'rzn', 'zrn') for array in weights]
        if part.kind.startswith('gru')
        else weights
    )
