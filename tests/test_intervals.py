"""Intervals of a mean and paired differences."""

import math
import random

import numpy as np
import pytest
from scipy import stats

from rnnlab.results.statistics import Interval, interval, paired, sampling_error


@pytest.mark.parametrize('n', [3, 5, 12])
def test_intervals_are_those_of_scipy(n):
    values = np.random.default_rng(n).exponential(size=n)
    expected = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(interval(values.tolist()), expected, rtol=1e-12)


def test_three_values_by_hand():
    t = 0.95 * math.sqrt(2 / (1 - 0.95**2))  # the 97.5 % point at two degrees of freedom
    half = t / math.sqrt(3)
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2 - half, 2 + half), rel=1e-9)


@pytest.mark.parametrize(
    ('draw', 'expected'), [('standard_normal', 0.95), ('standard_exponential', 0.88)]
)
def test_coverage_is_that_of_the_docstring(draw, expected):
    sets = getattr(np.random.default_rng(0), draw)((1000, 5)) - (draw == 'standard_exponential')
    held = np.mean([interval(values).holds_zero for values in sets.tolist()])
    assert held == pytest.approx(expected, abs=0.02)


def test_a_shared_error_widens_the_interval_to_its_coverage():
    """The mean of three nets' accuracies, with one spread over nets and 200 examples for all."""
    random, held, error = np.random.default_rng(2), 0, sampling_error(0.9, 200)
    for _ in range(1000):
        shared = random.binomial(200, 0.9) / 200 - 0.9
        held += interval((shared + random.normal(0, 0.01, 3)).tolist(), error).holds_zero
    assert held / 1000 >= 0.95
    ends = 0.1 - 1.96 * error, 0.1 + 1.96 * error
    assert interval([0.1] * 3, error) == pytest.approx(ends, rel=1e-4)


@pytest.mark.parametrize('accuracy', [0.0, 0.5, 1.0])
def test_the_sampling_error_is_never_zero(accuracy):
    right = round(40 * accuracy)
    expected = np.std([1.0] * (right + 2) + [0.0] * (42 - right)) / math.sqrt(44)
    assert sampling_error(accuracy, 40) == pytest.approx(expected)


def test_order_changes_no_bit_and_equal_values_have_no_width():
    values = np.random.default_rng(1).normal(size=9).tolist()
    assert interval(random.Random(0).sample(values, 9)) == interval(values)
    assert interval([0.1] * 5) == (0.1, 0.1)


def test_fewer_than_three_values_have_none():
    assert interval([]) is interval([0.5]) is interval([0.5, 0.6]) is None


def test_an_interval_holds_zero_with_its_ends():
    assert Interval(0.0, 1.0).holds_zero
    assert Interval(-1.0, 0.0).holds_zero
    assert not Interval(0.1, 1.0).holds_zero


def test_pairs_are_of_the_seeds_in_both():
    assert paired({0: 1.0, 2: 5.0, 1: 3.0}, {1: 2.0, 0: 0.5, 7: 9.0}) == [0.5, 1.0]
    assert paired({0: 1.0}, {1: 2.0}) == []
