"""What explain and compare print and draw, as whole processes, and the pictures themselves."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread

from experiments.runner import console as display
from rnnlab.analysis.statistics import interval
from rnnlab.cells import CELLS
from rnnlab.recurrence import engines
from rnnlab.results import plots, runs, trials
from tests.conftest import forked, launch

pytestmark = pytest.mark.usefixtures('shell')


def colours(path):
    return {
        tuple(colour) for colour in (imread(path)[..., :3] * 255).round().astype(int).reshape(-1, 3)
    }


def rgb(colour):
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def explained(name):
    """What stands in the column of values for a step of the cell."""
    cell = CELLS[name](4)
    params = cell.init(jax.random.key(0), 3)
    carry, y = cell.step(params, cell.carry(params, ()), jnp.ones(3))
    values = [gate for gate in cell.gates if gate not in carry._fields]
    for field, leaf in carry._asdict().items():
        values += [f"Re {field}'", f"Im {field}'"] if jnp.iscomplexobj(leaf) else [f"{field}'"]
    return values + ['y'] * (not np.array_equal(y, carry.h))


@pytest.mark.slow
def test_explain_computes_every_cell_twice_and_agrees(tmp_path):
    for name, (code, out, err) in zip(
        CELLS,
        forked('explain', [[f'--cell={name}', '--time_steps=4'] for name in CELLS], tmp_path),
        strict=True,
    ):
        assert code == 0, err
        assert (
            float(re.search(r'greatest difference, 1 x 4 steps, all units: (\S+)', out)[1]) < 2e-6
        )
        params = jax.eval_shape(
            lambda key, name=name: CELLS[name](4).init(key, 3), jax.random.key(0)
        )
        assert f'total {sum(leaf.size for leaf in params.values())}' in ' '.join(out.split())
        for parameter, leaf in params.items():
            assert re.search(rf'parameter {parameter} +{re.escape(str([*leaf.shape]))}', out)
        assert re.search(r'^  y = .*\[1, \w+(, 4)?\]', out, re.MULTILINE)
        assert f'Engine: {engines(CELLS[name](4))[0]}' in out
        assert (
            re.findall(r'^ +(?:\d+ +)?((?:Re |Im )?\S+) +[+-]\d\.\d{4} +[+-]', out, re.MULTILINE)
            == explained(name) * 4
        )


def test_explain_draws(tmp_path):
    ((code, _, err),) = forked('explain', [['--cell=lstm', '--time_steps=4', '--plot']], tmp_path)
    assert code == 0, err
    assert {path.name for path in tmp_path.iterdir()} == {'gates_lstm.png', 'gradient_reach.png'}


def test_explain_walks_through_the_classic_shapes():
    result = launch(
        'explain',
        '--cell=lstm',
        '--batch_size=64',
        '--time_steps=20',
        '--inputs=200',
        '--hidden_size=128',
    )
    text = ' '.join(result.stdout.split())
    for words in (
        '[64, 200+128] [200+128, 4 x 128] + [4 x 128] -> [64, 4 x 128]',
        'inputs, a sequence a row [64, 20, 200] B, T, D',
        'parameter kernel [328, 512] D+H, 4H',
        'all gates of one step, before activation [64, 512]',
        'outputs, a sequence a row [64, 20, 128]',
        'kernel[200:328, 128:256] [128, 128] 16,384',
        'total 168,448',
    ):
        assert words in text


def write_run(folder, seed, cell, best, unfinished=False):
    runs.write_json(
        folder / runs.CONFIG, {'experiment': 'imdb', 'cell': cell, 'hidden_size': 32, 'seed': seed}
    )
    for epoch, accuracy in enumerate((0.6, best, best - 0.1), 1):
        figures = {
            f'{part}_{metric}': accuracy
            for part in ('train', 'validation')
            for metric in ('loss', 'accuracy')
        }
        runs.append_row(
            folder,
            {'step': 10 * epoch, 'epoch': float(epoch), 'seconds': 5.0 + 2.5 * epoch} | figures,
        )
    if not unfinished:
        runs.write_json(folder / runs.SUMMARY, {'test_accuracy': best - 0.01, 'parameters': 1234})


def test_compare_lays_runs_side_by_side(tmp_path):
    cells = [
        ('gru', 0.87),
        ('gru', 0.82),
        ('gru', 0.8),
        ('lstm', 0.88),
        ('lstm', 0.86),
        ('lstm', 0.87),
    ]
    for number, (cell, best) in enumerate(cells):
        write_run(tmp_path / str(number), number % 3, cell, best, unfinished=number == 0)
    result = launch(
        'compare', *(tmp_path / str(number) for number in range(6)), f'--out={tmp_path}'
    )
    assert result.returncode == 0, result.stderr
    lines = [' '.join(line.split()) for line in result.stdout.splitlines()]
    assert 'run cell seed validation: best last test parameters seconds an epoch' in lines
    assert f'{tmp_path}/0 gru 0 0.8700 0.7700 - - 2.5' in lines
    assert f'{tmp_path}/3 lstm 0 0.8800 0.7800 0.8700 1,234 2.5' in lines
    assert 'cell=gru 2 0.8100 ± 0.0141 0.7100 ± 0.0141 0.8000 ± 0.0141 1,234 2.5' in lines
    low, high = interval([0.87, 0.85, 0.86])
    at = lines.index(f'cell=lstm 3 0.8600 ± 0.0100 {low:.4f} to {high:.4f}')  # the best test first
    assert lines[at + 1] == 'cell=gru 2 0.8000 ± 0.0141 - -0.0550 - too few seeds to tell'
    assert {rgb(plots.CYCLE[0]), rgb(plots.CYCLE[1])} <= colours(tmp_path / 'compare.png')


def noise_lines(*figures, field='test_accuracy'):
    """What is said of settings a, b, ... with these figures by seed, without the spaces between columns."""
    groups = [([name], own) for name, own in zip('abcd', figures, strict=False)]
    lines = [
        ' '.join(line.split()) for line in display.noise(['settings'], groups, field).splitlines()
    ]
    assert (
        lines[0]
        == f'{field.replace("_", " ")}: 95 % intervals, and each setting minus the best, paired by seed'
    )
    return lines[4:]


def test_differences_within_the_noise_are_called_so():
    best = {0: 0.88, 1: 0.9, 2: 1.0, 3: 0.98}
    lines = noise_lines(
        best,
        {**best, 0: 0.89, 1: 0.87},
        {seed: value - 0.1 for seed, value in best.items()},
        {0: 0.8, 3: 0.7},
    )
    low, high = interval([*best.values()])
    assert high > 1
    assert lines[0] == f'a 4 0.9400 ± 0.0589 {low:.4f} to 1.0000'  # no accuracy is above 1
    assert re.fullmatch(
        r'b 4 0\.9350 ± 0\.0645 0\.\d+ to 1\.0000 -0\.0050 -0\.\d+ to \+0\.\d+ within the noise',
        lines[1],
    )
    assert lines[2].endswith('-0.1000 -0.1000 to -0.1000 worse')
    assert lines[3] == 'd 2 0.7500 ± 0.0707 - -0.1800 - too few seeds to tell'


def test_of_losses_less_is_better_and_those_that_diverged_have_no_part():
    lines = noise_lines(
        {},
        {0: 2e-4, 1: 3e-4, 2: 2.5e-4},
        {0: 0.1, 1: 0.11, 2: 0.12},
        {0: 1e-4, 1: 2e-4, 2: 1.5e-4},
        field='best_validation_loss',
    )
    assert lines[0] == 'a 0 - -'
    assert re.fullmatch(r'b 3 2\.5e-04 ± 5\.0e-05 \S+ to \S+', lines[1])
    assert lines[2].endswith('worse')
    assert lines[3].endswith('-1.0e-04 -1.0e-04 to -1.0e-04 better')


def test_one_seed_has_no_interval():
    assert display.noise(['lr'], [(['0.1'], {0: 0.5}), (['0.2'], {0: 0.4})], 'test_accuracy') == ''


@pytest.mark.parametrize(
    ('folders', 'words'),
    [
        ([], 'takes the folders of runs'),
        (['nowhere'], 'there is no config.json in nowhere'),
        (['broken'], 'config.json cannot be read'),
    ],
)
def test_compare_says_what_is_no_run(tmp_path, folders, words):
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'config.json').write_text('{')
    result = launch('compare', *folders, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr.count('\n')) == (1, '', 1)
    assert words in result.stderr


def test_curves_draw_a_line_for_each_part(tmp_path):
    figures = 'train_loss', 'train_accuracy', 'validation_loss', 'validation_accuracy'
    rows = [
        {'step': step} | {name: (at + step) / 10 for at, name in enumerate(figures)}
        for step in (1, 2, 3)
    ]
    plots.curves(rows, tmp_path / 'curves.png', 'a run')
    for part, drawn in (('train', True), ('validation', True), ('test', False)):
        assert (rgb(plots.COLOURS[part]) in colours(tmp_path / 'curves.png')) == drawn


def test_gates_and_reach_draw_what_they_are_given(tmp_path):
    plots.gates({'i': np.ones((5, 3)), 'c': -np.ones((5, 3))}, tmp_path / 'gates.png', 'gates')
    assert {(103, 0, 31), (5, 48, 97)} <= colours(tmp_path / 'gates.png')  # the ends of the scale
    plots.reach(
        {'a': {'h': np.full((9, 2), 0.5)}, 'b': {'h': np.zeros((9, 2))}},
        tmp_path / 'reach.png',
        'reach',
    )
    assert rgb(plots.CYCLE[0]) in colours(tmp_path / 'reach.png')


def sweep_results():
    """Trials of two cells, three learning rates and two seeds, of which one diverged, with two rows each."""
    results, rows = [], []
    for number, (cell, lr, seed) in enumerate(
        itertools.product(('gru', 'lstm'), (0.001, 0.01, 0.1), (0, 1))
    ):
        accuracy = 0.5 + 0.04 * number
        diverged = number == 3
        settings = {'cell': cell, 'lr': lr, 'seed': seed}
        figures = {
            'best_validation_accuracy': None if diverged else accuracy,
            'test_accuracy': None if diverged else accuracy - 0.1,
        }
        results.append(
            {
                'trial': number,
                'settings': settings,
                'status': 'diverged' if diverged else 'finished',
            }
            | figures
        )
        rows += [
            {'trial': number, 'epoch': float(n), 'validation_accuracy': accuracy / n}
            for n in (2, 1)
        ]
    return results, rows


def test_pictures_of_a_sweep_have_a_colour_for_each_structure(tmp_path):
    results, rows = sweep_results()
    settings = trials.by_setting(results, 'best_validation_accuracy')
    paths = [tmp_path / name for name in ('axes.png', 'curves.png', 'map.png', 'dots.png')]
    plots.sweep_axes(settings, 'best_validation_accuracy', ['cell'], set(), paths[0], 'axes')
    plots.sweep_curves(results, rows, 'validation_accuracy', ['cell'], set(), paths[1], 'curves')
    plots.sweep_map(settings, 'best_validation_accuracy', ('lr', 'cell'), set(), paths[2], 'map')
    drawn = [trials.Setting({'lr': 0.1**n, 'clip': 0.3 + n}, [results[n]]) for n in range(3)]
    plots.sweep_map(drawn, 'best_validation_accuracy', ('lr', 'clip'), {'clip'}, paths[3], 'dots')
    assert {rgb(plots.CYCLE[0]), rgb(plots.CYCLE[1])} <= colours(paths[0])
    ends = {(68, 1, 84), (253, 231, 37)}  # of the scale of shades
    assert all(ends <= colours(path) for path in paths[1:])


def test_pictures_of_a_sweep_by_its_loss(tmp_path):
    results, rows = sweep_results()
    for trial in results:
        trial['best_validation_loss'] = trial.pop('best_validation_accuracy')
    rows = [
        {
            'validation_loss' if name == 'validation_accuracy' else name: value
            for name, value in row.items()
        }
        for row in rows
    ]
    settings = trials.by_setting(results, 'best_validation_loss')
    plots.sweep_axes(
        settings, 'best_validation_loss', ['cell'], set(), tmp_path / 'axes.png', 'axes'
    )
    plots.sweep_curves(
        results, rows, 'validation_loss', ['cell'], set(), tmp_path / 'curves.png', 'curves'
    )
    plots.sweep_map(
        settings, 'best_validation_loss', ('lr', 'cell'), set(), tmp_path / 'map.png', 'map'
    )
    assert rgb(plots.CYCLE[0]) in colours(tmp_path / 'axes.png')
    assert (253, 231, 37) in colours(tmp_path / 'map.png')


def test_a_forecast_draws_series_predictions_and_what_comes_after(tmp_path):
    known = np.sin(np.arange(60.0) / 4)[:, None]
    ends = (40, 50, 60)
    plots.forecast(
        ('x',),
        known,
        0.5 + known[1:],
        known[50:55] - 0.5,
        known[:5],
        ends,
        tmp_path / 'forecast.png',
        'a series',
    )
    assert {rgb(plots.CYCLE[at]) for at in (0, 1, -1)} <= colours(tmp_path / 'forecast.png')


def test_curves_draw_the_baseline_and_the_mean_absolute_error(tmp_path):
    rows = [{'step': step, 'train_loss': 0.5 / step, 'train_mae': 0.7 / step} for step in (1, 2, 3)]
    plots.curves(rows, tmp_path / 'with.png', 'a run', 0.25)
    plots.curves(rows, tmp_path / 'without.png', 'a run')
    assert (imread(tmp_path / 'with.png') != imread(tmp_path / 'without.png')).any()
