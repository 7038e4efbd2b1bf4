"""Every cell of CELLS keeps every law; a broken law is named."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from rnnlab import testing as laws
from rnnlab.cells import CELLS, Cell, Hidden, gated, gru, lstm, residual, stack
from rnnlab.errors import InputError

# The laws that do not apply to a cell: its gates have no values, or no matrix reads h in its step.
NOT_CHECKED = {
    'gates are finite': {'lru', 's5', 'stack'},
    'a mask scales what recurrent products read': {
        *{'indrnn', 'conv_lstm', 'qrnn', 'sru', 'mingru', 'minlstm', 'lru', 'rg_lru', 's5'},
        'stack',
    },
}
MADE = CELLS | {'stack': lambda size: stack(lstm(size), residual(gru(size)))}


@pytest.mark.slow
@pytest.mark.parametrize('name', MADE)
def test_every_cell_keeps_every_law(name):
    differences = laws.check(name, MADE[name])
    assert differences.keys() == laws.LAWS.keys()
    assert {law for law, value in differences.items() if value is None} == {
        law for law, names in NOT_CHECKED.items() if name in names
    }
    jax.clear_caches()  # about twenty programs a cell


def leaky(*, step=None, **other):
    """The maker of a cell h' = tanh(x W + u h), with another step or other fields."""

    def make(hidden_size):
        def init(key, inputs, dtype=float):
            return {
                'kernel': jax.random.normal(key, (inputs, hidden_size), dtype),
                'u': jnp.ones(hidden_size, dtype),
            }

        def carry(params, batch_shape):
            return Hidden(jnp.zeros((*batch_shape, hidden_size), params['u'].dtype))

        def right(params, carry, x):
            h = jnp.tanh(
                x @ params['kernel'] + carry.h * params['u'].reshape((1,) * (x.ndim - 1) + (-1,))
            )
            return Hidden(h), h

        return replace(Cell(init, carry, step or right), **other)

    return make


H = laws.H


def narrowed(params, carry, x):
    return Hidden(carry.h[..., :1]), carry.h


def promoted(params, carry, x):
    h = carry.h + x.sum()
    return Hidden(h), jnp.sign(h).astype(int)


def mixed(params, carry, x):
    h = jnp.tanh(x @ params['kernel'] + carry.h - jnp.mean(carry.h, axis=0, keepdims=True))
    return Hidden(h), h


def counting(params, carry, x):
    """Its gradient is not that of its value."""
    h = jnp.tanh(x @ params['kernel'] + jax.lax.stop_gradient(carry.h))
    return Hidden(h), h


def wrong_form(hidden_size):
    """Its form for the fast engine computes something else than its step."""
    good = leaky()(hidden_size)
    other = gated(
        good.init,
        good.carry,
        lambda p, c, x: x @ p['kernel'] + c.h,
        lambda p, c, z: (Hidden(jnp.tanh(z)), jnp.tanh(z), ()),
        (),
    )
    return replace(good, form=other.form)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (
            leaky(step=narrowed),
            [
                "step keeps the carry's structure, shapes and types",
                'float32 [3, 5]',
                'float32 [3, 1]',
            ],
        ),
        (leaky(step=promoted), ['float32', 'the output has', 'int']),
        (
            leaky(step=lambda params, carry, x: (carry, x @ carry.h)),
            ["step keeps the carry's", 'TypeError'],
        ),
        (lambda size: size, ['must return a Cell, not int']),
        (leaky(step=lambda params, carry, x: carry), ['a pair, carry and output, not Hidden']),
        (
            leaky(step=lambda params, carry, x: (carry, x[..., 0])),
            ['the output is [3]', 'should be [3, features]'],
        ),
        (
            leaky(carry=lambda params, batch: jnp.zeros((*batch, H))),
            ['a NamedTuple with a field h, not'],
        ),
        (leaky(step=mixed), ['a step takes any leading axes']),
        (leaky(step=counting), ['gradients are finite differences', 'derivative', 'differs by']),
        (
            wrong_form,
            [
                'unroll is the loop over its steps',
                'engine gated',
                '[3, 5] differs by',
                '1e-10 is allowed',
            ],
        ),
        (
            leaky(gates=('a', 'b'), values=lambda params, carry, x: (carry.h,)),
            ['gates has 2 names, a, b', 'values returns 1 arrays'],
        ),
        (
            leaky(gates=('a',), values=lambda params, carry, x: (1 / (0 * carry.h),)),
            ['gates are finite'],
        ),  # which keeps all other laws
    ],
)
def test_a_broken_law_is_named_with_the_shapes_and_the_difference(make, words):
    with pytest.raises(laws.LawBroken) as caught:
        laws.check('own', make)
    message = str(caught.value)
    assert message.startswith('own')
    assert '\n' not in message
    assert [word for word in words if word not in message] == [], message


def test_laws_hold_in_float64():
    with jax.enable_x64(False), pytest.raises(InputError, match='jax_enable_x64'):
        laws.check('lstm', lstm)
