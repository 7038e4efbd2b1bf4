"""What runs and sweeps show: tables, and pictures that cannot be drawn."""

from types import SimpleNamespace

import pytest

from experiments.runner import console
from experiments.runner.groups import groups_table
from rnnlab.results import plots, runs
from tests.conftest import call, launch
from tests.records import ACCURATE, SQUARED, summary


def lines(text):
    return [' '.join(line.split()) for line in text.splitlines()]


def test_numbers_have_four_decimals_or_two_digits():
    shown = [console.number(value) for value in (0.0, 1.0, 0.01, -0.00123, 0.5, float('nan'))]
    assert shown == ['0.0000', '1.0000', '0.0100', '-1.2e-03', '0.5000', 'nan']
    assert (console.number(None), console.number(0.001, beside=0.5)) == ('-', '0.0010')


def group(label='cell=gru', numbers=(0, 1, 2, 3)):
    count = len(numbers)
    sizes = {'trials': count, 'lane_steps': 20 * count, 'lanes': 3, 'batches': -(-count // 3)}
    rung = SimpleNamespace(stop=20, batch_bytes=2_500_000, **sizes)
    return SimpleNamespace(label=label, numbers=[*numbers], rungs=[rung])


def test_the_summary_of_a_run_has_what_there_is():
    heads, _, values = lines(console.summary_table(summary(0.8, 0.75), ACCURATE))
    own = 'test loss test accuracy validation accuracy: best last'
    assert heads == f'{own} parameters steps seconds'
    assert values == '0.7500 0.7500 0.8000 0.7000 1,234 20 9.5'
    unvalidated = summary(None, 0.75, SQUARED, baseline=0.5, kept_step=10)
    heads, _, values = lines(console.summary_table(unvalidated, SQUARED))
    assert heads == 'test loss test mae memoryless kept step parameters steps seconds'
    assert values == '0.7500 0.7500 0.5000 10 1,234 20 9.5'


def test_programs_of_a_sweep_are_divided_into_batches():
    text = groups_table([group(), group(label='', numbers=[4])])
    heads, _, *rows = lines(text)
    assert heads == 'program trials lanes batches steps MB a batch'
    assert rows == ['cell=gru 4 3 2 20 2', '2 1 3 1 20 2']


def test_settings_that_a_search_chooses_are_open():
    rows = [(number, {'lr': 0.001, 'cell': cell}) for number, cell in enumerate(('gru', 'lstm'))]
    heads, _, *shown = lines(console.settings_table(rows, ['cell', 'lr'], ['lr']))
    assert [heads, *shown] == ['trial cell lr', '0 gru searched', '1 lstm searched']


SMALL = '--length=5', '--validation=2', '--steps=1', '--hidden_size=2', '--batch_size=2'


@pytest.mark.usefixtures('shell')
@pytest.mark.slow
def test_a_run_needs_no_backend_for_its_picture_and_no_character_beyond_ascii(
    tmp_path, monkeypatch
):
    monkeypatch.setenv('MPLBACKEND', 'of_a_notebook')
    monkeypatch.setenv('PYTHONIOENCODING', 'ascii')
    result = launch('memory', *SMALL, '--out=run', cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, '')
    assert '-----' in result.stdout
    assert (tmp_path / 'run' / runs.CURVES).exists()


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(tmp_path, monkeypatch):
    def draw(rows, metrics, path, *rest):
        path.write_bytes(b'half of it')
        raise RuntimeError('no such font')

    monkeypatch.setattr(plots, 'curves', draw)
    code, out, err = call('memory', *SMALL, '--out=run', cwd=tmp_path, pictures=True)
    assert (code, err) == (0, '')
    assert 'run/curves.png is not drawn: no such font\n' in out
    assert (tmp_path / 'run' / runs.SUMMARY).exists()
    assert not (tmp_path / 'run' / runs.CURVES).exists()
    assert 'test loss' in out.split('no such font')[1]
