"""ListOps: expressions against a parser that knows nothing of how they are drawn."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlab.data import listops
from rnnlab.errors import InputError
from tests.conftest import call, refused
from tests.test_experiments import read


def evaluated(tokens):
    """(value, depth, most arguments, least arguments) of an expression, from its text."""
    words = iter([listops.TOKENS[token - listops.FIRST] for token in tokens])

    def value(word, depth=1):
        if word.isdecimal():
            return int(word), depth, 0, 99
        parts = []
        while (inner := next(words)) != ']':
            parts.append(value(inner, depth + 1))
        values = [part[0] for part in parts]
        result = {
            '[MIN': min, '[MAX': max, '[MED': lambda own: int(statistics.median(own)),
            '[SM': lambda own: sum(own) % 10,
        }[word](values)  # fmt: skip
        most = max(len(values), *(part[2] for part in parts))
        least = min(len(values), *(part[3] for part in parts))
        return result, max(part[1] for part in parts), most, least

    found = value(next(words))
    assert next(words, None) is None
    return found


@given(
    st.integers(0, 2**31), st.integers(1, 60), st.integers(0, 60), st.integers(1, 10),
    st.integers(2, 10),
)  # fmt: skip
def test_expressions_have_their_values(seed, shortest, more, depth, arguments):
    longest = shortest + more
    rng = np.random.RandomState(seed)
    drawn = listops.expressions(60, shortest, longest, rng, depth, arguments)
    assert drawn.lengths.sum() == len(drawn.tokens)
    ends = np.cumsum(drawn.lengths)
    for end, length, value in zip(ends, drawn.lengths, drawn.values, strict=True):
        assert shortest <= length <= longest
        found, deepest, most, least = evaluated(drawn.tokens[end - length : end])
        assert found == value
        assert deepest <= depth
        assert most <= arguments
        assert least >= 2


def test_the_odds_are_those_of_the_grammar():
    """Of trees of two levels, whose length alone says how many arguments a root has."""
    drawn = listops.expressions(20_000, 1, 12, np.random.RandomState(0), depth=2)
    counts = np.bincount(drawn.lengths, minlength=13)
    inner = 20_000 - counts[1]
    assert abs(inner / 20_000 - 0.25) < 0.01
    np.testing.assert_allclose(counts[4:] / inner, np.full(9, 1 / 9), atol=0.02)
    tokens = np.bincount(drawn.tokens, minlength=listops.IDS)
    np.testing.assert_allclose(tokens[1:11] / tokens[1:11].sum(), np.full(10, 0.1), atol=0.01)
    np.testing.assert_allclose(tokens[11:15] / inner, np.full(4, 0.25), atol=0.02)


def test_no_expression_is_there_twice_and_splits_stay_as_they_are(own_cache):
    few, many = (listops.listops(examples=number, shortest=5, longest=20) for number in (10, 600))
    for split in ('validation', 'test'):
        for a, b in zip(getattr(few, split), getattr(many, split), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(few.train.inputs, many.train.inputs[:10])
    every = np.concatenate([many.train.inputs, many.validation.inputs, many.test.inputs])
    assert len(np.unique(every, axis=0)) == len(every) == 600 + 2 * listops.HELD_OUT
    lengths = (many.train.inputs != listops.PADDING).sum(axis=1)
    np.testing.assert_array_equal(lengths, many.train.lengths)
    for row, length, label in zip(*many.train[::2], many.train.labels, strict=True):
        assert evaluated(row[:length])[0] == label
    again = listops.listops(examples=10, shortest=5, longest=20)  # from the cache
    np.testing.assert_array_equal(again.train.inputs, few.train.inputs)


SMALL = '--hidden_size=4', '--layers=1', '--steps=2'  # the program of a page


@pytest.mark.usefixtures('own_cache')
def test_listops_trains(tmp_path):
    flags = ['--length=5..20', '--examples=100', '--cell=lru', '--block=prenorm', '--buckets=1']
    code, _, err = call('listops', *flags, *SMALL, '--out=run', cwd=tmp_path)
    assert code == 0, err
    assert read(tmp_path / 'run', 'config.json')['length'] == '5..20'
    assert read(tmp_path / 'run', 'summary.json')['test_examples'] == listops.HELD_OUT


@pytest.mark.usefixtures('own_cache')
def test_lengths_that_cannot_be_are_refused(tmp_path):
    refused(
        'listops',
        [
            (['--length=3'], ['length', 'at least 4']),
            (['--length=9..4'], ['--length=9..4', 'range']),
            (['--length=4..5', '--examples=90000'], ['length=4..5', 'too few expressions']),
            (['--examples=0'], ['--examples=0']),
        ],
        tmp_path,
    )
    with pytest.raises(InputError, match='examples'):
        listops.listops(examples=0, shortest=4, longest=9)
