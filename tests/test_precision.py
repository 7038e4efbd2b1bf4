"""Products in bfloat16: their inputs are rounded, sums are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import text
from rnnlab.cells import CELLS
from rnnlab.precision import BFLOAT16, product, reduced
from rnnlab.recurrence import engines, unroll
from tests.conftest import call, close, noisy

D, H, T, B = 8, 16, 12, 4


def rounded(x):
    return np.asarray(x).astype(jnp.bfloat16).astype(np.float64)


def test_inputs_of_products_are_rounded_and_nothing_else():
    x, w, d_y = (
        noisy(jnp.zeros(shape), seed) for seed, shape in enumerate([(2, B, D), (D, H), (2, B, H)])
    )
    with jax.default_matmul_precision(BFLOAT16):
        y, pull = jax.vjp(product, x, w)
        d_x, d_w = pull(d_y)
    expected = (
        rounded(x) @ rounded(w),
        rounded(d_y) @ rounded(w).T,
        np.einsum('tbd,tbh->dh', rounded(x), rounded(d_y)),
    )
    close(
        jax.tree.map(np.asarray, (y, d_x, d_w)), expected, 1e-5
    )  # sums are in float32; rounding differs by 4e-3
    close(product(x, w), x @ w)


def test_bytes_are_multiplied_as_numbers():
    with jax.default_matmul_precision(BFLOAT16), jax.numpy_dtype_promotion('standard'):
        close(
            product(
                jnp.arange(6, dtype=jnp.uint8).reshape(2, 3), jnp.full((3, 1), 0.5, jnp.float32)
            ),
            jnp.float32([[1.5], [6.0]]),
        )


@pytest.mark.parametrize('name', ['gru', 'mingru'])
def test_the_backward_pass_may_run_in_another_precision(name):
    cell = CELLS[name](H)
    params, xs = cell.init(jax.random.key(0), D), noisy(jnp.zeros((T, B, D)))
    with jax.default_matmul_precision(BFLOAT16):
        ys, pull = jax.vjp(lambda params: unroll(cell, params, xs)[1], params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(pull(ys)))


@pytest.mark.parametrize('name', ['lstm', 'gru_reset_before', 'mingru'])
def test_every_engine_is_near_the_full_precision(name):
    cell = CELLS[name](H)
    params = cell.init(jax.random.key(0), D, jnp.float32)
    xs = jnp.asarray(noisy(jnp.zeros((T, B, D)), scale=1.0), jnp.float32)

    def gradient(engine):
        return jax.jit(
            jax.grad(lambda params: jnp.sum(unroll(cell, params, xs, engine=engine)[1] ** 2))
        )(params)

    exact = gradient('scan')
    for engine in engines(cell):
        with jax.default_matmul_precision(BFLOAT16):
            near = gradient(engine)
        for leaf, other in zip(jax.tree.leaves(near), jax.tree.leaves(exact), strict=True):
            assert leaf.dtype == jnp.float32
            assert 1e-5 < np.linalg.norm(leaf - other) / np.linalg.norm(other) < 2e-2


def test_a_trained_run_is_used_in_the_precision_that_it_was_trained_in(tmp_path, monkeypatch):
    (tmp_path / 'text').write_text('the quick brown fox ' * 40)
    steps = ['--text=text', '--steps=1', '--hidden_size=4', '--batch_size=2', '--window=8']
    trained = call('text', *steps, '--precision=bfloat16', '--out=run', cwd=tmp_path)
    assert trained.code == 0, trained.err
    seen = []
    monkeypatch.setattr(text, 'write_sample', lambda *_: seen.append(reduced()))
    assert call('text', '--sample=1', '--out=run', cwd=tmp_path).code == 0
    assert (seen, reduced()) == ([True], False)
