"""Pages: what they hold, that they load nothing, and how a browser shows them."""

import csv
import json
import re
import shutil
import sys
import tomllib
from dataclasses import replace
from fnmatch import fnmatch
from html.parser import HTMLParser
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import compare
from experiments.runner import page as sweep_pages
from experiments.runner import report
from rnnlab.results import page, runs
from rnnlab.results import trials as folders
from rnnlab.results.page import curves, text
from rnnlab.results.records import Outcome, Trial
from rnnlab.results.trials import SweepRecord
from tests.conftest import ROOT, refused
from tests.records import ACCURATE, SQUARED, row, summary, trials
from tests.test_compare import write_run

HOSTILE = '</script><img src=x onerror=alert(1)>"\'&<b>%{x}$y$'
ENVIRONMENT = {
    'command': './launch.sh mnist --sweep=seed=0,1',
    'versions': {'jax': '0.10.2'},
    'machine': {'cores': 2},
}


class Parsed(HTMLParser):
    """The elements of a page, its rows of trials, its styles, and its data."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.rows, self.styles, self.data, self.text = [], [], [], '', ''
        self.feed(re.sub('<script>.*?</script>', '<script></script>', path.read_text(), flags=re.S))
        self.data = json.loads(self.data)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == 'tr':
            self.rows.append((dict(attributes).get('data-item'), []))
        if tag in ('td', 'th') and self.rows:
            self.rows[-1][1].append('')

    def handle_data(self, data):
        tag, attributes = self.elements[-1] if self.elements else ('', {})
        if tag == 'style':
            self.styles.append(data)
        elif attributes.get('id') == 'data':
            self.data += data
        elif tag != 'script':
            self.text += data
            if self.rows and self.rows[-1][1] and tag in ('td', 'th', 'button'):
                self.rows[-1][1][-1] += data

    @property
    def items(self):
        """The cells of the row of each trial or run."""
        return {key: [cell.strip() for cell in cells] for key, cells in self.rows if key}


def write_sweep(folder, metrics=ACCURATE, results=None, every=None, sweep=None, title='digits'):
    own, rows = trials(metrics)
    results = results or own
    every = every or {trial.number: rows[trial.number] for trial in results}
    names = list(results[0].settings)
    record = SweepRecord(
        metrics=metrics,
        ranked_by=Outcome('best', metrics.selection),
        sweep=sweep or ['cell=gru,lstm', 'lr=log(1e-3,1e-1,3)', 'seed=0,1'],
        names=names,
        static=names[:1],
        trials=len(results) + 1,
        title=title,
    )
    runs.write_json(folder / folders.SWEEP, record.to_json() | {'epochs': 10, 'optimizer': 'adam'})
    runs.write_json(folder / runs.ENVIRONMENT, ENVIRONMENT)
    folders.write_wave(folder, results, every, metrics)


def write_hostile_sweep(folder):
    results = [
        replace(t, settings={HOSTILE: HOSTILE + t.settings['cell'], 'lr': t.settings['lr']})
        for t in trials()[0][::2]
    ]
    write_sweep(folder, results=results, title=HOSTILE, sweep=[f'{HOSTILE}=a,b', 'lr=1e-3,1e-2'])


def page_of(folder):
    return Parsed(sweep_pages.sweep_page(report.read(folder)))


@pytest.fixture(autouse=True)
def needs_plotly():
    pytest.importorskip('plotly')


@pytest.mark.parametrize('metrics', [ACCURATE, SQUARED])
def test_a_page_holds_every_trial_as_the_table_does(tmp_path, metrics):
    write_sweep(tmp_path, metrics)
    made = page_of(tmp_path)
    with (tmp_path / folders.TRIALS).open() as file:
        columns, *rows = csv.reader(file)
    assert made.data['columns'] == columns
    assert {key: item[1] for key, item in made.data['items'].items()} == {
        line[0]: line for line in rows
    }
    results, every = trials(metrics)
    for trial in results:
        cells = made.items[str(trial.number)]
        assert cells[:4] == [str(v) for v in (trial.number, *trial.settings.values())]
        x, ys = made.data['items'][str(trial.number)][2:]
        assert x == [1, 2]
        at = [line[:2] for line in made.data['lines']].index([metrics.selection.name, 'validation'])
        values = [r.value('validation', metrics.selection) for r in every[trial.number]]
        assert ys[at] == pytest.approx(values[::-1], rel=1e-4)
    assert made.items['3'][-2:] == ['diverged', 'not finite after step 20']
    assert ['not finished', '1'] in [cells[:2] for _, cells in made.rows]
    for words in (ENVIRONMENT['command'], 'jax', '0.10.2', 'cores', 'optimizer', 'adam'):
        assert words in made.text


def test_a_stopped_trial_says_where(tmp_path):
    first = [replace(trial, rung=1) for trial in trials()[0]]
    first[0] = replace(first[0], summary=summary(0.5, 0.4, stopped_at=10))
    write_sweep(tmp_path, results=first)
    second = [replace(trial, rung=2) for trial in first[1:]]
    second[1] = replace(second[1], status='chance')
    every = {trial.number: trials()[1][trial.number] for trial in second}
    folders.write_wave(tmp_path, second, every, ACCURATE)
    made = page_of(tmp_path)
    where = 'stopped at step 10 of 20, at the end of rung 1'
    assert made.items['0'][-2:] == ['stopped', where]
    assert made.items['2'][-2:] == ['chance', 'no better than the most frequent label']


def test_a_failed_trial_ranks_last_whatever_it_reached(tmp_path):
    best = trials()[0][-1].number
    results = [
        replace(t, status='failed', error='killed') if t.number == best else t for t in trials()[0]
    ]
    write_sweep(tmp_path, results=results)
    made = page_of(tmp_path)
    assert made.items[str(best)][-2:] == ['failed', 'killed']
    assert {*[*made.items][-2:]} == {'3', str(best)}  # 3 diverged
    assert report.read(tmp_path).best[0].settings == {'cell': 'lstm', 'lr': 0.01}


def test_a_sweep_whose_trials_all_diverged_has_a_page(tmp_path):
    write_sweep(tmp_path, results=[replace(trials()[0][3], number=n) for n in (2, 3)])
    made = page_of(tmp_path)
    assert [cells[-2] for cells in made.items.values()] == ['diverged', 'diverged']


def harmless(made, scripts):
    """A page that loads nothing, and runs nothing but its own scripts."""
    tags = [tag for tag, _ in made.elements]
    assert tags.count('script') == scripts
    assert not {*tags} & {'img', 'link', 'iframe', 'object', 'b', 'base'}
    for _, attributes in made.elements:
        assert not [name for name in attributes if name.startswith('on') or name == 'src']
        assert attributes.get('href', '#').startswith('#')
    assert not re.search(r'url\(|@import', ''.join(made.styles))
    policies = [a['content'] for tag, a in made.elements if 'http-equiv' in a]
    assert [re.match("default-src 'none'; ", policy) for policy in policies] != [None]
    assert not any('unsafe-inline' in part for part in policies[0].split(';') if 'script' in part)


def test_hostile_names_are_text(tmp_path):
    write_hostile_sweep(tmp_path)
    made = page_of(tmp_path)
    harmless(made, 3)
    assert made.data['items']['0'][1][1] == HOSTILE + 'gru'
    assert made.items['0'][1] == HOSTILE + 'gru'
    labels = json.dumps(made.data['figures'])  # Plotly reads some HTML in them
    assert '<' not in labels
    assert '&lt;/script&gt;' in labels


def test_a_comparison_holds_every_run(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f'a{seed}', seed, 'gru', 0.8)
        write_run(tmp_path / f'b{seed}', seed, HOSTILE, 0.7, finished=seed > 0)
    faded = row(4, train=0.8, validation=0.8)
    faded = replace(faded, gradients={'layer_1.h': [1e-9, None, 1e-3]})
    runs.append_row(tmp_path / 'a0', faded)
    (tmp_path / 'a0' / runs.SUMMARY).unlink()
    names = [str(tmp_path / name) for name in ('a0', 'a1', 'a2', 'b0', 'b1', 'b2')]
    compare.main(compare.Config(out=str(tmp_path), html=True), names)
    made = Parsed(tmp_path / sweep_pages.PAGE)
    harmless(made, 3)
    assert [*made.items] == names
    columns = made.data['columns']
    for name in names:
        own = dict(zip(columns, made.data['items'][name][1], strict=True))
        config = json.loads((tmp_path / name / runs.CONFIG).read_text())
        assert (own['cell'], own['seed']) == (config['cell'], str(config['seed']))
    assert own['test_accuracy'] == str(summary(0.7, 0.69).test['accuracy'])
    (line,) = [f['data'][-1] for f in made.data['figures'] if 'time step' in json.dumps(f)]
    assert line['y'] == [1e-9, None, 1e-3]


@given(st.lists(st.integers(), min_size=1, max_size=60), st.integers(2, 20))
def test_thinned_values_keep_order_and_ends(values, most):
    places = curves.thinned(range(len(values)), most)
    assert places == sorted({*places})
    assert (places[0], places[-1]) == (0, len(values) - 1)
    assert len(places) == min(len(values), most)


def test_a_band_is_of_all_seeds():
    values = {'0': [0.1, 0.4], '1': [0.2, 0.3], '2': [0.6, 0.35]}
    own = {
        key: [row(epoch, validation=v, train=0) for epoch, v in enumerate(line)]
        for key, line in values.items()
    }
    curve = curves.curve_of(curves.Line('lr=1', own), 'validation', ACCURATE.selection)
    each = enumerate(zip(*values.values(), strict=True))
    assert curve == [(x, fmean(seeds), min(seeds), max(seeds)) for x, seeds in each]


def test_the_table_of_curves_has_the_thin_lines_too():
    lines = [
        curves.Line(f'lr={n}', {str(n): [row(1, train=0, validation=n / 10)]}) for n in range(4)
    ]
    own = lines[:2], lines[2:], 'validation', ACCURATE.selection, curves.shades(2)
    table = curves.curves('', *own).table
    cells = re.findall('<th scope="row">(.*?)</th><td class="right">(.*?)</td>', table)
    assert cells == [(f'lr={n}', f'{n / 10:.4f}') for n in range(4)]


def test_words_are_coloured_by_their_strength(tmp_path):
    made = text.coloured(['<good>', 'bad', 'the'], [2.0, -0.5, 0.0], 1.0)
    spans = re.findall(r'class="(\w+)" style="background:rgb\((.*?) / (.*?)\)".*?>(.*?)<', made)
    assert spans == [
        ('up', '178 24 43', '0.60', '&lt;good&gt;'),
        ('down', '33 102 172', '0.30', 'bad'),
        ('weak', '33 102 172', '0.00', 'the'),
    ]
    page.write(tmp_path / 'words.html', HOSTILE, '', [page.Section('Words', [made])])
    parsed = Parsed(tmp_path / 'words.html')
    harmless(parsed, 1)
    assert '<good>' in parsed.text
    assert (tmp_path / 'words.html').stat().st_size < 20_000


def test_the_package_has_the_files_of_pages():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    patterns = project['tool']['setuptools']['package-data']['rnnlab']
    for path in (ROOT / 'rnnlab').rglob('*.*'):
        if path.suffix in ('.html', '.css', '.js'):
            name = path.relative_to(ROOT / 'rnnlab').as_posix()
            assert any(fnmatch(name, pattern) for pattern in patterns), name


def test_what_has_no_page_is_one_line(tmp_path, monkeypatch):
    cases = [(['--html'], ['report takes --out']), (['--html', '--out=x'], ['there is no sweep'])]
    (tmp_path / 'empty').mkdir()
    refused('report', cases, tmp_path / 'empty')
    refused('compare', [(['--html', 'x'], ['no config.json in x'])], tmp_path / 'empty')
    write_sweep(tmp_path)
    folders.wave_path(tmp_path, 0).unlink()
    nothing = [(['--html', f'--out={tmp_path}'], ['no finished trial yet'])]
    refused('report', nothing, tmp_path / 'empty')
    monkeypatch.setitem(sys.modules, 'plotly.graph_objects', None)
    missing = ['a page needs Plotly: pip install plotly']
    refused('report', [(['--html', f'--out={tmp_path}'], missing)], tmp_path / 'empty')
    write_run(tmp_path / 'run', 0, 'gru', 0.8)
    refused('compare', [(['--html', f'{tmp_path}/run'], missing)], tmp_path / 'empty')


def large_sweep(folder, number=1000):
    """Trials of two cells and of learning rates and clips drawn at random, three seeds each."""
    results, every = [], {}
    for at in range(number):
        draw = at // 6
        settings = {
            'cell': ('gru', 'lstm')[at // 3 % 2],
            'lr': 1e-4 * 1000 ** ((draw * 0.6180339) % 1),
            'clip': 0.1 + 4.9 * ((draw * 0.7548777) % 1),
            'seed': at % 3,
        }
        best = 0.3 + 0.6 * ((draw * 0.3819660) % 1) + 0.01 * (at % 6)
        every[at] = [
            row(epoch, train=best * (1 - 0.8**epoch), validation=best * (1 - 0.7**epoch))
            for epoch in range(1, 21)
        ]
        result = summary(best, best - 0.01)
        results.append(Trial(number=at, settings=settings, status='finished', summary=result))
    drawn = ['lr~log(1e-4,1e-1)', 'clip~lin(0.1,5)']
    axes = ['cell=gru,lstm', *drawn, 'seed=0..2']
    write_sweep(folder, results=results, every=every, sweep=axes)


@pytest.fixture(scope='module')
def browser():
    """A headless Chromium; without one, or without its driver, these tests are skipped."""
    driver = pytest.importorskip('playwright.sync_api')
    names = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip('no Chromium is installed')
    flags = ['--enable-unsafe-swiftshader']  # WebGL where there is no graphics card
    with driver.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=flags)
        yield opened
        opened.close()


def opened(browser, path):
    """(the page, the errors that it will have): without a network."""
    context = browser.new_context(offline=True, viewport={'width': 1400, 'height': 900})
    view, wrong = context.new_page(), []
    view.on('console', lambda said: wrong.append(said.text) if said.type == 'error' else None)
    view.on('pageerror', lambda error: wrong.append(str(error)))
    far = re.compile('(?!file:|data:|blob:)')
    view.on('request', lambda asked: wrong.append(asked.url) if far.match(asked.url) else None)
    view.goto(path.as_uri())
    view.wait_for_selector('.plot .main-svg')
    return view, wrong


def cells(view, table):
    script = 'rows => rows.map(row => [...row.children].map(cell => cell.textContent))'
    return view.eval_on_selector_all(f'{table} tr', script)


def chosen(view):
    return view.inner_text('#chosen'), dict(cells(view, '#values'))


@pytest.mark.slow
@pytest.mark.parametrize('number', [12, 1000])
def test_a_browser_shows_the_page_and_its_trials(browser, tmp_path, number):
    write_sweep(tmp_path) if number == 12 else large_sweep(tmp_path)
    path = sweep_pages.sweep_page(report.read(tmp_path))
    assert path.stat().st_size <= 10e6
    with (tmp_path / folders.TRIALS).open() as file:
        table = [*csv.DictReader(file)]
    data = Parsed(path).data
    lines = data['lines']
    view, wrong = opened(browser, path)
    seconds = view.evaluate('performance.now()') / 1000
    print(f'{number} trials: {path.stat().st_size / 1e6:.1f} MB, opened in {seconds:.2f} s')
    for width in (1400, 400):
        view.set_viewport_size({'width': width, 'height': 900})
        first, second = view.eval_on_selector_all(
            'tr[data-item]', 'rows => rows.slice(0, 2).map(row => row.dataset.item)'
        )
        view.click(f'tr[data-item="{second}"] td')
        name, values = chosen(view)
        assert name == f'Trial {second}'
        assert values == {n: v for n, v in table[int(second)].items() if v}
        assert view.locator('#curve .main-svg').count()
        names, *numbers = cells(view, '#points')
        assert names[0] == 'epoch'
        assert [float(x) for x, *_ in numbers] == data['items'][second][2]
        at = names.index('validation accuracy')
        values = [float(line[at]) for line in numbers]
        assert values == data['items'][second][3][lines.index(['accuracy', 'validation', True])]
        view.keyboard.press('Escape')
        view.focus(f'tr[data-item="{first}"] button')
        view.keyboard.press('ArrowDown')
        view.keyboard.press('ArrowUp')
        view.keyboard.press('Enter')
        assert chosen(view)[0] == f'Trial {first}'
        assert view.locator('tr[aria-current]').get_attribute('data-item') == first
        view.keyboard.press('Escape')
        assert not view.locator('tr[aria-current]').count()
        wide = view.evaluate(
            '[document.documentElement.scrollWidth, document.documentElement.clientWidth]'
        )
        assert wide[0] == wide[1]
    view.set_viewport_size({'width': 1400, 'height': 900})
    clipped = 'tables => tables.filter(table => table.scrollWidth > table.clientWidth).length'
    assert not view.eval_on_selector_all('.scroll[aria-label="Intervals"]', clipped)
    for plot in view.locator('.plot').all():  # each is drawn when it is seen
        plot.scroll_into_view_if_needed()
        plot.locator('.main-svg').first.wait_for()
    assert wrong == []
    view.context.close()


@pytest.mark.slow
def test_a_click_on_a_point_of_hostile_names_shows_them_as_text(browser, tmp_path):
    write_hostile_sweep(tmp_path)
    view, wrong = opened(browser, sweep_pages.sweep_page(report.read(tmp_path)))
    plot = view.locator('.plot[aria-label="best validation accuracy against lr"]')
    plot.scroll_into_view_if_needed()
    points = plot.locator('.trace .point')
    points.first.wait_for()
    box = points.nth(1).bounding_box()
    view.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    view.wait_for_selector('.hoverlayer .hovertext')
    view.mouse.down()
    view.mouse.up()
    view.wait_for_selector('tr[aria-current]')
    name, values = chosen(view)
    assert name == f'Trial {values["trial"]}'
    assert values[HOSTILE].startswith(HOSTILE)
    assert not view.locator('img').count()
    assert wrong == []
