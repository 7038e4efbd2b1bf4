"""Strict settings for all tests: float64, no silent broadcast or promotion, two CPU devices."""

import os
from pathlib import Path

os.environ['PJRT_NPROC'] = str((os.cpu_count() or 1) + 2)  # see experiments/flags.py

import jax
import jax.numpy as jnp
import numpy as np
import pytest

jax.config.update('jax_num_cpu_devices', 2)
jax.config.update('jax_enable_x64', True)
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_disable_most_optimizations', True)  # most of the time here is compilation; whole processes run as users' do

TOLERANCE = 1e-10


def close(actual, expected, tolerance=TOLERANCE):
    """Trees of the same shape and type with entries equal to within `tolerance`, absolute or relative, NaN nowhere."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, e = np.asarray(a), np.asarray(e)
        assert (a.dtype, a.shape) == (e.dtype, e.shape)
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance, equal_nan=False)


def same(actual, expected):
    """Trees with the same bytes."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(e).tobytes()


def noisy(tree, seed=7, scale=0.3):
    """The tree with normal noise on every entry: zero biases and carries hide mistakes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) + scale * rng.standard_normal(leaf.shape).astype(leaf.dtype)), tree)


def shared(*parts) -> Path:
    root = os.environ.get('RNNLAB_TEST_DATA')
    if not root:
        pytest.skip('RNNLAB_TEST_DATA names no folder with tfds/ and raw/')
    path = Path(root, *parts)
    if not path.exists():
        pytest.skip(f'RNNLAB_TEST_DATA has no {"/".join(parts)}')
    return path


@pytest.fixture
def tfds_folder() -> Path:
    """A TFDS folder with MNIST prepared."""
    return shared('tfds', 'mnist').parent


@pytest.fixture
def mnist_archives() -> Path:
    """The four original archives."""
    return shared('raw', 'mnist')


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'rnnlab'
