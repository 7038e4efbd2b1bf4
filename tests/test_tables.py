"""Tables and lines fit the terminal, and lose no number there."""

import io
import re
import sys

import numpy as np
import pytest

import rnnlab
from experiments import classify
from experiments.runner import console, progress, report
from experiments.runner.intervals import intervals_table
from rnnlab.analysis.describe import describe
from rnnlab.models import classifier
from rnnlab.results.characters import never_fail
from rnnlab.results.ranking import by_setting
from rnnlab.results.records import Outcome
from rnnlab.results.statistics import Sample
from rnnlab.results.tables import lines, new_table, render
from rnnlab.training.losses import ACCURACY
from tests.conftest import call
from tests.records import ACCURATE, SQUARED, row, summary, trials

RANKED_BY = Outcome('best', ACCURACY)
AXES = {
    'seed': [0, 1, 2],
    'learning_rate_with_a_long_name': [1e-3, 1e-2],
    'hidden_size': [128],
    'recurrent_dropout': [0.25],
    'optimizer_constants': ['keras'],
    'label_smoothing': [0.125],
    'weight_decay': [0.004],
}


def deep():
    cell = rnnlab.lstm_peephole(64)
    layers = [rnnlab.bidirectional(cell, cell), rnnlab.recurrent(rnnlab.gru(128))]
    return classifier(layers, inputs=28, classes=10, vocabulary=10_000, pool='attention')


def settings():
    first = {name: values[0] for name, values in AXES.items()}
    return console.settings_table([(n, first) for n in range(3)], [*AXES], [])


def best():
    results, _ = trials()
    for trial in results:
        trial.settings.update({name: values[0] for name, values in AXES.items() if name != 'seed'})
    groups = by_setting(results, RANKED_BY)
    names = ['cell', 'lr', *(name for name in AXES if name != 'seed')]
    return render(report.best_table(groups, names, RANKED_BY))


def intervals():
    values = {0: 0.91234, 1: 0.92345, 2: 0.90123}
    others = {seed: value - 0.05 * (seed + 1) for seed, value in values.items()}
    rows = [(['0.0123', 'lstm'], Sample(values, 0.01)), (['0.00123', 'gru'], Sample(others, 0.01))]
    return intervals_table(['learning_rate', 'cell'], rows, RANKED_BY)


def confusion():
    counts = np.arange(100).reshape(10, 10) * 7
    return classify.labels_table(tuple(f'label {n}' for n in range(10)), counts)


TABLES = {
    'describe': lambda: describe(deep()),
    'settings': settings,
    'best': best,
    'intervals': intervals,
    'confusion': confusion,
    'summary': lambda: console.summary_table(
        summary(0.75, 0.625, SQUARED, kept_step=10, baseline=0.1667), SQUARED
    ),
    'row': lambda: lines(
        *progress.row_parts(row(10, ACCURATE, train=0.5, validation=0.25)), indent=2
    ),
    'explain': lambda: call('explain', '--cell=lstm', '--hidden_size=8', '--inputs=12').out,
}


def numbers(text):
    return sorted(re.findall(r'[\d.,:e±+-]*\d[\d.,:e%+-]*', text))


@pytest.mark.parametrize('width', [80, 120])
@pytest.mark.parametrize('name', list(TABLES))
def test_what_is_shown_fits_the_terminal_and_loses_no_number(name, width, monkeypatch):
    monkeypatch.delenv('COLUMNS', raising=False)
    wide = TABLES[name]()
    monkeypatch.setenv('COLUMNS', str(width))
    narrow = TABLES[name]()
    assert max(map(len, narrow.splitlines())) <= width
    assert {*numbers(narrow)} == {*numbers(wide)}


def test_a_table_that_fits_stays_as_it_is(monkeypatch):
    table = new_table('a heading of words', 'b')
    table.add_row('x 0:1  y 1:2', '[red]:smile:')
    wide = render(table)
    assert '[red]:smile:' in wide
    monkeypatch.setenv('COLUMNS', '80')
    assert render(table) == wide
    monkeypatch.setenv('COLUMNS', '24')
    assert '│' not in render(table)
    assert render(table).splitlines()[-2:] == ['  x 0:1     [red]:smile:', '  y 1:2']


ODD = [
    'plain',
    'a,"b"\nc',
    '\x1b[31m\x07',
    '日本😀',
    'e\u0301',
    '\u2028',
    '\ud800',
    ':smile:',
    '[/b]',
    '$x_$',
]


def odd_table():
    table = new_table('label', *ODD, 'recall', right=(*ODD, 'recall'))
    for name in ODD:
        table.add_row(name, *map(str, range(len(ODD))), '0.5000')
    return render(table)


def test_names_take_the_columns_of_the_terminal_that_they_fill_and_one_line():
    from rich.cells import cell_len

    heads, rule, *rows = odd_table().split('\n')
    assert [row.split()[0] for row in rows][:3] == ['plain', r'a,"b"\nc', r'\x1b[31m\x07']
    assert {cell_len(line) for line in (heads, *rows)} == {cell_len(rule) - 1}
    assert all(line.isprintable() for line in (heads, *rows))


@pytest.mark.parametrize('encoding', ['ascii', 'cp1252', 'latin-1', 'shift-jis', 'utf-8'])
def test_a_terminal_gets_the_characters_that_it_has(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    never_fail(stream)
    monkeypatch.setattr(sys, 'stdout', stream)
    console.console.print(odd_table())
    console.say('0.5 ± 0.1', *ODD)
    stream.seek(0)
    heads, rule, *rows, last = stream.read().splitlines()
    if encoding in ('ascii', 'cp1252', 'latin-1'):
        assert {len(line) for line in (heads, *rows)} == {len(rule) - 1}
        assert set(rule.strip()) == {'-'}
    assert last.startswith('0.5 +- 0.1' if encoding == 'ascii' else '0.5 ± 0.1')
