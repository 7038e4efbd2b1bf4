"""Weights of other frameworks: the same bits there and back, the same outputs and gradients, and files.

That all of them compute the same is in test_conformance.py; the tests here that build modules of torch and Keras need the extra `peers`.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parity.harness import run
from rnnlab import CELLS, InputError, bidirectional, recurrent, stack
from rnnlab.cells import Cell, elman, gru, lstm
from rnnlab.data import imdb, mnist
from rnnlab.data.text import text_sequences
from rnnlab.interop import (
    from_flax,
    from_haiku,
    from_keras,
    from_tf1,
    from_torch,
    load,
    save,
    to_flax,
    to_keras,
    to_torch,
)
from rnnlab.models import classifier, network
from tests.conftest import close, noisy, same, shared

EXACT = 1e-12
D, H, T, B = 3, 4, 5, 2

# name: (to, from, the kinds that it has, what tells it that an Elman cell is of relu)
FRAMEWORKS = {
    'torch': (
        to_torch,
        from_torch,
        ('elman', 'irnn', 'lstm', 'gru', 'lstm_projected'),
        'nonlinearity',
    ),
    'keras': (
        to_keras,
        from_keras,
        ('elman', 'irnn', 'lstm', 'gru', 'gru_reset_before'),
        'activation',
    ),
    'flax': (to_flax, from_flax, ('elman', 'irnn', 'lstm', 'gru', 'ugrnn'), 'activation'),
}
CASES = [(framework, kind) for framework, (_, _, kinds, _) in FRAMEWORKS.items() for kind in kinds]


def options(framework, kind):
    return {FRAMEWORKS[framework][3]: 'relu'} if kind == 'irnn' else {}


def stacked(kind, both, hidden=H, **start):
    def layer():
        cell = CELLS[kind](hidden, **start)
        return bidirectional(cell, cell) if both else recurrent(cell)

    return [layer() for _ in range(2 if both else 1)]


def made(layers, inputs=D, **others):
    """(the network, params of it, nothing zero)"""
    net = network(layers, inputs=inputs, outputs=3, **others)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return net, noisy(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))


def params_of(layers):
    return made(layers)[1]


def outputs(weights, xs, carry):
    """Of layers of one kind from a carry [h, or c and h; layer and direction; B; H]."""
    layers, params = weights
    carries = [(*fields,) for fields in jnp.moveaxis(carry, 1, 0)]
    return jax.jit(lambda *at: run(lambda params: (layers, params), 'any', *at, (T,) * B)[0])(
        params, xs, carries
    )


def data(kind, directions, dtype=jnp.float64):
    rng = np.random.default_rng(3)
    xs, carry = (
        rng.normal(0, 1, (T, B, D)),
        rng.normal(0, 1, (2 if kind == 'lstm' else 1, directions, B, H)),
    )
    return jnp.asarray(xs, dtype), jnp.asarray(carry, dtype)


@pytest.mark.parametrize('both', [False, True])
@pytest.mark.parametrize(('framework', 'kind'), CASES)
def test_there_and_back_are_the_same_bits(framework, kind, both):
    to, take, _, _ = FRAMEWORKS[framework]
    layers = stacked(kind, both, init='torch' if framework == 'torch' else 'keras')
    _, params = made(layers, inputs=2, vocabulary=7, dense=D)
    theirs = to(layers, params)
    ours = take(theirs, **options(framework, kind))
    if (framework, kind) == ('flax', 'gru'):
        assert jax.tree.structure(ours.params) == jax.tree.structure(
            params
        )  # r and z have one bias: the bits are those from then on
        params = ours.params
    same(ours.params, params)
    same(to(*ours), theirs)
    traced = jax.eval_shape(
        lambda params: take(to(layers, params), **options(framework, kind)).params, params
    )
    assert jax.tree.map(jnp.shape, traced) == jax.tree.map(jnp.shape, params)
    same(jax.tree.map(jnp.shape, network(ours.layers, inputs=2, outputs=3, vocabulary=7, dense=D).init(jax.random.key(0))),
         jax.tree.map(jnp.shape, params))  # fmt: skip


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_biases_that_have_no_room_are_folded(framework):
    to, take, _, _ = FRAMEWORKS[framework]
    for kind in ('lstm', 'gru'):
        params = params_of(stacked(kind, False, init='torch'))
        own, cell = (
            params['layer_1']['cell'],
            take(to(stacked(kind, False), params)).params['layer_1']['cell'],
        )
        both = own['bias'] + own['recurrent_bias']
        if framework == 'torch' or (framework, kind) == ('keras', 'gru'):
            same(cell, own)
        elif kind == 'lstm':
            same(cell, {'kernel': own['kernel'], 'bias': both})
        else:  # r and z alone
            rz = slice(0, 2 * H)
            folded = {
                'bias': own['bias'].at[rz].set(both[rz]),
                'recurrent_bias': own['recurrent_bias'].at[rz].set(0),
            }
            same(cell, own | folded)
    params = params_of(stacked('lstm', False))
    (with_zeros,) = from_torch(to_torch(stacked('lstm', False), params)).params['layer_1'].values()
    same(with_zeros, params['layer_1']['cell'] | {'recurrent_bias': jnp.zeros(4 * H)})


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


def test_parts_of_haiku():
    rng = np.random.default_rng(0)
    sizes = {
        'words': {'embeddings': (7, D)},
        'memory': {'w_i': (D, 3 * H), 'w_h': (H, 3 * H), 'b': (3 * H,)},
        'last': {'w': (H, 3), 'b': (3,)},
    }
    theirs = {
        name: {key: rng.normal(0, 1, shape) for key, shape in part.items()}
        for name, part in sizes.items()
    }
    layers, params = from_haiku(theirs, [*theirs])
    assert len(layers) == 1
    same(
        (params['embedding'], params['readout']),
        (
            {'table': theirs['words']['embeddings']},
            dict(zip(('kernel', 'bias'), theirs['last'].values(), strict=True)),
        ),
    )


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


def test_torch_cells_parts_and_files(tmp_path):
    torch = pytest.importorskip('torch')
    from safetensors.torch import save_file

    for cell in (
        torch.nn.RNNCell(D, H),
        torch.nn.LSTMCell(D, H, bias=False),
        torch.nn.GRUCell(D, H),
    ):
        weights = from_torch(cell)
        (state,) = to_torch(*weights)
        bare = {name: tensor.numpy() for name, tensor in cell.state_dict().items()}
        same({name: state[f'{name}_l0'] for name in bare}, bare)
        assert set(state) - {f'{name}_l0' for name in bare} == (
            set() if cell.bias else {'bias_ih_l0', 'bias_hh_l0'}
        )
    parts = {
        'words': torch.nn.Embedding(7, D),
        'memory': torch.nn.GRU(D, H, 11, bias=False),
        'last': torch.nn.Linear(H, 2, bias=False),
    }
    whole = torch.nn.ModuleDict(parts).to(torch.bfloat16)
    save_file(whole.state_dict(), tmp_path / 'whole.safetensors')
    direct = from_torch([*whole.values()])
    same(from_torch(load(tmp_path / 'whole.safetensors'), prefix=[*parts]).params, direct.params)
    assert len(direct.layers) == 11
    assert {leaf.dtype for leaf in jax.tree.leaves(direct.params)} == {jnp.dtype(jnp.bfloat16)}
    ten = direct.params['layer_11']['cell']['kernel']
    same(
        np.asarray(ten),
        whole['memory'].weight_ih_l10.detach().float().numpy().T.astype(jnp.bfloat16),
    )
    with pytest.raises(InputError, match='prefix'):
        from_torch(whole)
    with pytest.raises(InputError, match='max_norm'):
        from_torch(torch.nn.Embedding(7, D, max_norm=1.0))


@pytest.fixture
def keras():
    os.environ.setdefault('KERAS_BACKEND', 'jax')
    keras = pytest.importorskip('keras')
    with jax.numpy_rank_promotion('allow'), jax.numpy_dtype_promotion('standard'):
        yield keras


KERAS = pytest.mark.filterwarnings('default')  # Keras's own


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
def test_a_keras_classifier_is_carried_over(keras):
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
def test_keras_layers_that_compute_something_else_are_refused(keras):
    layer = keras.layers
    cases = [
        (layer.LSTM(H, activation='relu'), 'activation relu'),
        (layer.GRU(H, recurrent_activation='hard_sigmoid'), 'hard_sigmoid'),
        (layer.SimpleRNN(H, go_backwards=True), 'go_backwards'),
        (layer.Bidirectional(layer.LSTM(H), merge_mode='sum'), 'merge_mode'),
        (layer.Dense(H, activation='relu'), 'activation relu'),
        (layer.Conv1D(H, 2), 'Conv1D'),
    ]
    for one, words in cases:
        one.build((B, T, D))
        with pytest.raises(InputError, match=words):
            from_keras(one)
    with pytest.raises(InputError, match='build it'):
        from_keras(layer.LSTM(H))


def other():
    """An LSTM of the same params and gates that computes something else."""
    cell = lstm(H)
    return recurrent(
        Cell(
            cell.init,
            cell.carry,
            lambda params, carry, x: cell.step(params, carry, 2 * x),
            cell.gates,
        )
    )


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda: to_torch(stacked('gru_reset_before', False), params_of(stacked('gru_reset_before', False))), 'torch has no cell'),
        (lambda: to_flax([recurrent(CELLS['mingru'](H))], params_of([recurrent(CELLS['mingru'](H))])), 'layer_1'),
        (lambda: to_keras([other()], params_of([other()])), 'Keras has no cell'),
        (lambda: to_keras([recurrent(stack(lstm(H), lstm(H)))], params_of([recurrent(stack(lstm(H), lstm(H)))])), 'layer_1'),
        (lambda: to_torch([bidirectional(lstm(H), gru(H))], params_of([bidirectional(lstm(H), gru(H))])), 'kind or size'),
        (lambda: to_torch(stacked('lstm', True), params_of(stacked('lstm', False))), 'layer_1.forward'),
        (lambda: from_torch({'weight_ih_l0': np.ones((8, D)), 'weight_hh_l0': np.ones((8, H))}), 'none of an RNN, GRU or LSTM'),
        (lambda: from_torch({'weight_ih_l0': np.ones((16, D)), 'bias_ih_l0': np.ones(16)}), 'not the weights of one'),
        (lambda: from_torch({'a.weight': np.ones((16, D))}, prefix='b'), "prefix 'b'; there are a"),
        (lambda: from_torch(3), 'not int'),
        (lambda: from_keras(3), 'not int'),
        (lambda: from_flax(3), 'not int'),
        (lambda: from_keras([[np.ones((D, 2)), np.ones(2)]] * 3), 'in this order'),
        (lambda: from_keras([np.ones((D, 2))] * 5), '5 arrays'),
        (lambda: from_flax({'if': {}, 'in': {}, 'hf': {}, 'hn': {'bias': np.ones(2)}}), 'not the params of'),
        (lambda: from_tf1({'kernel': np.ones((7, 16)), 'w_i_diag': np.ones(4)}, 'lstm'), 'kernel, bias'),
        (lambda: from_haiku({'lstm/linear': {}}, 'gru'), "'gru' is no"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_said(make, words):
    with pytest.raises(InputError, match=words) as error:
        make()
    assert '\n' not in str(error.value)


def test_every_cell_is_known_for_what_it_computes():
    """Only cells whose equations a framework has are carried over, whatever cells come."""
    for name, make in CELLS.items():
        layers = [recurrent(make(H))]
        params = {'layer_1': {'cell': layers[0].cells['cell'].init(jax.random.key(0), D)}}
        for framework, (to, _, kinds, _) in FRAMEWORKS.items():
            if name in kinds:
                to(layers, params)
            else:
                with pytest.raises(
                    InputError, match=f'(?i){framework} has no cell that computes what layer_1 does'
                ):
                    to(layers, params)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.float64, jnp.bfloat16])
def test_files_keep_params_bit_for_bit(tmp_path, dtype):
    layers = [recurrent(stack(lstm(2), gru(3))), bidirectional(elman(2), elman(2))]
    net = network(layers, inputs=D, outputs=2, vocabulary=5)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), noisy(net.init(jax.random.key(0))))
    params['readout']['kernel'] = params['readout'][
        'kernel'
    ].T  # as it lies in memory is another matter
    save(tmp_path / 'net.safetensors', params)
    for like in (None, params, jax.eval_shape(lambda: params)):
        loaded = load(tmp_path / 'net.safetensors', like)
        same(loaded, params)
        assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype(dtype)}


def test_files_that_cannot_be_used_are_said(tmp_path):
    path = tmp_path / 'net.safetensors'
    save(path, {'layer_1': {'bias': jnp.ones(3)}})
    (tmp_path / 'text').write_text('no tensors')
    cases = [
        (lambda: load(tmp_path / 'none'), 'none is no safetensors file'),
        (lambda: load(tmp_path / 'text'), 'text is no safetensors file'),
        (
            lambda: load(path, {'layer_2': {'bias': jnp.ones(3)}}),
            r'has no layer_2.bias; it has layer_1.bias',
        ),
        (
            lambda: load(path, {'layer_1': {'bias': jnp.ones(4)}}),
            r'layer_1.bias as \[3\], not \[4\]',
        ),
        (lambda: save(tmp_path / 'none' / 'a', {'a': jnp.ones(3)}), 'cannot be written'),
        (lambda: save(path, {'a.b': jnp.ones(3)}), 'point'),
    ]
    for make, words in cases:
        with pytest.raises(InputError, match=words) as error:
            make()
        assert '\n' not in str(error.value)


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
