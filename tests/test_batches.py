"""The order of examples in an epoch, and buckets."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlab.errors import InputError
from rnnlab.training.batches import epoch_order, epoch_steps, length_buckets, one_bucket

CASES = st.tuples(
    st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 7)
)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(CASES, st.integers(0, 5))
def test_an_epoch_takes_each_example_once_and_within_its_bucket(case, seed):
    lengths, batch_size, number = np.array(case[0]), *case[1:]
    buckets = length_buckets(lengths, batch_size, number)
    order = np.asarray(epoch_order(jax.random.key(seed), buckets, batch_size))
    assert order.shape == (epoch_steps(len(lengths), batch_size), batch_size)
    assert sorted(order[order >= 0]) == list(range(len(lengths)))
    assert (order.ravel()[len(lengths) :] == -1).all()
    assert sorted(buckets.schedule) == list(range(len(order)))
    assert len(buckets.time_steps) <= number
    assert list(buckets.time_steps) == sorted(set(buckets.time_steps))
    for batch, bucket in zip(order, buckets.of_batch, strict=True):
        members = batch[batch >= 0]
        assert (buckets.of_example[members] == bucket).all()
        assert (lengths[members] <= buckets.time_steps[bucket]).all()
    longest = [
        max(1, *lengths[buckets.of_example == bucket]) for bucket in range(len(buckets.time_steps))
    ]
    assert longest == list(buckets.time_steps)


def test_buckets_depend_on_the_lengths_and_their_order_on_the_key():
    lengths = np.random.default_rng(0).integers(1, 100, 200)
    first, second = length_buckets(lengths, 16, 4), length_buckets(lengths[::-1].copy(), 16, 4)
    assert first.time_steps == second.time_steps
    np.testing.assert_array_equal(first.of_batch, second.of_batch)
    np.testing.assert_array_equal(first.schedule, second.schedule)
    one, other = (np.asarray(epoch_order(jax.random.key(seed), first, 16)) for seed in (0, 1))
    assert (one != other).any()
    assert np.mean([first.time_steps[bucket] for bucket in first.of_batch]) < 0.75 * lengths.max()


def test_one_bucket_is_a_plain_shuffle():
    order = np.asarray(epoch_order(jax.random.key(3), one_bucket(22, 4, 8), 8))
    np.testing.assert_array_equal(
        order.ravel()[:22], np.asarray(jax.random.permutation(jax.random.key(3), 22))
    )


def test_no_buckets_are_refused():
    with pytest.raises(InputError, match='buckets'):
        length_buckets(np.ones(3, int), 2, 0)
