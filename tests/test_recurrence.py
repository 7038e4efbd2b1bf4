"""Laws of unroll, engine by engine, and of layers; tests/test_laws.py has those of each cell."""

import sys
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlab.cells import CELLS, Linear, gru, lstm, residual, stack, trainable_carry
from rnnlab.errors import InputError
from rnnlab.recurrence import ENGINES, bidirectional, dropout_mask, engines, recurrent, unroll
from rnnlab.recurrence.dropout import fold, recurrent_masks
from tests.conftest import close, noisy

D, H, T, B = 3, 4, 6, 3

MADE = {name: make(H) for name, make in CELLS.items()}
MADE['stack'] = stack(lstm(H), residual(gru(H)))
EACH = [
    ('lstm', 'gated'),
    ('gru', 'gated'),
    ('lru', 'linear'),
    ('lru', 'associative'),
    ('gru_reset_before', 'scan'),
    ('stack', None),
]


@cache
def case(name):
    """(cell, params, xs [T, B, D], carry) with nothing zero."""
    cell = MADE[name]
    params = noisy(cell.init(jax.random.key(0), D))
    return cell, params, noisy(jnp.zeros((T, B, D)), 1, 1.0), noisy(cell.carry(params, (B,)), 2)


def weighted_sum(tree):
    """A number that depends on every entry of the tree, on each with a weight of its own."""
    return sum(
        jnp.sum(leaf * np.sin(1.0 + np.arange(leaf.size)).reshape(leaf.shape))
        for leaf in real_leaves(tree)
    )


def real_leaves(tree):
    """The leaves of the tree, of complex ones both parts."""
    return [
        part
        for leaf in jax.tree.leaves(tree)
        for part in ((leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,))
    ]


def mask(name, seed=3):
    """What the recurrent products are to be multiplied by, for a batch of B."""
    cell, params, _, _ = case(name)
    if not cell.takes_mask:
        return None
    return jax.tree.map(
        lambda h: noisy(jnp.ones_like(h), seed),
        recurrent_masks(cell, params, jax.random.split(jax.random.key(0), B), 0.5),
    )


def total(cell, engine, params, xs, carry, **options):
    return weighted_sum(unroll(cell, params, xs, carry, engine=engine, **options))


LENGTHS = np.array([T, 0, 3])
RESET = np.arange(T * B).reshape(T, B) % 5 == 3


MASKS = {'lengths': LENGTHS, 'reset': RESET}


@pytest.mark.parametrize(('name', 'engine'), EACH)
def test_no_steps_give_back_the_carry(name, engine):
    cell, params, xs, carry = case(name)
    after, ys = unroll(cell, params, xs[:0], carry)
    close(after, carry)
    assert ys.shape == (0, B, H)
    after, y = unroll(cell, params, xs[:0], carry, last=True)
    close((after, y), (carry, jnp.zeros((B, H))))


def test_engines_are_those_that_can_run_a_cell():
    """Every engine is the first choice of some cell, or its equal."""
    assert {engine for cell in MADE.values() for engine in engines(cell)} == set(ENGINES)


@pytest.mark.slow
@pytest.mark.parametrize(
    'options', [{**MASKS, 'last': True}, {**MASKS, 'reverse': True}], ids=['last', 'reverse']
)
@pytest.mark.parametrize(('name', 'engine'), EACH)
def test_computing_again_changes_no_value_and_no_gradient(name, engine, options):
    cell, params, xs, carry = case(name)

    def run(remat):
        f = partial(
            total, cell, engine, remat=remat, recurrent_dropout_mask=mask(name), bptt=4, **options
        )
        return jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(params, xs, carry)

    whole = run(None)
    for remat in (4, 1, T + 1) if name == 'lstm' else (4,):  # 4 leaves some over
        close(run(remat), whole)


@pytest.mark.slow
@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize(('name', 'engine'), EACH)
def test_truncated_backpropagation_is_a_stop_gradient_on_the_carry(name, engine, reverse):
    cell, params, xs, carry = case(name)

    def cut_by_hand(size, params, xs, carry):
        ys, starts = [], range(0, T, size)
        for number, start in enumerate(reversed(starts) if reverse else starts):
            carry = jax.lax.stop_gradient(carry) if number else carry
            carry, part = unroll(
                cell, params, xs[start : start + size], carry, engine=engine, reverse=reverse
            )
            ys.append(part)
        return weighted_sum((carry, jnp.concatenate(ys[::-1] if reverse else ys)))

    def gradient(f):
        return jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(params, xs, carry)

    whole = gradient(partial(total, cell, engine, reverse=reverse))
    grads = {}
    for size in (4, 3, 1, T, T + 1) if name == 'lstm' else (4, T):
        grads[size] = gradient(partial(total, cell, engine, reverse=reverse, bptt=size))
        close(grads[size], gradient(partial(cut_by_hand, size)) if size < T else whole)
    assert not np.allclose(jax.tree.leaves(grads[4][1])[0], jax.tree.leaves(whole[1])[0])


@pytest.mark.parametrize('name', ['mingru', 'sru'])
def test_a_cell_without_recurrent_products_takes_no_mask(name):
    cell, params, xs, _ = case(name)
    with pytest.raises(InputError, match='leave it out'):
        unroll(cell, params, xs, recurrent_dropout_mask=jnp.ones((B, H)))


def test_a_dropout_mask_is_of_its_sequence_and_keeps_the_mean():
    keys = jax.random.split(jax.random.key(0), 500)
    mask = np.asarray(dropout_mask(keys, 0.25, 40))
    assert np.unique(mask).tolist() == [0.0, 1 / 0.75]
    assert abs(mask.mean() - 1) < 0.02
    close(dropout_mask(keys[7:9], 0.25, 40), jnp.asarray(mask[7:9]))
    assert (mask[0] != mask[1]).any()
    close(
        jax.vmap(lambda rate: dropout_mask(keys, rate, 40))(jnp.array([0.25, 0.5]))[0],
        jnp.asarray(mask),
    )


@pytest.mark.parametrize(
    'make', [recurrent, lambda cell, **rates: bidirectional(cell, lstm(2), **rates)]
)
def test_a_layer_drops_inputs_and_recurrent_products_alike_at_every_step(make):
    cell, _, xs, _ = case('stack')
    layer = make(cell, dropout=0.4, recurrent_dropout=0.3)
    params = noisy(layer.init(jax.random.key(0), D))
    keys = jax.random.split(jax.random.key(5), B)
    own, first = (fold(keys, 0), 'forward') if 'forward' in params else (keys, 'cell')
    kept = xs * jnp.expand_dims(dropout_mask(fold(own, 0), 0.4, D), 0)
    expected = unroll(
        cell,
        params[first],
        kept,
        lengths=LENGTHS,
        recurrent_dropout_mask=recurrent_masks(cell, params[first], fold(own, 1), 0.3),
    )[1]
    close(layer.apply(params, xs, lengths=LENGTHS, keys=keys)[1][..., :H], expected)
    close(
        layer.apply(params, xs, lengths=LENGTHS),
        make(cell).apply(params, xs, lengths=LENGTHS, keys=keys),
    )


def zoned(cell, params, xs, carry, shares, reverse):
    """The carry after each step is the old one and the new one mixed, field by field; y is the new h."""
    ys = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        after, _ = cell.step(params, carry, xs[t])
        mixed = {}
        for name, share in shares.items():
            old, new = getattr(carry, name), getattr(after, name)
            mixed[name] = share[t].astype(old.dtype) * old + (1 - share[t]).astype(old.dtype) * new
        carry = after._replace(**mixed)
        ys[t] = cell.form.read(params, carry.h, xs[t]) if isinstance(cell.form, Linear) else carry.h
    return carry, jnp.stack(ys)


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize(
    ('name', 'fields'),
    [('lstm', 'hc'), ('gru_reset_before', 'h'), ('lru', 'h'), ('lstm_projected', 'h')],
)
def test_zoneout_mixes_the_old_carry_in(name, fields, reverse):
    cell, params, xs, carry = case(name)
    rng = np.random.default_rng(4)
    shares = {field: jnp.asarray(rng.random((T, *getattr(carry, field).shape))) for field in fields}

    def results(f):
        return jax.jit(jax.value_and_grad(lambda *at: weighted_sum(f(*at)), argnums=(0, 1, 2)))(
            params, xs, carry
        )

    expected = results(lambda params, xs, carry: zoned(cell, params, xs, carry, shares, reverse))
    for engine in engines(cell):
        close(
            results(partial(unroll, cell, zoneout=shares, reverse=reverse, engine=engine)), expected
        )


def test_zoneout_is_drawn_in_training_and_mixes_otherwise():
    """Half of the units keep what they had; where all of them do, nothing ever changes; at rest the mean is taken."""
    xs, keys = case('lstm')[2], jax.random.split(jax.random.key(5), B)
    layer = recurrent(stack(lstm(H), gru(H)), zoneout={'h': 0.5})
    params = noisy(layer.init(jax.random.key(0), D))
    ys = np.asarray(layer.apply(params, xs, keys=keys, lengths=LENGTHS)[1])
    kept = (ys[1:3, 0] == ys[:2, 0]).mean()
    assert 0 < kept < 1
    close(
        layer.apply(params, xs[:, :1], keys=keys[:1], lengths=LENGTHS[:1])[1],
        jnp.asarray(ys[:, :1]),
    )  # of its sequence alone
    shares = ({'h': 0.5}, {'h': 0.5})
    close(
        layer.apply(params, xs), unroll(stack(lstm(H), gru(H)), params['cell'], xs, zoneout=shares)
    )
    still = recurrent(lstm(H), zoneout={'h': jnp.ones(()), 'c': jnp.ones(())})
    close(still.apply({'cell': params['cell'][0]}, xs, keys=keys)[1], jnp.zeros((T, B, H)))


@pytest.mark.parametrize(
    ('zoneout', 'words'),
    [({'c': 0.1}, 'carry of this cell has h'), ({'h': jnp.ones(3)}, r'\[6, 3, 4\], not \[3\]')],
)
def test_zoneout_that_does_not_fit_is_refused(zoneout, words):
    cell, params, xs, _ = case('gru')
    with pytest.raises(InputError, match=words):
        unroll(cell, params, xs, zoneout=zoneout)


@pytest.mark.parametrize('name', ['lstm', 'lru', 'stack'])
def test_a_trainable_carry_is_the_start_of_every_sequence(name):
    cell, params, xs, _ = case(name)
    learned = trainable_carry(cell)
    close(
        learned.carry(learned.init(jax.random.key(0), D), (B,)), cell.carry(params, (B,))
    )  # before it has learned
    params = noisy(learned.init(jax.random.key(0), D))
    start = learned.carry(params, (B,))
    assert all(np.abs(leaf).min() > 0 for leaf in jax.tree.leaves(start))
    reset = np.zeros((T, B), bool)
    reset[3] = True
    after, ys = unroll(learned, params, xs, reset=reset)
    first = unroll(cell, params, xs[:3], start)[1]
    after_second, second = unroll(cell, params, xs[3:], start)
    close((after, ys), (after_second, jnp.concatenate([first, second])))
    grads = jax.grad(lambda params: weighted_sum(unroll(learned, params, xs)))(params)
    names = [
        path
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads)
        if 'initial' in str(path[-1]) and np.abs(leaf).min() > 0
    ]
    assert len(names) == len(jax.tree.leaves(start))


def test_both_directions_can_be_added():
    layer, side_by_side = (
        bidirectional(gru(H), lstm(H), merge='sum'),
        bidirectional(gru(H), lstm(H)),
    )
    params = layer.init(jax.random.key(0), D)
    xs = case('lstm')[2]
    both = side_by_side.apply(params, xs, lengths=LENGTHS)[1]
    close(layer.apply(params, xs, lengths=LENGTHS)[1], both[..., :H] + both[..., H:])
    with pytest.raises(InputError, match='not 4 and 2'):
        bidirectional(gru(H), lstm(2), merge='sum').apply(
            bidirectional(gru(H), lstm(2)).init(jax.random.key(0), D), xs
        )


def test_bidirectional_is_one_cell_each_way():
    layer = bidirectional(lstm(H), gru(2))
    params = noisy(layer.init(jax.random.key(0), D))
    xs = case('lstm')[2]
    ahead = unroll(lstm(H), params['forward'], xs, lengths=LENGTHS)[1]
    back = jnp.zeros((T, B, 2))
    for b, length in enumerate(LENGTHS):
        if length:
            flipped = unroll(gru(2), params['backward'], xs[:length, b][::-1])[1][::-1]
            back = back.at[:length, b].set(flipped)
    ys = layer.apply(params, xs, lengths=LENGTHS)[1]
    close(ys, jnp.concatenate([ahead, back], axis=-1))
    expected = jnp.stack(
        [
            jnp.concatenate([ahead[max(length - 1, 0), b], back[0, b]])
            for b, length in enumerate(LENGTHS)
        ]
    )
    close(layer.apply(params, xs, lengths=LENGTHS, last=True)[1], expected)


def test_a_recurrent_layer_is_unroll():
    cell, params, xs, carry = case('gru')
    layer = recurrent(cell, bptt=2, remat=3)
    close(layer.carry({'cell': params}, (B,)), cell.carry(params, (B,)))
    close(
        layer.apply({'cell': params}, xs, carry, lengths=LENGTHS),
        unroll(cell, params, xs, carry, lengths=LENGTHS),
    )


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'dropout': 1.5}, 'dropout must be at least 0 and below 1, not 1.5'),
        ({'dropout': 1}, 'below 1, not 1'),
        ({'recurrent_dropout': -0.1}, 'recurrent_dropout must be'),
        ({'zoneout': {'h': 2.0}}, 'zoneout of h must be'),
        ({'zoneout': 0.1}, 'fields of the carry.*not be 0.1'),
    ],
)
def test_shares_that_are_none_are_refused(options, words):
    for make in (recurrent, partial(bidirectional, gru(H))):
        with pytest.raises(InputError, match=words):
            make(gru(H), **options)


def test_a_layer_of_both_directions_cannot_go_on():
    layer = bidirectional(lstm(H), lstm(H))
    params = layer.init(jax.random.key(0), D)
    with pytest.raises(InputError, match='takes no carry'):
        layer.apply(params, case('lstm')[2], layer.carry(params, (B,)))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'xs': jnp.ones(3)}, r'xs \[T, ..., D\]'),
        (
            {'initial_carry': CELLS['gru'](H).carry({'bias': jnp.ones(1)}, (2,))},
            r'must have the shapes \[3, 4\], not \[2, 4\]',
        ),
        ({'lengths': [1, 2]}, r'lengths must be integers of shape \[3\]'),
        ({'lengths': [1.0, 2.0, 3.0]}, 'lengths must be integers'),
        (
            {'lengths': [1, T + 1, 3]},
            rf'from 0 to {T}, the time steps of xs, not from 1 to {T + 1}',
        ),
        ({'lengths': [1, -1, 3]}, 'not from -1 to 3'),
        (
            {'xs': np.ones((T, B, D + 1))},
            rf'params of this cell for xs .* must have the shapes .*\[{D + 1}, 12\].* not .*\[{D}, 12\]',
        ),
        ({'params': case('lstm')[1]}, r"shapes {.*'recurrent_kernel'.*, not {.*'kernel'"),
        ({'params': None}, 'shapes {.*, not {}'),
        ({'params': [np.ones(3)]}, r'shapes {.*, not {.*\[3\]'),
        ({'cell': lstm}, 'a cell such as rnnlab.lstm'),
        ({'reset': np.zeros((B, T), bool)}, r'reset must be bool \[6, 3\]'),
        ({'reset': np.zeros((T, B))}, 'reset must be bool'),
        ({'recurrent_dropout_mask': np.ones(H)}, r'must have the shape \[3, 4\] .* not \[4\]'),
        ({'bptt': 0}, 'bptt must be a whole number above zero'),
        ({'remat': 2.5}, 'remat must be a whole number above zero'),
        ({'engine': 'warp'}, 'associative, gated, linear, scan'),
        ({'engine': 'gated'}, "'gated' cannot run this cell; scan can"),
    ],
)
def test_bad_arguments_say_what_is_wrong(change, words):
    cell, params, xs, _ = case('gru_reset_before')
    with pytest.raises(InputError, match=words):
        unroll(**{'cell': cell, 'params': params, 'xs': xs, **change})


@pytest.mark.slow
@pytest.mark.parametrize('size', [1, 4])  # 4 leaves some over
@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('name', ['lstm', 'gru'])
def test_however_many_steps_are_summed_at_once_the_gradient_is_the_same(
    name, reverse, size, monkeypatch
):
    module = sys.modules['rnnlab.recurrence.engines.gated']
    monkeypatch.setattr(module, 'steps_at_once', lambda params, zs: size)
    cell, params, xs, carry = case(name)
    options = {
        'lengths': LENGTHS,
        'reset': RESET,
        'reverse': reverse,
        'recurrent_dropout_mask': mask(name),
        'bptt': 3,
    }

    def gradient(engine):
        return jax.jit(jax.grad(partial(total, cell, engine, **options), argnums=(0, 1, 2)))(
            params, xs, carry
        )

    close(gradient('gated'), gradient('scan'))


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('name', ['mingru', 'lru'])
def test_however_long_the_parts_of_a_linear_cell_are_the_gradient_is_the_same(
    name, reverse, monkeypatch
):
    monkeypatch.setattr(
        sys.modules['rnnlab.recurrence.engines.linear'], 'STEPS', 4
    )  # leaves some over
    cell, params, xs, carry = case(name)
    options = {'lengths': LENGTHS, 'reset': RESET, 'reverse': reverse, 'bptt': 3}

    def gradient(engine):
        return jax.jit(
            jax.value_and_grad(partial(total, cell, engine, **options), argnums=(0, 1, 2))
        )(params, xs, carry)

    close(gradient('linear'), gradient('scan'))
