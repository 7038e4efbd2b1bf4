"""Pictures: each draws what it is given, in its colours."""

import dataclasses

import numpy as np
import pytest
from matplotlib.image import imread

from rnnlab.results import plots
from rnnlab.results.ranking import Setting, by_setting
from rnnlab.results.records import Outcome
from tests.records import ACCURATE, SQUARED, row, trials

ENDS = {(68, 1, 84), (253, 231, 37)}  # of the colour map


def colours(path):
    image = (imread(path)[..., :3] * 255).round().astype(int)
    packed = np.unique(image @ np.array([1 << 16, 1 << 8, 1])).tolist()
    return {(colour >> 16, colour >> 8 & 255, colour & 255) for colour in packed}


def rgb(colour):
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def cycle(*places):
    return {rgb(plots.CYCLE[place]) for place in places}


def same_picture(one, other):
    return np.array_equal(imread(one), imread(other))


def test_curves_draw_a_line_for_each_split(tmp_path):
    rows = [row(n, train=n / 10, validation=n / 20) for n in (1, 2, 3)]
    plots.curves(rows, ACCURATE, tmp_path / 'curves.png', 'a run')
    drawn = colours(tmp_path / 'curves.png')
    there = {split: rgb(colour) in drawn for split, colour in plots.COLOURS.items()}
    assert there == {'train': True, 'validation': True, 'test': False}


def test_curves_draw_the_baseline_of_a_loss(tmp_path):
    rows = [row(n, SQUARED, train=0.5 / n) for n in (1, 2, 3)]
    plots.curves(rows, SQUARED, tmp_path / 'with.png', 'a run', 0.25)
    plots.curves(rows, SQUARED, tmp_path / 'without.png', 'a run')
    assert not same_picture(tmp_path / 'with.png', tmp_path / 'without.png')


def test_curves_leave_out_values_that_are_not_finite(tmp_path):
    rows = [row(n, train=0.1 * n, validation=0.2 * n) for n in (1, 2)]
    lost = [row(n, train=0.1 * n, validation=None) for n in (3,)]
    plots.curves(rows + lost, ACCURATE, tmp_path / 'curves.png', 'a run')
    assert rgb(plots.COLOURS['validation']) in colours(tmp_path / 'curves.png')


def test_runs_side_by_side_have_a_colour_for_each_group(tmp_path):
    groups = {name: [[row(n, train=0.3, validation=0.1 * n) for n in (1, 2)]] for name in 'ab'}
    tested = {'c': [[row(n, train=0.3, test=0.1 * n) for n in (1, 2)]]}
    plots.compare(groups | tested, ACCURATE, tmp_path / 'compare.png', 'three')
    assert cycle(0, 1, 2) <= colours(tmp_path / 'compare.png')


def test_gates_and_reach_draw_what_they_are_given(tmp_path):
    values = {'i': np.linspace(0, 1, 15).reshape(5, 3), "c'": np.tile([-1.0, 1.0], (5, 1))}
    plots.gates(values, tmp_path / 'gates.png', 'gates')
    around_0, from_0_to_1 = {(103, 0, 31), (5, 48, 97)}, {(68, 1, 84), (253, 231, 36)}
    assert around_0 | from_0_to_1 <= colours(tmp_path / 'gates.png')
    norms = {'a': {'h': np.full((9, 2), 0.5)}, 'b': {'h': np.zeros((9, 2))}}
    plots.reach(norms, tmp_path / 'reach.png', 'reach')
    assert cycle(0) <= colours(tmp_path / 'reach.png')


def panel(name='x', times=None, band=(0,)):
    """A sine of 60 rows and its predictions, as quantiles where the band has some."""
    known = np.sin(np.arange(60.0) / 4)

    def line(begin, values):
        return plots.Line(begin, values[:, None] + band if len(band) > 1 else values)

    return plots.Panel(
        name=name,
        known=known,
        ahead=line(1, 0.2 + known[1:]),
        forecasts=[line(begin, known[begin : begin + 5] - 0.5) for begin in (50, 55)],
        past=line(60, known[:5]),
        ends=(40, 50, 60),
        times=times,
    )


def test_a_forecast_draws_series_predictions_and_what_comes_after(tmp_path):
    path, banded = tmp_path / 'forecast.png', tmp_path / 'band.png'
    plots.forecast([panel()], path, 'a series', '5 rows ahead')
    plots.forecast([panel(band=(-0.3, 0, 0.3))], banded, 'a series', '5 rows ahead')
    plain, more = colours(path), colours(banded)
    assert cycle(0, 1) <= plain & more
    assert len(more) > len(plain)


@pytest.mark.parametrize('minutes', [4, 24 * 60])
def test_a_forecast_has_dates_where_there_are_some(minutes, tmp_path):
    times = np.datetime64('2020-01-01T00', 's') + np.arange(60) * np.timedelta64(minutes, 'm')
    plots.forecast([panel()], tmp_path / 'rows.png', 'a series', 'on')
    plots.forecast([panel(times=times)], tmp_path / 'dates.png', 'a series', 'on')
    assert not same_picture(tmp_path / 'rows.png', tmp_path / 'dates.png')


def sweep_pictures(metrics, path):
    """The colours of axes.png, curves.png and map.png of a sweep ranked by these metrics."""
    results, curves = trials(metrics)
    outcome = Outcome('best', metrics.selection)
    settings = by_setting(results, outcome)
    axes, lines, image = (path / f'{name}.png' for name in ('axes', 'curves', 'map'))
    plots.sweep_axes(settings, outcome, ['cell'], set(), axes, 'axes')
    metric, kinds = metrics.selection, (['cell'], set())
    plots.sweep_curves(results, curves, 'validation', metric, *kinds, lines, 'curves')
    plots.sweep_map(settings, outcome, ('lr', 'cell'), set(), image, 'map')
    return map(colours, (axes, lines, image))


@pytest.mark.parametrize('metrics', [ACCURATE, SQUARED])
def test_pictures_of_a_sweep_have_a_colour_for_each_static_configuration(tmp_path, metrics):
    axes, lines, image = sweep_pictures(metrics, tmp_path)
    assert cycle(0, 1) <= axes
    assert lines >= ENDS
    best = (253, 231, 37)  # light; of losses, a setting with a diverged seed has no colour
    assert image >= ({best} if metrics is SQUARED else ENDS)


def test_a_population_has_a_colour_for_each_value_and_a_line_to_the_best(tmp_path):
    results, _ = trials()
    every = {}
    for rung, stopped_at in ((1, 10), (2, None)):
        for n, lr in enumerate((0.1, 0.2)):
            ended = dataclasses.replace(results[n].summary, stopped_at=stopped_at)
            own = {'number': n, 'rung': rung, 'settings': {'lr': lr, 'seed': 0}, 'summary': ended}
            every[rung, n] = dataclasses.replace(results[n], **own)
    changed = {'copied_from': 1, 'settings': {'lr': 0.24, 'seed': 0}}
    every[2, 0] = dataclasses.replace(every[2, 0], **changed)
    path, outcome = tmp_path / 'population.png', Outcome('best', ACCURATE.selection)
    plots.sweep_population(every, ['lr'], outcome, set(), path, 'population')
    assert {*ENDS, (0, 0, 0)} <= colours(path)


def test_a_map_of_few_values_draws_dots(tmp_path):
    results, _ = trials()
    drawn = [Setting({'lr': 0.1**n, 'clip': 0.3 + n}, [results[n]]) for n in range(3)]
    outcome, path = Outcome('best', ACCURATE.selection), tmp_path / 'dots.png'
    plots.sweep_map(drawn, outcome, ('lr', 'clip'), {'clip'}, path, 'dots')
    assert colours(path) >= ENDS


@pytest.mark.parametrize('name', ['price_$_per_unit_$', '_\n日\x1b\ud800$\\frac$'])
def test_names_are_no_mathematics_and_hide_no_label(tmp_path, name, recwarn):
    path, metrics = tmp_path / 'picture.png', ACCURATE
    rows = [row(n, train=0.3, validation=0.1 * n) for n in (1, 2)]
    plots.curves(rows, metrics, path, name)
    plots.compare({name: [rows]}, metrics, path, name)
    plots.gates({name: np.ones((5, 3))}, path, name)
    plots.reach({name: {'h': np.full((9, 2), 0.5)}}, path, name)
    plots.forecast([panel(name)], path, name, name)
    settings = [Setting({'csv': name, 'cell': cell}, trials()[0][:1]) for cell in ('gru', 'lstm')]
    for setting in settings:
        setting.trials[0].settings.update(setting.settings)
    outcome = Outcome('best', metrics.selection)
    kinds = ['csv', 'cell'], set()
    plots.sweep_axes(settings, outcome, *kinds, path, name)
    found, split = [setting.trials[0] for setting in settings], 'validation'
    plots.sweep_curves(found, {0: rows}, split, metrics.selection, *kinds, path, name)
    plots.sweep_map(settings, outcome, ('csv', 'cell'), set(), path, name)
    assert [str(warning.message) for warning in recwarn] == []


def test_an_axis_of_drawn_values_has_dots_and_no_line(tmp_path):
    results, _ = trials()
    outcome = Outcome('best', ACCURATE.selection)
    path, other = tmp_path / 'few.png', tmp_path / 'many.png'
    for count, to in ((3, path), (30, other)):
        drawn = [Setting({'clip': 1.0 + n}, [results[n % 3]]) for n in range(count)]
        plots.sweep_axes(drawn, outcome, [], set(), to, 'axes')
    assert cycle(0) <= colours(path)
    assert not cycle(0) <= colours(other)  # dots are transparent
