"""Laws of unroll, for every cell and every engine that runs it."""

import sys
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from rnnlab.cells import CELLS, Linear, gru, lstm, residual, stack
from rnnlab.cells.cell import take_step
from rnnlab.errors import InputError
from rnnlab.recurrence import bidirectional, dropout_mask, engines, recurrent, unroll
from rnnlab.recurrence.dropout import fold, recurrent_noise
from tests.conftest import close, noisy

D, H, T, B = 3, 4, 6, 3

MADE = {name: make(H) for name, make in CELLS.items()}
MADE['stack'] = stack(lstm(H), residual(gru(H)))
RUNS = [(name, engine) for name, cell in MADE.items() for engine in engines(cell)]
FIRST = [(name, engines(cell)[0]) for name, cell in MADE.items()]
FIRST += [('lstm', 'scan'), ('lru', 'associative'), ('lru', 'scan')]  # each engine once at least


@cache
def case(name):
    """(cell, params, xs [T, B, D], carry) with nothing zero."""
    cell = MADE[name]
    params = noisy(cell.init(jax.random.key(0), D))
    return cell, params, noisy(jnp.zeros((T, B, D)), 1, 1.0), noisy(cell.carry(params, (B,)), 2)


@cache
def jitted(name, engine, reverse, last):
    cell = MADE[name]
    return jax.jit(partial(unroll, cell, reverse=reverse, last=last, engine=engine))


def weighted_sum(tree):
    """A number that depends on every entry of the tree, on each with a weight of its own."""
    return sum(jnp.sum(leaf * np.sin(1.0 + np.arange(leaf.size)).reshape(leaf.shape)) for leaf in real_leaves(tree))


def real_leaves(tree):
    """The leaves of the tree, of complex ones both parts."""
    return [part for leaf in jax.tree.leaves(tree) for part in ((leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,))]


def noise(name, seed=3):
    """What the recurrent products are to be multiplied by, for a batch of B."""
    cell, params, _, _ = case(name)
    if isinstance(cell.form, Linear):
        return None
    return jax.tree.map(lambda h: noisy(jnp.ones_like(h), seed), recurrent_noise(cell, params, jax.random.split(jax.random.key(0), B), 0.5))


def loop(cell, params, xs, carry, lengths, reset, reverse, noise):
    """The loop of unroll's docstring, a sequence at a time and without a batch axis."""
    step = jax.jit(partial(take_step, cell))
    first = cell.carry(params, ())
    carries, ys = [], np.zeros((T, B, H))
    for b in range(B):
        part = jax.tree.map(lambda leaf, b=b: leaf[b], noise)
        c = jax.tree.map(lambda leaf, b=b: leaf[b], carry)
        for t in reversed(range(T)) if reverse else range(T):
            if t < lengths[b]:
                if (t + 1 < lengths[b] and reset[t + 1, b]) if reverse else reset[t, b]:
                    c = first
                c, ys[t, b] = step(params, c, xs[t, b], part)
            else:
                ys[t, b] = 0
        carries.append(c)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries), ys


@pytest.mark.parametrize(('name', 'engine'), RUNS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, T), min_size=B, max_size=B),
    reset=st.lists(st.booleans(), min_size=T * B, max_size=T * B),
    reverse=st.booleans(),
)
def test_unroll_is_the_loop(name, engine, lengths, reset, reverse):
    cell, params, xs, carry = case(name)
    lengths, reset = np.array(lengths), np.array(reset).reshape(T, B)
    options = {'lengths': lengths, 'reset': reset, 'noise': noise(name)}
    after, ys = jitted(name, engine, reverse, False)(params, xs, carry, **options)
    expected, expected_ys = loop(cell, params, xs, carry, lengths, reset, reverse, options['noise'])
    close(after, expected)
    close(np.asarray(ys), expected_ys)
    at = np.zeros(B, int) if reverse else np.maximum(lengths - 1, 0)
    final = jitted(name, engine, reverse, True)(params, xs, carry, **options)[1]
    close(np.asarray(final), expected_ys[at, np.arange(B)])


@pytest.mark.slow
@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize(('name', 'engine'), FIRST)
def test_no_masks_is_full_masks(name, engine, reverse):
    _, params, xs, carry = case(name)
    run = partial(jitted(name, engine, reverse, False), params, xs, carry)
    ones = jax.tree.map(jnp.ones_like, noise(name))
    close(run(), run(lengths=np.full(B, T), reset=np.zeros((T, B), bool), noise=ones))


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'engine'), RUNS)
def test_two_pieces_are_the_whole(name, engine):
    _, params, xs, carry = case(name)
    run = partial(jitted(name, engine, False, False), params)
    middle, first = run(xs[:2], carry)
    after, second = run(xs[2:], middle)
    close((after, jnp.concatenate([first, second])), run(xs, carry))
    run = partial(jitted(name, engine, True, False), params)
    middle, second = run(xs[2:], carry)
    after, first = run(xs[:2], middle)
    close((after, jnp.concatenate([first, second])), run(xs, carry))


def total(cell, engine, params, xs, carry, **options):
    return weighted_sum(unroll(cell, params, xs, carry, engine=engine, **options))


LENGTHS = np.array([T, 0, 3])
RESET = np.arange(T * B).reshape(T, B) % 5 == 3


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize(('masks', 'last'), [({}, True), ({'lengths': LENGTHS, 'reset': RESET}, False)], ids=['whole', 'masked'])
@pytest.mark.parametrize('name', [name for name, cell in MADE.items() if len(engines(cell)) > 1])
def test_engines_agree_in_values_and_gradients(name, masks, last, reverse):
    cell, params, xs, carry = case(name)
    options = {**masks, 'last': last, 'reverse': reverse, 'noise': noise(name) if masks else None}

    def results(engine):
        return jax.jit(jax.value_and_grad(partial(total, cell, engine, **options), argnums=(0, 1, 2)))(params, xs, carry)

    first, *others = engines(cell)
    expected = results(first)
    for engine in others:
        close(results(engine), expected)


@pytest.mark.parametrize('name', MADE)
def test_default_engine_equals_plain_differentiation(name):
    """The policy of what is kept and what is computed again changes no gradient."""
    cell, params, xs, carry = case(name)

    def plain(params, xs, carry):
        ys = []
        for x in xs:
            carry, y = cell.step(params, carry, x)
            ys.append(y)
        return weighted_sum((carry, jnp.stack(ys)))

    expected = jax.jit(jax.value_and_grad(plain, argnums=(0, 1, 2)))(params, xs, carry)
    close(jax.jit(jax.value_and_grad(partial(total, cell, 'scan'), argnums=(0, 1, 2)))(params, xs, carry), expected)


MASKS = {'lengths': LENGTHS, 'reset': RESET}


@pytest.mark.slow
@pytest.mark.parametrize('options', [{**MASKS, 'last': True}, {**MASKS, 'reverse': True}], ids=['last', 'reverse'])
@pytest.mark.parametrize(('name', 'engine'), FIRST)
def test_computing_again_changes_no_value_and_no_gradient(name, engine, options):
    cell, params, xs, carry = case(name)

    def run(remat):
        f = partial(total, cell, engine, remat=remat, noise=noise(name), bptt=4, **options)
        return jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(params, xs, carry)

    whole = run(None)
    for remat in (4, 1, T + 1) if name == 'lstm' else (4,):  # 4 leaves some over
        close(run(remat), whole)


@pytest.mark.slow
@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize(('name', 'engine'), FIRST)
def test_truncated_backpropagation_is_a_stop_gradient_on_the_carry(name, engine, reverse):
    cell, params, xs, carry = case(name)

    def cut_by_hand(size, params, xs, carry):
        ys, starts = [], range(0, T, size)
        for number, start in enumerate(reversed(starts) if reverse else starts):
            carry = jax.lax.stop_gradient(carry) if number else carry
            carry, part = unroll(cell, params, xs[start : start + size], carry, engine=engine, reverse=reverse)
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


@pytest.mark.slow
@pytest.mark.parametrize('name', MADE)
def test_finite_differences(name):
    """Of one engine; the others agree with it."""
    cell, params, xs, carry = case(name)
    if name == 'irnn':  # keep away from the kink of relu
        params, xs, carry = jax.tree.map(jnp.abs, (params, xs, carry))
    f = jax.jit(partial(total, cell, engines(cell)[0], lengths=LENGTHS, reset=RESET))
    check_grads(f, (params, xs, carry), order=1, modes=['rev'], atol=1e-7, rtol=1e-7, eps=1e-5)


@pytest.mark.parametrize('name', MADE)
def test_default_engine_has_forward_mode(name):
    cell, params, xs, carry = case(name)
    f = partial(total, cell, 'scan', lengths=LENGTHS)
    tangents = noisy(jax.tree.map(jnp.zeros_like, (params, xs, carry)), 5)
    _, forward = jax.jit(lambda *at: jax.jvp(f, at, tangents))(params, xs, carry)
    grads = jax.jit(jax.grad(f, argnums=(0, 1, 2)))(params, xs, carry)
    close(forward, sum(jnp.sum(g * t).real for g, t in zip(jax.tree.leaves(grads), jax.tree.leaves(tangents), strict=True)))


@pytest.mark.parametrize('name', MADE)
def test_no_steps_give_back_the_carry(name):
    cell, params, xs, carry = case(name)
    after, ys = unroll(cell, params, xs[:0], carry)
    close(after, carry)
    assert ys.shape == (0, B, H)


@pytest.mark.slow
@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize(('name', 'engine'), RUNS)
def test_padding_changes_neither_values_nor_gradients(name, engine, reverse):
    """Each sequence by itself and unpadded against all in one batch with NaN behind them, one of length 0 among them."""
    cell, params, xs, carry = case(name)
    behind = np.arange(T)[:, None] >= LENGTHS
    padded = jnp.where(behind[..., None], jnp.nan, xs)

    def alone(params, carry):
        value = jnp.zeros(())
        for b, length in enumerate(LENGTHS):
            one = jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], carry)
            if length:
                one, ys = unroll(cell, params, xs[:length, b : b + 1], one, engine=engine, reverse=reverse)
                value += jnp.sum(ys**2)
            value += sum(jnp.sum(jnp.sin(leaf)) for leaf in real_leaves(one))
        return value

    def together(params, carry, xs):
        after, ys = unroll(cell, params, xs, carry, lengths=LENGTHS, engine=engine, reverse=reverse)
        return jnp.sum(ys**2) + sum(jnp.sum(jnp.sin(leaf)) for leaf in real_leaves(after))

    value, (d_params, d_carry, d_xs) = jax.jit(jax.value_and_grad(together, argnums=(0, 1, 2)))(params, carry, padded)
    close((value, (d_params, d_carry)), jax.jit(jax.value_and_grad(alone, argnums=(0, 1)))(params, carry))
    assert not np.any(np.asarray(d_xs)[behind])


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'engine'), FIRST)
def test_vmap_over_params_is_one_after_another(name, engine):
    cell, params, xs, carry = case(name)
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), params)
    f = jax.jit(jax.grad(partial(total, cell, engine)))
    batched = jax.jit(jax.vmap(f, in_axes=(0, None, None)))(several, xs, carry)
    for lane in range(3):
        ours, alone = jax.tree.map(lambda leaf, lane=lane: leaf[lane], (batched, several))
        close(ours, f(alone, xs, carry))


@pytest.mark.parametrize('name', [name for name in CELLS if not isinstance(MADE[name].form, Linear)])
def test_noise_for_all_is_a_recurrent_kernel_of_scaled_rows(name):
    cell, params, xs, carry = case(name)
    mask = np.array([0.0, 2.0, 0.5, 1.0])
    rows, recurrent_rows = ('recurrent_kernel', slice(0, H)) if 'recurrent_kernel' in params else ('kernel', slice(D, D + H))
    scaled = params | {rows: params[rows].at[recurrent_rows].multiply(np.tile(mask[:, None], params[rows].shape[1]))}
    close(unroll(cell, params, xs, carry, noise=np.tile(mask, (B, 1))), unroll(cell, scaled, xs, carry))


def test_a_linear_cell_takes_no_noise():
    cell, params, xs, _ = case('mingru')
    with pytest.raises(InputError, match='has none'):
        unroll(cell, params, xs, noise=jnp.ones((B, H)))


def test_a_dropout_mask_is_of_its_sequence_and_keeps_the_mean():
    keys = jax.random.split(jax.random.key(0), 500)
    mask = np.asarray(dropout_mask(keys, 0.25, 40))
    assert np.unique(mask).tolist() == [0.0, 1 / 0.75]
    assert abs(mask.mean() - 1) < 0.02
    close(dropout_mask(keys[7:9], 0.25, 40), jnp.asarray(mask[7:9]))
    assert (mask[0] != mask[1]).any()
    close(jax.vmap(lambda rate: dropout_mask(keys, rate, 40))(jnp.array([0.25, 0.5]))[0], jnp.asarray(mask))


@pytest.mark.parametrize('make', [recurrent, lambda cell, **rates: bidirectional(cell, lstm(2), **rates)])
def test_a_layer_drops_inputs_and_recurrent_products_alike_at_every_step(make):
    cell, _, xs, _ = case('stack')
    layer = make(cell, dropout=0.4, recurrent_dropout=0.3)
    params = noisy(layer.init(jax.random.key(0), D))
    keys = jax.random.split(jax.random.key(5), B)
    own, first = (fold(keys, 0), 'forward') if 'forward' in params else (keys, 'cell')
    kept = xs * jnp.expand_dims(dropout_mask(fold(own, 0), 0.4, D), 0)
    expected = unroll(cell, params[first], kept, lengths=LENGTHS, noise=recurrent_noise(cell, params[first], fold(own, 1), 0.3))[1]
    close(layer.apply(params, xs, lengths=LENGTHS, keys=keys)[1][..., :H], expected)
    close(layer.apply(params, xs, lengths=LENGTHS), make(cell).apply(params, xs, lengths=LENGTHS, keys=keys))


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
    expected = jnp.stack([jnp.concatenate([ahead[max(length - 1, 0), b], back[0, b]]) for b, length in enumerate(LENGTHS)])
    close(layer.apply(params, xs, lengths=LENGTHS, last=True)[1], expected)


def test_a_recurrent_layer_is_unroll():
    cell, params, xs, carry = case('gru')
    layer = recurrent(cell, bptt=2, remat=3)
    close(layer.carry({'cell': params}, (B,)), cell.carry(params, (B,)))
    close(layer.apply({'cell': params}, xs, carry, lengths=LENGTHS), unroll(cell, params, xs, carry, lengths=LENGTHS))


def test_a_layer_of_both_directions_cannot_go_on():
    layer = bidirectional(lstm(H), lstm(H))
    params = layer.init(jax.random.key(0), D)
    with pytest.raises(InputError, match='cannot go on from a carry'):
        layer.apply(params, case('lstm')[2], layer.carry(params, (B,)))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'xs': jnp.ones(3)}, r'xs \[T, ..., D\]'),
        ({'carry': CELLS['gru'](H).carry({'bias': jnp.ones(1)}, (2,))}, r'has the shapes \[3, 4\], not \[2, 4\]'),
        ({'lengths': [1, 2]}, r'lengths must be whole numbers \[3\]'),
        ({'lengths': [1.0, 2.0, 3.0]}, 'lengths must be whole'),
        ({'reset': np.zeros((B, T), bool)}, r'reset must be bool \[6, 3\]'),
        ({'reset': np.zeros((T, B))}, 'reset must be bool'),
        ({'noise': np.ones(H)}, r'noise .* must be \[3, 4\], not \[4\]'),
        ({'bptt': 0}, 'bptt must be a whole number above zero'),
        ({'remat': 2.5}, 'remat must be a whole number above zero'),
        ({'engine': 'warp'}, 'associative, gated, linear, scan'),
        ({'engine': 'gated'}, 'this one runs on scan'),
    ],
)
def test_bad_arguments_say_what_is_wrong(change, words):
    cell, params, xs, _ = case('gru_reset_before')
    with pytest.raises(InputError, match=words):
        unroll(cell, params, **{'xs': xs, **change})


@pytest.mark.slow
@pytest.mark.parametrize('size', [1, 4])  # 4 leaves some over
@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('name', [name for name, engine in RUNS if engine == 'gated'])
def test_however_many_steps_are_summed_at_once_the_gradient_is_the_same(name, reverse, size, monkeypatch):
    module = sys.modules['rnnlab.recurrence.gated']
    monkeypatch.setattr(module, 'steps_at_once', lambda params, zs: size)
    cell, params, xs, carry = case(name)
    options = {'lengths': LENGTHS, 'reset': RESET, 'reverse': reverse, 'noise': noise(name), 'bptt': 3}

    def gradient(engine):
        return jax.jit(jax.grad(partial(total, cell, engine, **options), argnums=(0, 1, 2)))(params, xs, carry)

    close(gradient('gated'), gradient('scan'))


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('name', [name for name, engine in RUNS if engine == 'linear'])
def test_however_long_the_parts_of_a_linear_cell_are_the_gradient_is_the_same(name, reverse, monkeypatch):
    monkeypatch.setattr(sys.modules['rnnlab.recurrence.linear'], 'PART', 4)  # leaves some over
    cell, params, xs, carry = case(name)
    options = {'lengths': LENGTHS, 'reset': RESET, 'reverse': reverse, 'bptt': 3}

    def gradient(engine):
        return jax.jit(jax.value_and_grad(partial(total, cell, engine, **options), argnums=(0, 1, 2)))(params, xs, carry)

    close(gradient('linear'), gradient('scan'))
