"""With the weights of other frameworks' modules, the outputs of these.

test_conformance.py compares gradients too. Most tests need the extra `peers`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlab.data import imdb, mnist
from rnnlab.data.text import text_sequences
from rnnlab.interop import from_flax, from_keras, from_torch, to_haiku, to_keras, to_torch
from rnnlab.models import classifier
from tests.conftest import close, noisy, same, shared
from tests.interop import (
    EXACT,
    FRAMEWORKS,
    HAIKU,
    KERAS,
    B,
    D,
    H,
    T,
    data,
    made,
    options,
    outputs,
    stacked,
)


def flax_cell(module, kind, *sizes, **more):
    if kind in ('elman', 'irnn'):
        return module.SimpleCell(
            *sizes, activation_fn=jnp.tanh if kind == 'elman' else jax.nn.relu, **more
        )
    return {'lstm': module.OptimizedLSTMCell, 'gru': module.GRUCell}[kind](*sizes, **more)


@pytest.mark.parametrize('kind', [*FRAMEWORKS['flax'][2][:4], 'LSTMCell'])
def test_outputs_are_those_of_flax_nnx(kind):
    from flax import nnx

    xs, carry = data('lstm' if kind == 'LSTMCell' else kind, 1)
    sizes = {'dtype': jnp.float64, 'param_dtype': jnp.float64, 'rngs': nnx.Rngs(0)}
    cell = (
        nnx.LSTMCell(D, H, **sizes) if kind == 'LSTMCell' else flax_cell(nnx, kind, D, H, **sizes)
    )
    nnx.update(cell, noisy(nnx.state(cell, nnx.Param)))
    weights = from_flax(nnx.RNN(cell), **options('flax', kind))
    start = (*carry[:, 0],) if len(carry) > 1 else carry[0, 0]
    expected = []
    for x in xs:
        start, y = cell(start, x)
        expected.append(y)
    close(outputs(weights, xs, carry), jnp.stack(expected), EXACT)


@pytest.mark.parametrize('kind', HAIKU)
def test_haiku_computes_the_same_with_our_weights(kind):
    haiku = pytest.importorskip('haiku')
    core = {'irnn': haiku.VanillaRNN, 'lstm': haiku.LSTM, 'gru_chung': haiku.GRU}[kind]

    @haiku.without_apply_rng
    @haiku.transform
    def model(ids):
        xs = haiku.Embed(7, D, name='words')(ids)
        start = jax.tree.map(lambda leaf: leaf.astype(float), (own := core(H)).initial_state(B))
        ys, _ = haiku.dynamic_unroll(own, xs, start)
        return haiku.Linear(3, name='last')(ys)

    ids = np.random.default_rng(0).integers(0, 7, (T, B))
    layers = stacked(kind, False)
    net, params = made(layers, vocabulary=7)
    names = ['words', {'irnn': 'vanilla_rnn', 'lstm': 'lstm', 'gru_chung': 'gru'}[kind], 'last']
    theirs = to_haiku(layers, params, names)
    with jax.numpy_rank_promotion('allow'), jax.numpy_dtype_promotion('standard'):
        wanted = jax.eval_shape(model.init, jax.random.key(0), ids)
        ys = jax.jit(model.apply)(theirs, ids)
    assert jax.tree.map(jnp.shape, theirs) == jax.tree.map(jnp.shape, wanted)
    close(jax.jit(net.apply)(params, ids.T), ys.swapaxes(0, 1), EXACT)


def as_tensors(state):
    import torch

    return {name: torch.tensor(array) for name, array in state.items()}


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('layers', [1, 2])
@pytest.mark.parametrize('kind', FRAMEWORKS['torch'][2][:4])
def test_outputs_are_those_of_torch(kind, layers, dtype):
    torch = pytest.importorskip('torch')
    make = {'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}.get(kind, torch.nn.RNN)
    relu = {'nonlinearity': 'relu'} if kind == 'irnn' else {}
    module = make(
        D, H, num_layers=layers, bidirectional=layers == 2, dtype=getattr(torch, dtype), **relu
    )
    weights = from_torch(module)
    xs, carry = data(kind, layers**2, dtype)
    theirs = torch.from_numpy(np.array(carry)[::-1].copy())
    with torch.no_grad():
        ys, _ = module(torch.from_numpy(np.array(xs)), (*theirs,) if kind == 'lstm' else theirs[0])
    close(
        np.asarray(outputs(weights, xs, carry)), ys.numpy(), EXACT if dtype == 'float64' else 1e-6
    )
    (state,) = to_torch(*weights)
    assert list(state) == list(module.state_dict())
    same(state, {name: tensor.numpy() for name, tensor in module.state_dict().items()})
    module.load_state_dict(as_tensors(state))


def keras_layer(keras, kind):
    more = {'return_sequences': True, 'bias_initializer': keras.initializers.RandomNormal(seed=1)}
    if kind in ('elman', 'irnn'):
        return keras.layers.SimpleRNN(H, activation='tanh' if kind == 'elman' else 'relu', **more)
    if kind == 'lstm':
        return keras.layers.LSTM(H, unit_forget_bias=False, **more)
    return keras.layers.GRU(H, reset_after=kind == 'gru', **more)


@KERAS
@pytest.mark.parametrize('both', [False, True])
@pytest.mark.parametrize('kind', FRAMEWORKS['keras'][2])
def test_outputs_are_those_of_keras(keras, kind, both):
    layers = [keras_layer(keras, kind) for _ in range(2 if both else 1)]
    if both:
        layers = [keras.layers.Bidirectional(layer) for layer in layers]
    xs, carry = data(kind, 4 if both else 1, jnp.float32)
    ys, starts = jnp.swapaxes(xs, 0, 1), [*carry[::-1].swapaxes(0, 1)]
    for layer in layers:
        states = [part for _ in range(2 if both else 1) for part in starts.pop(0)]
        ys = layer(ys, initial_state=states)
    weights = from_keras(layers)
    close(np.asarray(outputs(weights, xs, carry)), np.array(ys).swapaxes(0, 1), 1e-6)
    for layer, arrays in zip(layers, to_keras(*weights), strict=True):
        same(arrays, layer.get_weights())
        layer.set_weights(arrays)


@KERAS
def test_a_keras_classifier_gives_the_same_here(keras):
    model = keras.Sequential([
        keras.Input((T,), dtype='int32'),
        keras.layers.Embedding(7, D),
        keras.layers.Bidirectional(keras_layer(keras, 'gru')),
        keras.layers.Dropout(0.5),
        keras.layers.LSTM(H, use_bias=False),
        keras.layers.Dense(1, activation='sigmoid'),
    ])  # fmt: skip
    ids = np.random.default_rng(0).integers(0, 7, (B, T))
    weights = from_keras(model)
    net = classifier(weights.layers, inputs=D, classes=2, vocabulary=7)
    logits = net.apply(weights.params, ids)[:, 1:]
    close(jax.nn.sigmoid(logits), jnp.asarray(model(ids)), 1e-6)


@KERAS
def test_a_keras_lstm_of_bfloat16_alone(keras):
    """Its Sequential gives the same; float32 inputs of unroll are promoted, not refused."""
    core = keras.layers.LSTM(H, dtype='bfloat16', recurrent_initializer='glorot_uniform')
    model = keras.Sequential([keras.Input((T, D), dtype='bfloat16'), core])
    layers, params = from_keras(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    xs = np.random.default_rng(0).normal(0, 1, (B, T, D)).astype('float32')
    _, y = layers[0].apply(params['layer_1'], xs.swapaxes(0, 1), last=True)
    assert y.dtype == jnp.float32
    close(y, jnp.asarray(model(xs), 'float32'), 2e-2)
    same(to_keras(layers, params)[0], core.get_weights())


@pytest.mark.slow
def test_a_classifier_trained_in_torch_on_mnist_gives_the_same_logits_here(mnist_archives):
    torch = pytest.importorskip('torch')
    torch.manual_seed(0)
    torch.set_num_threads(1)  # workers of pytest share the cores
    images, labels = (
        mnist.read_idx(mnist_archives / name, header).copy()
        for name, header in zip(mnist.ARCHIVES['train'], (16, 8), strict=True)
    )
    test = mnist.read_idx(mnist_archives / mnist.ARCHIVES['test'][0], 16).reshape(-1, 28, 28)[:1000]
    images, labels = torch.from_numpy(images).reshape(-1, 28, 28), torch.from_numpy(labels).long()
    recurrence, readout = (
        torch.nn.LSTM(28, 32, 2, bidirectional=True, batch_first=True),
        torch.nn.Linear(64, 10),
    )
    tx = torch.optim.Adam([*recurrence.parameters(), *readout.parameters()], 1e-2)

    def logits(rows):
        _, (h, _) = recurrence(rows.float() / 255)
        return readout(torch.cat([h[-2], h[-1]], dim=-1))

    for batch in torch.randperm(len(labels))[: 200 * 64].split(64):
        tx.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits(images[batch]), labels[batch])
        loss.backward()
        tx.step()
    assert loss.item() < 0.5
    layers, params = from_torch([recurrence, readout])
    ours = jax.jit(classifier(layers, inputs=28, classes=10, scale=1 / 255).apply)(params, test)
    with torch.no_grad():
        close(np.asarray(ours), logits(torch.from_numpy(test.copy())).numpy(), 1e-5)


@KERAS
@pytest.mark.slow
@pytest.mark.parametrize('kind', ['lstm', 'gru'])
def test_a_classifier_trained_in_keras_on_reviews_gives_the_same_logits_here(keras, kind):
    texts = imdb.load(shared('tfds'))
    reviews = text_sequences(texts, vocab_size=2000, max_length=80, pad='pre')
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((80,), dtype='int32'),
        keras.layers.Embedding(2000, 16),
        keras.layers.Bidirectional({'lstm': keras.layers.LSTM, 'gru': keras.layers.GRU}[kind](16)),
        keras.layers.Dense(1),
    ])  # fmt: skip
    model.compile(
        optimizer=keras.optimizers.Adam(5e-3),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    history = model.fit(
        reviews.train.inputs[:9600], reviews.train.labels[:9600], batch_size=64, epochs=2, verbose=0
    )
    assert history.history['loss'][-1] < 0.5
    layers, params = from_keras(model)
    net = classifier(layers, inputs=16, classes=2, vocabulary=2000)
    ids = reviews.test.inputs[:1000]
    close(np.asarray(jax.jit(net.apply)(params, ids)[:, 1:]), model.predict(ids, verbose=0), 1e-5)
