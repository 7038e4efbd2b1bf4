"""rnnlab's cells as Flax modules, linen and nnx, in Flax's recurrent layers and in ours."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import rnnlab.linen
import rnnlab.nnx
from rnnlab.cells import CELLS, Cell, lru, lstm, mingru, residual, stack
from rnnlab.errors import InputError
from rnnlab.recurrence import bidirectional, unroll
from tests.conftest import close, noisy, same

D, H, T, B = 3, 4, 6, 2
LENGTHS = np.array([T, 2])
FORMS = {'complex': lru(H), 'stack': stack(lstm(H), residual(mingru(H)))}


def case(cell):
    """(params, inputs [B, T, D], carry) with nothing zero."""
    params = noisy(cell.init(jax.random.key(0), D))
    return params, noisy(jnp.zeros((B, T, D)), 1), noisy(cell.carry(params, (B,)), 2)


def in_linen(layer, cell, params):
    return lambda xs, **options: layer(rnnlab.linen.Cell(cell)).apply(
        variables(params), xs, **options
    )


def variables(params):
    return {'params': {'cell': {'cell': params}}}


def in_nnx(layer, cell, params):
    module = rnnlab.nnx.Cell(cell, D, rngs=nnx.Rngs(0))
    module.params = jax.tree.map(nnx.Param, params)
    return layer(module)


FLAX = {'linen': (in_linen, linen.RNN), 'nnx': (in_nnx, nnx.RNN)}
OURS = {'linen': (in_linen, rnnlab.linen.RNN), 'nnx': (in_nnx, rnnlab.nnx.RNN)}


def unrolled(cell, params, xs, carry=None, **options):
    """unroll with the batch first."""
    carry, ys = unroll(cell, params, jnp.moveaxis(xs, 1, 0), carry, **options)
    return carry, jnp.moveaxis(ys, 0, 1)


def gradient(run):
    """(params, xs) -> what run gives, and a gradient through all of it."""

    def loss(params, xs):
        out = run(params, xs)
        return sum(jnp.vdot(leaf, leaf).real for leaf in jax.tree.leaves(out)), out

    return jax.value_and_grad(loss, (0, 1), has_aux=True)


def equal(runs, *arrays):
    """All runs return what the last one returns, in one program."""
    *actual, expected = jax.jit(lambda *arrays: [run(*arrays) for run in runs])(*arrays)
    for other in actual:
        close(other, expected)


@pytest.mark.parametrize('name', CELLS)
def test_every_cell_runs_in_flax_with_the_shapes_of_its_unroll(name):
    cell = CELLS[name](H)
    params, xs, _ = case(cell)

    def runs(params, xs):
        for build, kind in FLAX.values():
            yield build(kind, cell, params)(xs, return_carry=True)
        yield unrolled(cell, params, xs)

    in_linen_, in_nnx_, expected = jax.eval_shape(lambda *at: tuple(runs(*at)), params, xs)
    assert in_linen_ == in_nnx_ == expected


@pytest.mark.parametrize('form', FORMS)
def test_gradients(form):
    cell = FORMS[form]
    params, xs, _ = case(cell)

    def run(kind):
        return gradient(
            lambda params, xs: FLAX[kind][0](FLAX[kind][1], cell, params)(xs, return_carry=True)
        )

    equal(
        [run('linen'), run('nnx'), gradient(lambda params, xs: unrolled(cell, params, xs))],
        params,
        xs,
    )


def unpadded(ys):
    """The outputs with zeros in the padding, where Flax has others."""
    within = jnp.asarray(np.arange(T) < LENGTHS[:, None])
    return jnp.where(jnp.broadcast_to(within[..., None], ys.shape), ys, jnp.zeros_like(ys))


def turned(ys):
    """The outputs of each sequence in reverse order, then zeros."""
    return jnp.stack(
        [
            jnp.concatenate([y[:n][::-1], jnp.zeros_like(y[n:])])
            for y, n in zip(ys, LENGTHS, strict=True)
        ]
    )


@pytest.mark.parametrize('form', FORMS)
def test_lengths_first_carry_and_order(form):
    cell = FORMS[form]

    def run(build, kind):
        def both_ways(params, xs, start):
            layer = build(kind, cell, params)
            for reverse in (False, True):
                given = {
                    'initial_carry': start,
                    'seq_lengths': jnp.asarray(LENGTHS),
                    'return_carry': True,
                    'reverse': reverse,
                }
                carry, ys = layer(xs, **given)
                yield carry, unpadded(ys)

        return lambda *arrays: list(both_ways(*arrays))

    def expected(params, xs, start):
        carry, ys = unrolled(cell, params, xs, start, lengths=LENGTHS, reverse=True)
        return [unrolled(cell, params, xs, start, lengths=LENGTHS), (carry, turned(ys))]

    equal([*(run(*at) for at in [*FLAX.values(), *OURS.values()]), expected], *case(cell))


def test_bidirectional():
    cells = lstm(H), lru(H + 1)
    (forward, xs, _), (backward, _, _) = map(case, cells)
    lengths = jnp.asarray(LENGTHS)

    def in_bidirectional_linen(kind):
        def run(forward, backward, xs):
            layer = linen.Bidirectional(*(kind(rnnlab.linen.Cell(cell)) for cell in cells))
            params = {
                'forward_rnn': variables(forward)['params'],
                'backward_rnn': variables(backward)['params'],
            }
            return layer.apply({'params': params}, xs, seq_lengths=lengths, return_carry=True)

        return run

    def in_bidirectional_nnx(kind):
        def run(forward, backward, xs):
            layer = nnx.Bidirectional(
                *(
                    in_nnx(kind, cell, params)
                    for cell, params in zip(cells, (forward, backward), strict=True)
                )
            )
            return layer(xs, seq_lengths=lengths, return_carry=True)

        return run

    def without_padding(run):
        def masked(*arrays):
            carry, ys = run(*arrays)
            return carry, unpadded(ys)

        return masked

    def expected(forward, backward, xs):
        params = {'forward': forward, 'backward': backward}
        carry, ys = bidirectional(*cells).apply(params, jnp.moveaxis(xs, 1, 0), lengths=lengths)
        return carry, jnp.moveaxis(ys, 0, 1)

    runs = [in_bidirectional_linen(linen.RNN), in_bidirectional_linen(rnnlab.linen.RNN)]
    runs += [in_bidirectional_nnx(nnx.RNN), in_bidirectional_nnx(rnnlab.nnx.RNN)]
    equal([*map(without_padding, runs), expected], forward, backward, xs)


def test_a_cell_shared_by_two_directions_is_one():
    xs, key = jnp.ones((B, T, D)), jax.random.key(0)
    for kind in (linen.RNN, rnnlab.linen.RNN):
        cell = rnnlab.linen.Cell(FORMS['stack'])
        params = jax.eval_shape(linen.Bidirectional(kind(cell), kind(cell)).init, key, xs)['params']
        assert jax.tree.structure(params) == jax.tree.structure(
            {'forward_rnn': {'cell': {'cell': FORMS['stack'].init(key, D)}}}
        )
    shared = rnnlab.nnx.Cell(FORMS['stack'], D, rngs=nnx.Rngs(0))
    layer = nnx.Bidirectional(rnnlab.nnx.RNN(shared), nnx.RNN(shared))
    assert len(jax.tree.leaves(nnx.state(layer, nnx.Param))) == len(
        jax.tree.leaves(shared.parameters())
    )


def test_our_layer_is_unroll():
    """With NaN in the padding, an empty sequence, a reset, and time first."""
    cell = lstm(H)
    params, xs, start = case(cell)
    lengths = jnp.array([4, 0])
    xs = xs.at[0, 4:].set(jnp.nan).at[1].set(jnp.nan)
    reset = jnp.zeros((B, T), bool).at[0, 2].set(True)
    given = {'initial_carry': start, 'seq_lengths': lengths}

    def ours(kind):
        def run(params, xs):
            layer = OURS[kind][0](OURS[kind][1], cell, params)
            carry, ys = layer(
                xs, reset=reset, return_carry=True, reverse=True, keep_order=True, **given
            )
            return carry, ys, layer(jnp.moveaxis(xs, 1, 0), time_major=True, **given)

        return run

    def expected(params, xs):
        carry, ys = unrolled(cell, params, xs, start, lengths=lengths, reset=reset.T, reverse=True)
        return carry, ys, jnp.moveaxis(unrolled(cell, params, xs, start, lengths=lengths)[1], 1, 0)

    equal([ours('linen'), ours('nnx'), expected], params, xs)


def test_linen_draws_once():
    """The params are the same in each layer, with a given carry and without."""
    cell, key = FORMS['complex'], jax.random.key(0)
    module, xs = rnnlab.linen.Cell(cell, jnp.float32), jnp.ones((B, T, D), jnp.float32)

    def draws(key, xs):
        start = cell.carry(cell.init(key, D, jnp.float32), (B,))
        yield linen.RNN(module).init(key, xs, initial_carry=start)
        yield rnnlab.linen.RNN(module).init(key, xs)
        yield linen.RNN(module).init(key, xs)

    *others, drawn = jax.jit(lambda *at: list(draws(*at)))(key, xs)
    for other in others:
        same(other, drawn)
    wanted = jax.eval_shape(lambda: cell.init(key, D, jnp.float32))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), drawn) == variables(
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), wanted)
    )


def test_a_step_of_linen():
    cell, key = own_cell(), jax.random.key(0)
    module, x = rnnlab.linen.Cell(cell), jnp.ones((B, D))
    carry = module.initialize_carry(key, x.shape)
    drawn = module.init(key, carry, x)
    close(module.apply(drawn, carry, x), cell.step(drawn['params']['cell'], carry, x))
    scanned = linen.scan(
        rnnlab.linen.Cell, variable_broadcast='params', split_rngs={'params': False}
    )(cell)
    close(
        scanned.apply(drawn, carry, jnp.ones((T, B, D))),
        unroll(cell, drawn['params']['cell'], jnp.ones((T, B, D)), carry),
    )


class Memory(NamedTuple):
    h: jax.Array


def own_cell():
    """A cell made by a user, whose initial h is a parameter."""

    def init(key, inputs, dtype=float):
        return {
            'start': jax.random.normal(key, (H,), dtype),
            'kernel': jax.random.normal(key, (inputs, H), dtype),
        }

    def carry(params, batch_shape):
        return Memory(jnp.broadcast_to(params['start'], (*batch_shape, H)))

    def step(params, carry, x):
        h = jnp.tanh(carry.h + x @ params['kernel'])
        return Memory(h), h

    return Cell(init, carry, step)


def test_an_initial_carry_that_is_a_parameter_is_trained():
    cell, key = own_cell(), jax.random.key(3)
    params, xs, _ = case(cell)

    def run(kind):
        return gradient(lambda params, xs: FLAX[kind][0](FLAX[kind][1], cell, params)(xs))

    expected = gradient(lambda params, xs: unrolled(cell, params, xs)[1])
    equal([run('linen'), run('nnx'), expected], params, xs)
    assert jnp.all(expected(params, xs)[1][0]['start'] != 0)
    # init_with_output uses the params that it draws
    ys, drawn = linen.RNN(rnnlab.linen.Cell(cell)).init_with_output(key, xs)
    close(ys, unrolled(cell, drawn['params']['cell']['cell'], xs)[1])
    # an unbound module has no params: it returns the initial carry of new ones
    same(rnnlab.linen.Cell(cell).initialize_carry(key, (B, D)), cell.carry(cell.init(key, D), (B,)))


def test_lifted():
    """Under remat nothing changes, and under vmap each lane is a run with its params."""
    cell = FORMS['stack']
    params, xs, _ = case(cell)
    lanes = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)

    def one(params, xs):
        return unrolled(cell, params, xs)[1]

    def remat_linen(params, xs):
        return linen.remat(linen.RNN)(rnnlab.linen.Cell(cell)).apply(variables(params), xs)

    def remat_linen_step(params, xs):
        return linen.RNN(linen.remat(rnnlab.linen.Cell, prevent_cse=False)(cell)).apply(
            variables(params), xs
        )

    def remat_nnx(params, xs):
        return nnx.remat(lambda layer, xs: layer(xs))(in_nnx(nnx.RNN, cell, params), xs)

    equal([*map(gradient, (remat_linen, remat_linen_step, remat_nnx, one))], params, xs)

    def vmap_linen(kind):
        lifted = linen.vmap(
            kind,
            in_axes=None,
            variable_axes={'params': 0},
            split_rngs={'params': True},
            axis_size=2,
        )
        return lambda lanes, xs: lifted(rnnlab.linen.Cell(cell)).apply(variables(lanes), xs)

    def vmap_nnx(kind):
        def run(lanes, xs):
            return nnx.vmap(lambda layer, xs: layer(xs), in_axes=(0, None))(
                nnx.vmap(lambda params: in_nnx(kind, cell, params))(lanes), xs
            )

        return run

    runs = [
        vmap_linen(linen.RNN),
        vmap_linen(rnnlab.linen.RNN),
        vmap_nnx(nnx.RNN),
        vmap_nnx(rnnlab.nnx.RNN),
    ]
    equal([*runs, jax.vmap(one, (0, None))], lanes, xs)


def test_our_layers_refuse_cells_of_flax():
    with pytest.raises(
        InputError,
        match=r'takes rnnlab.linen.Cell.*flax.linen.recurrent.LSTMCell; .* use flax.linen.RNN',
    ):
        rnnlab.linen.RNN(linen.LSTMCell(H)).init(jax.random.key(0), jnp.ones((B, T, D)))
    with pytest.raises(InputError, match=r'takes rnnlab.nnx.Cell.*not a rnnlab.cells.base.Cell'):
        rnnlab.nnx.RNN(lstm(H))


@pytest.mark.parametrize('kind', FLAX | {f'our {name}': ours for name, ours in OURS.items()})
def test_params_of_another_cell_are_refused(kind):
    """An extra name is as wrong as a missing one, in Flax's RNN and in ours."""
    build, layer = (FLAX | {f'our {name}': ours for name, ours in OURS.items()})[kind]
    params, xs, _ = case(lstm(H))
    for wrong, words in (
        (params | {'initial_h': jnp.ones(H)}, "has no 'initial_h'"),
        ({name: leaf for name, leaf in params.items() if name != 'bias'}, "needs 'bias'"),
    ):
        with pytest.raises(InputError, match=words):
            jax.eval_shape(lambda wrong: build(layer, lstm(H), wrong)(xs), wrong)


def test_our_layers_promote():
    """bfloat16 params, drawn as such, and inputs of another type."""
    xs = jnp.ones((B, T, D), jnp.float32)
    with jax.numpy_dtype_promotion('standard'):
        layer = rnnlab.linen.RNN(rnnlab.linen.Cell(lstm(H), jnp.bfloat16))
        ys, drawn = jax.eval_shape(layer.init_with_output, jax.random.key(0), xs)
        cell = rnnlab.nnx.Cell(lstm(H), D, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
        same_ys = jax.eval_shape(rnnlab.nnx.RNN(cell), xs)
    assert ys.dtype == same_ys.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype(jnp.bfloat16)}
