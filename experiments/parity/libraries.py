"""How torch, Keras, Flax and Haiku compute a cell, on images too; each a counterpart as experiments/parity/harness.py has it."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.harness import (
    LENGTHS,
    PROJECTION,
    SIDES,
    B,
    D,
    H,
    Image,
    Peer,
    T,
    by_jax,
    merge,
    normal,
    tf1,
)
from rnnlab import interop
from rnnlab.cells import CELLS
from rnnlab.interop.weights import ordered
from rnnlab.recurrence import MERGES, Layer, bidirectional


def inputs(image: Image) -> tuple[int, int]:
    """What the two layers read."""
    return D, math.prod(image) * H if image else 2 * H


def on_image(flat: Any, image: Image) -> Any:
    """Arrays [..., PC] as [..., *image, C], as libraries have images; without an image as they are."""
    return jax.tree.map(
        lambda x: x.reshape(*x.shape[:-1], *image, x.shape[-1] // math.prod(image)), flat
    )


def flat(images: Any, image: Image) -> Any:
    return jax.tree.map(lambda x: x.reshape(*x.shape[: x.ndim - len(image) - 1], -1), images)


def flax(name: str, image: Image) -> Peer | None:
    from flax import linen

    cells: dict[str, Callable] = {
        'elman': linen.SimpleCell,
        'irnn': partial(linen.SimpleCell, activation_fn=jax.nn.relu),
        'lstm': linen.OptimizedLSTMCell,
        'conv_lstm': partial(linen.ConvLSTMCell, kernel_size=(3,) * len(image)),
        'gru': linen.GRUCell,
        'ugrnn': partial(linen.MGUCell, reset_gate=False),
    }
    if name not in cells:
        return None
    forward, backward = (linen.RNN(cells[name](H, param_dtype=float)) for _ in SIDES)
    layer = linen.Bidirectional(forward, backward, MERGES[merge(name)], time_major=True)

    def apply(weights, xs, carries, lengths):
        ys, after, starts = on_image(xs, image), [], on_image(carries, image)
        for number, own in enumerate(weights):
            pair = [
                start if len(start) > 1 else start[0]
                for start in starts[2 * number : 2 * number + 2]
            ]
            ends, ys = layer.apply(
                {'params': own},
                ys,
                initial_carry=pair,
                seq_lengths=jnp.array(lengths),
                return_carry=True,
            )
            after += [end if isinstance(end, tuple) else (end,) for end in ends]
        return flat(ys, image), flat(after, image)

    firsts = (on_image(jnp.zeros((T, B, width)), image) for width in inputs(image))
    weights = normal(
        [jax.eval_shape(layer.init, jax.random.key(0), first)['params'] for first in firsts]
    )

    def ours(weights):
        if image:
            blocks = [
                [own[side]['cell'] for side in ('forward_rnn', 'backward_rnn')] for own in weights
            ]
            return convolution(
                image, [[two_maps(own['ih'], own['hh']) for own in pair] for pair in blocks]
            )
        return interop.from_flax(weights, activation='relu' if name == 'irnn' else 'tanh')

    return Peer(weights, ours, by_jax(apply, LENGTHS))


def two_maps(of_input, recurrent, kernel: str = 'kernel', bias: str = 'bias'):
    """The convolution of both, of gates i, g, f, o of which f has a 1 added at every step, as Flax and Haiku have it."""
    forget = np.repeat([0.0, 1.0, 0.0, 0.0], H)
    both = of_input[bias] + recurrent[bias]
    return *(ordered(side[kernel], 'igfo', 'ifgo') for side in (of_input, recurrent)), ordered(
        both, 'igfo', 'ifgo'
    ) + forget


def convolution(image: Image, pairs) -> tuple[list[Layer], Any]:
    """Layers of a conv_lstm without peepholes, from the kernels of x and h and the bias of each direction, gates i, f, g, o."""
    layer = bidirectional(*(CELLS['conv_lstm'](H, image=image) for _ in SIDES), merge='sum')
    peephole = np.zeros((3, math.prod(image) * H))

    def own(kernel, recurrent, bias):
        return {
            'kernel': jnp.concatenate([kernel, recurrent], axis=-2),
            'bias': bias,
            'peephole': peephole,
        }

    named = [
        {side: own(*arrays) for side, arrays in zip(SIDES, pair, strict=True)} for pair in pairs
    ]
    return [layer, layer], {f'layer_{number}': pair for number, pair in enumerate(named, 1)}


def haiku(name: str, image: Image) -> Peer | None:
    """Its dynamic_unroll, from the front and from the back; it takes no lengths."""
    import haiku

    def conv(name, width):
        make = {1: haiku.Conv1DLSTM, 2: haiku.Conv2DLSTM}[len(image)]
        return make((*image, width // math.prod(image)), H, kernel_shape=3, name=name)

    cells: dict[str, Callable] = {
        'irnn': lambda name, width: haiku.VanillaRNN(H, name=name),
        'lstm': lambda name, width: haiku.LSTM(H, name=name),
        'conv_lstm': conv,
        'gru_chung': lambda name, width: haiku.GRU(H, name=name),
    }
    if name not in cells:
        return None
    names = [(f'forward_{number}', f'backward_{number}') for number in (1, 2)]

    def forward(xs, carries):
        ys, after, starts = on_image(xs, image), [], iter(on_image(carries, image))
        for pair, width in zip(names, inputs(image), strict=True):
            both = []
            for core, start in zip(pair, starts, strict=False):
                state = (
                    haiku.LSTMState(cell=start[0], hidden=start[1]) if len(start) > 1 else start[0]
                )
                out, state = haiku.dynamic_unroll(
                    cells[name](core, width), ys, state, reverse=core.startswith('backward')
                )
                after.append((state.cell, state.hidden) if len(start) > 1 else (state,))
                both.append(out)
            ys = MERGES[merge(name)](*both)
        return flat(ys, image), flat(after, image)

    model: Any = haiku.without_apply_rng(haiku.transform(forward))
    state = tuple(
        np.zeros((B, math.prod(image) * H)) for _ in range(2 if name.endswith('lstm') else 1)
    )
    weights = normal(
        jax.eval_shape(model.init, jax.random.key(0), np.zeros((T, B, D)), [state] * 4)
    )

    def ours(weights):
        if image:
            maps = [
                [
                    (weights[f'{core}/input_to_hidden'], weights[f'{core}/hidden_to_hidden'])
                    for core in pair
                ]
                for pair in names
            ]
            return convolution(
                image, [[two_maps(*both, kernel='w', bias='b') for both in pair] for pair in maps]
            )
        return interop.from_haiku(weights, [*names])

    lengths = (T,) * B
    return Peer(
        weights,
        ours,
        by_jax(lambda weights, xs, carries, lengths: model.apply(weights, xs, carries), lengths),
        lengths,
    )


def keras(name: str, image: Image) -> Peer | None:
    import keras

    layers = keras.layers
    conv = {1: layers.ConvLSTM1D, 2: layers.ConvLSTM2D}.get(len(image))
    makers: dict[str, tuple[Any, dict[str, Any]]] = {
        'elman': (layers.SimpleRNN, {}),
        'irnn': (layers.SimpleRNN, {'activation': 'relu'}),
        'lstm': (layers.LSTM, {}),
        'conv_lstm': (conv, {'kernel_size': 3, 'padding': 'same'}),
        'gru': (layers.GRU, {}),
        'gru_reset_before': (layers.GRU, {'reset_after': False}),
    }
    if name not in makers:
        return None
    make, options = makers[name]
    options = (
        {'recurrent_activation': 'sigmoid'} | options if image else options
    )  # it would be hard_sigmoid
    options |= {'return_sequences': True, 'return_state': True, 'dtype': 'float64'}
    both = [
        layers.Bidirectional(
            make(H, **options), merge_mode='sum' if image else 'concat', dtype='float64'
        )
        for _ in range(2)
    ]
    for layer, width in zip(both, inputs(image), strict=True):
        layer.build((B, T, *image, width // math.prod(image)))
        for side in (layer.forward_layer, layer.backward_layer):
            if name != 'irnn':
                side.cell.activation = jnp.tanh  # Keras's own rounds to float32 on JAX

    def apply(weights, xs, carries, lengths):
        ys, after, starts = jnp.swapaxes(on_image(xs, image), 0, 1), [], on_image(carries, image)
        mask = None if image else jnp.arange(T)[None] < jnp.array(lengths)[:, None]
        for number, (layer, own) in enumerate(zip(both, weights, strict=True)):
            states = [
                part for start in starts[2 * number : 2 * number + 2] for part in reversed(start)
            ]
            fixed = [variable.value for variable in layer.non_trainable_variables]
            (ys, *states), _ = layer.stateless_call(own, fixed, ys, initial_state=states, mask=mask)
            half = len(states) // 2
            after += [tuple(reversed(states[:half])), tuple(reversed(states[half:]))]
        return flat(jnp.swapaxes(ys, 0, 1), image), flat(after, image)

    lengths = (
        (T,) * B if image else LENGTHS
    )  # with a mask its ConvLSTM1D fails on JAX, and its ConvLSTM2D masks columns for sequences
    weights = normal([[*layer.get_weights()] for layer in both])
    return Peer(weights, partial(take_keras, name, image), by_jax(apply, lengths), lengths)


def take_keras(name: str, image: Image, weights: Any) -> Any:
    if image:
        return convolution(image, [[own[:3], own[3:]] for own in weights])
    return interop.from_keras(weights, activation='relu' if name == 'irnn' else 'tanh')


def torch(name: str, image: Image) -> Peer | None:
    import torch

    makers: dict[str, tuple[Any, dict[str, Any]]] = {
        'elman': (torch.nn.RNN, {}),
        'irnn': (torch.nn.RNN, {'nonlinearity': 'relu'}),
        'lstm': (torch.nn.LSTM, {}),
        'lstm_projected': (torch.nn.LSTM, {'proj_size': PROJECTION}),
        'gru': (torch.nn.GRU, {}),
    }
    if name not in makers:
        return None
    make, options = makers[name]
    module = make(D, H, num_layers=2, bidirectional=True, dtype=torch.float64, **options)

    def results(weights, xs, carries):
        module.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        series = torch.tensor(xs, requires_grad=True)
        fields = [
            torch.tensor(np.stack(field), requires_grad=True)
            for field in zip(*carries, strict=True)
        ]
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            series, torch.tensor(LENGTHS), enforce_sorted=False
        )
        ys, after = module(packed, tuple(reversed(fields)) if len(fields) > 1 else fields[0])
        ys = torch.nn.utils.rnn.pad_packed_sequence(ys)[0]
        after = [*reversed(after)] if len(fields) > 1 else [after]
        parameters = dict(module.named_parameters())
        value = sum(part.square().sum() for part in (ys, *after)) / 2
        gradients = torch.autograd.grad(value, [*parameters.values(), series, *fields])

        def tuples(tensors):
            return [*zip(*(tensor.detach().numpy() for tensor in tensors), strict=True)]

        of_weights = {
            name: gradient.numpy() for name, gradient in zip(parameters, gradients, strict=False)
        }
        _, of_xs, *of_carry = gradients[len(parameters) - 1 :]
        return {
            'outputs': ys.detach().numpy(), 'carry': tuples(after),
            'd weights': of_weights, 'd inputs': of_xs.numpy(), 'd carry': tuples(of_carry),
        }  # fmt: skip

    return Peer(normal(dict(module.state_dict())), partial(take_torch, name, image), results)


def take_torch(name: str, image: Image, weights: Any) -> Any:
    return interop.from_torch(weights, nonlinearity='relu' if name == 'irnn' else 'tanh')


PEERS: dict[str, Callable[[str, Image], Peer | None]] = {
    'torch': torch,
    'keras': keras,
    'flax': flax,
    'haiku': haiku,
    'tf1': tf1,
}
