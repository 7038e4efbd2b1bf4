"""Fixed points, their stability and Lyapunov exponents, against closed forms and known maps."""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlab.analysis.diagnostics import trace
from rnnlab.analysis.dynamics import fixed_points, lyapunov, principal_plane, restored, vectors
from rnnlab.cells import CELLS, Cell, Hidden, elman, lru, stack
from rnnlab.errors import InputError
from tests.conftest import close, noisy

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_numbers(monkeypatch):
    """Each test draws the same numbers, whichever ran before it."""
    monkeypatch.setattr(f'{__name__}.RNG', np.random.default_rng(0))


def own(step, width=1):
    """A cell of one map, which reads no params."""
    return Cell(
        init=lambda key, inputs, dtype=float: {'none': jnp.zeros(1, dtype)},
        carry=lambda params, batch: Hidden(jnp.full((*batch, width), 0.3)),
        step=lambda params, carry, x: (Hidden(step(carry.h, x)),) * 2,
    )


def affine(matrix):
    return own(lambda h, x: h @ jnp.asarray(matrix).T + x, len(matrix))


NONE = {'none': jnp.zeros(1)}


def weights(matrix, inputs=1):
    """Params of an Elman cell with this recurrent matrix, no bias and zeros for the input."""
    kernel = np.concatenate([np.zeros((inputs, len(matrix))), np.asarray(matrix, float).T])
    return {'kernel': jnp.asarray(kernel), 'bias': jnp.zeros(len(matrix))}


def spread(width, number=400, scale=1.5):
    return Hidden(jnp.asarray(scale * RNG.standard_normal((number, width))))


def by_modulus(values):
    return np.asarray(values, complex)[np.argsort(-np.abs(values))]


def test_the_fixed_point_of_an_affine_cell_in_closed_form():
    matrix, x = 0.4 * RNG.standard_normal((5, 5)), RNG.standard_normal(5)
    points = fixed_points(affine(matrix), NONE, jnp.asarray(x), spread(5, 9))
    close(np.asarray(points.carry.h[0]), np.linalg.solve(np.eye(5) - matrix, x))
    assert len(points.speed) == 1
    assert points.speed[0] < 1e-14
    close(np.abs(points.eigenvalues[0]), np.abs(by_modulus(np.linalg.eigvals(matrix))))


def test_an_affine_cell_without_a_fixed_point_has_a_slow_one():
    """h' = h + 1 in one unit, whose other one contracts: nowhere is it slower than 1."""
    cell = own(lambda h, x: h * jnp.array([1.0, 0.5]) + jnp.array([1.0, 0.0]), 2)
    points = fixed_points(cell, NONE, jnp.zeros(1), Hidden(jnp.ones((1, 2))))
    assert points.speed[0] == pytest.approx(1, abs=1e-12)
    assert points.carry.h[0, 1] == pytest.approx(0, abs=1e-7)


def test_three_bistable_units_have_27_fixed_points():
    """Each unit is h' = tanh(2 h): 0 unstable, and both roots of h = tanh(2 h) stable."""
    root = 0.9575040240772687  # by bisection
    assert np.tanh(2 * root) == pytest.approx(root, abs=1e-14)
    points = fixed_points(elman(3), weights(2 * np.eye(3)), jnp.zeros(1), spread(3))
    assert points.speed.max() < 1e-12
    found = {tuple(np.round(h, 6)) for h in np.asarray(points.carry.h) + 0.0}
    assert found == set(product((-round(root, 6), 0.0, round(root, 6)), repeat=3))
    zeros = np.sum(np.abs(points.carry.h) < 0.5, axis=-1)
    np.testing.assert_array_equal(points.unstable, zeros)
    slope = 2 * (1 - root**2)
    stable = points.eigenvalues[points.unstable == 0]
    close(stable, np.full((8, 3), slope + 0j), 1e-9)


@pytest.mark.parametrize('angle', [np.pi, 0.7])
def test_an_oscillating_matrix_has_one_unstable_point(angle):
    """A rotation by pi (a period of two) or another angle, times 1.5."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = fixed_points(elman(2), weights(1.5 * turn), jnp.zeros(1), spread(2, 50, 0.3))
    close(np.asarray(points.carry.h[0]), np.zeros(2))
    expected = by_modulus(1.5 * np.exp(1j * angle * np.array([1, -1])))
    close(np.sort_complex(points.eigenvalues[0]), np.sort_complex(expected), 1e-8)
    assert points.unstable[0] == 2


@pytest.mark.parametrize('name', ['lstm', 'gru', 'lru', 'slstm', 'sru', 'stack'])
def test_points_of_any_cell_are_points_and_their_eigenvalues_those_of_differences(name):
    cell = stack(CELLS['gru'](3), CELLS['lstm'](2)) if name == 'stack' else CELLS[name](3)
    params = noisy(cell.init(jax.random.key(0), 2))
    xs, x = jnp.asarray(RNG.standard_normal((7, 2, 2))), jnp.array([0.3, -0.1])
    visited = jax.tree.map(lambda leaf: leaf[:, 0], trace(cell, params, xs)[0])
    points = fixed_points(cell, params, x, visited)
    carry = jax.tree.map(lambda leaf: leaf[0], points.carry)

    def step(state):
        return np.asarray(vectors(cell.step(params, restored(jnp.asarray(state), carry), x)[0]))

    state = np.asarray(vectors(carry))
    assert np.linalg.norm(step(state) - state) == pytest.approx(points.speed[0], abs=1e-14)
    assert points.speed[0] < 1e-9
    nudges = 1e-6 * np.eye(len(state))
    columns = [(step(state + d) - step(state - d)) / 2e-6 for d in nudges]
    expected = by_modulus(np.linalg.eigvals(np.stack(columns, axis=1)))
    close(np.abs(points.eigenvalues[0]), np.abs(expected), 1e-6)


def test_exponents_of_an_affine_cell_are_the_log_moduli_of_its_eigenvalues():
    """Eigenvalues of moduli 0.95 to 0.35, and any basis; axes are in place after 400 steps."""
    basis, values = RNG.standard_normal((4, 4)), np.array([0.95, -0.75, 0.55, 0.35])
    matrix = basis @ np.diag(values) @ np.linalg.inv(basis)
    exponents = jax.jit(lambda xs: lyapunov(affine(matrix), NONE, xs, skip=400))(jnp.ones((500, 4)))
    close(np.asarray(exponents), np.log(np.abs(values)))


def test_exponents_of_an_lru_are_those_of_its_diagonal():
    cell = lru(5)
    params = cell.init(jax.random.key(1), 3)
    xs = jnp.asarray(RNG.standard_normal((20, 2, 3)))
    moduli = np.sort(np.exp(-np.exp(np.asarray(params['nu_log']))))[::-1]
    exponents = lyapunov(cell, params, xs)
    close(np.asarray(exponents), np.log(np.tile(np.repeat(moduli, 2), (2, 1))))


def test_exponents_of_known_maps():
    """The logistic map has ln 2; of Hénon's the sum is ln 0.3, the larger one 0.419."""
    logistic = own(lambda h, x: 4 * h * (1 - h))
    run = jax.jit(lambda cell, xs: lyapunov(cell, NONE, xs), static_argnums=0)
    assert run(logistic, jnp.zeros((20_000, 1)))[0] == pytest.approx(np.log(2), abs=2e-3)

    def henon(h, x):
        return jnp.stack([1 - 1.4 * h[..., 0] ** 2 + h[..., 1], 0.3 * h[..., 0]], axis=-1)

    exponents = run(own(henon, 2), jnp.zeros((20_000, 1)))
    assert exponents[0] == pytest.approx(0.4192, abs=5e-3)
    assert exponents.sum() == pytest.approx(np.log(0.3), abs=1e-10)


def test_at_a_stable_point_exponents_are_those_of_its_eigenvalues():
    params = weights([[0.9, -0.2], [0.1, 0.5]])
    at = fixed_points(elman(2), params, jnp.zeros(1), spread(2, 3))
    exponents = lyapunov(elman(2), params, jnp.zeros((300, 1)), skip=200)
    close(np.asarray(exponents), np.log(np.abs(at.eigenvalues[0])), 1e-9)


def test_a_skip_that_leaves_no_step_is_refused():
    with pytest.raises(InputError, match='skip=5'):
        lyapunov(elman(2), weights(np.eye(2)), jnp.zeros((5, 1)), skip=5)


class Two(NamedTuple):
    c: jax.Array
    h: jax.Array


def test_a_plane_is_that_of_the_largest_variance():
    """States in a plane of five dimensions: two axes have all of the variance."""
    axes = np.linalg.qr(RNG.standard_normal((5, 2)))[0].T
    places = RNG.standard_normal((4, 30, 2)) * [3.0, 1.0]
    states = places @ axes + 7
    plane = principal_plane(states)
    assert plane.fractions.sum() == pytest.approx(1)
    assert plane.fractions[0] > plane.fractions[1]
    close(plane.project(states) @ plane.axes + plane.mean, states, 1e-9)


def test_a_state_is_the_carry_with_both_parts_of_complex_numbers():
    carry = Two(jnp.array([[1 + 2j, 3 - 1j]]), jnp.array([[5.0]]))
    states = vectors(carry)
    close(states, jnp.array([[1.0, 3.0, 2.0, -1.0, 5.0]]))
    close(restored(states, carry), carry)
