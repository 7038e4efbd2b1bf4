"""What explain shows of a trained run."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.inside import reviews
from experiments.inside.part import Part
from experiments.inside.trained import saturation_table
from rnnlab.analysis.diagnostics import trace
from rnnlab.cells import lstm
from rnnlab.data import Split
from rnnlab.models import classifier
from rnnlab.recurrence import bidirectional, recurrent
from tests.conftest import call, close, noisy, refused

TINY = '--hidden_size=4', '--steps=20', '--validation=40'


@pytest.fixture(scope='module')
def flipflop(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'flipflop'
    flags = '--task=flipflop', '--cell=gru', '--length=12', *TINY
    code, _, err = call('memory', *flags, f'--out={folder}')
    assert code == 0, err
    return folder


@pytest.mark.slow
def test_a_run_is_explained_with_pictures(flipflop, tmp_path):
    more = '--example=3', '--fixed_points', '--lyapunov', f'--out={tmp_path}'
    code, out, err = call('explain', f'--run={flipflop}', *more)
    assert code == 0, err
    assert {path.name for path in tmp_path.iterdir()} == {
        'example_3_layer_1.png',
        'fixed_points.png',
        'gradient_reach.png',
        'lyapunov.png',
    }
    assert re.search(r'example 3: 12 steps, loss \d', out)
    assert re.search(r'^ +layer_1 +r +0 to 1 ', out, re.MULTILINE)
    assert re.search(r'^ +layer_1 +n +-1 to 1 ', out, re.MULTILINE)
    assert re.search(r'^ +fixed, stable +0 ', out, re.MULTILINE)
    assert re.search(r'^ +after training +[+-]\d\.\d+ ± ', out, re.MULTILINE)
    before = {path: path.read_bytes() for path in flipflop.rglob('*') if path.is_file()}
    again = call('explain', f'--run={flipflop}', *more)
    assert again.out == out
    assert {path: path.read_bytes() for path in flipflop.rglob('*') if path.is_file()} == before


@pytest.mark.slow
def test_directions_layers_and_labels_are_explained(tmp_path):
    flags = '--dataset=digits', '--bidirectional', '--layers=2', '--hidden_size=4', '--steps=5'
    assert call('mnist', *flags, '--out=run', cwd=tmp_path).code == 0
    code, out, err = call('explain', '--run=run', '--example=17', cwd=tmp_path)
    assert code == 0, err
    assert re.search(
        r'example 17: 8 steps, loss .* with probability 0\.\d+, labelled class \d', out
    )
    drawn = {path.name for path in (tmp_path / 'run' / 'explain').iterdir()}
    parts = [f'layer_{layer}.{way}' for layer in (1, 2) for way in ('forward', 'backward')]
    assert drawn == {'gradient_reach.png', *(f'example_17_{part}.png' for part in parts)}


@pytest.mark.slow
def test_a_run_on_ids_is_explained(tmp_path):
    (tmp_path / 'book.txt').write_text('to be or not to be ' * 60)
    flags = '--text=book.txt', '--batch_size=2', '--window=8', '--steps=2', '--hidden_size=4'
    assert call('text', *flags, '--out=run', cwd=tmp_path).code == 0
    code, out, err = call('explain', '--run=run', cwd=tmp_path)
    assert code == 0, err
    assert re.search(r'example 0: \d+ steps, loss \d', out)
    drawn = {path.name for path in (tmp_path / 'run' / 'explain').iterdir()}
    assert drawn == {'example_0_layer_1.png', 'gradient_reach.png'}


@pytest.mark.slow
def test_what_cannot_be_explained_is_one_line(flipflop, tmp_path, monkeypatch):
    run = f'--run={flipflop}'
    cases = [
        (['--run=nowhere'], ['no config.json in nowhere']),
        ([run, '--example=40'], ['--example=40', '40 test examples']),
        ([run, '--example=a film'], ['--example=a film', 'number']),
        ([run, '--cell=gru'], ['--cell goes without --run']),
        (['--fixed_points'], ['--fixed_points goes with --run']),
        (['--example=1'], ['--example goes with --run']),
        ([run, '--html'], ['--html colours the words of a review', 'is a run of memory']),
        (['--html'], ['--html goes with --run']),
    ]
    refused('explain', cases, tmp_path)
    (tmp_path / 'gone.py').write_text('from rnnlab import gru\ndef own(h): return gru(h)\n')
    own = '--cell=gone:own', '--out=run', '--task=parity', *TINY
    assert call('memory', *own, cwd=tmp_path).code == 0
    (tmp_path / 'gone.py').unlink()
    code, _, err = call('explain', '--run=run', cwd=tmp_path)
    assert (code, err.count('\n'), "'gone' of the cell" in err) == (1, 1, True), err


def test_saturation_counts_the_values_that_are_no_padding():
    cell = lstm(4)
    xs, lengths = noisy(jnp.zeros((6, 3, 2)), 1, 9.0), np.array([6, 2, 4])
    parts = [
        Part('layer_1', cell, noisy(cell.init(jax.random.key(seed), 2)), xs, lengths)
        for seed in (0, 1)
    ]
    text = saturation_table(*[[part] for part in parts])
    for at, name in enumerate(cell.gates):
        low = {'g': -1}.get(name, 0)
        shown = re.search(rf'layer_1 +{name} +{low} to 1 +(.*)', text)[1].replace('%', '').split()
        expected = []
        for end in (lambda v, low=low: v < low + 0.1, lambda v: v > 0.9):
            for part in parts:
                values = trace(cell, part.params, xs)[2][at]
                own = np.concatenate([np.ravel(values[:n, b]) for b, n in enumerate(lengths)])
                expected.append(100 * np.mean(end(own)))
        close(np.array(shown, float), np.round(expected, 1), 0.051)


@pytest.mark.parametrize('pool', ['last', 'mean'])
def test_the_logit_after_a_word_is_that_of_the_review_so_far(pool):
    layer = bidirectional(lstm(3), lstm(3)) if pool == 'mean' else recurrent(lstm(3))
    net = classifier([layer], inputs=4, classes=2, vocabulary=9, pool=pool)
    params = noisy(net.init(jax.random.key(0)))
    ids = np.array([1, 4, 8, 3, 5])
    logits = reviews.logits_by_step(SimpleNamespace(model=net), params, ids)
    for steps in range(1, 6):
        expected = net.apply(params, ids[None, :steps])[0, 1]
        close(logits[steps - 1], np.asarray(expected)[()])


def test_the_page_of_a_review_has_every_word_and_its_move(tmp_path):
    net = classifier([recurrent(lstm(3))], inputs=4, classes=2, vocabulary=9)
    params = noisy(net.init(jax.random.key(0)))
    plan = SimpleNamespace(model=net, data=SimpleNamespace(vocabulary=['a', '<b>', 'c', 'd', 'e']))
    ids = np.array([0, 1, 4, 7, 2, 3])  # padding, the start, and an unknown word among them
    reviews.show(plan, params, Split(ids[None], None), '0', tmp_path, html=True)
    shown = re.findall(r'title="(.*?)">(.*?)</span>', (tmp_path / 'words_0.html').read_text())
    assert [word for _, word in shown] == ['&lt;b&gt;', 'e', '[...]', 'a']
    moves = np.diff(reviews.logits_by_step(plan, params, ids))[1:]
    assert [move for move, _ in shown] == [f'{move:+.2f}' for move in moves]
