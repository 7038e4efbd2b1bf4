"""Attributes of other frameworks' modules: each is carried over, has no effect, or is refused."""

import inspect

import jax
import jax.numpy as jnp
import pytest

from rnnlab import InputError
from rnnlab.cells import lstm
from rnnlab.interop import from_flax, from_keras
from tests.interop import KERAS, B, D, H, T


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
