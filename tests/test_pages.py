"""The pages: every command and snippet runs, shortened; every link leads somewhere."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest

from rnnlab import testing as laws
from rnnlab.recurrence import engines
from tests.conftest import ROOT, call

pytestmark = pytest.mark.usefixtures('shell')

FRONT = ROOT / 'README.md'
CELLS_PAGE = ROOT / 'rnnlab' / 'cells' / 'README.md'
PAGES = [FRONT, *sorted((*ROOT.glob('experiments/**/*.md'), *ROOT.glob('rnnlab/**/*.md')))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

# By experiment, the first row whose words are in the command: the flags that shorten it, and words
# of the error that it must end in. Of a command that needs data, peers or minutes, or a recipe that
# tests/test_recipes.py trains, only the flags are read: nothing but the missing data or folder, or
# the peer that does not exist, may then be wrong.
TINY = ['--steps=2', '--hidden_size=4']
ONE = ['--layers=1', '--buckets=1']
MANY = ['--max_trials=1']
SHORT: dict[str, list[tuple[str, list[str], str]]] = {
    'mnist': [
        ('every_cell', MANY, '72 trials'),
        ('--trials=64', ['--dry_run'], ''),
        ('--cluster', ['--dry_run'], ''),
        ('--search=tpe', [*TINY, '--trials=2'], ''),
        ('--search', ['--dry_run'], ''),
        ('--parameters', ['--dry_run'], ''),
        ('--dataset=digits --sweep', TINY, ''),
        ('--block', ['--steps=2', '--layers=1'], ''),
        ('--dataset=digits', ['--steps=2'], ''),
        ('', ['--data_dir=nowhere'], 'mnist/3.0.1 is not in nowhere'),
    ],
    'imdb': [
        ('--predict', [], 'no config.json in runs/lstm'),
        ('', ['--data_dir=nowhere'], 'is not in nowhere'),
    ],
    'classify': [('--predict', [], ''), ('', TINY, '')],
    'series': [
        ('--sweep', ['--dry_run'], ''),
        ('.flags', ['--csv=nowhere'], 'nowhere'),
        ('', [*TINY, '--split=0.8,0.1,0.1', '--horizon=2', '--window=8'], ''),
    ],
    'text': [
        ('.flags', ['--text=nowhere'], 'nowhere'),
        ('--sample', ['--sample=20'], ''),
        ('', [*TINY, '--batch_size=4', '--window=8', '--warmup=0'], ''),
    ],
    'listops': [
        ('.flags', ['--out=/dev/null/run'], '/dev/null/run: Not a directory'),
        ('', [*TINY, *ONE, '--length=5..20', '--examples=100', '--warmup=0'], ''),
    ],
    'memory': [
        ('every_cell', MANY, '72 trials'),
        ('--sweep', ['--dry_run'], ''),
        ('--test_length', [*TINY, '--length=6', '--validation=20'], ''),
        ('--log_gradients', [*TINY, '--length=10', '--validation=20'], ''),
        ('', [*TINY, '--length=10', '--validation=20', '--chrono=20'], ''),
    ],
    'capabilities': [('', MANY, 'more than --max_trials=1')],
    'starts': [('', ['--draws=2', '--cells=elman', '--hidden_size=4'], '')],
    'explain': [('--run=runs/lstm', [], 'no config.json in runs/lstm'), ('', [], '')],
    'report': [('', [], '')],
    'reproduce': [
        ('--budget', ['--data_dir=nowhere', '--budget=0.1'], '--budget=0.1 is too short'),
        ('mnist_lstm64', ['--data_dir=nowhere'], 'mnist/3.0.1 is not in nowhere'),
        ('ETTh1', [], 'does not divide 400 rows'),
        ('', [], ''),
    ],
    'export': [('', [], '')],
    'status': [('runs/big', [], 'there is no sweep.json in runs/big'), ('', [], '')],
    'compare': [('*', [], 'no config.json in runs/imdb_'), ('', [], '')],
    'bench': [('', ['--peers=nowhere'], "unknown peer 'nowhere'")],
    'conformance': [('', ['--peers=nowhere'], "unknown peer 'nowhere'")],
}
TABLES = {
    'sales.csv': ['sold'],
    'monthly-sunspots.csv': ['sunspots'],
    'airline-passengers.csv': ['passengers'],
    'ETTh1.csv': list('ABCDEFG'),
}
TEXTS = ('book.txt', 'input.txt')
SCRIPTS = {
    'launch.sh': '{ printf \'%s\\0\' "$@"; echo; } >>commands',
    '.venv/bin/python': f'exec {sys.executable} "$@"',
}


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in that language."""
    return re.findall(rf'^```{language}\n(.*?)^```', page.read_text(), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r'^```.*?^```', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)


def prepare(folder: Path) -> None:
    """Makes what the commands of the pages use: scripts that record or run them, tables, texts."""
    for name, line in SCRIPTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\n{line}\n')
        path.chmod(0o755)
    (folder / 'commands').touch()
    for name, columns in TABLES.items():
        values = np.random.default_rng(0).normal(10, 1, (400, len(columns)))
        np.savetxt(folder / name, values, '%.3f', ',', header=','.join(columns), comments='')
    shops = ''.join(f'{"ab"[row % 2]},{row % 7 + row % 3}\n' for row in range(800))
    (folder / 'shops.csv').write_text(f'shop,sold\n{shops}')
    (folder / 'mymodule.py').write_text('\n'.join(blocks(CELLS_PAGE, 'python')))
    for name in TEXTS:
        (folder / name).write_text(FRONT.read_text())


def commands(page: Path, folder: Path) -> list[list[str]]:
    """The commands that a page's blocks would launch, each once, whatever its seed."""
    for block in blocks(page, 'bash'):
        subprocess.run(['bash', '-euc', block], cwd=folder, check=True)
    lines = (folder / 'commands').read_text().splitlines()
    once = {re.sub(r'[0-9]+\0', '\0', line): line for line in reversed(lines)}
    return [once[key].removesuffix('\0').split('\0') for key in reversed(once)]


def shortened(experiment: str, *flags: str) -> tuple[list[str], str]:
    words = ' '.join(flags)
    more, error = next(rest for mark, *rest in SHORT[experiment] if mark in words)
    found = [re.sub('=(?=experiments/)', f'={ROOT}/', flag) for flag in flags]
    return [*found, *more], error


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_a_page_runs(name, tmp_path, monkeypatch):
    page = ROOT / name
    prepare(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'mymodule', raising=False)
    for experiment, *flags in commands(page, tmp_path):
        if experiment != 'test':
            shorter, words = shortened(experiment, *flags)
            code, _, err = call(experiment, *shorter, cwd=tmp_path)
            assert (code, words in err) == (1 if words else 0, True), (experiment, shorter, err)
            assert not words or err.count('\n') == 1, err
    printed = run_snippets(page, tmp_path)
    if check := CHECKS.get(name):
        check(printed, tmp_path)


def run_snippets(page: Path, folder: Path) -> str:
    """What the snippets of a page print, in one process; torch's run where it is installed."""
    code = [compile(block, str(page), 'exec') and block for block in blocks(page, 'python')]
    code = [block for block in code if find_spec('torch') or 'import torch' not in block]
    if not code or page == CELLS_PAGE:
        return ''
    result = subprocess.run(
        [sys.executable, '-W', 'error', '-c', '\n'.join(code)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def learns_digits(printed, folder):
    rows = re.findall(r"^{'loss': (.*), 'accuracy': (.*)}$", printed, re.MULTILINE)
    loss, accuracy = rows[-1]
    assert float(loss) < 0.3
    assert float(accuracy) > 0.93


def trains(printed, folder):
    learns_digits(printed, folder)
    assert [len(re.findall(r'\d\.\d+', row)) for row in re.findall(r'\[[^]]*\]', printed)][-1] == 8
    assert float(printed.split()[-1]) < 0.02


def reads_parameters(printed, folder):
    summary = json.loads((folder / 'runs' / 'first' / 'summary.json').read_text())
    accuracy = re.match(r'0\.\d+\n', printed)[0]
    assert float(accuracy) == pytest.approx(summary['test_accuracy'])


def learns_in_flax(printed, folder):
    assert min(map(float, printed.split())) > 0.9


CHECKS = {
    'README.md': learns_digits,
    'rnnlab/training/README.md': trains,
    'experiments/README.md': reads_parameters,
    'rnnlab/interop/README.md': learns_in_flax,
}


@pytest.mark.slow
def test_the_cells_of_the_page_keep_every_law():
    made: dict[str, Callable] = {}
    exec('\n'.join(blocks(CELLS_PAGE, 'python')), made)
    forms = {'mycell': 'scan', 'forgetting': 'gated', 'forgetting_inputs': 'linear'}
    for name, engine in forms.items():
        assert engines(made[name](5))[0] == engine
        with jax.numpy_rank_promotion('allow'):
            laws.check(name, made[name])


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r'^#+ (.*)$', prose(page), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('name', NAMES)
def test_links_and_files_exist(name):
    page, text = ROOT / name, prose(ROOT / name)
    for target in re.findall(r'\]\(([^)]+)\)', text):
        path, _, anchor = target.partition('#')
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target
    for path in re.findall(r'(?:rnnlab|experiments|tests)/[\w/]+\.\w+', page.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize('name', NAMES)
def test_prose_and_snippets_have_at_most_100_columns(name):
    page = ROOT / name
    lines = '\n'.join([prose(page), *blocks(page, 'python')]).splitlines()
    assert [line for line in lines if len(line) > 100 and not line.startswith(('|', '!['))] == []


def test_the_front_page_is_short_and_lists_what_can_be_launched():
    text = FRONT.read_text()
    assert len(text.splitlines()) <= 200
    (table,) = re.findall(r'\| `\./launch\.sh \.\.\.` \|.*?\n\n', text, re.DOTALL)
    modules = [path for path in ROOT.glob('experiments/*.py') if '__main__' in path.read_text()]
    assert {path.stem for path in modules} == set(re.findall(r'`(\w+)`', table)) - {'test'}
    (picture,) = re.findall(r'!\[[^]]*\]\(([^)]*)\)', text)
    assert (ROOT / picture).stat().st_size < 120 * 1024


def test_every_page_is_reached_from_the_front_page():
    reached, new = set(), {FRONT}
    while new:
        reached |= new
        targets = {
            (page.parent / target).resolve()
            for page in new
            for target in re.findall(r'\]\(([^)#]+\.md)', prose(page))
        }
        new = targets - reached
    assert reached == set(PAGES)
