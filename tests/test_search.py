"""A search: its settings depend on its arguments only, and they improve."""

import math

import numpy as np
import pytest

from rnnlab.sweeps.axes import parse

pytest.importorskip('optuna')

from rnnlab.sweeps.search import ask

AXES = [
    parse('lr~log(1e-4,1e-1)'),
    parse('clip~lin(0.1,5)'),
    parse('seed~0..9'),
    parse('init~keras,torch'),
]


def quality(point):
    return -((math.log10(float(point['lr'])) + 2) ** 2)


def search(rounds, count=4, seed=0):
    told = []
    for _ in range(rounds):
        told += [(point, quality(point)) for point in ask(AXES, told, count, seed, len(told))]
    return told


def test_settings_are_in_their_ranges():
    for point, _ in search(5):
        assert 1e-4 <= float(point['lr']) <= 1e-1
        assert 0.1 <= float(point['clip']) <= 5
        assert int(point['seed']) in range(10)
        assert point['init'] in ('keras', 'torch')


def test_the_same_arguments_give_the_same_settings():
    told = search(4)
    assert ask(AXES, told, 4, 0, 16) == ask(AXES, told, 4, 0, 16)
    assert search(2) == told[:8]
    assert ask(AXES, told, 4, 1, 16) != ask(AXES, told, 4, 0, 16)
    assert len({point['lr'] for point, _ in told}) == 16


def test_settings_come_closer_to_the_best():
    values = np.array([value for _, value in search(12)])
    assert values[-24:].mean() > 2 / 3 * values[:12].mean()  # the first ten are drawn at random
    assert values.max() > -0.02
