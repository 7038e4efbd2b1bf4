"""Every cell equals NumPy, finite differences and other libraries; and the command that shows it.

What torch and Keras compute is kept in tests/golden.
"""

import json
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from experiments.parity import tables
from experiments.parity.comparison import Differences
from experiments.parity.harness import (
    IMAGES,
    TOLERANCE,
    by_jax,
    comparisons,
    make_point,
    normal,
    run,
)
from experiments.parity.libraries import PEERS, convert_keras, convert_torch
from experiments.parity.reference import derivative, numpy_reference
from rnnlab import testing as laws
from rnnlab.cells import CELLS, reference
from tests.conftest import call, close, refused
from tests.golden import make

pytestmark = pytest.mark.slow
GOLDEN, EXACT = Path(make.__file__).parent, 1e-12
ROWS = [(name, image) for name in CELLS for image in IMAGES.get(name, {name: ()}).values()]


def test_every_cell_has_a_reference():
    assert reference.REFERENCES.keys() == CELLS.keys()


@pytest.mark.parametrize('kink', [-1e-2, -1e-3, 2e-3, 1e-1])
def test_derivatives_do_not_see_a_kink_nearby(kink):
    close(derivative(lambda t: np.sin(3 * t) + max(t - kink, 0)), 3.0 + (kink < 0), 1e-11)


@pytest.mark.parametrize(('name', 'image'), ROWS)
def test_numpy_and_finite_differences(name, image):
    for what, mine, theirs in comparisons(name, numpy_reference(name, image, layers=1)):
        laws.compare(TOLERANCE if what == 'derivatives' else EXACT, what, mine, theirs)


LIBRARIES = {
    'flax': ('elman', 'irnn', 'lstm', 'conv_lstm', 'gru', 'ugrnn'),
    'tf1': (
        'elman', 'irnn', 'indrnn', 'lstm', 'lstm_peephole', 'lstm_coupled', 'lstm_projected',
        'gru_reset_before', 'ugrnn',
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ('library', 'name', 'image'),
    [
        (library, *row)
        for library, names in LIBRARIES.items()
        for row in ROWS
        if row[0] in names and len(row[1]) != 1
    ],
)
def test_libraries(library, name, image):
    for what, mine, theirs in comparisons(name, PEERS[library](name, image)):
        laws.compare(TOLERANCE if what == 'derivatives' else EXACT, what, mine, theirs)


@pytest.mark.parametrize(
    ('library', 'name'),
    [(library, name) for library, names in make.CASES.items() for name in names],
)
def test_outputs_and_gradients_are_those_that_are_kept(library, name):
    with np.load(GOLDEN / f'{library}.npz', allow_pickle=False) as arrays:
        kept = {
            what.partition('.')[2]: value
            for what, value in arrays.items()
            if what.startswith(f'{name}.')
        }
    shapes = json.loads(str(kept['shapes']), object_hook=dict)
    convert = partial(
        {'torch': convert_torch, 'keras': convert_keras}[library], name, make.IMAGES.get(name, ())
    )
    weights, restored = ravel_pytree(normal(shapes))
    _, restored_carry = ravel_pytree(make_point(restored(weights), convert)[2])
    run_all = by_jax(partial(run, convert, name), tuple(map(int, kept['lengths'])))
    results = run_all(
        restored(jnp.asarray(kept['weights'])),
        jnp.asarray(kept['xs']),
        restored_carry(jnp.asarray(kept['carry'])),
    )
    results['after'] = results.pop('carry')
    for what, value in results.items():
        close(ravel_pytree(value)[0], jnp.asarray(kept[what].ravel()), EXACT)


def test_what_was_not_checked_has_no_difference():
    lines = tables.laws_table({'a law': 0.0, 'another': None, 'a third': 2e-16}).splitlines()
    assert [line.split()[-1] for line in lines[2:]] == ['0', '—', '2e-16']
    assert tables.shown(Differences({'a law': 2e-16, 'another': None})) == '2e-16'
    assert tables.shown(Differences({'another': None})) == tables.shown(None) == '—'


OWN = """
from dataclasses import replace

from rnnlab.cells import elman

def mine(hidden_size):
    return elman(hidden_size)

def bad(hidden_size):
    cell = elman(hidden_size)
    return replace(cell, step=lambda params, carry, x: cell.step(params, carry, 2 * x))
"""


def test_the_command(tmp_path, shell, monkeypatch):
    (tmp_path / 'cells.py').write_text(OWN)
    flags = [
        ['--cell=cells:mine,mgu', '--peers=flax,tf1', '--out=good'],
        ['--cell=elman', '--peers=flax', '--out=wrong'],
        ['--cell=cells:bad', '--out=bad'],
    ]
    monkeypatch.setattr(laws, 'LAWS', dict([*laws.LAWS.items()][:2]))  # for the time's sake
    monkeypatch.setitem(reference.REFERENCES, 'elman', reference.irnn)
    good, wrong, bad = (call('conformance', *each, cwd=tmp_path, x64=True) for each in flags)
    assert (good[0], good[2]) == (0, '')
    assert [law for law in [*laws.LAWS][:2] if good[1].count(law) != 1] == []
    table = (tmp_path / 'good' / 'conformance.md').read_text()
    assert '| cell | NumPy | finite differences | Flax | TF1 |' in table
    (line,) = (line for line in table.splitlines() if line.startswith('| `mgu`'))
    assert line.endswith('| — | — |')
    assert json.loads((tmp_path / 'good' / 'conformance.json').read_text())['above'] == []
    assert (wrong[0], wrong[2].count('\n')) == (1, 1)
    assert 'elman and NumPy: outputs float64 [4, 2, 6] differs by' in wrong[2]
    whole = json.loads((tmp_path / 'wrong' / 'conformance.json').read_text())
    assert max(whole['cells']['elman']['Flax'].values()) < EXACT
    assert (bad[0], bad[2].count('\n')) == (1, 1)
    assert 'cells:bad breaks the law "unroll is the loop over its steps, gradients too"' in bad[2]
    assert not (tmp_path / 'bad').exists()


def test_errors(tmp_path):
    cases = [
        (['--cell=gro'], ['gro', 'known ones', 'mymodule:mycell']),
        (['--cell=nowhere:mine'], ['nowhere', 'cannot be imported']),
        (['--cell='], ['--cell']),
        (['--peers=caffe'], ['caffe', 'flax', 'torch']),
    ]
    refused('conformance', cases, tmp_path)
