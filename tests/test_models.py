"""Classifiers and networks against their parts composed by hand, and the table of their layers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from rnnlab.analysis.describe import count, describe
from rnnlab.cells import CELLS, elman, gru, lstm, stack
from rnnlab.errors import InputError
from rnnlab.models import Model, classifier, network
from rnnlab.recurrence import bidirectional, dropout_mask, recurrent, unroll
from rnnlab.recurrence.dropout import fold
from tests.conftest import close, noisy

LENGTHS = np.array([5, 0, 2])


def test_a_classifier_is_its_layers():
    model = classifier(
        [bidirectional(lstm(3), lstm(3)), recurrent(gru(4))], inputs=2, classes=6, scale=0.5
    )
    params = noisy(model.init(jax.random.key(0)))
    inputs = np.random.default_rng(0).integers(0, 9, (3, 5, 2)).astype(np.uint8)
    xs = jnp.asarray(inputs.transpose(1, 0, 2) * 0.5)
    ahead = unroll(lstm(3), params['layer_1']['forward'], xs, lengths=LENGTHS)[1]
    back = unroll(lstm(3), params['layer_1']['backward'], xs, lengths=LENGTHS, reverse=True)[1]
    both = jnp.concatenate([ahead, back], axis=-1)
    y = unroll(gru(4), params['layer_2']['cell'], both, lengths=LENGTHS, last=True)[1]
    expected = (
        np.asarray(y) @ np.asarray(params['readout']['kernel'])
        + np.asarray(params['readout']['bias'])[None]
    )
    close(model.apply(params, inputs, LENGTHS), jnp.asarray(expected))


def test_an_embedding_looks_ids_up():
    embedded = classifier([recurrent(lstm(3))], inputs=2, classes=4, vocabulary=7)
    plain = classifier([recurrent(lstm(3))], inputs=2, classes=4)
    params = embedded.init(jax.random.key(0))
    ids = np.array([[1, 6, 0], [3, 3, 5]])
    assert params['embedding']['table'].shape == (7, 2)
    without = {name: part for name, part in params.items() if name != 'embedding'}
    close(embedded.apply(params, ids), plain.apply(without, params['embedding']['table'][ids]))


def logits_of_each(model, params, reviews):
    """Logits [N, K] of each review in its own call, without padding."""
    return jnp.concatenate([model.apply(params, np.array([review])) for review in reviews])


REVIEWS = [[1, 5, 3, 4, 2], [1], [1, 6, 3]]


def padded(reviews, length, filler):
    ids = np.full((len(reviews), length), filler)
    for row, review in zip(ids, reviews, strict=True):
        row[: len(review)] = review
    return ids, np.array([len(review) for review in reviews])


@pytest.mark.parametrize(
    ('name', 'pool', 'layers'),
    [('lru', 'last', 1), ('gru', 'attention', 1), ('gru', 'max', 2), ('none', 'mean', 0)],
)
def test_padding_changes_no_value_and_no_gradient(name, pool, layers):
    model = classifier(
        [recurrent(CELLS[name](3)) for _ in range(layers)],
        inputs=2,
        classes=2,
        vocabulary=7,
        pool=pool,
    )
    params = noisy(model.init(jax.random.key(0)))
    weights = jnp.array([[0.3, -0.7], [1.1, 0.2], [-0.4, 0.9]])

    def alone(params):
        logits = logits_of_each(model, params, REVIEWS)
        return jnp.sum(logits * weights), logits

    def together(params, ids, lengths):
        logits = model.apply(params, ids, lengths)
        return jnp.sum(logits * weights), logits

    expected = jax.jit(jax.value_and_grad(alone, has_aux=True))(params)
    run = jax.jit(jax.value_and_grad(together, has_aux=True))
    for length, filler in (
        (5, 0),
        (8, 0),
        (8, 6),
    ):  # tight, with extra padding, with another id in it
        close(run(params, *padded(REVIEWS, length, filler)), expected)


@pytest.mark.parametrize(('pool', 'over'), [('max', np.max), ('mean', np.mean)])
def test_mean_and_max(pool, over):
    model = classifier([recurrent(lstm(3))], inputs=2, classes=2, pool=pool)
    params = noisy(model.init(jax.random.key(0)))
    inputs = np.random.default_rng(0).standard_normal((3, 5, 2))
    ys = np.asarray(unroll(lstm(3), params['layer_1']['cell'], inputs.transpose(1, 0, 2))[1])
    pooled = np.stack([over(ys[:5, 0], axis=0), np.zeros(3), over(ys[:2, 2], axis=0)])
    second = (
        pooled @ np.asarray(params['readout']['kernel'])
        + np.asarray(params['readout']['bias'])[None]
    )
    close(
        model.apply(params, inputs, LENGTHS),
        jnp.asarray(np.concatenate([np.zeros((3, 1)), second], axis=1)),
    )
    close(model.apply(params, inputs), model.apply(params, inputs, np.full(3, 5)))


def test_attention_weighs_the_steps():
    model = classifier([recurrent(gru(3))], inputs=2, classes=4, pool='attention')
    params = noisy(model.init(jax.random.key(0)))
    inputs = np.random.default_rng(0).standard_normal((3, 5, 2))
    ys = np.asarray(
        unroll(gru(3), params['layer_1']['cell'], inputs.transpose(1, 0, 2))[1]
    ).transpose(1, 0, 2)
    attention, pooled = jax.tree.map(np.asarray, params['attention']), np.zeros((3, 3))
    for b, length in enumerate(LENGTHS):
        if length:
            scores = np.exp(
                np.tanh(ys[b, :length] @ attention['kernel'] + attention['bias'][None])
                @ attention['query']
            )
            pooled[b] = scores / scores.sum() @ ys[b, :length]
    expected = (
        pooled @ np.asarray(params['readout']['kernel'])
        + np.asarray(params['readout']['bias'])[None]
    )
    close(model.apply(params, inputs, LENGTHS), jnp.asarray(expected))


def test_dropout_before_the_readout():
    model = classifier([], inputs=4, classes=3, vocabulary=7, pool='mean', dropout=0.5)
    params = noisy(model.init(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), 2)
    ids = np.array([[1, 2], [3, 3]])
    pooled = np.asarray(params['embedding']['table'])[ids].mean(axis=1) * np.asarray(
        dropout_mask(fold(keys, 0), 0.5, 4)
    )
    expected = (
        pooled @ np.asarray(params['readout']['kernel'])
        + np.asarray(params['readout']['bias'])[None]
    )
    close(model.apply(params, ids, keys=keys), jnp.asarray(expected))
    plain = classifier([], inputs=4, classes=3, vocabulary=7, pool='mean')
    close(model.apply(params, ids), plain.apply(params, ids, keys=keys))


def test_a_network_reads_out_every_step_and_continues_from_its_carry():
    model = network([recurrent(lstm(3)), recurrent(gru(4))], inputs=2, outputs=5, dense=6)
    params = noisy(model.init(jax.random.key(0)))
    inputs = np.random.default_rng(0).standard_normal((3, 5, 2))
    xs = (
        inputs.transpose(1, 0, 2) @ np.asarray(params['dense']['kernel'])
        + np.asarray(params['dense']['bias'])[None, None]
    )
    first = unroll(lstm(3), params['layer_1']['cell'], xs)[1]
    second = unroll(gru(4), params['layer_2']['cell'], first)[1]
    expected = (
        np.asarray(second) @ np.asarray(params['readout']['kernel'])
        + np.asarray(params['readout']['bias'])[None, None]
    )
    close(model.apply(params, inputs), jnp.asarray(expected.transpose(1, 0, 2)))
    carry, ahead = model.run(params, inputs[:, :2], carry=model.carry(params, 3))
    carry, rest = model.run(params, inputs[:, 2:], carry=carry)
    close((carry, jnp.concatenate([ahead, rest], axis=1)), model.run(params, inputs))
    assert 'dense: 2 -> 6' in describe(model)
    assert describe(model).index('dense') < describe(model).index('layer_1: 6 -> 3')


def test_dropout_before_the_readout_is_the_same_at_every_step():
    model = network([recurrent(gru(4))], inputs=2, outputs=5, dropout=0.5)
    params = noisy(model.init(jax.random.key(0)))
    keys, inputs = (
        jax.random.split(jax.random.key(1), 3),
        np.random.default_rng(0).standard_normal((3, 5, 2)),
    )
    ys = np.asarray(unroll(gru(4), params['layer_1']['cell'], inputs.transpose(1, 0, 2))[1])
    kept = ys * np.asarray(dropout_mask(fold(keys, 0), 0.5, 4))[None]
    expected = (
        kept @ np.asarray(params['readout']['kernel'])
        + np.asarray(params['readout']['bias'])[None, None]
    )
    close(model.apply(params, inputs, keys=keys), jnp.asarray(expected.transpose(1, 0, 2)))


def test_describe_shows_where_each_number_belongs():
    model = classifier([recurrent(lstm(128))], inputs=28, classes=10)
    table = describe(model)
    for words in (
        'layer_1: 28 -> 128',
        '[156, 512]',
        'x 0:28  h 28:156',
        'i 0:128  f 128:256  g 256:384  o 384:512',
        '79,872',
        '81,674',
    ):
        assert words in table
    assert count(model.init(jax.random.key(0))) == 156 * 512 + 512 + 128 * 10 + 10


def test_describe_is_plain_text_everywhere(monkeypatch):
    model = classifier([recurrent(lstm(3))], inputs=2, classes=2)
    plain = describe(model)
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setattr('rich.console._is_jupyter', lambda: True)
    assert describe(model) == plain
    assert '\x1b' not in plain


def test_describe_goes_into_stacks_and_directions():
    model = classifier(
        [bidirectional(stack(gru(3), elman(4)), lstm(2))], inputs=5, classes=2, vocabulary=9
    )
    lines = [' '.join(line.split()) for line in describe(model).splitlines()]
    assert 'embedding: 9 -> 5 table [9, 5] 45' in lines
    assert 'layer_1: 5 -> 6 forward 1 kernel [5, 9] x 0:5 r 0:3 z 3:6 n 6:9 45' in lines
    assert 'forward 1 recurrent_kernel [3, 9] h 0:3 r 0:3 z 3:6 n 6:9 27' in lines
    assert 'forward 2 kernel [7, 4] x 0:3 h 3:7 h 0:4 28' in lines
    assert 'backward kernel [7, 8] x 0:5 h 5:7 i 0:2 f 2:4 g 4:6 o 6:8 56' in lines


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'layers': []}, 'choose mean or max'),
        ({'pool': 'min'}, 'attention, last, max, mean'),
        ({'inputs': 0}, 'inputs'),
        ({'classes': 0}, 'classes'),
        ({'init': 'caffe'}, 'known ones'),
        ({'layers': [lstm(2)]}, 'recurrent.* not Cell'),
    ],
)
def test_bad_arguments_say_what_is_wrong(change, words):
    with pytest.raises(InputError, match=words):
        classifier(**{'layers': [recurrent(lstm(2))], 'inputs': 3, 'classes': 2, **change})


def test_ids_are_one_hot_inputs():
    net = network([recurrent(lstm(4))], inputs=3, outputs=2)
    params, ids = net.init(jax.random.key(0)), jnp.array([[0, 2, 1], [1, 1, 0]])
    close(net.apply(params, ids), net.apply(params, jnp.eye(3)[ids]))


def test_params_and_inputs_of_another_network_are_refused():
    net = classifier([recurrent(lstm(4))], inputs=3, classes=2)
    params, xs = net.init(jax.random.key(0)), jnp.ones((2, 5, 3))
    with pytest.raises(InputError, match=r'inputs must be \[B, T, 3\], not \[2, 5, 7\]'):
        net.apply(params, jnp.ones((2, 5, 7)))
    for wrong, words in ((None, 'NoneType'), (params['layer_1'], 'cell'), ([params], '0')):
        with pytest.raises(InputError, match=f"needs 'layer_1'; the entries are {words}$"):
            net.apply(wrong, xs)
    with pytest.raises(InputError, match=r'must be \[7\], not \[1\]'):
        classifier([recurrent(lstm(4))], inputs=3, classes=7).apply(params, xs)
    both = network([recurrent(lstm(4))], inputs=3, outputs=2, pool='last').init(jax.random.key(0))
    with pytest.raises(InputError, match=r'outputs=2'):
        net.apply(both, xs)
    with pytest.raises(InputError, match='unknown pool'):
        network([recurrent(lstm(4))], inputs=3, outputs=2, pool='lst')


NETWORK = {'layers': [bidirectional(lstm(2), gru(3)), recurrent(stack(gru(4), lstm(2)))]}
PARTS = [  # of networks that have all parts together
    NETWORK | {'inputs': 3, 'classes': 4, 'dense': 2, 'pool': 'attention'},
    NETWORK | {'inputs': 3, 'classes': 2, 'vocabulary': 7},
    {'layers': [], 'inputs': 3, 'classes': 3, 'vocabulary': 7, 'dense': 2, 'pool': 'mean'},
]


@pytest.mark.parametrize('arguments', PARTS)
def test_a_network_needs_every_param_and_no_other(arguments):
    """A name that is taken away or added at any depth is named, and so is one of another shape."""
    net = classifier(**arguments)
    params = jax.tree.map(np.asarray, net.init(jax.random.key(0)))
    inputs = np.zeros((2, 5) if net.vocabulary else (2, 5, 3), 'int32' if net.vocabulary else float)

    def refused(path, change):
        tree = at = jax.tree.map(lambda leaf: leaf, params)
        for entry in path[:-1]:
            at = at[getattr(entry, 'key', getattr(entry, 'idx', None))]
        change(at, path[-1].key)
        with pytest.raises(InputError, match='params are not those of this network') as error:
            net.apply(tree, inputs)
        assert '\n' not in str(error.value)
        return str(error.value)

    for path, leaf in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator='.')
        missing = re.search("needs '(.*?)'", refused(path, dict.pop))[1]
        assert f'{name}.'.startswith(f'{missing}.')
        added = refused(path, lambda at, own: at.update(more=np.ones(3)))
        assert f"has no '{name.rpartition('.')[0]}.more'" in added
        other = refused(path, lambda at, own, leaf=leaf: at.update({own: leaf[None]}))
        assert f'{name!r} must be {[*leaf.shape]}' in other


@pytest.mark.parametrize('wrong', ['dense', 'embedding', 'layer_2', 'attention'])
def test_params_that_would_be_ignored_are_refused(wrong):
    """Those of a network with one more part, whose shapes fit the others."""
    one, layers = {'inputs': 4, 'classes': 3}, [recurrent(lstm(4))]
    more = {
        'dense': {'dense': 4},
        'embedding': {'vocabulary': 5},
        'layer_2': {'layers': layers * 2},
        'attention': {'pool': 'attention'},
    }
    params = classifier(**{'layers': layers, **one, **more[wrong]}).init(jax.random.key(0))
    with pytest.raises(InputError, match=f"which has no '{wrong}'; the entries are "):
        classifier(layers, **one).apply(params, jnp.ones((2, 3, 4)))


def test_a_classifier_has_a_dense_map_like_a_network():
    layers, more = [recurrent(gru(3))], {'inputs': 2, 'dense': 6}
    net = network(layers, outputs=5, pool='last', **more)
    params, inputs = net.init(jax.random.key(0)), np.ones((3, 5, 2))
    close(classifier(layers, classes=5, **more).apply(params, inputs), net.apply(params, inputs))


def test_shapes_in_the_signature_of_a_model():
    net = network([recurrent(gru(4))], inputs=3, outputs=2)
    params, inputs = net.init(jax.random.key(0)), np.ones((2, 5, 3))
    checked = jaxtyped(typechecker=beartype)(Model.apply)
    checked(net, params, inputs, np.array([5, 3]), jax.random.split(jax.random.key(1), 2))
    with pytest.raises(TypeCheckError):
        checked(net, params, inputs, np.array([5, 3, 1]))
