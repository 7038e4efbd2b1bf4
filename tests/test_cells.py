"""What a cell is, single cells, and cells made of cells."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlab.analysis.describe import describe, parameters
from rnnlab.cells import (
    CELLS,
    Blocks,
    Cell,
    find,
    gru,
    irnn,
    lstm,
    reference,
    residual,
    stack,
    trainable_carry,
)
from rnnlab.errors import InputError
from rnnlab.models import network
from rnnlab.recurrence import recurrent, unroll
from tests.conftest import close, noisy

D, H, T, B = 3, 5, 7, 2


def case(cell, seed=0):
    """(params, xs [T, D], carry) without zeros; the carry is that after two steps."""
    params = noisy(cell.init(jax.random.key(seed), D))
    xs = noisy(jnp.zeros((T + 2, D)), 1)
    carry = cell.carry(params, ())
    for x in xs[T:]:
        carry, _ = cell.step(params, carry, x)
    return params, xs[:T], carry


def test_every_cell_has_a_reference():
    assert reference.REFERENCES.keys() == CELLS.keys()


@pytest.mark.parametrize('name', CELLS)
def test_blank_inputs_at_the_beginning_do_not_make_the_gradient_explode(name):
    """The first rows of a digit are blank."""
    cell = CELLS[name](H)
    params = cell.init(jax.random.key(0), D)
    xs = noisy(jnp.zeros((5 * T, B, D)))

    @jax.jit
    def size(params, xs):
        grads = jax.grad(lambda params: jnp.sum(unroll(cell, params, xs, last=True)[1] ** 2))(
            params
        )
        return jnp.sqrt(sum(jnp.sum(leaf * leaf) for leaf in grads.values()))

    assert size(params, xs.at[: 4 * T].set(0.0)) < 10 * size(params, xs)


def test_an_rg_lru_that_keeps_all_has_a_gradient():
    cell = CELLS['rg_lru'](H)
    params = cell.init(jax.random.key(0), D, jnp.float32)
    xs = 1000 * jax.random.normal(jax.random.key(1), (T, B, D), jnp.float32)
    grads = jax.grad(lambda params: jnp.sum(unroll(cell, params, xs)[1] ** 2))(params)
    assert all(np.isfinite(leaf).all() for leaf in grads.values())


def test_an_lru_is_initialized_on_the_ring():
    params = CELLS['lru'](2000, r_min=0.5, r_max=0.9, max_phase=1.0).init(jax.random.key(0), D)
    modulus, phase = np.exp(-np.exp(params['nu_log'])), np.exp(params['theta_log'])
    for uniform, low, high in ((modulus**2, 0.25, 0.81), (phase, 0.0, 1.0)):
        assert low <= uniform.min() < uniform.max() <= high
        assert abs(uniform.mean() - (low + high) / 2) < 0.02
    close(np.exp(np.asarray(params['gamma_log'])) ** 2, 1 - modulus**2)


@pytest.mark.parametrize('name', ['lstm', 'gru_reset_before', 'lru'])
def test_stack_and_residual_are_their_parts(name):
    first, second = CELLS[name](H), CELLS[name](H)
    cell = stack(first, residual(second))
    params = noisy(cell.init(jax.random.key(0), D))
    xs = noisy(jnp.zeros((T, B, D)))
    lengths = jnp.array([T, 2])
    run = jax.jit(unroll, static_argnums=0, static_argnames='last')
    lower, hidden = run(first, params[0], xs, lengths=lengths)
    upper, ys = run(second, params[1][0], hidden, lengths=lengths)
    close(run(cell, params, xs, lengths=lengths), ((lower, (upper,)), hidden + ys))
    close(
        run(cell, params, xs, lengths=lengths, last=True)[1],
        jnp.stack([(hidden + ys)[T - 1, 0], (hidden + ys)[1, 1]]),
    )


def test_residual_passes_no_padding_on():
    cell = residual(lstm(D))
    params = cell.init(jax.random.key(0), D)
    xs = jnp.ones((T, B, D)).at[3:, 1].set(jnp.nan)
    ys = unroll(cell, params, xs, lengths=[T, 3])[1]
    close(ys[3:, 1], jnp.zeros((T - 3, D)))


def test_a_cell_written_without_a_mask_unrolls_and_stacks():
    made = lstm(H)
    own = Cell(made.init, made.carry, lambda params, carry, x: made.step(params, carry, x))
    params, xs, carry = case(made)
    close(unroll(own, params, xs, carry), unroll(made, params, xs, carry))
    pair, twin = stack(own, own), stack(made, made)
    params = pair.init(jax.random.key(0), D)
    close(
        pair.step(params, pair.carry(params, ()), xs[0]),
        twin.step(params, twin.carry(params, ()), xs[0]),
    )


@pytest.mark.parametrize('mask', [jnp.ones((B, D)), (jnp.ones((B, D)),)])
def test_the_mask_of_a_stack_is_a_tuple_with_one_per_cell(mask):
    cell = stack(lstm(D), lstm(D))
    params = cell.init(jax.random.key(0), D)
    with pytest.raises(InputError, match='tuple of 2'):
        unroll(cell, params, jnp.ones((T, B, D)), recurrent_dropout_mask=mask)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda: lstm(0), 'hidden_size'),
        (lambda: lstm(2.5), 'hidden_size'),
        (lambda: lstm(3, init='caffe'), 'identity, keras, orthogonal, tf1, torch'),
        (lambda: CELLS['elman'](3, activation='sine'), 'relu, tanh'),
        (lambda: CELLS['lru'](3, r_min=0.9, r_max=0.5), 'r_min < r_max'),
        (lambda: CELLS['lru'](3, max_phase=-1.0), 'max_phase'),
        (lambda: stack(), 'at least one cell'),
        (lambda: residual(lstm(3)).init(jax.random.key(0), 2), '3 outputs and 2 inputs'),
    ],
)
def test_bad_arguments_say_what_is_wrong(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_a_cell_says_what_it_is():
    assert repr(lstm(4)) == 'lstm(hidden_size=4)'
    assert (
        repr(lstm(hidden_size=4, init='torch', chrono=None)) == "lstm(hidden_size=4, init='torch')"
    )
    assert repr(stack(lstm(4), residual(irnn(4)))) == (
        'stack(lstm(hidden_size=4), residual(cell=irnn(hidden_size=4)))'
    )
    assert lstm(4).hyperparameters == {
        'hidden_size': 4, 'forget_bias': None, 'chrono': None, 'init': 'keras'
    }  # fmt: skip
    assert irnn(4).name == 'irnn'
    assert find('tests.test_cells:mycell')(4).name == 'tests.test_cells:mycell'
    assert 'test_cells' in repr(mycell(4))


def mycell(hidden_size):
    made = lstm(hidden_size)
    return Cell(made.init, made.carry, lambda params, carry, x: made.step(params, carry, x))


@pytest.mark.parametrize(
    'make',
    [
        *CELLS.values(),
        lambda size: stack(lstm(size), gru(size)),
        lambda size: residual(lstm(size)),
        lambda size: trainable_carry(lstm(size)),
        lambda size: trainable_carry(stack(lstm(size), gru(size))),
        lambda size: find('tests.test_cells:mycell')(size),
    ],
)
def test_cells_compare_by_their_arguments(make):
    assert make(4) == make(4)
    assert hash(make(4)) == hash(make(4))
    assert make(4) != make(5)


def test_cells_of_other_functions_or_arrays_differ():
    assert lstm(4) != gru(4)
    assert lstm(4) != lstm(4, forget_bias=2.0)
    assert stack(lstm(4)) != residual(lstm(4))
    assert mycell(4) != mycell(4)
    assert replace(lstm(4), gates=()) != lstm(4)
    assert replace(lstm(4), gates=()).name == ''
    bias = jnp.ones(4)
    for cell in (lstm(4, forget_bias=bias), stack(lstm(4, forget_bias=bias))):
        assert cell == cell
        assert hash(cell) == hash(cell)
    assert lstm(4, forget_bias=bias) != lstm(4, forget_bias=jnp.ones(4))
    jax.vmap(lambda bias: hash(lstm(4, forget_bias=bias)) * bias)(bias)


def test_equal_cells_compile_once():
    traced = []

    @partial(jax.jit, static_argnums=0)
    def run(cell, params, xs):
        traced.append(cell)
        return unroll(cell, params, xs)

    for cell in (lstm(4), lstm(4), stack(gru(4)), stack(gru(4)), lstm(4), gru(4)):
        run(cell, cell.init(jax.random.key(0), D), jnp.ones((T, B, D)))
    assert traced == [lstm(4), stack(gru(4)), gru(4)]


@pytest.mark.parametrize('name', CELLS)
def test_a_layout_names_params_and_gates(name):
    cell = CELLS[name](H)
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    assert cell.layout.keys() <= params.keys() | {'recurrent_bias'}
    blocks = [*parameters(cell, params, D)]
    assert [parameter for parameter, _, _, _ in blocks] == sorted(
        params, key=lambda parameter: (-params[parameter].ndim, [*params].index(parameter))
    )
    for parameter, leaf, rows, columns in blocks:
        assert {*cell.layout.get(parameter, Blocks()).columns} <= {*cell.gates}
        assert sum(rows.values()) in (0, leaf.shape[0])
        assert sum(columns.values()) in (0, leaf.shape[-1])
        assert min(rows.values(), default=1) > 0


@pytest.mark.parametrize('name', CELLS)
def test_a_cell_takes_no_param_that_it_does_not_read(name):
    """Whatever name a layout allows beside those of init, NaN in it is in the outputs."""
    cell = CELLS[name](H)
    params = cell.init(jax.random.key(0), D)
    for more in cell.layout.keys() - params.keys():
        other = params | {more: jnp.full_like(params['bias'], jnp.nan)}
        assert jnp.isnan(unroll(cell, other, jnp.ones((1, 1, D)))[1]).all()
    with pytest.raises(InputError, match="has no 'more'; the entries are"):
        unroll(cell, params | {'more': jnp.ones(H)}, jnp.ones((1, 1, D)))


def test_a_cell_without_a_layout_is_described_by_shapes_alone():
    cell = mycell(4)
    params = cell.init(jax.random.key(0), D)
    for _, _, rows, columns in parameters(cell, params, D):
        assert (rows, columns) == ({}, {})
    assert 'kernel' in describe(network([recurrent(cell)], inputs=D, outputs=2))
