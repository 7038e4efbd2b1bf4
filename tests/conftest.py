"""Strict settings for all tests: float64, no silent broadcast or promotion, two CPU devices."""

import contextlib
import dataclasses
import gc
import importlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

os.environ.pop('COLUMNS', None)  # xdist sets it
os.environ['PJRT_NPROC'] = str((os.cpu_count() or 1) + 2)  # see experiments/runner/cli.py

import jax

if jax.__version_info__[:2] == (0, 10):  # compiles faster; later versions do not know the flag
    os.environ['XLA_FLAGS'] = '--xla_cpu_use_fusion_emitters=false'

import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import install_import_hook

install_import_hook(  # types and shapes of arguments, where no test passes wrong ones
    [
        'rnnlab.analysis.diagnostics',
        'rnnlab.precision',
        'rnnlab.recurrence.dropout',
        'rnnlab.recurrence.engines',
        'rnnlab.recurrence.masking',
        'rnnlab.training.batches',
        'rnnlab.training.generate',
    ],
    'beartype.beartype',
)

from experiments.runner import cli, program, report, task, turns  # noqa: E402 - after the hook
from experiments.runner.fields import Kind  # noqa: E402
from rnnlab.results import claims, plots  # noqa: E402

jax.config.update('jax_num_cpu_devices', 2)
jax.config.update('jax_enable_x64', True)
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_disable_most_optimizations', True)  # most of the time is compilation

ROOT = Path(__file__).parent.parent
TOLERANCE = 1e-10


def pytest_collection_finish():
    gc.freeze()  # what is imported stays: searching it for garbage is a quarter of all tracing
    gc.set_threshold(10_000, 20)


def close(actual, expected, tolerance=TOLERANCE):
    """Trees of the same shapes and types, equal to within an absolute or relative `tolerance`."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, e = np.asarray(a), np.asarray(e)
        assert (a.dtype, a.shape) == (e.dtype, e.shape)
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance, equal_nan=False)


def same(actual, expected):
    """Trees with the same bytes."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(e).tobytes()


def noisy(tree, seed=7, scale=0.3):
    """The tree with normal noise on every entry: zero biases and carries hide mistakes."""
    rng = np.random.default_rng(seed)

    def more(leaf):
        noise = scale * rng.standard_normal(leaf.shape)
        if jnp.iscomplexobj(leaf):
            noise = noise + 1j * scale * rng.standard_normal(leaf.shape)
        return jnp.asarray(np.asarray(leaf) + noise.astype(leaf.dtype))

    return jax.tree.map(more, tree)


def command(experiment, *flags):
    return [sys.executable, '-m', f'experiments.{experiment}', *map(str, flags)]


def launch(experiment, *flags, cwd=ROOT, stdin=''):
    """An experiment as a process; its text may hold bytes that are not UTF-8."""
    options = {'capture_output': True, 'text': True, 'errors': 'surrogateescape', 'timeout': 300}
    return subprocess.run(command(experiment, *flags), input=stdin, cwd=cwd, **options)


class Result(NamedTuple):
    code: int
    out: str
    err: str


def call(experiment, *flags, cwd=ROOT, stdin='', x64=False, pictures=False):
    """An experiment in this process, with the settings of JAX that a user has.

    With JAX's own flags, which stay set, it is a process after all. The pictures of a training,
    which take a quarter of its time, are drawn where a test looks at them.
    """
    argv = [experiment, *map(str, flags)]
    if any(flag.startswith(('--jax_', '--nojax_')) for flag in argv):
        result = launch(*argv, cwd=cwd, stdin=stdin)
        return Result(result.returncode, result.stdout, result.stderr)
    module = importlib.import_module(f'experiments.{experiment}')
    task.forget()  # as a process begins
    out, err, given = (io.TextIOWrapper(io.BytesIO(), 'utf-8', 'surrogateescape') for _ in range(3))
    given.write(stdin)
    given.seek(0)
    code = 0
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch, plain_jax(x64):
        if not pictures:
            for name in ('curves', 'forecast'):
                patch.setattr(plots, name, lambda *arguments: None)
            patch.setattr(report, 'draw_sweep', lambda *arguments: [])
        patch.chdir(cwd)
        patch.syspath_prepend(cwd)  # as python -m does
        for name, stream in (('stdin', given), ('stdout', out), ('stderr', err)):
            patch.setattr(sys, name, stream)
        try:
            with cli.one_line_errors():
                takes_arguments = experiment in ('compare', 'export', 'reproduce')
                config, rest = cli.parse(module.Config, argv, takes_arguments)
                module.main(config, rest) if takes_arguments else module.main(config)
        except SystemExit as error:
            code = error.code
    for name in set(sys.modules) - before:
        if cwd != ROOT and str(cwd) in str(getattr(sys.modules[name], '__file__', '')):
            del sys.modules[name]
    for stream in (out, err):
        stream.seek(0)
    return Result(code, out.read(), err.read())


def ran(experiment, *flags, **options):
    """What an experiment prints that ends well."""
    code, out, err = call(experiment, *flags, **options)
    assert code == 0, err
    return out


@contextlib.contextmanager
def paused_training(*argv, at):
    """An experiment in another process, which is paused once the file `at` is written."""
    process = subprocess.Popen(command(*argv), cwd=ROOT, stdout=subprocess.DEVNULL)
    while not at.exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.wait() == 0


def stopped(flags, number, ready):
    """(exit code, output) of a process that gets the signal once ready() is true."""
    options = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True, 'cwd': ROOT}
    process = subprocess.Popen(command('mnist', *flags), **options)
    deadline = time.time() + 120
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.time() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


@contextlib.contextmanager
def plain_jax(x64):
    promotion = jax.numpy_dtype_promotion('standard'), jax.numpy_rank_promotion('allow')
    with jax.enable_x64(x64), promotion[0], promotion[1]:
        yield


def refused(experiment, cases, folder):
    """Checks that the experiment ends with one line of error that has each case's words.

    It writes nothing in the empty folder, and prints nothing else.
    """
    for flags, words in cases:
        code, out, err = call(experiment, *flags, cwd=folder)
        line = err.startswith('error: '), err.count('\n')
        assert (code, out, *line) == (1, '', True, 1), (flags, out, err)
        assert [word for word in words if word not in err] == [], (flags, err)
    assert not list(folder.iterdir())


@pytest.fixture(scope='session')
def compiled(tmp_path_factory):
    """The folder of the programs that were compiled, of all workers and processes."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if 'PYTEST_XDIST_WORKER' in os.environ else folder) / 'compiled'


@pytest.fixture(scope='session', autouse=True)
def programs(compiled):
    """No program is compiled twice."""
    jax.config.update('jax_compilation_cache_dir', str(compiled))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    compilation_cache.reset_cache()


@pytest.fixture(scope='module')
def traced_once():
    """In a module that trains alike again and again, no program is traced twice."""
    kept, make = {}, program.make_program

    def remembered(plan, number, run, place, *rest):
        static = plan.config.reduced(lambda spec: spec.kind is Kind.STATIC or spec.data)
        kind = static, jax.tree.structure(plan.config.hyper), jax.config.jax_enable_x64
        key = *kind, number, place.func, place.keywords['mesh']
        if key not in kept:
            kept[key] = make(plan, number, run, place, *rest)
        return dataclasses.replace(kept[key], plan=plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, 'make_program', remembered)
        yield


@pytest.fixture(scope='module')
def shell(compiled):
    """A user's environment for processes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ('TFDS_DATA_DIR', 'PJRT_NPROC'):
            patch.delenv(name, raising=False)
        patch.setenv('PYTHONPATH', str(ROOT))
        patch.setenv('JAX_COMPILATION_CACHE_DIR', str(compiled))
        patch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
        patch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', 'true')  # its bits are those of this process
        yield


@pytest.fixture
def impatient(monkeypatch):
    """A claim is stale at once where nobody holds it."""
    monkeypatch.setattr(claims, 'BEAT', 0.02)
    monkeypatch.setattr(turns, 'WAIT', 0.02)


def shared(*parts) -> Path:
    root = os.environ.get('RNNLAB_TEST_DATA')
    if not root:
        pytest.skip('RNNLAB_TEST_DATA names no folder with tfds/ and raw/')
    path = Path(root, *parts)
    if not path.exists():
        pytest.skip(f'RNNLAB_TEST_DATA has no {"/".join(parts)}')
    return path


@pytest.fixture
def tfds_folder() -> Path:
    """A TFDS folder with MNIST prepared."""
    return shared('tfds', 'mnist').parent


@pytest.fixture
def mnist_archives() -> Path:
    """The four original archives."""
    return shared('raw', 'mnist')


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'rnnlab'


@pytest.fixture
def keras():
    os.environ.setdefault('KERAS_BACKEND', 'jax')
    keras = pytest.importorskip('keras')
    with jax.numpy_rank_promotion('allow'), jax.numpy_dtype_promotion('standard'):
        yield keras
