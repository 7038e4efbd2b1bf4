"""Each initializer against what its framework's source says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlab.cells import CELLS, elman, gru, gru_reset_before, irnn, lstm
from rnnlab.errors import InputError
from rnnlab.initializers import INITIALIZERS, scaled
from tests.conftest import close

D, H = 30, 40


def drawn(cell):
    return jax.tree.map(np.asarray, cell.init(jax.random.key(0), D))


def is_uniform(values, limit):
    """Fills [-limit, limit) with the right spread; fails by chance less than once in a million."""
    assert np.abs(values).max() <= limit
    assert np.abs(values).max() > 0.97 * limit
    assert values.std() == pytest.approx(limit / np.sqrt(3), rel=0.1)


def test_keras():
    params = drawn(lstm(H))
    is_uniform(params['kernel'][:D], np.sqrt(6 / (D + 4 * H)))
    recurrent = params['kernel'][D:]
    close(
        recurrent @ recurrent.T, np.eye(H)
    )  # orthogonal as a whole: orthonormal rows, each gate's singular values below 1
    close(params['bias'], np.concatenate([np.zeros(H), np.ones(H), np.zeros(2 * H)]))
    assert np.sqrt((np.linalg.svd(recurrent[:, :H])[1] ** 2).mean()) == pytest.approx(0.5, abs=0.02)


def test_torch():
    params = drawn(lstm(H, init='torch'))
    is_uniform(params['kernel'], 1 / np.sqrt(H))
    is_uniform(np.concatenate([params['bias'], params['recurrent_bias']]), 1 / np.sqrt(H))
    params = drawn(gru(H, init='torch'))
    is_uniform(params['recurrent_kernel'], 1 / np.sqrt(H))
    kernel, bias = INITIALIZERS['torch'].dense(jax.random.key(0), 50, 200, float)
    is_uniform(np.asarray(kernel), 1 / np.sqrt(50))
    is_uniform(np.asarray(bias), 1 / np.sqrt(50))


def test_tf1():
    params = drawn(lstm(H, init='tf1'))
    is_uniform(params['kernel'], np.sqrt(6 / (D + 5 * H)))
    close(params['bias'][H : 2 * H], np.ones(H))
    params = drawn(gru_reset_before(H, init='tf1'))
    is_uniform(params['kernel'][:, : 2 * H], np.sqrt(6 / (D + 3 * H)))
    is_uniform(params['kernel'][:, 2 * H :], np.sqrt(6 / (D + 2 * H)))
    close(params['bias'], np.concatenate([np.ones(2 * H), np.zeros(H)]))


@pytest.mark.slow
@pytest.mark.parametrize('init', ['torch', 'uniform_gate'])  # which draw the most
@pytest.mark.parametrize('name', CELLS)
def test_no_two_parameters_are_drawn_alike(name, init):
    """Keys used twice would show: equal ranks of the draws, whatever the distribution."""
    options = {'init': init} if 'init' in CELLS[name](64).hyperparameters else {}
    params = CELLS[name](64, **options).init(jax.random.key(0), 64)
    params.pop('gamma_log', None)  # a function of nu_log, in an LRU
    drawn = [np.asarray(leaf).ravel()[:64] for leaf in params.values()]
    firsts = [np.argsort(np.argsort(leaf)) for leaf in drawn if len(np.unique(leaf)) > 32]
    matrix = np.corrcoef(firsts) if len(firsts) > 1 else np.eye(1)
    assert np.abs(matrix - np.diag(np.diag(matrix))).max() < 0.6


def test_haiku():
    for make, fans in ((elman, (30, 400)), (lstm, (430, 430))):
        params = make(400, init='haiku').init(jax.random.key(0), 30)
        for rows, fan_in in zip(np.split(np.asarray(params['kernel']), [30]), fans, strict=True):
            assert rows.std() == pytest.approx(0.88 / np.sqrt(fan_in), rel=0.03)


def test_uniform_gates_are_anywhere():
    i, f, *_ = np.split(
        np.asarray(lstm(400, init='uniform_gate').init(jax.random.key(0), 1)['bias']), 4
    )
    openness = 1 / (1 + np.exp(-f))
    assert (openness.mean(), openness.std()) == (
        pytest.approx(0.5, abs=0.03),
        pytest.approx(1 / np.sqrt(12), rel=0.05),
    )
    close(i, -f)


def test_identity():
    params = drawn(irnn(H))
    close(params['kernel'][D:], np.eye(H))
    assert params['kernel'][:D].std() == pytest.approx(1e-3, rel=0.1)
    close(drawn(elman(H, init='identity')), params)


def test_forget_bias():
    close(drawn(lstm(H, forget_bias=2.5))['bias'][H : 2 * H], np.full(H, 2.5))
    biases = jax.vmap(lambda b: lstm(H, forget_bias=b).init(jax.random.key(0), D)['bias'][H])(
        jnp.array([0.5, 3.0])
    )
    close(
        np.asarray(biases), np.array([0.5, 3.0])
    )  # an array will do, so that a sweep can vmap over it


def test_scaled_multiplies_the_matrices_alone():
    for init in INITIALIZERS:
        plain, twice = drawn(lstm(H, init=init)), drawn(lstm(H, init=scaled(init, 2.0)))
        close(twice.pop('kernel'), 2 * plain.pop('kernel'))
        close(twice, plain)
    kernels = jax.vmap(
        lambda s: gru(H, init=scaled('keras', s)).init(jax.random.key(0), D)['recurrent_kernel']
    )(jnp.array([1.0, 0.5]))
    close(np.asarray(kernels[1]), 0.5 * np.asarray(kernels[0]))


@pytest.mark.parametrize(
    ('cell', 'gates'), [(elman, 1), (lstm, 4), (gru, 3), (gru_reset_before, 3)]
)
def test_orthogonal_is_orthogonal_for_each_gate(cell, gates):
    params = drawn(cell(H, init='orthogonal'))
    recurrent = params['recurrent_kernel'] if 'recurrent_kernel' in params else params['kernel'][D:]
    blocks = np.split(recurrent, gates, axis=1)
    for block in blocks:
        close(block @ block.T, np.eye(H))
    assert all((block != blocks[0]).any() for block in blocks[1:])
    is_uniform(params['kernel'][:D], np.sqrt(6 / (D + gates * H)))


def test_chrono_keeps_for_as_long_as_it_says():
    """1 + exp(b), the time to forget, is uniform up to the longest (Tallec and Ollivier 2018)."""
    longest = 101.0
    bias = np.asarray(lstm(400, chrono=longest).init(jax.random.key(0), 1)['bias'])
    i, f, g, o = np.split(bias, 4)
    times = 1 + np.exp(f)
    assert times.min() >= 2
    assert times.max() <= longest
    assert (times.mean(), times.std()) == (
        pytest.approx((2 + longest) / 2, rel=0.1),
        pytest.approx((longest - 2) / np.sqrt(12), rel=0.1),
    )
    close(i, -f)
    assert not g.any()
    assert not o.any()
    for make in (gru, gru_reset_before):
        r, z, n = np.split(
            np.asarray(make(400, chrono=longest).init(jax.random.key(0), 1)['bias']), 3
        )
        close(z, f)
        assert not r.any()
        assert not n.any()
        close(
            np.split(
                np.asarray(
                    make(400, chrono=longest, init='tf1').init(jax.random.key(0), 1)['bias']
                ),
                3,
            )[1],
            f,
        )
    plain, chrono = (drawn(lstm(H, **options))['kernel'] for options in ({}, {'chrono': 50.0}))
    close(plain, chrono)


@pytest.mark.parametrize(
    ('options', 'words'),
    [({'chrono': 1.5}, '2 time steps'), ({'chrono': 9.0, 'forget_bias': 1.0}, 'give one of them')],
)
def test_impossible_chrono_biases_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        drawn(lstm(H, **options))
