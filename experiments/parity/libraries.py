"""Counterparts in torch, Keras, Flax and Haiku, each imported when its function is called."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity import images
from experiments.parity.harness import (
    LENGTHS,
    PROJECTION,
    SIDES,
    B,
    D,
    H,
    Image,
    Peer,
    Results,
    T,
    Tree,
    by_jax,
    merge,
    normal,
)
from experiments.parity.tf1 import tf1
from rnnlab import interop
from rnnlab.interop import Weights
from rnnlab.recurrence import MERGES
from rnnlab.results.records import Json


def activation(name: str) -> str:
    return 'relu' if name == 'irnn' else 'tanh'


def flax(name: str, image: Image) -> Peer | None:
    from flax import linen

    cells: dict[str, Callable[..., linen.RNNCellBase]] = {
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

    def apply(weights: Tree, xs: Tree, carries: Tree, lengths: Sequence[int]) -> Tree:
        ys, after = images.unflatten(xs, image), list[Tree]()
        initial = [
            carry if len(carry) > 1 else carry[0] for carry in images.unflatten(carries, image)
        ]
        padded = jnp.array(lengths)
        for number, own in enumerate(weights):
            pair = initial[2 * number : 2 * number + 2]
            ends, ys = layer.apply(
                {'params': own}, ys, initial_carry=pair, seq_lengths=padded, return_carry=True
            )
            after += [end if isinstance(end, tuple) else (end,) for end in ends]
        return images.flatten(ys, image), images.flatten(after, image)

    def convert(weights: Tree) -> Weights:
        if not image:
            return interop.from_flax(weights, activation=activation(name))
        cells = [[own[f'{side}_rnn']['cell'] for side in SIDES] for own in weights]
        maps = [
            [images.convolution(own['ih'], own['hh'], 'kernel', 'bias') for own in c] for c in cells
        ]
        return images.conv_lstm(image, maps)

    xs = (images.unflatten(jnp.zeros((T, B, width)), image) for width in images.input_sizes(image))
    shapes = [jax.eval_shape(layer.init, jax.random.key(0), x)['params'] for x in xs]
    return Peer(normal(shapes), convert, by_jax(apply, LENGTHS))


def haiku(name: str, image: Image) -> Peer | None:
    """Its dynamic_unroll in both directions, which takes no lengths."""
    import haiku

    cells: dict[str, Callable[[str, int], haiku.RNNCore]] = {
        'irnn': lambda name, width: haiku.VanillaRNN(H, name=name),
        'lstm': lambda name, width: haiku.LSTM(H, name=name),
        'conv_lstm': lambda name, width: {1: haiku.Conv1DLSTM, 2: haiku.Conv2DLSTM}[len(image)](
            (*image, images.channels(width, image)), H, kernel_shape=3, name=name
        ),
        'gru_chung': lambda name, width: haiku.GRU(H, name=name),
    }
    if name not in cells:
        return None
    names = [(f'forward_{number}', f'backward_{number}') for number in (1, 2)]

    def forward(xs: Tree, carries: Tree) -> Tree:
        ys, after, initial = images.unflatten(xs, image), [], iter(images.unflatten(carries, image))
        for pair, width in zip(names, images.input_sizes(image), strict=True):
            outputs = []
            for core, carry in zip(pair, initial, strict=False):
                state = carry[0]
                if len(carry) > 1:
                    state = haiku.LSTMState(cell=carry[0], hidden=carry[1])
                back, module = core.startswith('backward'), cells[name](core, width)
                out, end = haiku.dynamic_unroll(module, ys, state, reverse=back)
                after.append((end.cell, end.hidden) if len(carry) > 1 else (end,))
                outputs.append(out)
            ys = MERGES[merge(name)](*outputs)
        return images.flatten(ys, image), images.flatten(after, image)

    def convert(weights: Tree) -> Weights:
        if not image:
            return interop.from_haiku(weights, [*names])
        maps = ('input_to_hidden', 'hidden_to_hidden')
        pairs = [[[weights[f'{core}/{part}'] for part in maps] for core in p] for p in names]
        return images.conv_lstm(
            image, [[images.convolution(x, h, 'w', 'b') for x, h in p] for p in pairs]
        )

    model = haiku.without_apply_rng(haiku.transform(forward))
    fields = 2 if name.endswith('lstm') else 1
    carry = (np.zeros((B, math.prod(image) * H)),) * fields
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((T, B, D)), [carry] * 4)
    lengths = (T,) * B
    apply = by_jax(lambda weights, xs, carries, lengths: model.apply(weights, xs, carries), lengths)
    return Peer(normal(shapes), convert, apply, lengths)


def keras(name: str, image: Image) -> Peer | None:
    from keras import layers

    conv = {1: layers.ConvLSTM1D, 2: layers.ConvLSTM2D}.get(len(image))
    # recurrent_activation: a ConvLSTM's is hard_sigmoid by default
    of_conv = {'kernel_size': 3, 'padding': 'same', 'recurrent_activation': 'sigmoid'}
    makers: dict[str, tuple[Any, Json]] = {
        'elman': (layers.SimpleRNN, {}),
        'irnn': (layers.SimpleRNN, {'activation': 'relu'}),
        'lstm': (layers.LSTM, {}),
        'conv_lstm': (conv, of_conv),
        'gru': (layers.GRU, {}),
        'gru_reset_before': (layers.GRU, {'reset_after': False}),
    }
    if name not in makers:
        return None
    make, options = makers[name]
    options |= {'return_sequences': True, 'return_state': True, 'dtype': 'float64'}
    wrappers = [
        layers.Bidirectional(make(H, **options), merge_mode=merge(name), dtype='float64')
        for _ in range(2)
    ]
    for layer, width in zip(wrappers, images.input_sizes(image), strict=True):
        layer.build((B, T, *image, images.channels(width, image)))
        for side in (layer.forward_layer, layer.backward_layer):
            if name != 'irnn':
                side.cell.activation = jnp.tanh  # Keras's own rounds to float32 on JAX

    def apply(weights: Tree, xs: Tree, carries: Tree, lengths: Sequence[int]) -> Tree:
        ys, after = jnp.swapaxes(images.unflatten(xs, image), 0, 1), []
        initial = [carry[::-1] for carry in images.unflatten(carries, image)]
        mask = None if image else jnp.arange(T)[None] < jnp.array(lengths)[:, None]
        for number, (layer, own) in enumerate(zip(wrappers, weights, strict=True)):
            states = [*initial[2 * number], *initial[2 * number + 1]]
            fixed = [variable.value for variable in layer.non_trainable_variables]
            (ys, *states), _ = layer.stateless_call(own, fixed, ys, initial_state=states, mask=mask)
            half = len(states) // 2
            after += [(*reversed(states[:half]),), (*reversed(states[half:]),)]
        return images.flatten(jnp.swapaxes(ys, 0, 1), image), images.flatten(after, image)

    # With a mask, ConvLSTM1D fails on JAX and ConvLSTM2D masks columns in place of sequences.
    lengths = (T,) * B if image else LENGTHS
    weights = normal([[*layer.get_weights()] for layer in wrappers])
    return Peer(weights, partial(convert_keras, name, image), by_jax(apply, lengths), lengths)


def convert_keras(name: str, image: Image, weights: Tree) -> Weights:
    if image:
        return images.conv_lstm(image, [[own[:3], own[3:]] for own in weights])
    return interop.from_keras(weights, activation=activation(name))


def torch(name: str, image: Image) -> Peer | None:
    """torch's modules, on packed sequences."""
    import torch

    makers: dict[str, tuple[Callable[..., torch.nn.Module], Json]] = {
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
    pack, unpack = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence

    def results(weights: Tree, xs: Tree, carries: Tree) -> Results:
        module.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        series = torch.tensor(xs, requires_grad=True)
        arrays = (np.stack(field) for field in zip(*carries, strict=True))
        fields = [torch.tensor(array, requires_grad=True) for array in arrays]
        packed = pack(series, torch.tensor(LENGTHS), enforce_sorted=False)
        ys, after = module(packed, (*reversed(fields),) if len(fields) > 1 else fields[0])
        ys, after = unpack(ys)[0], [*reversed(after)] if len(fields) > 1 else [after]
        params = dict(module.named_parameters())
        value = sum(part.square().sum() for part in (ys, *after)) / 2
        gradients = torch.autograd.grad(value, [*params.values(), series, *fields])
        d_weights, (d_xs, *d_fields) = gradients[: len(params)], gradients[len(params) :]

        def tuples(tensors: Tree) -> list[tuple[np.ndarray, ...]]:
            return [*zip(*(tensor.detach().numpy() for tensor in tensors), strict=True)]

        return {
            'outputs': ys.detach().numpy(),
            'carry': tuples(after),
            'd weights': {name: d.numpy() for name, d in zip(params, d_weights, strict=True)},
            'd inputs': d_xs.numpy(),
            'd carry': tuples(d_fields),
        }

    return Peer(normal(dict(module.state_dict())), partial(convert_torch, name, image), results)


def convert_torch(name: str, image: Image, weights: Tree) -> Weights:
    return interop.from_torch(weights, nonlinearity=activation(name))


PEERS: dict[str, Callable[[str, Image], Peer | None]] = {
    'torch': torch, 'keras': keras, 'flax': flax, 'haiku': haiku, 'tf1': tf1,
}  # fmt: skip
