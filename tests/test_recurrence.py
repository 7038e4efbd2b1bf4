"""unroll, each engine once, and layers; tests/test_laws.py has the laws of each cell."""

import sys
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from rnnlab.cells import CELLS, Linear, gru, lstm, residual, stack, trainable_carry
from rnnlab.cells.params import named_leaves
from rnnlab.errors import InputError
from rnnlab.recurrence import ENGINES, bidirectional, dropout_mask, engines, recurrent, unroll
from rnnlab.recurrence.dropout import fold, recurrent_masks
from rnnlab.recurrence.engines import native
from rnnlab.recurrence.engines.scan import in_parts
from rnnlab.recurrence.masking import boundaries
from tests.conftest import close, noisy, same

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
    """A number that depends on every entry of the tree, each with its own weight."""
    return sum(
        jnp.sum(leaf * np.sin(1.0 + np.arange(leaf.size)).reshape(leaf.shape))
        for leaf in real_leaves(tree)
    )


def real_leaves(tree):
    """The leaves of the tree, complex ones as two."""
    return [
        part
        for leaf in jax.tree.leaves(tree)
        for part in ((leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,))
    ]


def mask(name, seed=3):
    """A recurrent_dropout_mask for a batch of B."""
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


def test_every_engine_is_used():
    used = {engine for cell in MADE.values() for engine in engines(cell)}
    assert used == set(ENGINES) - (set() if native.kernels('float32') else {'native'})


def test_the_engine_is_that_of_the_platform_that_is_lowered_for():
    """The program of an associative scan has no loop."""
    cell, params, xs, _ = case('lru')

    def loops(platform, engine=None, **options):
        f = partial(total, cell, engine, carry=None, **options)
        program = jax.export.export(jax.jit(jax.grad(f)), platforms=[platform])(params, xs=xs)
        return program.mlir_module().count('stablehlo.while')

    assert engines(cell, 'cpu')[0] == 'linear'
    assert engines(cell, 'cuda')[0] == engines(cell, 'tpu')[0] == 'associative'
    assert loops('cpu') == loops('cpu', 'linear') == 2
    assert loops('cuda') == loops('tpu', last=True) == loops('cuda', 'associative') == 0


def test_batch_first():
    cell, params, xs, carry = case('lru')
    rates = jnp.asarray(np.random.default_rng(4).random((T, B, H)))
    options = {'reset': RESET, 'zoneout': {'h': rates}}
    after, ys = unroll(cell, params, xs, carry, lengths=LENGTHS, **options)
    turned = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), (xs, options))
    options = {'lengths': LENGTHS, 'time_major': False, **turned[1]}
    close(unroll(cell, params, turned[0], carry, **options), (after, jnp.moveaxis(ys, 0, 1)))
    close(unroll(cell, params, turned[0], carry, last=True, **options)[0], after)
    stacked, params, xs, _ = case('stack')
    ys = unroll(stacked, params, xs)[1]
    first = jnp.moveaxis(xs, 0, 1)
    close(unroll(stacked, params, first, time_major=False)[1], jnp.moveaxis(ys, 0, 1))
    with pytest.raises(InputError, match=r'reset must be bool \[3, 6\], not bool \[6, 3\]'):
        unroll(cell, case('lru')[1], first, reset=RESET, time_major=False)


def test_shapes_in_the_signature_of_unroll():
    cell, params, xs, carry = case('lstm')
    checked = jaxtyped(typechecker=beartype)(unroll)
    options = {'reset': RESET, 'recurrent_dropout_mask': mask('lstm'), 'zoneout': {'h': 0.5}}
    checked(cell, params, np.asarray(xs), carry, lengths=LENGTHS, **options)
    checked(cell, params, xs, lengths=[T, 0, 3], last=True)
    jax.eval_shape(partial(checked, cell, lengths=LENGTHS), params, xs)
    for wrong in (
        {'lengths': LENGTHS[:2]},
        {'reset': RESET.T},
        {'recurrent_dropout_mask': xs[0, 0]},
    ):
        with pytest.raises(TypeCheckError):
            checked(cell, params, xs, **wrong)


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('size', [1, 3, 4, T, T + 1])
def test_parts_of_time_are_the_whole(size, reverse):
    def run(state, xs):
        return jax.lax.scan(lambda s, x: (2 * s + x, s), state, xs, reverse=reverse)

    xs = jnp.asarray(np.random.default_rng(0).standard_normal(T))
    same(in_parts(run, size, jnp.ones(()), xs, reverse), run(jnp.ones(()), xs))


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'engine', 'options'),
    [
        ('lstm', 'gated', {'last': True}),
        ('gru_reset_before', 'scan', {'reverse': True}),
        ('lru', 'linear', {'reverse': True}),
        ('lru', 'associative', {'last': True}),
        ('stack', None, {'last': True}),
    ],
)
def test_recomputation_changes_no_value_and_no_gradient(name, engine, options):
    cell, params, xs, carry = case(name)

    def run(remat):
        options_of = {**MASKS, **options, 'recurrent_dropout_mask': mask(name), 'bptt': 4}
        f = partial(total, cell, engine, remat=remat, **options_of)
        return jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(params, xs, carry)

    close(run(4), run(None))  # two steps are left over


@pytest.mark.parametrize('reverse', [False, True])
def test_boundaries(reverse):
    for bptt in (1, 2, 4, T, T + 1, None):
        cut = boundaries(T, bptt, reverse)
        crossed = [t + 1 if reverse else t for t in range(T)]  # between which steps
        expected = [bool(bptt) and 0 < step < T and step % bptt == 0 for step in crossed]
        assert (np.zeros(T, bool) if cut is None else cut).tolist() == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'engine', 'reverse'),
    [
        ('lstm', 'gated', False),
        ('gru_reset_before', 'scan', True),
        ('lru', 'linear', True),
        ('lru', 'associative', False),
        ('stack', None, True),
    ],
)
def test_truncated_backpropagation_is_a_stop_gradient_on_the_carry(name, engine, reverse):
    cell, params, xs, carry = case(name)

    def by_hand(params, xs, carry):
        ys, starts = [], range(0, T, 4)
        for number, start in enumerate(reversed(starts) if reverse else starts):
            carry = jax.lax.stop_gradient(carry) if number else carry
            part = xs[start : start + 4]
            carry, y = unroll(cell, params, part, carry, engine=engine, reverse=reverse)
            ys.append(y)
        return weighted_sum((carry, jnp.concatenate(ys[::-1] if reverse else ys)))

    def gradient(f):
        return jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(params, xs, carry)

    truncated = gradient(partial(total, cell, engine, reverse=reverse, bptt=4))
    close(truncated, gradient(by_hand))
    whole = gradient(partial(total, cell, engine, reverse=reverse))
    assert not np.allclose(jax.tree.leaves(truncated[1])[0], jax.tree.leaves(whole[1])[0])


TYPES = [  # of params, xs, carry and recurrent_dropout_mask
    ('float32', 'float64', None, None),
    ('bfloat16', 'float32', None, 'bfloat16'),
    ('float32', 'float32', 'float64', 'float64'),
]


def cast(tree, dtype):
    """The tree in that floating-point type, complex leaves in the complex one."""
    if dtype is None:
        return None
    wide = jnp.complex128 if dtype == 'float64' else jnp.complex64
    return jax.tree.map(
        lambda leaf: np.asarray(leaf, wide if jnp.iscomplexobj(leaf) else dtype), tree
    )


@pytest.mark.parametrize(
    ('name', 'engine'),
    [('lstm', 'gated'), ('mingru', 'linear'), ('mingru', 'associative'), ('mgu', 'scan')],
)
def test_several_types_are_promoted_to_that_of_all(name, engine):
    """As if all had it from the start; gradients come back in the types of the arguments."""
    cell, *arrays = case(name)
    arrays.append(mask(name))

    def runs(cases):
        for number, at in enumerate(cases):

            def run(params, xs, carry, mask, reverse=number % 2 == 1):
                options = {**MASKS, 'recurrent_dropout_mask': mask, 'reverse': reverse}
                after = unroll(cell, params, xs, carry, engine=engine, **options)
                return weighted_sum(after), after

            yield jax.value_and_grad(run, argnums=(0, 1), has_aux=True)(*at)

    mixed = [[*map(cast, arrays, types)] for types in TYPES]
    widest = [max(filter(None, types), key=lambda of: jnp.finfo(of).bits) for types in TYPES]
    exact = [[cast(tree, dtype) for tree in at] for at, dtype in zip(mixed, widest, strict=True)]
    with jax.numpy_dtype_promotion('standard'):
        both = [jax.jit(lambda at: list(runs(at)))(at) for at in (mixed, exact)]
    for types, ((_, found), gradients), ((_, expected), wide) in zip(TYPES, *both, strict=True):
        close(found, expected, 1e-6)
        close(gradients, tuple(map(cast, wide, types)), 2e-2 if 'bfloat16' in types else 1e-5)


def test_promotion_is_that_of_steps():
    """bfloat16 params: of float32 inputs the first step makes a float32 carry, which stays so."""
    cell, params, xs, _ = case('stack')

    def steps(params, xs):
        carry = cell.carry(params, (B,))
        for x in xs:
            carry, y = cell.step(params, carry, x)
        return carry, y

    def both(params, xs):
        return steps(params, xs), unroll(cell, params, xs, last=True)

    with jax.numpy_dtype_promotion('standard'):
        close(*jax.jit(both)(cast(params, 'bfloat16'), cast(xs, 'float32')), 1e-2)


def test_layers_promote():
    layer = bidirectional(stack(gru(H), lstm(2)), CELLS['lru'](H), zoneout={'h': 0.2})
    keys, (_, _, xs, _) = jax.random.split(jax.random.key(1), B), case('gru')

    def run(params, xs):
        return layer.apply(params, xs, lengths=LENGTHS, keys=keys)

    params = layer.init(jax.random.key(0), D, jnp.float32)
    with jax.numpy_dtype_promotion('standard'):
        _, ys = jax.eval_shape(run, params, xs)
    assert ys.dtype == xs.dtype == jnp.float64


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


def zoned(cell, params, xs, carry, rates, reverse):
    """The loop of unroll with zoneout: old and new carry mixed, by field; y is the mixed h."""
    ys = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        after, _ = cell.step(params, carry, xs[t])
        mixed = {}
        for name, rate in rates.items():
            old, new = getattr(carry, name), getattr(after, name)
            mixed[name] = rate[t].astype(old.dtype) * old + (1 - rate[t]).astype(old.dtype) * new
        carry = after._replace(**mixed)
        ys[t] = cell.form.read(params, carry.h, xs[t]) if isinstance(cell.form, Linear) else carry.h
    return carry, jnp.stack(ys)


@pytest.mark.parametrize(
    ('name', 'fields', 'reverse'),
    [
        ('lstm', 'hc', False),
        ('gru_reset_before', 'h', False),
        ('lru', 'h', True),
        ('lstm_projected', 'h', True),
    ],
)
def test_zoneout_mixes_the_old_carry_in(name, fields, reverse):
    cell, params, xs, carry = case(name)
    rng = np.random.default_rng(4)
    rates = {field: jnp.asarray(rng.random((T, *getattr(carry, field).shape))) for field in fields}

    def results(f):
        return jax.jit(jax.value_and_grad(lambda *at: weighted_sum(f(*at)), argnums=(0, 1, 2)))(
            params, xs, carry
        )

    expected = results(lambda params, xs, carry: zoned(cell, params, xs, carry, rates, reverse))
    for engine in engines(cell):
        close(
            results(partial(unroll, cell, zoneout=rates, reverse=reverse, engine=engine)), expected
        )


def test_zoneout_is_drawn_in_training_and_mixes_otherwise():
    """Half of the units keep their value; at rate 1 all do; without keys it is the mean."""
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
    cell, rates = stack(lstm(H), gru(H)), ({'h': 0.5}, {'h': 0.5})
    close(layer.apply(params, xs), unroll(cell, params['cell'], xs, zoneout=rates))
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


@pytest.mark.parametrize('name', ['lru', 'stack'])
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
    own = jax.tree.unflatten(
        jax.tree.structure(case(name)[1]),
        [leaf for path, leaf in named_leaves(params).items() if 'initial' not in path],
    )
    first = unroll(cell, own, xs[:3], start)[1]
    after_second, second = unroll(cell, own, xs[3:], start)
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
def test_rates_out_of_range_are_refused(options, words):
    for make in (recurrent, partial(bidirectional, gru(H))):
        with pytest.raises(InputError, match=words):
            make(gru(H), **options)


def test_a_layer_of_both_directions_takes_no_carry():
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
        ({'lengths': [1, 2]}, r'lengths must be integers \[3\]'),
        ({'lengths': [1.0, 2.0, 3.0]}, 'lengths must be integers'),
        ({'lengths': [1, T + 1, 3]}, rf'from 0 to {T}, the steps of xs, not from 1 to {T + 1}'),
        ({'lengths': [1, -1, 3]}, 'not from -1 to 3'),
        ({'xs': np.ones((T, B, D + 1))}, rf"'kernel' must be \[{D + 1}, 12\], not \[{D}, 12\]"),
        ({'params': case('lstm')[1]}, "needs 'recurrent_kernel'; the entries are bias, kernel"),
        ({'params': None}, 'the entries are NoneType'),
        ({'params': [np.ones(3)]}, "which has no '0' and needs 'bias'"),
        ({'cell': lstm}, 'a cell such as rnnlab.lstm'),
        ({'reset': np.zeros((B, T), bool)}, r'reset must be bool \[6, 3\]'),
        ({'reset': np.zeros((T, B))}, 'reset must be bool'),
        ({'recurrent_dropout_mask': np.ones(H)}, r'must be \[3, 4\], not \[4\]'),
        ({'bptt': 0}, 'bptt must be a whole number above zero'),
        ({'remat': 2.5}, 'remat must be a whole number above zero'),
        ({'engine': 'warp'}, 'associative, gated, linear, native, scan'),
        ({'engine': 'gated'}, "'gated' cannot run this cell; scan can"),
    ],
)
def test_bad_arguments_say_what_is_wrong(change, words):
    cell, params, xs, _ = case('gru_reset_before')
    with pytest.raises(InputError, match=words):
        unroll(**{'cell': cell, 'params': params, 'xs': xs, **change})


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'reverse', 'size'), [('lstm', False, 4), ('lstm', True, 1), ('gru', True, 4)]
)
def test_the_number_of_steps_summed_at_once_changes_no_gradient(name, reverse, size, monkeypatch):
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


@pytest.mark.parametrize(('name', 'reverse'), [('mingru', True), ('lru', False)])
def test_the_length_of_parts_of_a_linear_cell_changes_no_gradient(name, reverse, monkeypatch):
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
