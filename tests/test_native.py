"""The engine in C++: its functions to the last bits, shapes of all sizes, threads, no compiler."""

import os
import shlex
import subprocess
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from rnnlab import elman, gru, lstm
from rnnlab.errors import InputError
from rnnlab.recurrence import unroll
from rnnlab.recurrence.engines import native
from rnnlab.training import memory
from tests.conftest import close, noisy, same

CELLS = {'elman': elman, 'relu': lambda n: elman(n, activation='relu'), 'lstm': lstm, 'gru': gru}


@pytest.fixture(autouse=True)
def compiler():
    if native.kernels('float32') is None:
        pytest.skip('there is no C++ compiler')


def example(make, time_steps, batch, inputs, hidden, dtype=float):
    """(cell, params, xs), with no bias zero."""
    cell, key = make(hidden), jax.random.key(time_steps * batch + inputs + hidden)
    params = noisy(cell.init(key, inputs, dtype))
    return cell, params, jax.random.normal(key, (time_steps, batch, inputs), dtype)


def gradient(cell, params, xs, engine='native', **options):
    """(value, gradients by params and xs) of a sum over all outputs and the carry."""

    def total(params, xs):
        carry, ys = unroll(cell, params, xs, engine=engine, **options)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in (ys, *carry))

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(params, xs)


def ulps(actual, expected):
    """The largest distance in units of the last place of the expected values."""
    return np.max(np.abs(actual.astype(np.longdouble) - expected) / np.spacing(np.abs(expected)))


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_tanh_and_sigmoid_are_right_to_three_units_of_the_last_place(dtype):
    xs = np.concatenate([np.linspace(-12, 12, 40_001), np.geomspace(1e-6, 1e6, 20_001)]).astype(
        dtype
    )
    row = jnp.asarray(xs)[None, :, None]
    params = {'kernel': jnp.array([[1], [0]], dtype), 'bias': jnp.zeros(1, dtype)}
    tanh = unroll(elman(1), params, row, engine='native')[1].ravel()
    assert ulps(np.asarray(tanh), np.tanh(xs.astype(np.longdouble)).astype(dtype)) <= 3
    # an LSTM of which only the output gate sees the input, and whose memory stays at 20
    kernel, bias = jnp.array([[0, 0, 0, 1], [0] * 4], dtype), jnp.array([-100, 100, 0, 0], dtype)
    carry = lstm(1).carry({'bias': bias}, (len(xs),))._replace(c=jnp.full((len(xs), 1), 20, dtype))
    params = {'kernel': kernel, 'bias': bias}
    sigmoid = unroll(lstm(1), params, row, carry, engine='native')[1].ravel()
    expected = 1 / (1 + np.exp(-xs.astype(np.longdouble)))
    assert ulps(np.asarray(sigmoid), expected.astype(dtype)) <= 3


@pytest.mark.parametrize('number', range(12))
def test_any_shape_gives_what_the_scan_gives(number):
    random = np.random.default_rng(number)
    time_steps, batch, inputs, hidden = (int(3 * 10 ** random.uniform(-0.5, 1.2)) for _ in range(4))
    make = CELLS[[*CELLS][number % 4]]
    cell, params, xs = example(make, time_steps, batch, inputs, hidden)
    params = jax.tree.map(lambda leaf: leaf / 2, params)  # else a relu grows until sin is chaotic
    options = {'reverse': bool(number % 3 == 0), 'bptt': None if number % 2 else 3}
    options['lengths'] = jnp.asarray(random.integers(0, time_steps + 1, batch))
    if number % 3:
        options['reset'] = jnp.asarray(random.random((time_steps, batch)) < 0.2)
    mask = jnp.asarray(2.0 * (random.random((batch, hidden)) < 0.5))
    options['recurrent_dropout_mask'] = mask if number % 2 else None
    close(gradient(cell, params, xs, **options), gradient(cell, params, xs, 'scan', **options))


@pytest.mark.parametrize('make', CELLS.values(), ids=CELLS)
def test_weights_larger_than_a_cache_give_what_the_scan_gives(make):
    cell, params, xs = example(make, 19, 35, 300, 250)  # two chunks of steps, the last one short
    params = jax.tree.map(lambda leaf: leaf / 10, params)  # else an Elman cell is chaotic
    options = {'reverse': make is lstm, 'lengths': jnp.arange(35) % 20}
    expected, gradients = gradient(cell, params, xs, 'scan', **options)
    close(gradient(cell, params, xs, **options), (expected, gradients))
    carry, ys = unroll(cell, params, xs, engine='native', **options)  # keeps nothing
    close(sum(jnp.sum(jnp.sin(leaf)) for leaf in (ys, *carry)), expected)


@pytest.mark.parametrize('make', CELLS.values(), ids=CELLS)
def test_one_thread_and_all_give_the_same_bytes(make):
    cell, params, xs = example(make, 5, 70, 3, 19, jnp.float32)  # of 70 rows, five parts
    mesh = jax.make_mesh((1,), ('device',), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    whole = PartitionSpec()
    alone = jax.shard_map(  # in which the engine stays on one thread
        lambda params, xs: gradient(cell, params, xs),
        mesh=mesh, in_specs=whole, out_specs=whole, check_vma=False,
    )  # fmt: skip
    same(jax.jit(alone)(params, xs), gradient(cell, params, xs))


def test_transformations_of_jax():
    cell, params, xs = example(lstm, 6, 4, 3, 5)
    expected = [gradient(cell, params, xs, 'scan'), gradient(cell, params, 2 * xs, 'scan')]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected)
    both = jnp.stack([xs, 2 * xs])
    close(jax.vmap(lambda xs: gradient(cell, params, xs))(both), expected)
    close(jax.lax.map(lambda xs: gradient(cell, params, xs), both), expected)
    close(gradient(cell, params, xs, remat=2), gradient(cell, params, xs, 'scan'))


def test_second_derivatives_are_refused():
    cell, params, xs = example(gru, 3, 2, 2, 2)

    def total(xs):
        return jnp.sum(unroll(cell, params, xs, engine='native')[1])

    with pytest.raises(InputError, match='first derivatives alone; `engine=gated`'):
        jax.grad(lambda xs: jnp.sum(jax.grad(total)(xs) ** 2))(xs)


def test_other_types_run_on_the_gated_engine():
    cell, *arrays = example(gru, 3, 2, 2, 2)
    params, xs = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), arrays)
    same(unroll(cell, params, xs, engine='native'), unroll(cell, params, xs, engine='gated'))


def test_without_a_compiler_the_gated_engine_serves_and_one_line_says_so(monkeypatch, own_cache):
    cell, params, xs = example(lstm, 3, 2, 2, 2)
    monkeypatch.setenv('CXX', 'no-such-compiler')
    native.kernels.cache_clear()
    try:
        with pytest.warns(UserWarning, match='no native engine, gated serves: .*no-such-compiler'):
            memory.shapes(partial(unroll, cell), params, xs)
        result = unroll(cell, params, xs)
        same(result, unroll(cell, params, xs, engine='gated'))
        with pytest.raises(InputError, match="'native' cannot run this cell; gated and scan can"):
            unroll(cell, params, xs, engine='native')
    finally:
        native.kernels.cache_clear()


@pytest.mark.slow
def test_the_sanitizers_find_nothing(tmp_path):
    compiler = shlex.split(os.environ.get('CXX') or 'c++')
    options = ['-O0', '-march=native', '-std=c++17', '-pthread', '-w']
    options += ['-fsanitize=address,undefined', '-fno-sanitize-recover=all']
    folders = [f'-I{native.SOURCE.parent}', f'-I{jax.ffi.include_dir()}']
    source, program = Path(__file__).with_name('native_check.cc'), tmp_path / 'check'
    built = subprocess.run([*compiler, *options, *folders, source, '-o', program], check=False)
    if built.returncode:
        pytest.skip('the compiler has no sanitizers')
    assert subprocess.run([program, '300']).returncode == 0
