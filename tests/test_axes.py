"""The grammar of a sweep's axes, and the settings that axes span."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlab.errors import InputError
from rnnlab.sweeps.axes import Drawn, Grid, draws, parse, product


@pytest.mark.parametrize(
    ('spec', 'values'),
    [
        ('cell=elman,lstm', ['elman', 'lstm']),
        (' cell = elman , lstm ', ['elman', 'lstm']),
        ('clip=inf', ['inf']),
        ('seed=0..3', ['0', '1', '2', '3']),
        ('forget_bias=-1..1', ['-1', '0', '1']),
        ('lr=lin(0.1,0.3,3)', ['0.1', '0.2', '0.3']),
        ('lr=log(1e-4,1e-1,4)', ['0.0001', '0.001', '0.01', '0.1']),
        ('lr=1,log(1e-2,1e-1,2),2..3', ['1', '0.01', '0.1', '2', '3']),
        ('hidden_size=log(10,100,4)', ['10', '22', '46', '100']),
    ],
)
def test_a_grid_has_every_value(spec, values):
    axis = parse(spec, whole=['hidden_size'])
    assert axis == Grid(spec.split('=')[0].strip(), tuple(values))


@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e4), st.integers(2, 50))
def test_log_has_equal_ratios_and_both_ends(low, factor, count):
    values = np.array(
        [float(value) for value in parse(f'lr=log({low!r},{low * factor!r},{count})').values]
    )
    assert len(values) == count
    np.testing.assert_allclose(values, low * factor ** (np.arange(count) / (count - 1)), rtol=1e-5)


@given(st.floats(0, 1, exclude_max=True))
def test_a_fraction_of_a_range_is_a_value_in_it(fraction):
    assert 1e-4 <= float(parse('lr~log(1e-4,1e-1)').at(fraction)) <= 1e-1
    assert float(parse('lr~lin(-2,3)').at(fraction)) == pytest.approx(-2 + 5 * fraction, abs=1e-5)
    assert int(parse('seed~3..5').at(fraction)) == 3 + int(3 * fraction)
    assert parse('cell~a,b').at(fraction) == ('a' if fraction < 0.5 else 'b')
    assert int(parse('hidden_size~log(1,100)', whole=['hidden_size']).at(fraction)) == round(
        100**fraction
    )


def test_draws_depend_on_the_seed_and_the_axis_alone():
    lr, clip = parse('lr~log(1e-4,1e-1)'), parse('clip~lin(0.1,5)')
    both, alone = list(draws([lr, clip], 8, 3)), list(draws([lr], 8, 3))
    assert [point['lr'] for point in both] == [point['lr'] for point in alone]
    assert list(draws([lr], 4, 3)) == alone[:4]
    assert len({point['lr'] for point in alone}) == 8
    assert list(draws([lr], 8, 4)) != alone


def test_a_product_is_every_combination_in_order():
    axes = [Grid('cell', ('a', 'b')), Grid('seed', ('0', '1'))]
    assert [tuple(settings.values()) for settings in product(axes)] == [
        ('a', '0'),
        ('a', '1'),
        ('b', '0'),
        ('b', '1'),
    ]
    assert list(product([])) == [{}]


@pytest.mark.parametrize(
    ('spec', 'words'),
    [
        ('', 'no axis'),
        ('lr', 'no axis'),
        ('--lr=1', 'no axis'),
        ('lr=', 'empty value'),
        ('lr=1,,2', 'empty value'),
        ('lr=1,1', 'has 1 twice'),
        ('lr=0..2,1', 'has 1 twice'),
        ('seed=3..1', 'is empty'),
        ('lr=lin(1,1,3)', 'is empty'),
        ('lr=log(1e-1,1e-3,3)', 'is empty'),
        ('lr=log(1e-4,1e-1,1)', 'count of 2 or more'),
        ('lr=log(0,1,3)', 'above zero'),
        ('lr=log(-1,1,3)', 'above zero'),
        ('lr~log(0,1)', 'above zero'),
        ('lr=log(1e-4,1e-1)', 'needs a count'),
        ('lr~log(1e-4,1e-1,3)', 'without a count; `trials`'),
        ('lr~log(1e-4,1e-1),1', 'one range'),
        ('lr=log(1,inf,3)', 'in numbers'),
        ('lr=lin(-1e308,1e308,3)', 'in numbers'),
        ('lr~1', 'one value'),
        ('lr~1,1', 'one value'),
        ('lr=log(a,b,3)', 'in numbers'),
        ('lr=log(1,2,2.5)', 'in numbers'),
        ('lr=log()', 'in numbers'),
        ('lr=lin(1,2,3,4)', 'in numbers'),
        ('lr=exp(1,2,3)', 'no range'),
        ('lr=random(8)', 'NAME~RANGE to draw'),
        ('lr=lin(1,2,3', 'no range'),
        ('lr=1..', 'no range'),
        ('lr=__import__("os").getcwd()', 'no range'),
        ('seed=0..999999999999', 'more than'),
        ('lr=lin(0,1,999999999999)', 'more than'),
    ],
)
def test_a_bad_axis_says_why(spec, words):
    with pytest.raises(InputError, match=words) as error:
        parse(spec)
    assert '\n' not in str(error.value)


def test_a_drawn_axis_keeps_its_range():
    assert parse('lr~log(1e-4,1e-1)') == Drawn(name='lr', scale='log', low=1e-4, high=1e-1)
    assert parse('seed~0..9') == Drawn(name='seed', scale='whole', low=0.0, high=9.0)
    assert parse('cell~a,b') == Drawn(name='cell', scale='choice', values=('a', 'b'))
