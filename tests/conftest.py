"""Strict settings for all tests: float64, no silent broadcast or promotion, two CPU devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ['PJRT_NPROC'] = str((os.cpu_count() or 1) + 2)  # see experiments/runner/cli.py

import jax

if jax.__version_info__[:2] == (
    0,
    10,
):  # two fifths of the time; later versions do not know the flag
    os.environ['XLA_FLAGS'] = '--xla_cpu_use_fusion_emitters=false'

import jax.numpy as jnp
import numpy as np
import pytest

jax.config.update('jax_num_cpu_devices', 2)
jax.config.update('jax_enable_x64', True)
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update(
    'jax_disable_most_optimizations', True
)  # most of the time here is compilation; whole processes are optimised

ROOT = Path(__file__).parent.parent
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

    def more(leaf):
        noise = scale * rng.standard_normal(leaf.shape)
        if jnp.iscomplexobj(leaf):
            noise = noise + 1j * scale * rng.standard_normal(leaf.shape)
        return jnp.asarray(np.asarray(leaf) + noise.astype(leaf.dtype))

    return jax.tree.map(more, tree)


def command(experiment, *flags):
    return [sys.executable, '-m', f'experiments.{experiment}', *map(str, flags)]


def launch(experiment, *flags, cwd=ROOT, stdin=''):
    """An experiment as a process of its own; what it is given and prints is text, or bytes as text that is not UTF-8."""
    options = {'capture_output': True, 'text': True, 'errors': 'surrogateescape', 'timeout': 300}
    return subprocess.run(command(experiment, *flags), input=stdin, cwd=cwd, **options)


def forked(experiment, flags, folder):
    """[exit code, stdout, stderr] of the experiment in that folder with each list of flags, all forks of one process."""
    options = {'capture_output': True, 'text': True, 'timeout': 600, 'cwd': folder}
    stdin = json.dumps([list(map(str, each)) for each in flags])
    result = subprocess.run(
        [sys.executable, '-m', 'tests.cases', experiment], input=stdin, **options
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def refused(experiment, cases, folder):
    """Runs the experiment in an empty folder with each case's flags: one line on stderr that has the case's words, exit code 1,
    and nothing else said or written."""
    results = forked(experiment, [flags for flags, _ in cases], folder)
    for (flags, words), (code, out, err) in zip(cases, results, strict=True):
        assert (code, out, err.startswith('error: '), err.count('\n')) == (1, '', True, 1), (
            flags,
            out,
            err,
        )
        assert [word for word in words if word not in err] == [], (flags, err)
    assert not list(folder.iterdir())


@pytest.fixture(scope='module')
def shell(tmp_path_factory):
    """What a user's shell has; programs that were compiled once are compiled, whichever worker of pytest did."""
    compiled = tmp_path_factory.getbasetemp()
    compiled = (compiled.parent if 'PYTEST_XDIST_WORKER' in os.environ else compiled) / 'compiled'
    with pytest.MonkeyPatch.context() as patch:
        for name in ('TFDS_DATA_DIR', 'PJRT_NPROC'):
            patch.delenv(name, raising=False)
        patch.setenv('PYTHONPATH', str(ROOT))
        patch.setenv('JAX_COMPILATION_CACHE_DIR', str(compiled))
        patch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
        yield


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
