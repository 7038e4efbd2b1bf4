"""Weights of other frameworks: the same bits there and back, or a refusal in one line.

Tests that build modules of torch, Keras and Haiku need the extra `peers`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlab import CELLS, InputError, bidirectional, recurrent, stack
from rnnlab.cells import Cell, elman, gru, lstm
from rnnlab.interop import (
    from_flax,
    from_haiku,
    from_keras,
    from_tf1,
    from_torch,
    load,
    to_flax,
    to_haiku,
    to_keras,
    to_torch,
)
from rnnlab.interop.weights import kind_of
from rnnlab.models import network
from tests.conftest import close, same
from tests.interop import FRAMEWORKS, HAIKU, D, H, made, options, params_of, stacked

CASES = [(framework, kind) for framework, (_, _, kinds, _) in FRAMEWORKS.items() for kind in kinds]


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
