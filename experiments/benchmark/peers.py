"""How each library does the work of the benchmark: the same classifier, from the same parameters, on the same batches.

An embedding where there is a vocabulary, recurrent layers, and a dense readout of the last output into ten classes; the loss is
cross-entropy, the optimizer Adam. A contender is (cell, shape, what) -> Go.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from rnnlab.cells import find
from rnnlab.data import Split
from rnnlab.models import Model, classifier
from rnnlab.recurrence import recurrent
from rnnlab.training.batches import Batch, in_order, shuffled
from rnnlab.training.optim import Hyper, optimizer
from rnnlab.training.train import (
    NATS,
    batch_mesh,
    differentiated,
    everywhere,
    make_run,
    over_devices,
    sums,
)

CLASSES, LR, EPSILON, SEED = 10, 1e-3, 1e-8, 0
WHATS = ('forward', 'gradient', 'train_step', 'epoch')


class Shape(NamedTuple):
    time_steps: int
    batch: int
    inputs: int  # with a vocabulary, the features that an id is embedded in
    hidden: int
    layers: int = 1
    vocabulary: int | None = None
    steps: int = 10  # that are timed at once
    epoch: int = 50  # batches

    def __str__(self) -> str:
        words = f' ({self.vocabulary:,} words)' if self.vocabulary else ''
        layers = f', {self.layers} layers' if self.layers > 1 else ''
        return f'{self.time_steps}, {self.batch}, {self.inputs}{words}, {self.hidden}{layers}'

    def times(self, what: str) -> int:
        """How often a step is taken at once, so that the clock reads something."""
        return self.epoch if what == 'epoch' else self.steps

    def operations(self, cell: str) -> int:
        """Floating-point operations of the recurrent layers' products over one batch, forward alone."""
        model = net(cell, self)
        params = jax.eval_shape(model.init, jax.random.key(0))
        kernels = sum(
            leaf.size
            for name in model.layers
            for leaf in jax.tree.leaves(params[name])
            if leaf.ndim > 1
        )
        return 2 * self.time_steps * self.batch * kernels


SHAPES = {
    'rows64': Shape(28, 64, 28, 64, steps=100),
    'rows100': Shape(28, 50, 28, 100, steps=100),
    'rows150': Shape(28, 128, 28, 150, steps=20),
    'reviews': Shape(500, 128, 32, 32, vocabulary=10_000, epoch=157),  # IMDB: 20,000 of them
    'series': Shape(96, 7, 1, 8, layers=2, steps=100),
    'pixels': Shape(784, 128, 1, 128, steps=2, epoch=4),
    'large': Shape(128, 64, 512, 512, steps=1, epoch=2),
}


Go = Callable[
    [], list[float]
]  # does it as often as Shape.times says, and waits; the numbers are for the contenders to agree on


def net(cell: str, shape: Shape) -> Model:
    layers = [recurrent(find(cell)(shape.hidden)) for _ in range(shape.layers)]
    return classifier(layers, inputs=shape.inputs, classes=CLASSES, vocabulary=shape.vocabulary)


def weights(cell: str, shape: Shape) -> Any:
    """Parameters of `net` as NumPy arrays; no bias is 0."""
    rng = np.random.default_rng(SEED)
    params = net(cell, shape).init(jax.random.key(SEED))
    return jax.tree.map(
        lambda leaf: (
            np.asarray(leaf) if leaf.ndim > 1 else rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype)
        ),
        params,
    )


def examples(shape: Shape, what: str) -> Split:
    """One batch; of an epoch all."""
    rng, number = np.random.default_rng(SEED), shape.batch * (shape.epoch if what == 'epoch' else 1)
    if shape.vocabulary:
        inputs: np.ndarray = rng.integers(0, shape.vocabulary, (number, shape.time_steps), np.int32)
    else:
        inputs = rng.normal(0, 1, (number, shape.time_steps, shape.inputs)).astype(np.float32)
    return Split(inputs, rng.integers(0, CLASSES, number).astype(np.int32))


def rnnlab(cell: str, shape: Shape, what: str) -> Go:
    steps, model, mesh = (
        shape.times(what),
        net(cell, shape),
        batch_mesh(shape.batch, operations=3 * shape.operations(cell)),
    )
    params, data = jax.device_put(
        (weights(cell, shape), examples(shape, what)), everywhere(mesh) if mesh else None
    )
    if what == 'forward':
        apply = model.apply
        if mesh:
            whole, part = PartitionSpec(), PartitionSpec('batch')
            apply = jax.shard_map(
                apply, mesh=mesh, in_specs=(whole, part), out_specs=part, check_vma=False
            )
        return called(jax.jit(apply), (params, data.inputs), steps, jnp.linalg.norm)
    if what == 'gradient':
        functions = [
            differentiated(part) for part in sums(model, NATS, in_order(data, shape.batch))
        ]
        everyone = Batch(jnp.arange(shape.batch))

        @jax.jit
        def gradient(params, data):
            (grads, figures, count), _ = over_devices(functions, mesh)(
                0, params, None, data, everyone, 0
            )
            return figures['loss'] / count, jax.tree.map(lambda leaf: leaf / count, grads)

        return called(gradient, (params, data), steps, loss_and_norm)

    run = make_run(
        lambda hyper: model,
        optimizer('adam', 'torch'),
        shuffled(data, shape.batch),
        every=steps,
        mesh=mesh,
    )
    hyper, key = Hyper(lr=LR, clip=float('inf')), jax.random.key(SEED)
    state = run.start(hyper, key).replace(params=params)

    def train():
        nonlocal state
        state = run.advance(hyper, key, data, state, steps)
        return [state.totals.means()['loss']]

    return train


def called(function: Callable, arguments: tuple, times: int, numbers: Callable) -> Go:
    """A jitted function called so many times."""

    def go():
        results = None
        for _ in range(times):
            results = jax.block_until_ready(function(*arguments))
        return [float(number) for number in jax.tree.leaves(numbers(results))]

    return go


def loss_and_norm(results: tuple[Any, Any]) -> list[Any]:
    """The loss, and the gradient's norm without that of the biases, which some libraries have twice."""
    loss, grads = results
    matrices = [
        leaf
        for path, leaf in jax.tree.leaves_with_path(grads)
        if jnp.ndim(leaf) > 1 and 'bias' not in jax.tree_util.keystr(path)
    ]
    return [loss, optax.tree.norm(matrices)]


def split_kernel(own: Any, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """The kernel of the inputs [D, N] and the recurrent one [H, N] of a layer of ours."""
    if 'recurrent_kernel' in own:
        return own['kernel'], own['recurrent_kernel']
    return own['kernel'][:inputs], own['kernel'][inputs:]


def layers_of(
    params: Any, shape: Shape
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The kernels, the bias and the recurrent bias of each layer."""
    found = []
    for number in range(1, shape.layers + 1):
        own = params[f'layer_{number}']['cell']
        kernel, recurrent_kernel = split_kernel(own, shape.inputs if number == 1 else shape.hidden)
        found.append(
            (
                kernel,
                recurrent_kernel,
                own['bias'],
                own.get('recurrent_bias', np.zeros_like(own['bias'])),
            )
        )
    return found


def torch(cell: str, shape: Shape, what: str, threads: int) -> Go:
    import torch

    steps = shape.times(what)
    torch.set_num_threads(threads)
    make = {'elman': torch.nn.RNN, 'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}[cell]
    own, data = weights(cell, shape), examples(shape, what)
    embedding = torch.nn.Embedding(shape.vocabulary, shape.inputs) if shape.vocabulary else None
    recurrence, readout = (
        make(shape.inputs, shape.hidden, shape.layers),
        torch.nn.Linear(shape.hidden, CLASSES),
    )
    with torch.no_grad():
        if embedding:
            embedding.weight.copy_(torch.from_numpy(own['embedding']['table'].copy()))
        for number, arrays in enumerate(layers_of(own, shape)):
            for name, array in zip(
                ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'), arrays, strict=True
            ):
                getattr(recurrence, f'{name}_l{number}').copy_(torch.from_numpy(np.array(array.T)))
        readout.weight.copy_(torch.from_numpy(own['readout']['kernel'].T.copy()))
        readout.bias.copy_(torch.from_numpy(own['readout']['bias'].copy()))
    module = torch.nn.ModuleList([part for part in (embedding, recurrence, readout) if part])
    inputs, labels = (
        torch.from_numpy(data.inputs).transpose(0, 1).contiguous(),
        torch.from_numpy(data.labels).long(),
    )
    if shape.vocabulary:
        inputs = inputs.long()

    def logits(xs):
        return readout(recurrence(embedding(xs) if embedding else xs)[0][-1])

    def gradient(xs, answers):
        loss = torch.nn.functional.cross_entropy(logits(xs), answers)
        for param in module.parameters():
            param.grad = None
        loss.backward()
        return loss

    if what == 'forward':

        def forward():
            with torch.no_grad():
                for _ in range(steps):
                    outputs = logits(inputs)
            return [outputs.norm().item()]

        return forward
    if what == 'gradient':

        def gradients():
            for _ in range(steps):
                loss = gradient(inputs, labels)
            matrices = [
                param.grad.norm()
                for param in module.parameters()
                if param.grad is not None and param.ndim > 1
            ]
            return [loss.item(), torch.stack(matrices).norm().item()]

        return gradients

    tx = torch.optim.Adam(module.parameters(), lr=LR, eps=EPSILON, fused=True)

    def train():
        total = 0.0
        for part in (
            torch.randperm(len(labels)).split(shape.batch) if what == 'epoch' else [None] * steps
        ):
            loss = (
                gradient(inputs, labels)
                if part is None
                else gradient(inputs[:, part], labels[part])
            )
            tx.step()
            total += loss.item()
        return [total / steps]

    return train


def keras(cell: str, shape: Shape, what: str) -> Go:
    import keras

    steps = shape.times(what)
    own, data = weights(cell, shape), examples(shape, what)
    make = {'elman': keras.layers.SimpleRNN, 'lstm': keras.layers.LSTM, 'gru': keras.layers.GRU}[
        cell
    ]
    recurrences = [
        make(shape.hidden, return_sequences=number < shape.layers - 1)
        for number in range(shape.layers)
    ]
    embedding = [keras.layers.Embedding(shape.vocabulary, shape.inputs)] if shape.vocabulary else []
    first = (
        keras.Input((shape.time_steps,), dtype='int32')
        if embedding
        else keras.Input((shape.time_steps, shape.inputs))
    )
    readout = keras.layers.Dense(CLASSES)
    model = keras.Sequential([first, *embedding, *recurrences, readout])
    for layer in embedding:
        layer.set_weights([own['embedding']['table']])
    for layer, (kernel, recurrent_kernel, bias, recurrent_bias) in zip(
        recurrences, layers_of(own, shape), strict=True
    ):
        if cell == 'gru':  # its order is z, r, n
            gates = (
                np.split(array, 3, axis=-1)
                for array in (kernel, recurrent_kernel, np.stack([bias, recurrent_bias]))
            )
            layer.set_weights([np.concatenate([z, r, n], axis=-1) for r, z, n in gates])
        else:
            layer.set_weights([kernel, recurrent_kernel, bias + recurrent_bias])
    readout.set_weights([own['readout']['kernel'], own['readout']['bias']])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    inputs, labels = data.inputs, data.labels
    if what in ('forward', 'gradient'):
        variables = [variable.value for variable in model.trainable_variables]
        fixed = [variable.value for variable in model.non_trainable_variables]
        names = [variable.path for variable in model.trainable_variables]
        inputs, labels = jax.device_put((inputs, labels))

        def logits(variables, inputs):
            return model.stateless_call(variables, fixed, inputs)[0]

        if what == 'forward':
            return called(jax.jit(logits), (variables, inputs), steps, jnp.linalg.norm)
        gradient = jax.jit(
            jax.value_and_grad(
                lambda variables, inputs, labels: loss(labels, logits(variables, inputs))
            )
        )
        by_name = lambda results: loss_and_norm(
            (results[0], dict(zip(names, results[1], strict=True)))
        )
        return called(gradient, (variables, inputs, labels), steps, by_name)

    model.compile(optimizer=keras.optimizers.Adam(LR, epsilon=EPSILON), loss=loss)
    if what == 'train_step':
        inputs, labels = (
            np.tile(inputs, (steps, *(1 for _ in inputs.shape[1:]))),
            np.tile(labels, steps),
        )
    options: dict[str, Any] = {
        'batch_size': shape.batch,
        'epochs': 1,
        'verbose': 0,
        'shuffle': what == 'epoch',
    }
    return lambda: model.fit(inputs, labels, **options).history['loss']


def flax(cell: str, shape: Shape, what: str) -> Go:
    from flax import linen

    make = {'elman': linen.SimpleCell, 'lstm': linen.OptimizedLSTMCell, 'gru': linen.GRUCell}[cell]

    class Net(linen.Module):
        @linen.compact
        def __call__(self, inputs):
            xs = (
                linen.Embed(shape.vocabulary, shape.inputs, name='embedding')(inputs)
                if shape.vocabulary
                else inputs
            )
            for number in range(1, shape.layers + 1):
                xs = linen.RNN(make(shape.hidden, name=f'layer_{number}'))(xs)
            return linen.Dense(CLASSES, name='readout')(xs[:, -1])

    own, data = weights(cell, shape), examples(shape, what)
    params: dict[str, Any] = {'readout': own['readout']}
    if shape.vocabulary:
        params['embedding'] = {'embedding': own['embedding']['table']}
    for number, (kernel, recurrent_kernel, bias, recurrent_bias) in enumerate(
        layers_of(own, shape), 1
    ):
        if cell == 'elman':
            params[f'layer_{number}'] = {
                'i': {'kernel': kernel, 'bias': bias + recurrent_bias},
                'h': {'kernel': recurrent_kernel},
            }
            continue
        gates = 'ifgo' if cell == 'lstm' else 'rzn'
        parts = {
            name: np.split(array, len(gates), axis=-1)
            for name, array in (
                ('i', kernel),
                ('h', recurrent_kernel),
                ('b', bias),
                ('c', recurrent_bias),
            )
        }
        layer: dict[str, Any] = {}
        for at, gate in enumerate(gates):
            layer[f'i{gate}'], layer[f'h{gate}'] = (
                {'kernel': parts['i'][at]},
                {'kernel': parts['h'][at]},
            )
            if cell == 'lstm':
                layer[f'h{gate}']['bias'] = parts['b'][at] + parts['c'][at]
            elif gate == 'n':
                layer['in']['bias'], layer['hn']['bias'] = parts['b'][at], parts['c'][at]
            else:
                layer[f'i{gate}']['bias'] = parts['b'][at] + parts['c'][at]
        params[f'layer_{number}'] = layer
    model = Net()
    return pure(
        lambda params, inputs: model.apply({'params': params}, inputs), params, data, shape, what
    )


def haiku(cell: str, shape: Shape, what: str) -> Go | None:
    import haiku

    if cell != 'lstm':
        return None  # its GRU resets before the recurrent product, its simple RNN is of ReLUs: other work

    def forward(inputs):
        xs = (
            haiku.Embed(shape.vocabulary, shape.inputs, name='embedding')(inputs)
            if shape.vocabulary
            else inputs
        )
        xs = jnp.swapaxes(xs, 0, 1)
        for number in range(1, shape.layers + 1):
            core = haiku.LSTM(shape.hidden, name=f'layer_{number}')
            xs, _ = haiku.dynamic_unroll(core, xs, core.initial_state(shape.batch))
        return haiku.Linear(CLASSES, name='readout')(xs[-1])

    own, data = weights(cell, shape), examples(shape, what)
    params: dict[str, Any] = {
        'readout': {'w': own['readout']['kernel'], 'b': own['readout']['bias']}
    }
    if shape.vocabulary:
        params['embedding'] = {'embeddings': own['embedding']['table']}
    for number, (kernel, recurrent_kernel, bias, recurrent_bias) in enumerate(
        layers_of(own, shape), 1
    ):
        i, f, g, o = np.split(np.concatenate([kernel, recurrent_kernel]), 4, axis=-1)
        bias_i, bias_f, bias_g, bias_o = np.split(bias + recurrent_bias, 4)
        together = np.concatenate(
            [bias_i, bias_g, bias_f - 1, bias_o]
        )  # it adds 1 to the forget gate
        params[f'layer_{number}/linear'] = {
            'w': np.concatenate([i, g, f, o], axis=-1),
            'b': together,
        }
    model: Any = haiku.without_apply_rng(haiku.transform(forward))
    return pure(model.apply, params, data, shape, what)


def pure(apply: Callable, params: Any, data: Split, shape: Shape, what: str) -> Go:
    """The work of a library whose model is a function (params, inputs) -> logits: all steps of an epoch in one program."""
    steps = shape.times(what)
    params, data = jax.device_put((params, data))
    if what == 'forward':
        return called(jax.jit(apply), (params, data.inputs), steps, jnp.linalg.norm)

    def loss(params, inputs, labels):
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, inputs), labels).mean()

    if what == 'gradient':
        return called(
            jax.jit(jax.value_and_grad(loss)),
            (params, data.inputs, data.labels),
            steps,
            loss_and_norm,
        )
    tx = optax.adam(LR, eps=EPSILON)
    state = params, tx.init(params)

    @partial(jax.jit, donate_argnums=0)
    def epoch(state, key, data):
        everyone = (
            jax.random.permutation(key, len(data.labels))
            if what == 'epoch'
            else jnp.arange(shape.batch)
        )
        order = (
            everyone.reshape(-1, shape.batch)
            if what == 'epoch'
            else jnp.broadcast_to(everyone, (steps, shape.batch))
        )

        def step(state, which):
            params, opt_state = state
            value, grads = jax.value_and_grad(loss)(params, data.inputs[which], data.labels[which])
            updates, opt_state = tx.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), value

        return jax.lax.scan(step, state, order)

    def train():
        nonlocal state
        state, losses = epoch(state, jax.random.key(SEED), data)
        return [float(losses.mean())]

    return train


CONTENDERS: dict[str, Callable[..., Go | None]] = {
    'rnnlab': rnnlab,
    'torch, 1 thread': partial(torch, threads=1),
    'torch, 2 threads': partial(torch, threads=2),
    'keras': keras,
    'flax': flax,
    'haiku': haiku,
}
