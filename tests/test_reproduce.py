"""Recipes with published values: their heads, the verdicts, and the tables made from results."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.reproduce import RECIPES
from experiments.reproduction import tables
from experiments.reproduction.recipes import Published, read_recipe, read_recipes
from experiments.reproduction.results import RESULTS, read_results, values, verdict, verdict_of
from rnnlab.errors import InputError
from rnnlab.results.statistics import interval
from tests.conftest import ROOT, call, launch, refused

HEAD = """\
# Adding, a tiny LSTM.
# Command:   ./launch.sh memory --flagfile=tiny.flags
# Task:      adding
# Model:     LSTM 4
# Published: {published}
# Source:    a test, whose
#            line goes over two
# Minutes:   {minutes}
"""
FLAGS = '--length=4\n--validation=20\n--hidden_size=4\n--steps=4\n--devices=1\n'
number = st.floats(0, 1e6).map(lambda x: float(f'{x:.6g}'))


def written(folder, name='tiny', more='', published='test loss 0.1, tolerance 0.01', minutes=2):
    path = folder / f'{name}.flags'
    path.write_text(HEAD.format(published=published, minutes=minutes) + more + FLAGS)
    return path


def plain(value):
    """A number as a head may have it."""
    return f'{value:.6g}'.replace('+', '')


@given(
    st.sampled_from(['test accuracy', 'best validation loss', 'test MSE 96 ahead']),
    number, number, number, st.booleans(), st.lists(st.integers(0, 99), min_size=1),
)  # fmt: skip
def test_a_head_is_read_as_it_is_written(tmp_path_factory, metric, low, high, size, about, seeds):
    folder = tmp_path_factory.getbasetemp() / 'heads'
    folder.mkdir(exist_ok=True)
    low, high = sorted([low, high])
    shown = 'about ' * about + plain(low) + (f' to {plain(high)}' if high > low else '')
    more = f'# Seeds:     {", ".join(map(str, seeds))}\n# Needs:     --csv, a table\n'
    more += '# Differs:   why\n'
    recipe = read_recipe(
        written(folder, 'a_2', more, f'{metric} {shown}, tolerance {plain(size)}', plain(size))
    )
    assert recipe.published == Published(
        metric=metric, low=low, high=high, tolerance=size, words=shown
    )
    assert (recipe.name, recipe.experiment, recipe.task, recipe.model, recipe.minutes) == (
        'a_2', 'memory', 'adding', 'LSTM 4', size,
    )  # fmt: skip
    assert (recipe.source, recipe.seeds) == ('a test, whose line goes over two', tuple(seeds))
    assert (recipe.needs, recipe.differs) == ({'csv': 'a table'}, 'why')


@pytest.mark.parametrize(
    ('change', 'line', 'words'),
    [
        (('test loss 0.1, tolerance 0.01', 'test loss 0.1'), 5, 'tolerance'),
        (('test loss 0.1', 'test loss low'), 5, 'Published'),
        (('Minutes:   2', 'Minutes:   soon'), 8, "'soon'"),
        (('# Model: ', '# Modell:'), 4, 'unknown entry'),
        (('# Model:     LSTM 4\n', ''), 7, 'no Model'),
        (('# Model: ', '# Task:  '), 4, 'twice'),
        (('./launch.sh memory', 'memory'), 2, 'Command'),
    ],
)
def test_a_bad_head_is_named_with_its_line(tmp_path, change, line, words):
    path = written(tmp_path)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(InputError) as error:
        read_recipes(tmp_path)
    assert str(error.value).startswith(f'{path}, line {line}: ')
    assert words in str(error.value)


def test_recipes_are_sorted_by_their_numbers(tmp_path):
    for name in ('b', 'a_100', 'a_64', 'a_64_c'):
        written(tmp_path, name)
    assert [*read_recipes(tmp_path)] == ['a_64', 'a_64_c', 'a_100', 'b']


signed = st.floats(-10, 10)


@given(signed, signed, signed, st.floats(0, 3), st.none() | st.floats(0, 3), st.floats(0, 5))
def test_a_verdict_is_one_of_three_and_mirrors(mean, a, b, tolerance, half, shift):
    low, high = sorted([a, b])

    def told(mean, low, high, metric='test accuracy', differs=''):
        of_mean = None if half is None else (mean - half, mean + half)
        where = Published(metric=metric, low=low, high=high, tolerance=tolerance, words='')
        return verdict(mean, of_mean, where, differs)

    near = max(half or 0.0, tolerance)
    distance = max(low - mean, mean - high)
    found = told(mean, low, high)
    if distance < near - 1e-9:
        assert found == 'reproduced'
    elif distance > near + 1e-9:
        assert found == ('better' if mean > high else 'short')
    assert told(-mean, -high, -low, 'test loss') == found
    order = 'short', 'reproduced', 'better'
    assert order.index(told(mean + shift, low, high)) >= order.index(found)
    assert told(mean, low, high, differs='why') == 'not comparable'


@given(st.floats(1e-6, 1e5), st.integers(3, 5))
def test_numbers_are_shown_to_so_many_digits(value, digits):
    error = abs(float(tables.shown(value, digits=digits)) - value)
    assert error <= (0.05 if value < 0.01 else max(10.0 ** (1 - digits), 0.5 / value)) * value
    assert tables.shown(0.0096, 0.9594) == '0.0096'
    assert tables.shown(0.0110, 1.477) == '0.011'


def test_the_pages_tables_are_those_of_the_results():
    recipes, results = read_recipes(RECIPES), read_results(RECIPES)
    marks = []
    for page in (RECIPES / 'README.md', ROOT / 'README.md'):
        text = page.read_text()
        marks += [match[1] for match in tables.MARK.finditer(text)]
        assert tables.updated(text, recipes, results) == text, page
    assert sorted(marks) == sorted(tables.TABLES)


def test_the_results_are_of_the_recipes():
    recipes, results = read_recipes(RECIPES), read_results(RECIPES)
    for name, result in results.items():
        recipe = recipes[name]
        assert (result['recipe'], result['seeds']) == (name, [*recipe.seeds])
        if recipe.published:
            assert recipe.published.metric in result['metrics']
        for found in result['metrics'].values():
            if found['values'] is None:
                assert found['interval'] is None
                continue
            made = values(found['values'])
            assert len(found['values']) == len(recipe.seeds)
            rounded = 1e-9 if result['commit'] else 1e-3 * made['mean']  # those copied from a page
            assert found['mean'] == pytest.approx(made['mean'], abs=rounded)
            assert found['sd'] == pytest.approx(made['sd'], abs=rounded)
            assert found['interval'] == pytest.approx(interval(found['values']), abs=1e-4)


@pytest.mark.slow
def test_a_recipe_is_trained_as_its_command_does_resumed_and_recorded(tmp_path):
    folder, runs = tmp_path / 'mine', tmp_path / 'runs' / 'reproduce' / 'tiny'
    folder.mkdir()
    recipe = written(folder)
    page = '# Mine\n\n<!-- results: published -->\n| old |\n\nmore\n'
    (folder / 'README.md').write_text(page)
    # As if a run of it was interrupted: the command's own run of a seed is taken up.
    call('memory', f'--flagfile={recipe}', '--seed=1', f'--out={runs}/seed-1', cwd=tmp_path)
    config, summary = (runs / 'seed-1' / name for name in ('config.json', 'summary.json'))
    settings, alone = json.loads(config.read_text()), json.loads(summary.read_text())
    summary.unlink()

    code, out, err = call('reproduce', 'tiny', f'--recipes={folder}', '--record', cwd=tmp_path)
    assert (code, err, out.count('resumes at step 4')) == (0, '', 1)
    text = (folder / RESULTS / 'tiny.json').read_text()
    assert text == (runs / 'result.json').read_text()
    result = json.loads(text)
    found = result['metrics']['test loss']
    assert found['values'][1] == alone['test_loss']
    assert len({*found['values']}) == 3
    assert found['interval'] == [*interval(found['values'])]
    for seed in (0, 1, 2):
        own = json.loads((runs / f'seed-{seed}' / 'config.json').read_text())
        assert own == settings | {'seed': seed}

    recipes = read_recipes(folder)
    told = verdict_of(recipes['tiny'], result)
    new = (folder / 'README.md').read_text()
    assert f'verdict: {told}\n' in out
    assert new == tables.updated(page, recipes, {'tiny': result})
    assert (f'| {told} |' in new, '| old |' in new, new.endswith('|\n\nmore\n')) == (1, 0, 1)


def test_the_list_has_every_published_value(tmp_path):
    code, out, err = call('reproduce', cwd=tmp_path)
    recipes = read_recipes(RECIPES)
    assert (code, err) == (0, '')
    for name, recipe in recipes.items():
        assert (recipe.published is not None) == (f' {name} ' in out)
    assert not [*tmp_path.iterdir()]


def test_the_budget_takes_what_fits_most_valuable_first(tmp_path, monkeypatch):
    folder = tmp_path / 'mine'
    folder.mkdir()
    taken = []

    def made(recipe, config):
        taken.append(recipe.name)
        return {'metrics': {'test loss': values([0.4, 0.5, 0.6])}}

    monkeypatch.setattr('experiments.reproduce.reproduce', made)
    written(folder, 'long', minutes=50)
    written(folder, 'known', minutes=1)
    written(folder, 'short', minutes=3)
    written(folder, 'differs', '# Differs:   why\n', minutes=2)
    written(folder, 'needs', '# Needs:     --csv, a table\n', minutes=1)
    record = json.loads((RECIPES / RESULTS / 'mnist_lstm100.json').read_text())
    record['metrics'] = {'test loss': record['metrics']['test accuracy']}
    (folder / RESULTS).mkdir()
    (folder / RESULTS / 'known.json').write_text(json.dumps(record | {'recipe': 'known'}))
    for budget, expected in ((5, 'short differs'), (6, 'short differs known'), (2.5, 'differs')):
        taken.clear()
        call('reproduce', f'--recipes={folder}', f'--budget={budget}', cwd=tmp_path)
        assert taken == expected.split()


def test_what_cannot_be_reproduced_is_one_line(tmp_path):
    cases = [
        (['mnist_lstm46'], ["no recipe 'mnist_lstm46'", 'mnist_lstm64']),
        (['imdb_mean'], ['imdb_mean has no published value', '--flagfile=']),
        (['--budget=0.1', '--data_dir=x'], ['--budget=0.1 is too short', 'mnist_lstm64', '0.5']),
        (['--budget=0'], ['--budget=0 must be a number above zero']),
        (['text_lstm256'], ['text_lstm256 needs --text=FILE, tiny Shakespeare']),
        (['mnist_lstm64', '--data_dir=nowhere'], ['mnist/3.0.1 is not in nowhere']),
        (['--record'], ['--record goes with names']),
        (['--recipes=nowhere'], ['no recipes', 'nowhere']),
        (['mnist_lstm64', '--recipes=/dev/null'], ['no recipes']),
    ]
    refused('reproduce', cases, tmp_path)


def test_damaged_results_are_one_line(tmp_path):
    (tmp_path / RESULTS).mkdir()
    written(tmp_path)
    (tmp_path / RESULTS / 'tiny.json').write_text('{"recipe": "tiny"}')
    code, _, err = call('reproduce', f'--recipes={tmp_path}', cwd=tmp_path)
    assert (code, err.count('\n'), 'tiny.json cannot be read' in err) == (1, 1, True)


@pytest.mark.slow
def test_the_recipes_are_listed_by_the_process_itself():
    result = launch('reproduce')
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in ('mnist_lstm64', 'verdict'))
