"""Weights of other frameworks: the same bits there and back, the same outputs, and files.

test_conformance.py compares gradients too. Tests that build modules of torch, Keras and Haiku need
the extra `peers`.
"""

import inspect
import os
from functools import partial

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
    to_haiku,
    to_keras,
    to_torch,
)
from rnnlab.interop.weights import kind_of
from rnnlab.models import classifier, network
from tests.conftest import close, noisy, same, shared

EXACT = 1e-12
D, H, T, B = 3, 4, 5, 2

# name: (to, from, its kinds, the argument that tells that an Elman cell has ReLUs)
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
HAIKU = ('irnn', 'lstm', 'gru_chung')
CASES = [(framework, kind) for framework, (_, _, kinds, _) in FRAMEWORKS.items() for kind in kinds]


def options(framework, kind):
    return {FRAMEWORKS[framework][3]: 'relu'} if kind == 'irnn' else {}


def stacked(kind, both, hidden=H, **start):
    def layer():
        cell = CELLS[kind](hidden, **start)
        return bidirectional(cell, cell) if both else recurrent(cell)

    return [layer() for _ in range(2 if both else 1)]


def made(layers, inputs=D, **others):
    """(a network, params of it without a zero)"""
    net = network(layers, inputs=inputs, outputs=3, **others)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return net, noisy(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))


def params_of(layers):
    return made(layers)[1]


def outputs(weights, xs, carry):
    """Those of layers of one kind, from a carry [h, or c and h; layer and direction; B; H]."""
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
    if (framework, kind) == ('flax', 'gru'):  # r and z have one bias: the same bits from then on
        assert jax.tree.structure(ours.params) == jax.tree.structure(params)
        params = ours.params
    same(ours.params, params)
    same(to(*ours), theirs)
    traced = jax.eval_shape(
        lambda params: take(to(layers, params), **options(framework, kind)).params, params
    )
    net = network(ours.layers, inputs=2, outputs=3, vocabulary=7, dense=D)
    fresh = jax.eval_shape(net.init, jax.random.key(0))
    for tree in (traced, fresh):
        assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, params)


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_biases_without_a_place_are_added(framework):
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


@pytest.mark.parametrize('both', [False, True])
@pytest.mark.parametrize('kind', HAIKU)
def test_there_and_back_by_haiku(kind, both):
    layers = stacked(kind, both)
    _, params = made(layers, inputs=2, vocabulary=7, dense=D)
    core = ('ahead', 'back') if both else 'core'
    names = ['words', 'first', core, *([('ahead_1', 'back_1')] if both else []), 'last']
    theirs = to_haiku(layers, params, names)
    ours = from_haiku(theirs, names)
    if kind == 'irnn':  # a second bias of zeros
        zeros = {'recurrent_bias': jnp.zeros(H)}
        for name in ours.params.keys() & {'layer_1', 'layer_2'}:
            params[name] = {side: own | zeros for side, own in params[name].items()}
    close(ours.params, params, 1e-15)  # 1 is subtracted from an LSTM's forget bias, and added
    close(to_haiku(*ours, names), theirs, 1e-15)
    with pytest.raises(InputError, match=f'has {len(names)} modules, and there are 1 names'):
        to_haiku(layers, params, 'words')


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


@KERAS
def test_other_keras_layers_are_refused(keras):
    layer = keras.layers
    cases = [
        (layer.LSTM(H, activation='relu'), 'activation=relu is not supported, only tanh'),
        (layer.GRU(H, recurrent_activation='hard_sigmoid'), 'hard_sigmoid'),
        (layer.SimpleRNN(H, go_backwards=True), 'go_backwards'),
        (layer.Bidirectional(layer.LSTM(H), merge_mode='sum'), 'merge_mode'),
        (layer.Dense(H, activation='relu'), 'activation=relu.* softmax'),
        (layer.Conv1D(H, 2), 'Conv1D'),
    ]
    for one, words in cases:
        one.build((B, T, D))
        with pytest.raises(InputError, match=words):
            from_keras(one)
    with pytest.raises(InputError, match='build it'):
        from_keras(layer.LSTM(H))


# What each attribute of each class that is taken does: SAME is carried over, TRAINING and DATA have
# no effect on outputs (how it is trained, drawn or compiled; how data lie or are returned), any
# other value is one that is refused.
SAME, TRAINING, DATA = 'same', 'training', 'data'
TORCH = {
    'RNNBase': {
        SAME: 'mode num_layers bias bidirectional proj_size device dtype input_size hidden_size',
        TRAINING: 'dropout',
        DATA: 'batch_first',
    },
    'RNNCell': {SAME: 'input_size hidden_size bias nonlinearity device dtype'},
    'LSTMCell': {SAME: 'input_size hidden_size bias device dtype'},
    'GRUCell': {SAME: 'input_size hidden_size bias device dtype'},
    'Linear': {SAME: 'in_features out_features bias device dtype'},
    'Embedding': {
        SAME: 'num_embeddings embedding_dim _weight device dtype',
        TRAINING: 'padding_idx scale_grad_by_freq sparse _freeze norm_type',
        'max_norm': 1.0,
    },
    'Dropout': {TRAINING: 'p inplace'},
}
DRAWN = (
    'kernel_initializer bias_initializer kernel_regularizer bias_regularizer activity_regularizer '
    'kernel_constraint bias_constraint kwargs'
)
OF_CELL = f'{DRAWN} recurrent_initializer recurrent_regularizer recurrent_constraint dropout ' + (
    'recurrent_dropout seed'
)
RETURNED = 'return_sequences return_state stateful unroll use_cudnn'
KERAS_TABLE = {
    'SimpleRNN': {SAME: 'units activation use_bias', TRAINING: OF_CELL, DATA: RETURNED}
    | {'go_backwards': True},
    'LSTM': {SAME: 'units use_bias', TRAINING: f'{OF_CELL} unit_forget_bias', DATA: RETURNED}
    | {'go_backwards': True, 'activation': 'relu', 'recurrent_activation': 'hard_sigmoid'},
    'GRU': {SAME: 'units use_bias reset_after', TRAINING: OF_CELL, DATA: RETURNED}
    | {'go_backwards': True, 'activation': 'relu', 'recurrent_activation': 'hard_sigmoid'},
    'Dense': {SAME: 'units use_bias', TRAINING: DRAWN, DATA: 'lora_alpha quantization_config'}
    | {'activation': 'relu', 'lora_rank': 1},
    'Embedding': {
        SAME: 'input_dim output_dim weights',
        TRAINING: 'embeddings_initializer embeddings_regularizer embeddings_constraint kwargs',
        DATA: 'mask_zero lora_alpha quantization_config',
        'lora_rank': 1,
    },
    'Bidirectional': {SAME: 'layer backward_layer weights', DATA: 'kwargs', 'merge_mode': 'mul'},
}
COMPUTED = 'kernel_init recurrent_kernel_init bias_init keep_rngs rngs kernel_metadata ' + (
    'recurrent_kernel_metadata bias_metadata dtype'
)
CELL = {
    SAME: 'in_features hidden_features param_dtype',
    TRAINING: COMPUTED,
    'carry_init': jax.nn.initializers.ones,
    'promote_dtype': lambda arrays, **options: arrays,
}
WRONG = {'gate_fn': jax.nn.relu, 'activation_fn': jax.nn.softplus}
NNX = {
    'SimpleCell': CELL | {'activation_fn': jax.nn.softplus, 'residual': True},
    'LSTMCell': CELL | WRONG,
    'OptimizedLSTMCell': CELL | WRONG,
    'GRUCell': CELL | WRONG,
    'RNN': {
        SAME: 'cell',
        DATA: 'time_major return_carry keep_order unroll state_axes broadcast_rngs rngs',
        'reverse': True,
    },
    'Bidirectional': {
        SAME: 'forward_rnn backward_rnn',
        DATA: 'time_major return_carry rngs',
        'merge_fn': jnp.add,
    },
    'Linear': {
        SAME: 'in_features out_features use_bias param_dtype',
        TRAINING: 'dtype precision kernel_init bias_init rngs kernel_metadata bias_metadata',
        'dot_general': jnp.dot,
        'promote_dtype': CELL['promote_dtype'],
        'preferred_element_type': jnp.float32,
    },
    'Embed': {
        SAME: 'num_embeddings features param_dtype',
        TRAINING: 'dtype embedding_init rngs embedding_metadata',
        'promote_dtype': CELL['promote_dtype'],
    },
}
KINDS_OF = (SAME, TRAINING, DATA)


def named_in(row):
    """The attributes that a row of a table names."""
    words = [name for kind in KINDS_OF for name in row.get(kind, '').split()]
    assert len(words) == len({*words})
    return {*words, *row} - {*KINDS_OF}


def attributes(cls):
    return {*inspect.signature(cls.__init__).parameters} - {'self'}


def refused_values(table):
    return [(name, key) for name, row in table.items() for key in row if key not in KINDS_OF]


@pytest.mark.parametrize('framework', ['torch.nn', 'keras.layers', 'flax.nnx'])
def test_the_tables_have_every_attribute_of_every_class(framework):
    module = pytest.importorskip(framework)
    for name, row in {'torch.nn': TORCH, 'keras.layers': KERAS_TABLE, 'flax.nnx': NNX}[
        framework
    ].items():
        unknown = attributes(getattr(module, name, None) or module.modules.rnn.RNNBase) - named_in(
            row
        )
        assert not unknown, f'{framework}.{name}: say in the table what {unknown} do'


@KERAS
@pytest.mark.parametrize(('name', 'attribute'), refused_values(KERAS_TABLE))
def test_attributes_of_keras_that_change_the_result_are_refused(keras, name, attribute):
    make, more = getattr(keras.layers, name), {attribute: KERAS_TABLE[name][attribute]}
    sizes = {'Embedding': (7, D), 'Bidirectional': (keras.layers.LSTM(H),)}.get(name, (H,))
    layer = make(*sizes, **more)
    layer.build((B, T) if name == 'Embedding' else (B, T, D))
    with pytest.raises(InputError, match=attribute.replace('lora_rank', 'lora_enabled')):
        from_keras(layer)


@KERAS
def test_layers_of_keras_without_weights_are_refused_unless_they_are_for_training(keras):
    layers = keras.layers

    def converted(*between):
        return from_keras([layers.Dense(H), *between, layers.LSTM(H)])

    def built(*between):
        model = keras.Sequential([keras.Input((T, D)), layers.Dense(D), *between, layers.LSTM(H)])
        return from_keras(model)

    with pytest.raises(InputError, match='build it first'):
        converted()
    training = layers.Dropout(0.5), layers.GaussianNoise(0.1)
    assert built(*training).layers[0].cells == {'cell': lstm(H)}
    plain = layers.LayerNormalization(center=False, scale=False)
    for layer in (layers.Activation('relu'), layers.Masking(), plain, layers.Rescaling(2.0)):
        with pytest.raises(InputError, match=f'a Keras {type(layer).__name__} is not supported'):
            built(layer)
    first = keras.Sequential([keras.Input((T, D)), layers.Dense(D, 'sigmoid'), layers.LSTM(H)])
    with pytest.raises(InputError, match='activation=sigmoid is not supported, only linear'):
        from_keras(first)


@pytest.mark.filterwarnings('ignore:carry_init')
@pytest.mark.parametrize(('name', 'attribute'), refused_values(NNX))
def test_attributes_of_nnx_that_change_the_result_are_refused(name, attribute):
    from flax import nnx

    def layer():
        return nnx.RNN(nnx.LSTMCell(D, H, rngs=nnx.Rngs(0)))

    sizes = {'RNN': layer().cell, 'Bidirectional': (layer(), layer())}.get(name, (D, H))
    more = {attribute: NNX[name][attribute]}
    if name not in ('RNN', 'Bidirectional'):
        more['rngs'] = nnx.Rngs(0)
    made = getattr(nnx, name)(*(sizes if isinstance(sizes, tuple) else (sizes,)), **more)
    with pytest.raises(InputError, match=f'{attribute}=.* is not supported'):
        from_flax(made)


def test_modules_of_torch_say_what_they_are_by_prefix_too():
    torch = pytest.importorskip('torch')
    nn = torch.nn
    whole = nn.ModuleDict(
        {
            'first': nn.Linear(D, D, bias=False),
            'words': nn.Embedding(7, D, max_norm=1.0),
            'core': nn.RNN(D, H, nonlinearity='relu'),
            'plain': nn.LayerNorm(D, elementwise_affine=False),
            'act': nn.ReLU(),
            'deep': nn.Sequential(nn.Linear(D, D), nn.Tanh()),
        }
    )
    weights = from_torch(whole, prefix=['first', 'core'])
    assert kind_of(weights.layers[0].cells['cell']) == 'irnn'
    same(weights.params['dense']['kernel'], whole['first'].weight.detach().numpy().T)
    for name in ('words', 'plain', 'act', 'deep'):
        with pytest.raises(InputError, match='is not supported'):
            from_torch(whole, prefix=[name, 'core'])
    with pytest.raises(InputError, match=r'nn\.EmbeddingBag is not supported'):
        from_torch(nn.EmbeddingBag(7, D))


def test_a_weight_alone_is_an_embedding_or_a_dense_map():
    core = to_torch(stacked('gru', False), params_of(stacked('gru', False)))[0]
    table = from_torch([{'weight': np.ones((7, D))}, core]).params
    assert table['embedding']['table'].shape == (7, D)
    kernel = from_torch([{'weight': np.ones((D, 7))}, core]).params['dense']['kernel']
    assert kernel.shape == (7, D)
    with pytest.raises(InputError, match='give the module'):
        from_torch([{'weight': np.ones((D, D))}, core])


def other():
    """An LSTM with the same params and gates, but another step."""
    cell = lstm(H)
    return recurrent(
        Cell(
            cell.init,
            cell.carry,
            lambda params, carry, x: cell.step(params, carry, 2 * x),
            cell.gates,
        )
    )


MINGRU = recurrent(CELLS['mingru'](H))
STACK = recurrent(stack(lstm(H), lstm(H)))
REFUSED = [  # (to, layers, words)
    (to_torch, stacked('gru_reset_before', False), 'torch has no cell'),
    (to_flax, [MINGRU], 'computes what layer_1 does'),
    (to_keras, [other()], 'Keras has no cell'),
    (to_keras, [STACK], 'computes what layer_1 does'),
    (to_torch, [bidirectional(lstm(H), gru(H))], 'kind or size'),
    (partial(to_haiku, names=['gru', 'last']), stacked('gru', False), 'Haiku has no cell'),
]
ONES = {shape: np.ones(shape) for shape in [(8, D), (8, H), (16, D), (D, 2), (7, 16), 16, 4, 2]}
BAD = [  # (from, source, words)
    (
        from_torch,
        {'weight_ih_l0': ONES[8, D], 'weight_hh_l0': ONES[8, H]},
        'none of an RNN, GRU or LSTM',
    ),
    (from_torch, {'weight_ih_l0': ONES[16, D], 'bias_ih_l0': ONES[16]}, 'not the weights of one'),
    (partial(from_torch, prefix='b'), {'a.weight': ONES[16, D]}, "prefix 'b'; there are a"),
    (from_torch, 3, 'not int'),
    (from_keras, 3, 'not int'),
    (from_flax, 3, 'not int'),
    (from_keras, [[ONES[D, 2], ONES[2]]] * 3, 'in this order'),
    (from_keras, [ONES[D, 2]] * 5, '5 arrays'),
    (from_flax, {'if': {}, 'in': {}, 'hf': {}, 'hn': {'bias': ONES[2]}}, 'not the params of'),
    (from_flax, ({'kernel': ONES[D, 2]}, {'kernel': ONES[D, 2]}), 'a pair of recurrent cells'),
    (partial(from_tf1, cell='lstm'), {'kernel': ONES[7, 16], 'w_i_diag': ONES[4]}, 'kernel, bias'),
    (partial(from_haiku, names='gru'), {'lstm/linear': {}}, "'gru' is no"),
]


@pytest.mark.parametrize(('to', 'layers', 'words'), REFUSED)
def test_cells_that_a_framework_has_not_are_refused(to, layers, words):
    with pytest.raises(InputError, match=words) as error:
        to(layers, params_of(layers))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('take', 'source', 'words'), BAD)
def test_other_weights_are_refused(take, source, words):
    with pytest.raises(InputError, match=words) as error:
        take(source)
    assert '\n' not in str(error.value)


def test_params_of_other_layers_are_refused():
    with pytest.raises(InputError, match=r"no 'layer_1.cell' and needs 'layer_1.backward'"):
        to_torch(stacked('lstm', True), params_of(stacked('lstm', False)))


@pytest.mark.parametrize('framework', [*FRAMEWORKS, 'haiku'])
@pytest.mark.parametrize('extra', ['attention', 'layer_3', 'layer_1.forward.initial_h'])
def test_params_that_the_layers_do_not_use_are_refused(framework, extra):
    layers = stacked('lstm', True)
    _, params = made(layers, dense=2)
    to = FRAMEWORKS[framework][0] if framework in FRAMEWORKS else partial(to_haiku, names=[])
    at = params
    for entry in extra.split('.'):
        at = at.setdefault(entry, {})
    at['kernel'] = np.ones(H)
    with pytest.raises(InputError, match=f"this network, which has no '{extra}'; the entries are"):
        to(layers, params)


def test_params_of_another_cell_are_refused():
    gru_params = params_of(stacked('gru', False))
    gru_params['layer_1']['cell'].pop('recurrent_kernel')
    with pytest.raises(InputError, match=r"needs 'layer_1\.cell\.recurrent_kernel'"):
        to_torch(stacked('gru', False), gru_params)


def test_a_cell_is_what_its_arguments_make_it():
    for own, same_as in (
        (gru(H, reset_after=False), 'gru_reset_before'),
        (elman(H, activation='relu'), 'irnn'),
        (lstm(H, init='torch', forget_bias=0.0), 'lstm'),
    ):
        assert kind_of(own) == same_as


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_each_framework_takes_its_cells_only(framework):
    to, _, kinds, _ = FRAMEWORKS[framework]
    for name, make in CELLS.items():
        layers = [recurrent(make(H))]
        if name in kinds:
            to(layers, params_of(layers))
        else:
            words = f'(?i){framework} has no cell that computes what layer_1 does'
            with pytest.raises(InputError, match=words):
                to(layers, {'layer_1': {'cell': {}}})


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.float64, jnp.bfloat16])
def test_files_keep_params_bit_for_bit(tmp_path, dtype):
    layers = [recurrent(stack(lstm(2), gru(3))), bidirectional(elman(2), elman(2))]
    net = network(layers, inputs=D, outputs=2, vocabulary=5)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), noisy(net.init(jax.random.key(0))))
    params['readout']['kernel'] = params['readout']['kernel'].T  # not contiguous
    save(tmp_path / 'net.safetensors', params)
    for like in (None, params, jax.eval_shape(lambda: params)):
        loaded = load(tmp_path / 'net.safetensors', like)
        same(loaded, params)
        assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype(dtype)}


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / 'net.safetensors'
    save(path, {'layer_1': {'bias': jnp.ones(3)}})
    (tmp_path / 'text').write_text('no tensors')
    cases = [
        (lambda: load(tmp_path / 'none'), 'none is no safetensors file'),
        (lambda: load(tmp_path / 'text'), 'text is no safetensors file'),
        (
            lambda: load(path, {'layer_2': {'bias': jnp.ones(3)}}),
            r"no 'layer_1' and needs 'layer_2'; the entries are layer_1",
        ),
        (
            lambda: load(path, {'layer_1': {'bias': jnp.ones(4)}}),
            r"layer_1.bias' must be \[4\], not \[3\]",
        ),
        (lambda: load(path, {'layer_1': {}}), "has no 'layer_1'"),
        (lambda: save(tmp_path / 'none' / 'a', {'a': jnp.ones(3)}), 'cannot be written'),
        (lambda: save(path, {'a.b': jnp.ones(3)}), 'in them could not be loaded'),
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
