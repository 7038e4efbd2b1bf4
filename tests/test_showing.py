"""What explain prints and draws."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlab.cells import CELLS
from rnnlab.recurrence import engines
from tests.conftest import call


def values_of(name):
    """The headings of the values that explain prints for a step of the cell."""
    cell = CELLS[name](4)
    params = cell.init(jax.random.key(0), 3)
    carry, y = cell.step(params, cell.carry(params, ()), jnp.ones(3))
    values = [gate for gate in cell.gates if gate not in carry._fields]
    for field, leaf in carry._asdict().items():
        values += [f"Re {field}'", f"Im {field}'"] if jnp.iscomplexobj(leaf) else [f"{field}'"]
    return values + ['y'] * (not np.array_equal(y, carry.h))


@pytest.mark.slow
@pytest.mark.parametrize('name', CELLS)
def test_explain_computes_every_cell_twice_and_agrees(name):
    code, out, err = call('explain', f'--cell={name}', '--time_steps=4')
    assert code == 0, err
    difference = re.search(r'greatest difference, 1 x 4 steps, all units: (\S+)', out)[1]
    assert float(difference) < 2e-6
    params = jax.eval_shape(lambda key: CELLS[name](4).init(key, 3), jax.random.key(0))
    assert f'total {sum(leaf.size for leaf in params.values())}' in ' '.join(out.split())
    for parameter, leaf in params.items():
        assert re.search(rf'parameter {parameter} +{re.escape(str([*leaf.shape]))}', out)
    assert re.search(r'^  y = .*\[1, \w+(, 4)?\]', out, re.MULTILINE)
    assert f'Engine: {engines(CELLS[name](4))[0]}' in out
    headings = r'^ +(?:\d+ +)?((?:Re |Im )?\S+) +[+-]\d\.\d{4} +[+-]'
    assert re.findall(headings, out, re.MULTILINE) == values_of(name) * 4


def test_explain_draws(tmp_path):
    code, _, err = call('explain', '--cell=lstm', '--time_steps=4', '--plot', cwd=tmp_path)
    assert code == 0, err
    assert {path.name for path in tmp_path.iterdir()} == {'gates_lstm.png', 'gradient_reach.png'}


def test_explain_walks_through_the_classic_shapes():
    sizes = '--batch_size=64', '--time_steps=20', '--inputs=200', '--hidden_size=128'
    text = ' '.join(call('explain', '--cell=lstm', *sizes).out.split())
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
