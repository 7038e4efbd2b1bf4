"""How each library computes a cell: two bidirectional layers over sequences of unequal lengths, from weights laid out as it has them.

A counterpart is (cell, image) -> Peer; None where the library has no such function. Carries are lists with those of layer 1's two
directions, then layer 2's, each a tuple in the order of our own carry. Everything is in float64; nothing is 0.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnlab import interop
from rnnlab.cells import CELLS
from rnnlab.interop.weights import ordered
from rnnlab.models import output_size
from rnnlab.recurrence import MERGES, Layer, bidirectional, unroll
from rnnlab.reference import REFERENCES, sigmoid

T, B, D, H, PROJECTION = 4, 2, 6, 3, 2
SIDES = 'forward', 'backward'
LENGTHS = (T, 2)
TOLERANCE, OF_DIFFERENCES = 1e-10, 1e-9  # relative to each array's greatest entry; the second of finite differences
FORGET_BIAS = 0.7  # what TF1's cells add at every step
STEP, WEIGHTS = 2e-3, (3 / 4, -3 / 20, 1 / 60)  # of central differences of the sixth order

Image = tuple[int, ...]  # of a conv_lstm the places, of other cells ()
IMAGES: dict[str, dict[str, Image]] = {'conv_lstm': {'conv_lstm, 6 places': (6,), 'conv_lstm, 2 x 3 places': (2, 3)}}  # by row


class Peer(NamedTuple):
    """weights: as the library has them.

    ours: weights -> (layers, params), by rnnlab.interop where it takes them.
    results: (weights, xs [T, B, D], carries) -> outputs, carries and the gradients of half their sum of squares, by name.
    lengths: of the sequences.
    """

    weights: Any
    ours: Callable
    results: Callable
    lengths: tuple[int, ...] = LENGTHS


def claims(name: str, image: Image, peer: Peer) -> list[tuple[str, Any, Any]]:
    """What is compared, what the library here gives for the peer's weights, and what the peer gives."""
    at = point(peer.weights, peer.ours)
    ours, theirs = by_jax(partial(run, peer.ours, name), peer.lengths)(*at), peer.results(*at)
    if 'derivatives' in theirs:
        gradients = [ours.pop(what) for what in ('d weights', 'd inputs', 'd carry')]
        ours['derivatives'] = np.array([along(gradients, direction) for direction in directions(at)])
    return [(what, ours[what], theirs[what]) for what in theirs]


def point(weights, take: Callable) -> tuple[Any, np.ndarray, list[tuple]]:
    """Where values and gradients are taken: the weights, xs and carries."""
    rng = np.random.default_rng(1)
    layers, params = take(weights)
    xs, carries = rng.normal(0, 1, (T, B, D)), []
    for number, layer in enumerate(layers, 1):
        for side, cell in layer.cells.items():
            start = jax.eval_shape(partial(cell.carry, batch_shape=(B,)), params[f'layer_{number}'][side])
            carries.append(tuple(rng.uniform(0.5, 1.5, part.shape).astype(part.dtype) for part in start))
    return weights, xs, carries


def run(take: Callable, name: str, weights, xs, carries, lengths):
    """Layers here from given carries; a bidirectional layer takes none, so its directions are unrolled one by one."""
    layers, params = take(weights)
    after, carries = [], iter(carries)
    for number, layer in enumerate(layers, 1):
        both = []
        for side, cell in layer.cells.items():
            own = params[f'layer_{number}'][side]
            start = type(cell.carry(own, ()))(*next(carries))
            end, ys = unroll(cell, own, xs, start, lengths=jnp.array(lengths), reverse=side == 'backward')
            both.append(ys)
            after.append((*end,))
        xs = MERGES[merge(name)](*both) if len(both) > 1 else both[0]
    return xs, after


def merge(name: str) -> str:
    """Side by side, channels of an image would lie otherwise in a library that keeps the image's axes."""
    return 'sum' if name == 'conv_lstm' else 'concat'


def half_squares(tree) -> Any:
    return sum((leaf.real**2 + leaf.imag**2).sum() for leaf in jax.tree.leaves(tree)) / 2


def by_jax(apply: Callable, lengths) -> Callable:
    """The results of a function (weights, xs, carries, lengths) -> (ys, carries) of JAX arrays, whatever it leaves in the padding."""
    within = np.arange(T)[:, None] < np.array(lengths)

    def value(weights, xs, carries):
        ys, after = apply(weights, xs, carries, lengths)
        ys = jnp.where(np.broadcast_to(within[..., None], ys.shape), ys, jnp.zeros_like(ys))
        return half_squares((ys, after)), (ys, after)

    gradient = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True))

    def results(*at):
        (_, (ys, after)), (weights, xs, carries) = gradient(*at)
        return {'outputs': ys, 'carry': after, 'd weights': weights, 'd inputs': xs, 'd carry': carries}

    return results


def by_numpy(name: str, step: Callable) -> Callable:
    """The results of a loop over step(own, x, *carry) -> (carry, y), derivatives along two random directions by central differences."""

    def loop(own, series, carry):
        ys = []
        for x in series:
            carry, y = step(own, x, *carry)
            ys.append(y)
        return carry, np.stack(ys)

    def apply(weights, xs, carries):
        after: list[Any] = []
        for number, layer in enumerate(weights):
            rows = []
            for row, length in enumerate(LENGTHS):
                first, second = (tuple(part[row] for part in carries[2 * number + side]) for side in (0, 1))
                end, ys = loop(layer[0], xs[:length, row], first)
                end_back, back = loop(layer[1], xs[:length, row][::-1], second)
                both = ys + back[::-1] if merge(name) == 'sum' else np.concatenate([ys, back[::-1]], axis=-1)
                rows.append((np.pad(both, [(0, T - length), (0, 0)]), end, end_back))
            xs, *ends = jax.tree.map(lambda *parts: np.stack(parts, axis=0), *rows)
            xs, after = xs.swapaxes(0, 1), [*after, *ends]
        return xs, after

    def results(*at):
        ys, after = apply(*at)
        derivatives = []
        for direction in directions(at):

            def moved(size, direction=direction):
                return half_squares(apply(*jax.tree.map(lambda x, t: x + size * t, at, direction)))

            pairs = ((weight, k * STEP) for k, weight in enumerate(WEIGHTS, 1))
            derivatives.append(sum(weight * (moved(size) - moved(-size)) for weight, size in pairs) / STEP)
        return {'outputs': ys, 'carry': after, 'derivatives': np.array(derivatives)}

    return results


def directions(point) -> list[Any]:
    """Two random directions of unit length from a point, a tree of arrays."""
    rng, found = np.random.default_rng(3), []
    for _ in range(2):
        direction = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), point)
        size = np.sqrt(2 * half_squares(direction))
        found.append(jax.tree.map(lambda leaf, size=size: leaf / size, direction))
    return found


def along(gradients, direction) -> float:
    pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(direction), strict=True)
    return sum(float(np.sum(np.asarray(g) * t).real) for g, t in pairs)


def normal(shapes: Any, seed: int = 0) -> Any:
    """A tree of random arrays from one of arrays or of shapes."""
    rng = np.random.default_rng(seed)

    def is_leaf(like):
        return hasattr(like, 'shape') or (isinstance(like, list | tuple) and all(isinstance(size, int) for size in like))

    return jax.tree.map(lambda like: rng.normal(0, 0.5, getattr(like, 'shape', like)), shapes, is_leaf=is_leaf)


def inputs(image: Image) -> tuple[int, int]:
    """What the two layers read."""
    return D, math.prod(image) * H if image else 2 * H


def on_image(flat: Any, image: Image) -> Any:
    """Arrays [..., PC] as [..., *image, C], as libraries have images; without an image as they are."""
    return jax.tree.map(lambda x: x.reshape(*x.shape[:-1], *image, x.shape[-1] // math.prod(image)), flat)


def flat(images: Any, image: Image) -> Any:
    return jax.tree.map(lambda x: x.reshape(*x.shape[: x.ndim - len(image) - 1], -1), images)


def numpy(name: str, image: Image, layers: int = 2) -> Peer:
    """rnnlab/reference.py; forward cells have Keras's start, backward ones torch's, which has two biases."""
    options: dict[str, Any] = {'image': image} if image else {}
    sizes = {'projection': PROJECTION} if name == 'lstm_projected' else options
    starts = [{'init': start} if 'init' in inspect.signature(CELLS[name]).parameters else {} for start in ('keras', 'torch')]
    forward, backward = (CELLS[name](H, **sizes, **start) for start in starts)
    layer, weights, width = bidirectional(forward, backward, merge=merge(name)), [], D
    rng = np.random.default_rng(5)  # of which no ReLU has its kink within a step of the differences
    for number in range(layers):
        own = layer.init(jax.random.key(number), width)
        own = jax.tree.map(lambda leaf: np.asarray(leaf) + rng.normal(0, 0.3, leaf.shape), own)
        weights.append((own['forward'], own['backward']))
        width = output_size(layer, own, width)

    def step(own, x, *carry):
        carry, _, y = REFERENCES[name](own, x, *carry, **options)
        return carry, y

    def ours(weights):
        return [layer] * layers, {f'layer_{number}': dict(zip(SIDES, pair, strict=True)) for number, pair in enumerate(weights, 1)}

    return Peer(weights, ours, by_numpy(name, step))


def tf1(name: str, image: Image) -> Peer | None:
    """Its definitions (tf.nn.rnn_cell, tf.contrib.rnn), run as bidirectional_dynamic_rnn does with a sequence_length."""
    outputs = PROJECTION if name == 'lstm_projected' else H

    def variables(width):
        both = width + outputs
        lstm = {'kernel': (both, 4 * H), 'bias': (4 * H,)}
        return {
            'elman': {'kernel': (both, H), 'bias': (H,)},
            'irnn': {'kernel': (both, H), 'bias': (H,)},
            'indrnn': {'kernel_w': (width, H), 'kernel_u': (1, H), 'bias': (H,)},
            'lstm': lstm,
            'lstm_peephole': lstm | {'w_i_diag': (H,), 'w_f_diag': (H,), 'w_o_diag': (H,)},
            'lstm_coupled': {'W_0': (both, 3 * H), 'B': (3 * H,)},
            'lstm_projected': lstm | {'projection/kernel': (H, PROJECTION)},
            'gru_reset_before': {
                'gates/kernel': (both, 2 * H), 'gates/bias': (2 * H,), 'candidate/kernel': (both, H), 'candidate/bias': (H,),
            },
            'ugrnn': {'kernel': (both, 2 * H), 'bias': (2 * H,)},
        }.get(name)  # fmt: skip

    if variables(D) is None:
        return None
    weights = [(normal(variables(width), 0), normal(variables(width), 1)) for width in (D, 2 * outputs)]
    take = partial(interop.from_tf1, cell=name, forget_bias=FORGET_BIAS)
    return Peer(weights, take, by_numpy(name, partial(tf1_step, name)))


def tf1_step(name: str, own: dict[str, Any], x, *carry):
    """One step of the cell as TF1 defines it, from the state c, h or h: the new state and the output."""
    h = carry[-1]
    xh = np.concatenate([x, h])
    if name == 'indrnn':
        h = np.maximum(x @ own['kernel_w'] + own['kernel_u'][0] * h + own['bias'], 0)
        return (h,), h
    if name == 'gru_reset_before':
        r, u = np.split(sigmoid(xh @ own['gates/kernel'] + own['gates/bias']), 2)
        candidate = np.tanh(np.concatenate([x, r * h]) @ own['candidate/kernel'] + own['candidate/bias'])
        h = u * h + (1 - u) * candidate
        return (h,), h
    if name == 'lstm_coupled':
        j, f, o = np.split(xh @ own['W_0'] + own['B'], 3)
        f = sigmoid(f + FORGET_BIAS)
        c = f * carry[0] + (1 - f) * np.tanh(j)
        h = sigmoid(o) * np.tanh(c)
        return (c, h), h
    z = xh @ own['kernel'] + own['bias']
    if name in ('elman', 'irnn'):
        h = np.tanh(z) if name == 'elman' else np.maximum(z, 0)
        return (h,), h
    if name == 'ugrnn':
        g, candidate = np.split(z, 2)
        g = sigmoid(g + FORGET_BIAS)
        h = g * h + (1 - g) * np.tanh(candidate)
        return (h,), h
    i, j, f, o = np.split(z, 4)
    see_i, see_f, see_o = (own.get(f'w_{gate}_diag', 0) for gate in 'ifo')
    c = sigmoid(f + FORGET_BIAS + see_f * carry[0]) * carry[0] + sigmoid(i + see_i * carry[0]) * np.tanh(j)
    h = sigmoid(o + see_o * c) * np.tanh(c)
    if name == 'lstm_projected':
        h = h @ own['projection/kernel']
    return (c, h), h


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
            pair = [start if len(start) > 1 else start[0] for start in starts[2 * number : 2 * number + 2]]
            ends, ys = layer.apply({'params': own}, ys, initial_carry=pair, seq_lengths=jnp.array(lengths), return_carry=True)
            after += [end if isinstance(end, tuple) else (end,) for end in ends]
        return flat(ys, image), flat(after, image)

    firsts = (on_image(jnp.zeros((T, B, width)), image) for width in inputs(image))
    weights = normal([jax.eval_shape(layer.init, jax.random.key(0), first)['params'] for first in firsts])

    def ours(weights):
        if image:
            blocks = [[own[side]['cell'] for side in ('forward_rnn', 'backward_rnn')] for own in weights]
            return convolution(image, [[two_maps(own['ih'], own['hh']) for own in pair] for pair in blocks])
        return interop.from_flax(weights, activation='relu' if name == 'irnn' else 'tanh')

    return Peer(weights, ours, by_jax(apply, LENGTHS))


def two_maps(of_input, recurrent, kernel: str = 'kernel', bias: str = 'bias'):
    """The convolution of both, of gates i, g, f, o of which f has a 1 added at every step, as Flax and Haiku have it."""
    forget = np.repeat([0.0, 1.0, 0.0, 0.0], H)
    both = of_input[bias] + recurrent[bias]
    return *(ordered(side[kernel], 'igfo', 'ifgo') for side in (of_input, recurrent)), ordered(both, 'igfo', 'ifgo') + forget


def convolution(image: Image, pairs) -> tuple[list[Layer], Any]:
    """Layers of a conv_lstm without peepholes, from the kernels of x and h and the bias of each direction, gates i, f, g, o."""
    layer = bidirectional(*(CELLS['conv_lstm'](H, image=image) for _ in SIDES), merge='sum')
    peephole = np.zeros((3, math.prod(image) * H))

    def own(kernel, recurrent, bias):
        return {'kernel': jnp.concatenate([kernel, recurrent], axis=-2), 'bias': bias, 'peephole': peephole}

    named = [{side: own(*arrays) for side, arrays in zip(SIDES, pair, strict=True)} for pair in pairs]
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
                state = haiku.LSTMState(cell=start[0], hidden=start[1]) if len(start) > 1 else start[0]
                out, state = haiku.dynamic_unroll(cells[name](core, width), ys, state, reverse=core.startswith('backward'))
                after.append((state.cell, state.hidden) if len(start) > 1 else (state,))
                both.append(out)
            ys = MERGES[merge(name)](*both)
        return flat(ys, image), flat(after, image)

    model: Any = haiku.without_apply_rng(haiku.transform(forward))
    state = tuple(np.zeros((B, math.prod(image) * H)) for _ in range(2 if name.endswith('lstm') else 1))
    weights = normal(jax.eval_shape(model.init, jax.random.key(0), np.zeros((T, B, D)), [state] * 4))

    def ours(weights):
        if image:
            maps = [[(weights[f'{core}/input_to_hidden'], weights[f'{core}/hidden_to_hidden']) for core in pair] for pair in names]
            return convolution(image, [[two_maps(*both, kernel='w', bias='b') for both in pair] for pair in maps])
        return interop.from_haiku(weights, [*names])

    lengths = (T,) * B
    return Peer(weights, ours, by_jax(lambda weights, xs, carries, lengths: model.apply(weights, xs, carries), lengths), lengths)


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
    options = {'recurrent_activation': 'sigmoid'} | options if image else options  # it would be hard_sigmoid
    options |= {'return_sequences': True, 'return_state': True, 'dtype': 'float64'}
    both = [layers.Bidirectional(make(H, **options), merge_mode='sum' if image else 'concat', dtype='float64') for _ in range(2)]
    for layer, width in zip(both, inputs(image), strict=True):
        layer.build((B, T, *image, width // math.prod(image)))
        for side in (layer.forward_layer, layer.backward_layer):
            if name != 'irnn':
                side.cell.activation = jnp.tanh  # Keras's own rounds to float32 on JAX

    def apply(weights, xs, carries, lengths):
        ys, after, starts = jnp.swapaxes(on_image(xs, image), 0, 1), [], on_image(carries, image)
        mask = None if image else jnp.arange(T)[None] < jnp.array(lengths)[:, None]
        for number, (layer, own) in enumerate(zip(both, weights, strict=True)):
            states = [part for start in starts[2 * number : 2 * number + 2] for part in reversed(start)]
            fixed = [variable.value for variable in layer.non_trainable_variables]
            (ys, *states), _ = layer.stateless_call(own, fixed, ys, initial_state=states, mask=mask)
            half = len(states) // 2
            after += [tuple(reversed(states[:half])), tuple(reversed(states[half:]))]
        return flat(jnp.swapaxes(ys, 0, 1), image), flat(after, image)

    lengths = (T,) * B if image else LENGTHS  # with a mask its ConvLSTM1D fails on JAX, and its ConvLSTM2D masks columns for sequences
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
        fields = [torch.tensor(np.stack(field), requires_grad=True) for field in zip(*carries, strict=True)]
        packed = torch.nn.utils.rnn.pack_padded_sequence(series, torch.tensor(LENGTHS), enforce_sorted=False)
        ys, after = module(packed, tuple(reversed(fields)) if len(fields) > 1 else fields[0])
        ys = torch.nn.utils.rnn.pad_packed_sequence(ys)[0]
        after = [*reversed(after)] if len(fields) > 1 else [after]
        parameters = dict(module.named_parameters())
        value = sum(part.square().sum() for part in (ys, *after)) / 2
        gradients = torch.autograd.grad(value, [*parameters.values(), series, *fields])

        def tuples(tensors):
            return [*zip(*(tensor.detach().numpy() for tensor in tensors), strict=True)]

        of_weights = {name: gradient.numpy() for name, gradient in zip(parameters, gradients, strict=False)}
        _, of_xs, *of_carry = gradients[len(parameters) - 1 :]
        return {
            'outputs': ys.detach().numpy(), 'carry': tuples(after),
            'd weights': of_weights, 'd inputs': of_xs.numpy(), 'd carry': tuples(of_carry),
        }  # fmt: skip

    return Peer(normal(dict(module.state_dict())), partial(take_torch, name, image), results)


def take_torch(name: str, image: Image, weights: Any) -> Any:
    return interop.from_torch(weights, nonlinearity='relu' if name == 'irnn' else 'tanh')


PEERS: dict[str, Callable[[str, Image], Peer | None]] = {'torch': torch, 'keras': keras, 'flax': flax, 'haiku': haiku, 'tf1': tf1}
