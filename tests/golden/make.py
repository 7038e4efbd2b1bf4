"""Writes torch.npz and keras.npz beside this file: what their two-layer bidirectional modules compute, in float64.

    KERAS_BACKEND=jax python -m tests.golden.make         # with the extra `peers`

Of each kind of cell: `weights` (all arrays raveled, in the order of the sorted names of torch's state_dict or of Keras's get_weights),
`xs` [T, B, D], `carry` [h, or h and c; layer and direction; B; H], the outputs `ys` [T, B, 2 H], the carry `after`, and the gradients
`d_weights`, `d_xs` and `d_carry` of half the sum of squares of ys and after. Sequences are LENGTHS long.
"""

from pathlib import Path

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

D, H, T, B, LENGTHS = 3, 2, 4, 2, (4, 2)


def torch_cases():
    import torch

    for kind, make, options in (
        ('elman', torch.nn.RNN, {}),
        ('irnn', torch.nn.RNN, {'nonlinearity': 'relu'}),
        ('lstm', torch.nn.LSTM, {}),
        ('gru', torch.nn.GRU, {}),
    ):
        torch.manual_seed(0)
        module = make(D, H, num_layers=2, bidirectional=True, dtype=torch.float64, **options)
        parameters = [parameter for _, parameter in sorted(module.named_parameters())]
        xs = torch.randn(T, B, D, dtype=torch.float64, requires_grad=True)
        carry = torch.randn(2 if kind == 'lstm' else 1, 4, B, H, dtype=torch.float64, requires_grad=True)
        packed = torch.nn.utils.rnn.pack_padded_sequence(xs, torch.tensor(LENGTHS))
        ys, after = module(packed, (*carry,) if kind == 'lstm' else carry[0])
        ys, after = torch.nn.utils.rnn.pad_packed_sequence(ys)[0], torch.stack(after if kind == 'lstm' else [after])
        (0.5 * (ys.square().sum() + after.square().sum())).backward()
        gradient = np.concatenate([parameter.grad.numpy().ravel() for parameter in parameters])
        weights = np.concatenate([parameter.detach().numpy().ravel() for parameter in parameters])
        values = [tensor.detach().numpy() for tensor in (xs, carry, ys, after)]
        yield kind, (weights, *values, gradient, xs.grad.numpy(), carry.grad.numpy())


def keras_cases():
    import jax.numpy as jnp
    import keras

    mask = jnp.arange(T)[None] < jnp.array(LENGTHS)[:, None]
    for kind, make, options in (
        ('elman', keras.layers.SimpleRNN, {}),
        ('irnn', keras.layers.SimpleRNN, {'activation': 'relu'}),
        ('lstm', keras.layers.LSTM, {}),
        ('gru', keras.layers.GRU, {}),
        ('gru_reset_before', keras.layers.GRU, {'reset_after': False}),
    ):
        rng = np.random.default_rng(0)
        options |= {'return_sequences': True, 'return_state': True, 'dtype': 'float64'}
        layers = [keras.layers.Bidirectional(make(H, **options), dtype='float64') for _ in range(2)]
        for layer, inputs in zip(layers, (D, 2 * H), strict=True):
            layer.build((B, T, inputs))
            for cell in (layer.forward_layer.cell, layer.backward_layer.cell):
                if kind != 'irnn':
                    cell.activation = jnp.tanh  # Keras's own rounds to float32 on JAX
        shapes = [[weight.shape for weight in layer.get_weights()] for layer in layers]
        weights, restored = ravel_pytree([[jnp.asarray(rng.normal(0, 0.5, shape)) for shape in own] for own in shapes])
        xs, carry = (jnp.asarray(rng.normal(0, 1, shape)) for shape in ((T, B, D), (2 if kind == 'lstm' else 1, 4, B, H)))

        def loss(weights, xs, carry, layers=layers, restored=restored):
            ys, after = jnp.swapaxes(xs, 0, 1), []
            for number, (layer, own) in enumerate(zip(layers, restored(weights), strict=True)):
                states = [part for direction in (0, 1) for part in carry[:, 2 * number + direction]]
                fixed = [variable.value for variable in layer.non_trainable_variables]
                (ys, *states), _ = layer.stateless_call(own, fixed, ys, initial_state=states, mask=mask)
                after += [jnp.stack(states[: len(states) // 2]), jnp.stack(states[len(states) // 2 :])]
            ys, after = jnp.swapaxes(ys, 0, 1), jnp.stack(after, axis=1)
            return 0.5 * (jnp.sum(ys**2) + jnp.sum(after**2)), (ys, after)

        (_, (ys, after)), gradients = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(weights, xs, carry)
        yield kind, (weights, xs, carry, ys, after, *gradients)


def main():
    jax.config.update('jax_enable_x64', True)
    names = ('weights', 'xs', 'carry', 'ys', 'after', 'd_weights', 'd_xs', 'd_carry')
    for framework, cases in (('torch', torch_cases()), ('keras', keras_cases())):
        arrays = {f'{kind}.{name}': np.asarray(value) for kind, values in cases for name, value in zip(names, values, strict=True)}
        np.savez_compressed(Path(__file__).parent / f'{framework}.npz', **arrays)


if __name__ == '__main__':
    main()
