"""The values of gates, how far gradients reach, and spectral radii."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlab.analysis.diagnostics import gradient_reach, spectral_radii, trace
from rnnlab.cells import CELLS, reference
from tests.conftest import close, noisy

D, H, T, B = 3, 4, 6, 2


def case(name):
    cell = CELLS[name](H)
    return cell, noisy(cell.init(jax.random.key(0), D)), noisy(jnp.zeros((T, B, D)), 1, 1.0)


@pytest.mark.parametrize('name', CELLS)
def test_gates_and_carries_are_those_of_the_reference(name):
    cell, params, xs = case(name)
    carries, ys, gates = jax.jit(lambda params, xs: trace(cell, params, xs))(params, xs)
    assert len(gates) == len(cell.gates)
    first = [np.asarray(leaf) for leaf in cell.carry(params, ())]
    sequences = [
        reference.unroll(name, jax.tree.map(np.asarray, params), np.asarray(xs[:, b]), *first)
        for b in range(B)
    ]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *sequences)
    close(jax.tree.map(np.asarray, ([*carries], [*gates], ys)), expected)


@pytest.mark.parametrize('name', ['lstm', 'gru_reset_before', 'lru', 'qrnn'])
def test_reach_is_the_norm_of_the_whole_jacobian(name):
    """Compared with one differentiation through all steps between."""
    cell, params, xs = case(name)
    norms = jax.jit(lambda params, xs: gradient_reach(cell, params, xs))(params, xs)
    carries = trace(cell, params, xs)[0]
    assert norms.keys() == set(carries._fields)
    for field, values in norms.items():
        assert values.shape == (T, B)
        for lag, b in ((0, 0), (1, 1), (4, 0)):
            at = jax.tree.map(lambda leaf, lag=lag, b=b: leaf[T - 1 - lag, b], carries)

            def end(s, at=at, lag=lag, b=b, field=field):
                carry = at._replace(**{field: s})
                for x in xs[T - lag :, b]:
                    carry, _ = cell.step(params, carry, x)
                return carry.h

            jacobian = np.asarray(
                jax.jacfwd(end, holomorphic=jnp.iscomplexobj(getattr(at, field)))(
                    getattr(at, field)
                )
            )
            np.testing.assert_allclose(
                values[lag, b], np.linalg.svd(jacobian, compute_uv=False)[0], rtol=1e-10, atol=1e-14
            )


def test_spectral_radii_are_those_of_each_gate():
    def radii(names, matrix):
        blocks = np.split(np.asarray(matrix), len(names), axis=1)
        return {
            name: float(np.abs(np.linalg.eigvals(block)).max())
            for name, block in zip(names, blocks, strict=True)
        }

    params = CELLS['lstm'](H).init(jax.random.key(0), 3)
    close(spectral_radii(CELLS['lstm'](H), params, 3), radii('ifgo', params['kernel'][3:]))
    params = CELLS['rhn'](H).init(jax.random.key(0), 3)
    layers = [
        radii((f'n_{layer}', f't_{layer}'), params[f'recurrent_kernel_{layer}'])
        for layer in (1, 2, 3)
    ]
    close(spectral_radii(CELLS['rhn'](H), params, 3), layers[0] | layers[1] | layers[2])
    params = CELLS['lru'](H).init(jax.random.key(0), 3)
    close(
        spectral_radii(CELLS['lru'](H), params, 3),
        {'a': float(np.exp(-np.exp(params['nu_log'])).max())},
    )
