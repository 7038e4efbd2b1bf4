"""How the benchmark measures: warm timings, child processes, the machine."""

import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from datetime import date
from statistics import median
from typing import Any

import jax
from jax import Array
from jax.typing import ArrayLike

from experiments.runner.machine import CORES
from rnnlab.cells.base import Params
from rnnlab.errors import InputError

WARM_UP, READING = 0.15, 0.1  # seconds at least


def warm_seconds(call: Callable[[], object]) -> float:
    """Seconds of one call, the mean of as many as fill READING, after WARM_UP.

    After idling a call takes up to a third longer: caches and clocks are cold, threads asleep.
    """
    mean_seconds(call, WARM_UP)
    return mean_seconds(call, READING)


def mean_seconds(call: Callable[[], object], least: float) -> float:
    """Mean seconds of as many calls, one at least, as fill that time."""
    began, number = time.perf_counter(), 0
    while True:
        call()
        number += 1
        if (seconds := time.perf_counter() - began) >= least:
            return seconds / number


def compiled_gradient(
    apply: Callable[[Params, Array], Array], params: Params, inputs: ArrayLike
) -> Callable[[], object]:
    """The gradient of the outputs' sum of squares, compiled and not yet run."""
    gradient = jax.jit(jax.grad(lambda params, inputs: (apply(params, inputs) ** 2).sum()))
    compiled = gradient.lower(params, inputs).compile()
    return lambda: jax.block_until_ready(compiled(params, inputs))


def spread(seconds: list[float]) -> tuple[float, float, float]:
    """Median, least and greatest."""
    return median(seconds), min(seconds), max(seconds)


def child(module: str, *arguments: str | int) -> list[str]:
    """The command that runs a module of this folder."""
    return [sys.executable, '-m', f'experiments.benchmark.{module}', *map(str, arguments)]


def environment() -> dict[str, str]:
    """Environment variables of an experiment in a child process, on the CPU."""
    inherited = {name: value for name, value in os.environ.items() if name != 'PJRT_NPROC'}
    return inherited | {'JAX_PLATFORMS': 'cpu'}


def worker_environment(devices: int = 1) -> dict[str, str]:
    """Those of a module of this folder: CPU devices, and this process's cache of programs."""
    config: Any = jax.config
    cache = {
        'JAX_COMPILATION_CACHE_DIR': config.jax_compilation_cache_dir,
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    }
    return {
        **environment(),
        **(cache if config.jax_compilation_cache_dir else {}),
        'JAX_NUM_CPU_DEVICES': str(devices),
        'PJRT_NPROC': str(max(os.cpu_count() or 1, devices + 1)),  # see experiments/runner/cli.py
        'KERAS_BACKEND': 'jax',
    }


def require(peers: Iterable[str]) -> None:
    """Raises InputError unless these libraries are installed."""
    for peer in peers:
        if importlib.util.find_spec(peer) is None:
            package = 'dm-haiku' if peer == 'haiku' else peer
            words = f'pip install {package}, or leave it out of --peers'
            raise InputError(f'{peer} is not installed: {words}')


def machine() -> str:
    """The date, the cores, and the versions of Python and JAX."""
    cores = f'{CORES} cores ({platform.machine()})'
    return f'{date.today()}, {cores}, Python {platform.python_version()}, JAX {jax.__version__}'
