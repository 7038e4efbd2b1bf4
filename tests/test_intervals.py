"""Laws of the intervals of a mean; how often they hold the true one is measured by tests/coverage.py."""

import itertools

import numpy as np
import pytest
from scipy import stats

from rnnlab.analysis.statistics import DRAWS, EXHAUSTIVE, interval, paired, percentile_ends

MANY = EXHAUSTIVE + 4
SIZES = pytest.mark.parametrize('n', [3, 5, EXHAUSTIVE, MANY])


def values(n, seed=0):
    return np.random.default_rng(seed).exponential(size=n).tolist()


@pytest.mark.parametrize('n', [3, 4, 5, 6])
def test_of_few_values_every_resample_is_taken(n):
    own = values(n)
    means = [np.mean(drawn) for drawn in itertools.product(own, repeat=n)]
    low, high = (
        np.quantile(means, 0.025, method='inverted_cdf'),
        -np.quantile(np.negative(means), 0.025, method='inverted_cdf'),
    )
    mean, wider = (
        np.mean(own),
        np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975),
    )
    np.testing.assert_allclose(
        interval(own), [mean - wider * (mean - low), mean + wider * (high - mean)], rtol=1e-12
    )


def test_of_more_values_draws_are_those_of_any_bootstrap():
    own = np.sort(values(MANY))
    expected = stats.bootstrap(
        (own,), np.mean, method='percentile', n_resamples=10 * DRAWS, rng=1
    ).confidence_interval
    np.testing.assert_allclose(percentile_ends(own), expected, atol=0.03 * np.ptp(expected))


@SIZES
def test_intervals_move_stretch_and_turn_with_the_values_in_any_order(n):
    own = np.array(values(n))
    low, high = interval(own.tolist())
    assert low < own.mean() < high
    np.testing.assert_allclose(
        interval((3 * own + 7).tolist()), [3 * low + 7, 3 * high + 7], rtol=1e-12
    )
    np.testing.assert_allclose(interval((-own).tolist()), [-high, -low], rtol=1e-12)
    np.testing.assert_allclose(interval(own[::-1].tolist()), [low, high], rtol=1e-12)


@SIZES
def test_equal_values_have_an_interval_of_no_width(n):
    assert interval([0.1] * n) == (0.1, 0.1)
    assert interval([0.0] * n).holds_zero


def test_fewer_than_three_have_none():
    assert interval([]) is interval([0.5]) is interval([0.5, 0.6]) is None


def test_what_a_seed_does_to_both_alike_is_no_part_of_a_difference():
    of_seed, rng = dict(enumerate(10 * np.array(values(6)))), np.random.default_rng(2)
    one, other = ({seed: rng.normal() for seed in of_seed} for _ in range(2))
    alone = paired(one, other)
    shifted = paired(*({seed: own[seed] + of_seed[seed] for seed in own} for own in (one, other)))
    np.testing.assert_allclose(shifted, alone, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(interval(shifted), interval(alone), rtol=1e-12, atol=1e-12)


def test_pairs_are_of_the_seeds_that_both_have():
    assert paired({0: 1.0, 2: 5.0, 1: 3.0}, {1: 2.0, 0: 0.5, 7: 9.0}) == [0.5, 1.0]
    assert paired({0: 1.0}, {1: 2.0}) == []
