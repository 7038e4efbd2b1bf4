"""What runs and sweeps show: lines of progress, and tables."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.runner import console
from rnnlab.results import plots, runs
from rnnlab.results.records import Outcome
from tests.conftest import call, launch
from tests.records import ACCURATE, SQUARED, row, summary, trials


def lines(text):
    return [' '.join(line.split()) for line in text.splitlines()]


def test_numbers_have_four_decimals_or_two_digits():
    shown = [console.number(value) for value in (0.0, 1.0, 0.01, -0.00123, 0.5, float('nan'))]
    assert shown == ['0.0000', '1.0000', '0.0100', '-1.2e-03', '0.5000', 'nan']
    assert (console.number(None), console.number(0.001, beside=0.5)) == ('-', '0.0010')


def test_a_run_shows_its_evaluations(capsys):
    with console.run_progress(20, 0) as show:
        show(5, {'loss': 1.0}, None)
        show(10, {'loss': 0.5}, row(1, train=0.5, validation=0.25))
        show(15, {'loss': 0.5}, row(1.5, train=0.5, validation=None))  # in the same second
        show(20, {'loss': 0.5}, row(2, train=0.5, validation=None))
    first, second = lines(capsys.readouterr().out)
    train = 'train loss 0.5000 accuracy 0.5000'
    assert first == f'epoch 1.00 step 10 {train} validation loss 0.2500 accuracy 0.2500 7.5 s'
    assert second == f'epoch 2.00 step 20 {train} validation loss - accuracy - 10.0 s'


def group(label='cell=gru', numbers=(0, 1, 2, 3)):
    rung = SimpleNamespace(stop=20, trials=len(numbers), lanes=3, batch_bytes=2_500_000)
    return SimpleNamespace(label=label, numbers=[*numbers], rungs=[rung])


def batch(group, size):
    return SimpleNamespace(group=group, trials=[None] * size, number=1)


def test_a_sweep_shows_the_spread_of_its_trials(capsys):
    results, _ = trials()
    finished, own = {}, group()
    with console.sweep_progress([own], finished, Outcome('best', ACCURATE.selection)) as show:
        show(batch(own, 3), 10, None)
        show(batch(own, 3), 20, np.array([0.5, np.nan, 0.9]))
        finished.update({(1, 3): results[3]})  # which diverged
        show(batch(own, 1), 20, np.array([0.7]))
    first, second = lines(capsys.readouterr().out)
    told = 'cell=gru step 20 of 20'
    assert first.startswith(f'3 of 4 trials {told} best 0.9000 median 0.7000 diverged 1 ')
    assert second.startswith(f'2 of 4 trials {told} best 0.7000 median 0.7000 diverged 1 ')


def test_of_losses_the_best_is_the_least():
    results, _ = trials(SQUARED)
    words = console.spread(results[:3], np.array([0.2, 0.9]), Outcome('best', SQUARED.selection))
    assert words == 'best 0.2000  median 0.5400  diverged 0'
    assert console.spread([], None, Outcome('best', SQUARED.selection)) == 'no evaluation yet'


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
    text = console.groups_table([group(), group(label='', numbers=[4])])
    heads, _, *rows = lines(text)
    assert heads == 'program trials lanes batches steps MB a batch'
    assert rows == ['cell=gru 4 3 2 20 2', '2 1 3 1 20 2']


def test_settings_that_a_search_chooses_are_open():
    rows = [(number, {'lr': 0.001, 'cell': cell}) for number, cell in enumerate(('gru', 'lstm'))]
    heads, _, *shown = lines(console.settings_table(rows, ['cell', 'lr'], ['lr']))
    assert [heads, *shown] == ['trial cell lr', '0 gru searched', '1 lstm searched']


SMALL = '--length=5', '--validation=2', '--steps=1', '--hidden_size=2', '--batch_size=2'


@pytest.mark.usefixtures('shell')
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
    code, out, err = call('memory', *SMALL, '--out=run', cwd=tmp_path)
    assert (code, err) == (0, '')
    assert 'run/curves.png is not drawn: no such font\n' in out
    assert (tmp_path / 'run' / runs.SUMMARY).exists()
    assert not (tmp_path / 'run' / runs.CURVES).exists()
    assert 'test loss' in out.split('no such font')[1]
