"""Every recipe trains, for a few steps."""

import json
import math

import pytest

from rnnlab.cells import CELLS
from tests.conftest import ROOT, call, shared

pytestmark = [pytest.mark.usefixtures('shell'), pytest.mark.slow]

RECIPES = sorted((ROOT / 'experiments' / 'recipes').glob('*.flags'))
FEW = {  # steps, and what is made smaller
    'imdb': [3, '--max_length=20'],
    'listops': [3, '--length=5..20', '--examples=50', '--warmup=0'],
    'memory': [3, '--hidden_size=8'],
    'mnist': [60],
    'series': [3, '--hidden_size=8'],
    'text': [3, '--warmup=0', '--hidden_size=8'],
}
READ = {  # by the beginning of a recipe's name, what does not bring its own data
    'imdb': ('--data_dir', 'tfds'),
    'mnist': ('--data_dir', 'tfds'),
    'series_airline': ('--csv', 'raw', 'timeseries', 'airline-passengers.csv'),
    'series_etth1': ('--csv', 'raw', 'timeseries', 'ETTh1.csv'),
    'text': ('--text', 'raw', 'tinyshakespeare', 'input.txt'),
}
LOSS = {'text': 'best_validation_loss'}
PIXELS = ['--dataset=digits', '--validation=100', '--hidden_size=8', '--layers=1', '--warmup=0']
BLOCKS = ['--hidden_size=4', '--layers=1', '--embedding=4', '--buckets=1']
MORE = {  # by the beginning of a recipe's name
    'imdb_bytes': BLOCKS,
    'listops': BLOCKS,
    'memory_': ['--length=20', '--validation=50'],
    'mnist_permuted': PIXELS,
    'mnist_pixel': PIXELS,
    'series_etth1': ['--split=864,288,288'],
}


@pytest.mark.parametrize('name', [path.stem for path in RECIPES if path.stem != 'every_cell'])
def test_a_recipe_trains(name, tmp_path):
    experiment = name.split('_')[0]
    steps, *flags = FEW[experiment]
    for mark, (flag, *parts) in READ.items():
        flags += [f'{flag}={shared(*parts)}'] if name.startswith(mark) else []
    for mark, own in MORE.items():
        flags += own if name.startswith(mark) else []
    recipe = f'--flagfile={ROOT}/experiments/recipes/{name}.flags'
    code, _, err = call(
        experiment, recipe, f'--steps={steps}', *flags, f'--out={name}', cwd=tmp_path
    )
    assert code == 0, err
    summary = json.loads((tmp_path / name / 'summary.json').read_text())
    assert summary['steps'] == steps
    assert summary[LOSS.get(experiment, 'test_loss')] < (
        math.log(10) if name.startswith('mnist_lstm') else math.inf
    )


def test_one_recipe_has_every_cell():
    lines = (ROOT / 'experiments' / 'recipes' / 'every_cell.flags').read_text().splitlines()
    assert [
        line.removeprefix('--sweep=cell=').split(',')
        for line in lines
        if line.startswith('--sweep=cell=')
    ] == [[*CELLS]]
