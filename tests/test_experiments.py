"""Experiments as a user runs them: their folders, their ends, what they resume and refuse."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import time
from functools import cache

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from experiments import classify, imdb, memory, mnist, series, text
from experiments.runner.cli import parse
from experiments.runner.fields import shown, specs, types_of
from experiments.runner.model import largest
from experiments.runner.run import train
from rnnlab.analysis.describe import count
from rnnlab.cells import CELLS, lstm
from rnnlab.errors import InputError
from rnnlab.models import network
from rnnlab.recurrence import engines, recurrent
from tests.conftest import ROOT, call, command, launch, plain_jax, refused, same

SMALL = ['--dataset=digits', '--hidden_size=16', '--batch_size=64', '--validation=200']

pytestmark = pytest.mark.usefixtures('shell')
one_worker = pytest.mark.xdist_group('an uninterrupted run')


def final(folder, name='params'):
    """A part of the TrainState in the checkpoint, or 'best', as NumPy arrays."""
    with ocp.CheckpointManager(folder.resolve() / 'checkpoint') as manager:
        tree = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore())
        return tree['best'] if name == 'best' else tree['state'][name]


def rows(folder):
    """The rows of metrics.jsonl without their seconds."""
    records = map(json.loads, (folder / 'metrics.jsonl').read_text().splitlines())
    return [{key: value for key, value in row.items() if key != 'seconds'} for row in records]


def read(folder, name):
    return json.loads((folder / name).read_text())


def ran(experiment, *flags, **options):
    """What an experiment prints that ends well."""
    code, out, err = call(experiment, *flags, **options)
    assert code == 0, err
    return out


def stopped(flags, number, ready):
    """(exit code, output) of a process that gets the signal once ready() is true."""
    options = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True, 'cwd': ROOT}
    with pytest.MonkeyPatch.context() as patch:  # its bits are those of this process
        patch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', 'true')
        process = subprocess.Popen(command('mnist', *flags), **options)
    deadline = time.time() + 120
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.time() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


WHOLE = [
    *SMALL, '--steps=1000', '--eval_every=150', '--checkpoint_every=0', '--keep=best',
    '--dropout=0.1', '--recurrent_dropout=0.1',
]  # fmt: skip


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """An uninterrupted run: (its folder, what it printed)."""
    folder = tmp_path_factory.mktemp('runs') / 'whole'
    return folder, ran('mnist', *WHOLE, f'--out={folder}')


def readme(section):
    """The blocks of Python in a section of the page of cells."""
    page = (ROOT / 'rnnlab' / 'cells' / 'README.md').read_text()
    (text,) = (part for part in re.split(r'\n##+ ', page) if part.startswith(f'{section}\n'))
    return re.findall(r'```python\n(.*?)```', text, re.DOTALL)


NARROW = """

from dataclasses import replace

def narrow(hidden_size):
    def step(params, carry, x):
        return Hidden(carry.h[..., :1]), carry.h
    return replace(mycell(hidden_size), step=step)
"""


@pytest.mark.slow
def test_a_users_own_cell_trains_sweeps_and_is_explained(tmp_path):
    (tmp_path / 'mymodule.py').write_text(readme('A cell of your own')[0] + NARROW)
    sweep = [*SMALL, '--sweep=cell=mymodule:mycell', '--sweep=seed=0,1']
    options = ['--steps=3', '--zoneout=0.1', '--trainable_carry', '--out=both']
    assert 'mymodule:mycell' in ran('mnist', *sweep, *options, cwd=tmp_path)
    out = ran('explain', '--cell=mymodule:mycell', cwd=tmp_path)
    assert float(re.search(r'all units: (\S+)', out)[1]) < 2e-6
    assert "\n  h' = tanh(x W + u h)" in out
    code, _, message = call('explain', '--cell=mymodule:narrow', cwd=tmp_path)
    law = "a step keeps the carry's structure, shapes and types"
    for words in ('breaks the law', law, 'float32 [3, 4]', 'float32 [3, 1]'):
        assert words in message
    assert (code, message.count('\n')) == (1, 1)


@one_worker
def test_a_run_writes_its_folder_and_shows_its_end(whole):
    folder, printed = whole
    files = {'config.json', 'environment.json', 'metrics.jsonl', 'summary.json', 'curves.png'}
    assert {path.name for path in folder.iterdir()} == files | {'checkpoint'}
    config, summary = read(folder, 'config.json'), read(folder, 'summary.json')
    expected = {'experiment': 'mnist', 'hidden_size': 16, 'devices': 1, 'platform': 'cpu'}
    assert config.items() >= expected.items()
    assert (summary['steps'], summary['parameters']) == (1000, 24 * 64 + 64 + 16 * 10 + 10)
    assert summary['test_accuracy'] > 0.9
    assert [row['step'] for row in rows(folder)] == [150, 300, 450, 600, 750, 900, 1000]
    accuracies = [row['validation_accuracy'] for row in rows(folder)]
    assert summary['best_validation_accuracy'] == max(accuracies)
    assert summary['validation_accuracy'] == accuracies[-1]
    best = rows(folder)[accuracies.index(max(accuracies))]
    assert summary['kept_step'] == best['step'] == final(folder, 'best')['step']
    names = {f'{s}_{name}' for s in ('train', 'validation') for name in ('loss', 'accuracy')}
    assert best.keys() == {'step', 'epoch', 'grad_norm'} | names
    assert 'i 0:16  f 16:32  g 32:48  o 48:64' in printed
    assert f'{summary["test_accuracy"]:.4f}' in printed
    assert len(re.search(r'label +((?:\d *){10})', printed)[1].split()) == 10


@one_worker
@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_stopped_run_resumes_to_the_same_bytes(whole, tmp_path, number):
    expected, _ = whole
    folder = tmp_path / 'run'
    metrics = folder / 'metrics.jsonl'

    def ready():
        saved = list(folder.glob('checkpoint/*/commit_success.txt'))
        return saved and metrics.stat().st_size

    code, printed = stopped([*WHOLE, f'--out={folder}'], number, ready)
    if number == signal.SIGKILL:
        assert code == -number
    else:
        assert code == 128 + number
        assert 'resume with the same command' in printed
        assert 'Traceback' not in printed
    assert not (folder / 'summary.json').exists()
    out = ran('mnist', *WHOLE, f'--out={folder}', '--resume')
    assert 0 < int(re.search(r'resumes at step (\d+)', out)[1]) < 1000
    for name in ('params', 'opt_state', 'totals', 'best'):
        same(final(folder, name), final(expected, name))
    assert rows(folder) == rows(expected)


@one_worker
def test_what_is_kept_is_the_run_stopped_there(whole, tmp_path):
    folder, _ = whole
    best = final(folder, 'best')
    stop = [f'--steps={best["step"][0]}', '--keep=last']
    ran('mnist', *WHOLE, *stop, f'--out={tmp_path / "run"}')
    same(final(tmp_path / 'run'), best['params'])
    one, other = (read(path, 'summary.json') for path in (folder, tmp_path / 'run'))
    assert one['test_accuracy'] == other['test_accuracy']


@one_worker
def test_resuming_a_finished_run_ends_as_it_ended(whole):
    folder, _ = whole
    before = rows(folder), final(folder), read(folder, 'summary.json')['test_accuracy']
    ran('mnist', *WHOLE, f'--out={folder}', '--resume')
    assert rows(folder) == before[0]
    assert read(folder, 'summary.json')['test_accuracy'] == before[2]
    same(final(folder), before[1])


@one_worker
@pytest.mark.slow
def test_the_number_of_devices_is_part_of_the_run(whole):
    folder, _ = whole
    resume = [*WHOLE, f'--out={folder}', '--resume']
    code, _, err = call('mnist', *resume, '--devices=2')
    assert (code, 'devices: 1 there, 2 here' in err) == (1, True)
    assert 'on 1 cpu device(s)' in ran('mnist', *resume)  # as many as it began with
    before = rows(folder), (folder / 'config.json').read_bytes()
    assert 'on 2 cpu device(s)' in ran('mnist', *resume, '--devices=2', '--force')
    assert (rows(folder), (folder / 'config.json').read_bytes()) == before


@one_worker
def test_a_folder_with_a_run_is_not_overwritten(whole):
    folder, _ = whole
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    code, _, err = call('mnist', *WHOLE, f'--out={folder}')
    assert (code, err.count('\n'), 'holds a run already' in err) == (1, 1, True)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@one_worker
def test_a_damaged_checkpoint_is_refused(whole, tmp_path):
    folder, _ = whole
    copy = tmp_path / 'run'
    shutil.copytree(folder, copy)
    for path in copy.glob('checkpoint/*/default/**/*'):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    code, _, err = call('mnist', *WHOLE, f'--out={copy}', '--resume')
    assert (code, err.count('\n'), 'damaged' in err) == (1, 1, True)


def damage(folder, name, change):
    path = folder / name
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    if change == 'gone':
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif change == 'first line':
        path.write_text(''.join([lines[0][1:], *lines[1:]]))
    elif change == 'a line less':
        path.write_text(''.join([*lines[:3], *lines[4:]]))
    elif change == 'another value':
        path.write_text(''.join(lines).replace('"step": 300', '"step": 301'))


@one_worker
@pytest.mark.parametrize(
    ('name', 'change', 'words'),
    [
        ('metrics.jsonl', 'first line', 'metrics.jsonl is damaged in line 1: it is no JSON'),
        ('metrics.jsonl', 'a line less', 'has other rows than the checkpoint'),
        ('metrics.jsonl', 'another value', 'has other rows than the checkpoint'),
        ('checkpoint', 'gone', 'holds a finished run, and its checkpoint is gone'),
        ('summary.json', 'first line', 'summary.json cannot be read'),
    ],
)
def test_what_is_damaged_is_not_resumed_and_not_written(whole, tmp_path, name, change, words):
    copy = tmp_path / 'run'
    shutil.copytree(whole[0], copy)
    damage(copy, name, change)
    before = {path: path.read_bytes() for path in copy.rglob('*') if path.is_file()}
    code, _, err = call('mnist', *WHOLE, f'--out={copy}', '--resume')
    assert (code, err.count('\n'), words in err) == (1, 1, True), err
    assert {path: path.read_bytes() for path in copy.rglob('*') if path.is_file()} == before


@one_worker
def test_a_half_written_row_is_mended_by_a_resumption(whole, tmp_path):
    copy = tmp_path / 'run'
    shutil.copytree(whole[0], copy)
    text = (copy / 'metrics.jsonl').read_text()
    (copy / 'metrics.jsonl').write_text(text[:-20])
    ran('mnist', *WHOLE, f'--out={copy}', '--resume')
    assert (copy / 'metrics.jsonl').read_text() == text


LENGTHS = [
    (
        ['--steps=30', '--eval_every=10', '--keep=best', '--dropout=0.1', '--warmup=15'],
        '--steps=47',
    ),
    (['--epochs=1', '--eval_every=9', '--eval_examples=50', '--eval_next'], '--epochs=2'),
]


@pytest.mark.parametrize(
    ('flags', 'longer'), [LENGTHS[0], pytest.param(*LENGTHS[1], marks=pytest.mark.slow)]
)
def test_a_run_that_is_made_longer_is_the_longer_run(tmp_path, flags, longer):
    ran('mnist', *SMALL, *flags, '--out=run', cwd=tmp_path)
    ran('mnist', *SMALL, *flags, longer, '--out=run', '--resume', cwd=tmp_path)
    ran('mnist', *SMALL, *flags, longer, '--out=whole', cwd=tmp_path)
    one, other = tmp_path / 'run', tmp_path / 'whole'
    for name in ('params', 'opt_state', 'totals', *['best'] * ('--keep=best' in flags)):
        same(final(one, name), final(other, name))
    assert rows(one) == rows(other)
    assert (one / 'config.json').read_bytes() == (other / 'config.json').read_bytes()
    results = [read(folder, 'summary.json') | {'seconds': 0} for folder in (one, other)]
    assert results[0] == results[1]


@one_worker
def test_where_a_longer_run_would_be_another_it_is_refused(whole, tmp_path):
    folder, _ = whole
    cosine = ['--schedule=cosine', '--steps=4', '--out=cosine']
    ran('mnist', *SMALL, *cosine, cwd=tmp_path)
    for flags, words in (
        ([*SMALL, *cosine, '--steps=9'], 'only a run alone with --schedule=constant can be made'),
        ([*WHOLE, '--steps=999', f'--out={folder}'], 'a run can only be made longer'),
    ):
        code, _, err = call('mnist', *flags, '--resume', cwd=tmp_path)
        assert (code, err.count('\n'), words in err) == (1, 1, True), err


def test_of_two_processes_on_a_folder_one_trains(tmp_path):
    flags = command(
        'mnist', *SMALL, '--steps=1000', '--eval_every=100', f'--out={tmp_path / "run"}'
    )
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True, 'cwd': ROOT}
    both = [subprocess.Popen(flags, **pipes) for _ in range(2)]
    ends = [(process.communicate()[1], process.returncode) for process in both]
    (_, code), (err, other) = sorted(ends, key=lambda end: end[1])
    assert (code, other, err.count('\n')) == (0, 1, 1)
    assert re.match('error: (another process is training in|.* holds a run already)', err)
    assert [row['step'] for row in rows(tmp_path / 'run')] == [*range(100, 1001, 100)]
    assert not [*tmp_path.glob('run/.lock*')]


@pytest.mark.slow
def test_the_cores_share_a_batch_where_that_is_worth_it(tmp_path):
    """The native engine has all cores on one device."""
    every = len(jax.devices())
    native = 1 if engines(lstm(200))[0] == 'native' else every
    for cell, size, number in (
        ('lstm', 16, 1),
        ('lstm', 200, native),
        ('lstm_coupled', 200, every),
    ):
        folder = tmp_path / f'{cell}-{size}'
        for more in ([], ['--resume']):
            flags = [*SMALL, f'--cell={cell}', f'--hidden_size={size}', '--steps=2']
            flags += [f'--out={folder}', *more]
            assert f'on {number} cpu device(s)' in ran('mnist', *flags)
            assert read(folder, 'config.json')['devices'] == number


@pytest.mark.slow
def test_a_compiled_program_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
    programs = []
    for name in ('run', 'again'):
        assert launch('mnist', *SMALL, '--steps=1', f'--out={tmp_path / name}').returncode == 0
        (folder,) = (tmp_path / 'cache' / 'rnnlab' / 'programs').iterdir()
        programs.append(sorted(folder.iterdir()))
    assert programs[0]
    assert programs[0] == programs[1]


@pytest.mark.slow
def test_layers_directions_views_and_devices_all_run(tmp_path):
    out = ran(
        'mnist', *SMALL, '--cell=gru', '--layers=2', '--bidirectional', '--view=permuted',
        '--optimizer=sgd', '--momentum=0.9', '--clip=inf', '--steps=3', '--eval_split=test',
        '--eval_every=2', '--eval_examples=50', '--eval_next', '--devices=2', '--out=run',
        cwd=tmp_path,
    )  # fmt: skip
    assert [row['step'] for row in rows(tmp_path / 'run')] == [2, 3]
    assert 'layer_2: 32 -> 32' in out
    assert 'on 2 cpu device(s)' in out


def test_a_loss_that_is_not_finite_stops_with_what_to_try(tmp_path):
    folder = tmp_path / 'run'
    flags = ['--cell=irnn', '--optimizer=sgd', '--lr=1e8', '--clip=inf', '--steps=100']
    code, _, err = call('mnist', *SMALL, *flags, f'--out={folder}')
    what = r'error: the loss or gradient of step \d+ is not finite, with --lr=1e\+08 and --clip=inf'
    assert re.fullmatch(rf'{what}: try a lower one of them.*\n', err)
    assert code == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(final(folder)))


@pytest.mark.slow
def test_two_experiments_train_in_one_process(tmp_path):
    ran('mnist', *SMALL, '--steps=2', '--out=mnist', cwd=tmp_path)
    small = '--length=3', '--hidden_size=4', '--steps=2', '--validation=20'
    ran('memory', '--task=copy', *small, '--out=memory', cwd=tmp_path)
    for name in ('mnist', 'memory'):
        assert read(tmp_path / name, 'config.json')['experiment'] == name
    assert 'dataset' not in read(tmp_path / 'memory', 'config.json')


CONFIGS = [module.Config for module in (classify, imdb, memory, mnist, series, text)]
VALUES = [
    True, False, 2, 3, 100, 0.5, 2.5, float('inf'), 'gru', 'x', '1', '1/2', 'host:1234',
    ('0.6', '0.2', '0.2'), ('a', 'b'), ('gru', 'lstm'),
]  # fmt: skip


@cache
def configurations(config):
    """The default configuration, and for every field others that differ in it."""
    every = [config()]
    for name, spec in specs(config).items():
        before = len(every)
        for value in [*VALUES, *(spec.choices or ())]:
            if type(value) is types_of(config)[name] and value != getattr(every[0], name):
                with contextlib.suppress(InputError):
                    every.append(config(**{name: value}))
        assert len(every) > before, f'no value of VALUES suits {name}'
    return every


@pytest.mark.parametrize('config', CONFIGS, ids=lambda config: config.__module__)
def test_a_configuration_is_read_as_it_was_written(config):
    for one in configurations(config):
        written = json.loads(json.dumps(one.to_json()))
        again = config.from_json(written, 'here')
        assert again.to_json() == one.to_json()
        kept = {name: getattr(one, name) for name in written}
        assert {name: getattr(again, name) for name in written} == kept


@pytest.mark.parametrize('config', CONFIGS, ids=lambda config: config.__module__)
def test_flags_made_from_a_configuration_give_it_back(config):
    for one in configurations(config):
        flags = [
            f'--{name}={shown(value)}'
            for name in one.changed(*specs(config))
            for value in (getattr(one, name) if name == 'sweep' else [getattr(one, name)])
        ]
        assert parse(config, ['name', *flags]) == (one, [])


BAD_FLAGS = [
    (['--cell=lstmm'], ["--cell: unknown cell 'lstmm'", 'elman, irnn, ', 'mymodule:mycell']),
    (['--cell=nowhere:mycell'], ["module 'nowhere'", 'cannot be imported', 'ModuleNotFoundError']),
    (['--cell=math:mycell'], ["'math' has no function 'mycell'"]),
    (['--cell=math:sqrt'], ['math:sqrt(128) must return a Cell']),
    (['--zoneout_cell=0.1', '--cell=gru'], ['--zoneout_cell', 'gru']),
    (['--merge=sum'], ['--merge goes with --bidirectional']),
    (['--dataset=cifar'], ['--dataset', 'digits, mnist']),
    (['--optimizer=lion'], ['--optimizer', 'adam, adamw, rmsprop, sgd']),
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
    (['--cell=lru', '--init_scale=2'], ['--init_scale', 'lru', 'has its own initializer']),
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
    (['--jax_num_cpu_devices=-3'], ['--jax_num_cpu_devices=-3', 'at least 1']),
    (['--nobidirectional=3'], ['--nobidirectional=3']),
    (['--hidden_size=99999999999999'], ['--hidden_size=99999999999999', 'at most']),
    (['--checkpoint_every=nan'], ['--checkpoint_every=nan']),
    (['--devices=1000'], ['--devices=1000 is more than']),
    (['--devices=' + '9' * 5000], ['--devices=', 'a number']),
    (['--out='], ['--out= is empty']),
    (['--out=gs://bucket/run'], ['--out=gs://bucket/run', 'no path of this machine']),
    (['--out=~nobody-of-this-name/run'], ['no user nobody-of-this-name']),
    (['--out=a\udcff'], ['--out', 'not UTF-8']),
    (['--out=a\0b'], ['--out', 'NUL']),
    (['steps=3'], ['steps=3', '--']),
    (['--out=/dev/null/run'], ['/dev/null/run', 'Not a directory']),
    (['--out=/dev/null'], ['/dev/null', 'no run']),
    (
        ['--dataset=mnist', '--data_dir=nowhere'],
        ['mnist/3.0.1 is not in nowhere', 'downloads/manual'],
    ),
]


def test_bad_input_is_one_line(tmp_path):
    cases = [(['--dataset=digits', *flags], words) for flags, words in BAD_FLAGS]
    refused('mnist', cases, tmp_path)


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
        ran('mnist', *flags, f'--precision={precision}', f'--out={folder}')
        assert read(folder, 'config.json')['precision'] == precision
        losses.append(read(folder, 'summary.json')['test_loss'])
    assert 1e-6 < abs(losses[0] - losses[1]) < 1e-2
    code, _, err = call('mnist', *flags, '--precision=float32', f'--out={folder}', '--resume')
    assert (code, 'precision' in err) == (1, True)


def test_help_lists_the_flags():
    out = launch('mnist', '--help').stdout
    assert [name for name in specs(mnist.Config) if name not in out] == []


def test_launch_lists_what_there_is():
    options = {'capture_output': True, 'text': True, 'cwd': '/'}
    result = subprocess.run([ROOT / 'launch.sh'], check=True, **options)
    for words in ('mnist', 'Handwritten digits', 'test', 'experiments/recipes/mnist_lstm64.flags'):
        assert words in result.stdout
    result = subprocess.run([ROOT / 'launch.sh', 'mnsit'], **options)
    assert (result.returncode, result.stderr.count('\n')) == (1, 1)
    assert "no experiment 'mnsit'" in result.stderr


def test_a_file_that_changed_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = text.Config(text='text', steps=1, hidden_size=4, batch_size=2, window=8)
    checksums = set()
    with plain_jax(x64=False):
        for number, words in enumerate(('the quick brown fox ', 'jumps over the lazy dog ')):
            (tmp_path / 'text').write_text(words * 40)
            folder = train(text.TASK, config.replace(out=f'run{number}'))
            checksums.add(json.loads((folder / 'config.json').read_text())['text_crc32'])
    assert len(checksums) == 2
