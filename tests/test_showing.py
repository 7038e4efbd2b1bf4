"""What explain and compare print and draw, as whole processes, and the pictures themselves."""

import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread

from experiments.benchmark import costs
from rnnlab.cells import CELLS
from rnnlab.recurrence import engines
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


def test_a_reading_is_the_mean_of_enough_goes_after_a_warm_up():
    times = []
    assert 0 < costs.awake(lambda: times.append(time.perf_counter())) < costs.READING
    assert times[-1] - times[0] > costs.WARM_UP
    assert costs.mean_of(lambda: times.clear(), 0.0) >= 0
    assert times == []


