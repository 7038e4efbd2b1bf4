"""Whole processes, as a user starts them."""

import json
import re
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from experiments.runner.budget import largest

from experiments.runner.cli import CORES
from rnnlab.analysis.describe import count
from rnnlab.cells import CELLS
from rnnlab.models import network
from rnnlab.recurrence import recurrent
from tests.conftest import ROOT, command, forked, launch, refused, same

SMALL = ['--dataset=digits', '--hidden_size=16', '--batch_size=64', '--validation=200']

pytestmark = pytest.mark.usefixtures('shell')


def final(folder, name='params'):
    """The parameters (or another part of the TrainState) in the checkpoint, or what was best, as NumPy arrays."""
    with ocp.CheckpointManager(folder.resolve() / 'checkpoint') as manager:
        tree = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore())
        return tree['best'] if name == 'best' else tree['state'][name]


def rows(folder):
    lines = (folder / 'metrics.jsonl').read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key != 'seconds'}
        for line in lines
    ]


def stopped(folder, number, *flags, experiment='mnist'):
    """Starts a run, sends the signal once a checkpoint and a row are there, and waits for the end."""
    process = subprocess.Popen(
        command(experiment, *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    deadline = time.time() + 120
    while not (
        list(folder.glob('checkpoint/*/commit_success.txt'))
        and (folder / 'metrics.jsonl').stat().st_size
    ):
        assert process.poll() is None, process.communicate()[0]
        assert time.time() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """An uninterrupted run: (its flags, its folder, what it printed)."""
    flags = [
        *SMALL,
        '--steps=1000',
        '--eval_every=150',
        '--checkpoint_every=0',
        '--keep=best',
        '--dropout=0.1',
        '--recurrent_dropout=0.1',
    ]
    folder = tmp_path_factory.mktemp('runs') / 'whole'
    result = launch('mnist', *flags, f'--out={folder}')
    assert result.returncode == 0, result.stderr
    return flags, folder, result.stdout


def readme(section):
    """The blocks of Python in a section of the page of cells."""
    (text,) = (
        text
        for text in re.split(r'\n##+ ', (ROOT / 'rnnlab' / 'cells' / 'README.md').read_text())
        if text.startswith(f'{section}\n')
    )
    return re.findall(r'```python\n(.*?)```', text, re.DOTALL)


NARROW = """

from dataclasses import replace

def narrow(hidden_size):
    return replace(mycell(hidden_size), step=lambda params, carry, x: (Hidden(carry.h[..., :1]), carry.h))
"""


@pytest.mark.slow
def test_a_cell_of_ones_own_trains_sweeps_and_is_explained(tmp_path):
    (tmp_path / 'mymodule.py').write_text(readme('A cell of your own')[0] + NARROW)
    flags = [
        '--sweep=cell=mymodule:mycell,elman',
        '--sweep=seed=0,1',
        '--steps=3',
        '--zoneout=0.1',
        '--trainable_carry',
        '--out=both',
    ]
    result = launch('mnist', *SMALL, *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert 'mymodule:mycell' in result.stdout
    results = forked('explain', [['--cell=mymodule:mycell'], ['--cell=mymodule:narrow']], tmp_path)
    (code, out, _), (wrong, _, message) = results
    assert (code, wrong) == (0, 1)
    assert float(re.search(r'all units: (\S+)', out)[1]) < 2e-6
    assert "\n  h' = tanh(x W + u h)" in out
    for words in (
        'breaks the law',
        "a step keeps the carry's structure, shapes and types",
        'float32 [3, 4]',
        'float32 [3, 1]',
    ):
        assert words in message
    assert message.count('\n') == 1


def test_a_run_writes_its_folder_and_shows_its_end(whole):
    _, folder, printed = whole
    assert {path.name for path in folder.iterdir()} == {
        'config.json',
        'metrics.jsonl',
        'summary.json',
        'curves.png',
        'checkpoint',
    }
    config, summary = (
        json.loads((folder / name).read_text()) for name in ('config.json', 'summary.json')
    )
    assert (config['experiment'], config['hidden_size'], config['devices'], config['platform']) == (
        'mnist',
        16,
        1,
        'cpu',
    )
    assert (summary['steps'], summary['parameters']) == (1000, 24 * 64 + 64 + 16 * 10 + 10)
    assert summary['test_accuracy'] > 0.9
    assert [row['step'] for row in rows(folder)] == [150, 300, 450, 600, 750, 900, 1000]
    accuracies = [row['validation_accuracy'] for row in rows(folder)]
    assert (summary['best_validation_accuracy'], summary['validation_accuracy']) == (
        max(accuracies),
        accuracies[-1],
    )
    assert (
        summary['kept_step']
        == rows(folder)[accuracies.index(max(accuracies))]['step']
        == final(folder, 'best')['step']
    )
    assert rows(folder)[-1].keys() >= {
        'epoch',
        'train_loss',
        'train_accuracy',
        'grad_norm',
        'validation_loss',
        'validation_accuracy',
    }
    for words in (
        'i 0:16  f 16:32  g 32:48  o 48:64',
        'test accuracy',
        f'{summary["test_accuracy"]:.4f}',
        'predicted',
    ):
        assert words in printed
    assert len(re.search(r'label +((?:\d *){10})', printed)[1].split()) == 10


@pytest.mark.slow
@pytest.mark.parametrize(
    'number', [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name
)
def test_a_stopped_run_resumes_to_the_same_bytes(whole, tmp_path, number):
    flags, expected, _ = whole
    folder = tmp_path / 'run'
    code, printed = stopped(folder, number, *flags, f'--out={folder}')
    if number == signal.SIGKILL:
        assert code == -number
    else:
        assert code == 128 + number
        assert '--resume goes on' in printed
        assert 'Traceback' not in printed
    assert not (folder / 'summary.json').exists()
    result = launch('mnist', *flags, f'--out={folder}', '--resume')
    assert result.returncode == 0, result.stderr
    assert 0 < int(re.search(r'goes on from step (\d+)', result.stdout)[1]) < 1000
    for name in ('params', 'opt_state', 'totals', 'best'):
        same(final(folder, name), final(expected, name))
    assert rows(folder) == rows(expected)


def test_what_is_kept_is_the_run_stopped_there(whole, tmp_path):
    flags, folder, _ = whole
    best = final(folder, 'best')
    stop = [f'--steps={best["step"]}', '--keep=last']
    assert launch('mnist', *flags, *stop, f'--out={tmp_path / "run"}').returncode == 0
    same(final(tmp_path / 'run'), best['params'])
    figures = [
        json.loads((path / 'summary.json').read_text())['test_accuracy']
        for path in (folder, tmp_path / 'run')
    ]
    assert figures[0] == figures[1]


def test_resuming_a_finished_run_ends_as_it_ended(whole):
    flags, folder, _ = whole
    before = (
        rows(folder),
        final(folder),
        json.loads((folder / 'summary.json').read_text())['test_accuracy'],
    )
    assert launch('mnist', *flags, f'--out={folder}', '--resume').returncode == 0
    assert (rows(folder), json.loads((folder / 'summary.json').read_text())['test_accuracy']) == (
        before[0],
        before[2],
    )
    same(final(folder), before[1])


@pytest.mark.slow
def test_the_number_of_devices_is_part_of_the_run(whole):
    flags, folder, _ = whole
    result = launch('mnist', *flags, f'--out={folder}', '--resume', '--devices=2')
    assert result.returncode == 1
    assert 'devices=1 there, 2 now' in result.stderr
    result = launch(
        'mnist', *flags, f'--out={folder}', '--resume', '--jax_num_cpu_devices=2'
    )  # as many as it began with
    assert result.returncode == 0, result.stderr
    assert 'on 1 cpu device(s)' in result.stdout
    before = rows(folder), (folder / 'config.json').read_bytes()
    result = launch('mnist', *flags, f'--out={folder}', '--resume', '--devices=2', '--force')
    assert result.returncode == 0, result.stderr
    assert 'on 2 cpu device(s)' in result.stdout
    assert (rows(folder), (folder / 'config.json').read_bytes()) == before


@pytest.mark.slow
def test_the_cores_share_a_batch_where_that_is_worth_it(tmp_path):
    large = ['--dataset=digits', '--hidden_size=200', '--batch_size=64', '--steps=2']
    for flags, number in ((SMALL, 1), (large, max(n for n in range(1, CORES + 1) if 64 % n == 0))):
        folder = tmp_path / flags[1].removeprefix('--')
        for more in ([], ['--resume']):
            result = launch('mnist', *flags, '--steps=2', f'--out={folder}', *more)
            assert result.returncode == 0, result.stderr
            noted = json.loads((folder / 'config.json').read_text())['devices']
            assert f'on {noted} cpu device(s)' in result.stdout
            assert noted == number


@pytest.mark.slow
def test_a_program_that_was_compiled_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
    assert launch('mnist', *SMALL, '--steps=1', f'--out={tmp_path / "run"}').returncode == 0
    folders = list((tmp_path / 'cache' / 'rnnlab' / 'programs').iterdir())
    kept = sorted(folders[0].iterdir())
    assert (len(folders), bool(kept)) == (1, True)
    assert launch('mnist', *SMALL, '--steps=1', f'--out={tmp_path / "again"}').returncode == 0
    assert sorted(folders[0].iterdir()) == kept
    assert (
        launch(
            'mnist',
            *SMALL,
            '--steps=1',
            f'--out={tmp_path / "off"}',
            '--jax_enable_compilation_cache=false',
        ).returncode
        == 0
    )
    same(final(tmp_path / 'again'), final(tmp_path / 'off'))


@pytest.mark.slow
def test_layers_directions_views_and_devices_all_run(tmp_path):
    flags = [
        '--cell=gru',
        '--layers=2',
        '--bidirectional',
        '--view=permuted',
        '--optimizer=sgd',
        '--momentum=0.9',
        '--clip=inf',
    ]
    rest = '--devices=2', f'--out={tmp_path / "run"}'
    result = launch(
        'mnist',
        *SMALL,
        *flags,
        '--steps=3',
        '--eval_split=test',
        '--eval_every=2',
        '--eval_examples=50',
        '--eval_next',
        *rest,
    )
    assert result.returncode == 0, result.stderr
    assert [row['step'] for row in rows(tmp_path / 'run')] == [2, 3]
    assert 'layer_2: 32 -> 32' in result.stdout
    assert 'on 2 cpu device(s)' in result.stdout


def test_a_loss_that_is_not_finite_stops_with_what_to_try(tmp_path):
    folder = tmp_path / 'run'
    flags = ['--cell=irnn', '--optimizer=sgd', '--lr=1e8', '--clip=inf', '--steps=100']
    result = launch('mnist', *SMALL, *flags, f'--out={folder}')
    assert result.returncode == 1
    words = r'error: the loss or gradient of step \d+ is not finite, with --lr=1e\+08 and --clip=inf: try a lower one of them.*\n'
    assert re.fullmatch(words, result.stderr)
    assert all(
        np.isfinite(leaf).all()
        for layer in final(folder)['layer_1'].values()
        for leaf in layer.values()
    )


BAD_FLAGS = [
    (['--cell=lstmm'], ['--cell=lstmm', 'elman, irnn, ', 'mymodule:mycell']),
    (['--cell=nowhere:mycell'], ["module 'nowhere'", 'cannot be imported', 'ModuleNotFoundError']),
    (['--cell=math:mycell'], ["'math' has no function 'mycell'"]),
    (['--cell=math:sqrt'], ['math:sqrt(128) must give a Cell']),
    (['--zoneout_cell=0.1', '--cell=gru'], ['--zoneout_cell', 'gru']),
    (['--merge=sum'], ['--merge goes with --bidirectional']),
    (['--dataset=cifar'], ['--dataset', 'digits|mnist']),
    (['--optimizer=lion'], ['--optimizer', 'adam|adamw|rmsprop|sgd']),
    (['--hiden_size=3'], ['hiden_size', 'hidden_size']),
    (['--hidden_size=0'], ['--hidden_size']),
    (['--hidden_size=many'], ['--hidden_size']),
    (['--lr=0'], ['--lr', 'above zero']),
    (['--lr=nan'], ['--lr', 'above zero']),
    (['--clip=-1'], ['--clip', 'inf is off']),
    (['--batch_size=2000'], ['--batch_size=2000', '1290']),
    (['--validation=1433'], ['validation=1433', '1433']),
    (['--momentum=0.9'], ['--momentum', '--optimizer=sgd']),
    (['--weight_decay=0.1'], ['--weight_decay', '--optimizer=adamw']),
    (['--optimizer=adamw', '--optimizer_constants=tf1'], ['TF1 has no adamw']),
    (['--cell=gru', '--forget_bias=1'], ['--forget_bias', 'gru']),
    (['--cell=lru', '--init_scale=2'], ['--init_scale', 'lru', 'a start of its own']),
    (['--cell=mingru', '--recurrent_dropout=0.1'], ['--recurrent_dropout', 'mingru']),
    (['--precision=float16'], ['precision', 'bfloat16']),
    (['--eval_examples=144'], ['--eval_examples=144', '143']),
    (['--keep=best', '--validation=0'], ['--keep=best', '--validation']),
    (['--keep=best', '--eval_split=test'], ['--keep=best', '--eval_split']),
    (['--layers=0'], ['--layers=0', '--pool=mean']),
    (['--parameters=59'], ['--parameters=59', '--cell=lstm', 'a hidden size of 1 has 60']),
    (['--parameters=0'], ['--parameters']),
    (['--parameters=500', '--hidden_size=8'], ['--parameters', '--hidden_size']),
    (['--parameters=500', '--sweep=hidden_size=8,16'], ['--parameters', '--hidden_size']),
    (
        ['--parameters=500', '--layers=0', '--pool=mean'],
        ['--parameters has no use with --layers=0'],
    ),
    (['--sweep=parameters=500,59', '--dry_run'], ['--parameters=59', 'has 60']),
    (['--parameters=500', '--cell=gru', '--forget_bias=1'], ['--forget_bias', 'gru']),
    (['--dropout=1'], ['--dropout', 'below 1']),
    (['--vocab_size=100'], ['vocab_size']),
    (['--eval_next'], ['--eval_next', '--eval_examples']),
    (['--force', '--resume', '--out=nowhere'], ['--force', '--devices']),
    (['--force', '--sweep=seed=0,1'], ['--force', '--sweep']),
    (['--resume'], ['--resume', '--out']),
    (['--resume', '--out=nowhere'], ['nowhere', 'holds no run']),
    (['--flagfile=nowhere.flags'], ['nowhere.flags']),
    (['--jax_platforms=abacus'], ['abacus']),
    (['steps=3'], ['steps=3', '--']),
    (['--out=/dev/null/run'], ['/dev/null/run', 'Not a directory']),
    (['--out=/dev/null'], ['/dev/null', 'no run']),
    (
        ['--dataset=mnist', '--data_dir=nowhere'],
        ['mnist/3.0.1 is not in nowhere', 'downloads/manual'],
    ),
]


def test_bad_input_is_one_line(tmp_path):
    refused(
        'mnist', [(['--dataset=digits', *flags], words) for flags, words in BAD_FLAGS], tmp_path
    )


@pytest.mark.parametrize(
    'parameters',
    [lambda size: size, lambda size: 7 * size + 3, lambda size: 4 * size * (size + 9) + 10],
)
def test_a_budget_takes_the_largest_size_that_stays_within(parameters):
    for budget in range(1, 700):
        size = largest(parameters, budget)
        assert size == 0 or parameters(size) <= budget
        assert parameters(size + 1) > budget


@pytest.mark.parametrize('name', CELLS)
def test_more_size_is_more_parameters(name):
    """What the search for the size of a budget takes for granted."""
    models = [network([recurrent(CELLS[name](size))], inputs=3, outputs=2) for size in (1, 2, 3, 8)]
    counts = [count(jax.eval_shape(model.init, jax.random.key(0))) for model in models]
    assert counts == sorted(set(counts))


@pytest.mark.slow
def test_precision_is_of_the_run(tmp_path):
    flags, losses = [*SMALL, '--cell=mingru', '--steps=3'], []
    for precision in ('float32', 'bfloat16'):
        folder = tmp_path / precision
        result = launch('mnist', *flags, f'--precision={precision}', f'--out={folder}')
        assert result.returncode == 0, result.stderr
        assert json.loads((folder / 'config.json').read_text())['precision'] == precision
        losses.append(json.loads((folder / 'summary.json').read_text())['test_loss'])
    assert 1e-6 < abs(losses[0] - losses[1]) < 1e-2
    result = launch('mnist', *flags, '--precision=float32', f'--out={folder}', '--resume')
    assert (result.returncode, 'precision' in result.stderr) == (1, True)


def test_a_folder_with_a_run_is_not_overwritten(whole):
    flags, folder, _ = whole
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    result = launch('mnist', *flags, f'--out={folder}')
    assert (result.returncode, result.stderr.count('\n')) == (1, 1)
    assert 'holds a run already' in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_damaged_checkpoint_is_refused(whole, tmp_path):
    flags, folder, _ = whole
    copy = tmp_path / 'run'
    shutil.copytree(folder, copy)
    for path in copy.glob('checkpoint/*/default/**/*'):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    result = launch('mnist', *flags, f'--out={copy}', '--resume')
    assert (result.returncode, result.stderr.count('\n')) == (1, 1)
    assert 'damaged' in result.stderr


def test_help_lists_the_flags():
    result = launch('mnist', '--help')
    for name in ('--hidden_size', '--cell', '--optimizer_constants', '--checkpoint_every'):
        assert name in result.stdout


def test_launch_lists_what_there_is():
    result = subprocess.run(
        [ROOT / 'launch.sh'], capture_output=True, text=True, check=True, cwd='/'
    )
    for words in ('mnist', 'Handwritten digits', 'test', 'experiments/recipes/mnist_lstm64.flags'):
        assert words in result.stdout
    result = subprocess.run([ROOT / 'launch.sh', 'mnsit'], capture_output=True, text=True, cwd='/')
    assert (result.returncode, result.stderr.count('\n')) == (1, 1)
    assert "no experiment 'mnsit'" in result.stderr
