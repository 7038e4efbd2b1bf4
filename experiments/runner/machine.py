"""The devices of a run, the precision of its products, and what is recorded of both."""

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import jax
import jaxlib
import numpy

import rnnlab
from experiments.runner.console import silenced
from experiments.runner.training import PRECISIONS, Training
from rnnlab.errors import InputError
from rnnlab.results import runs
from rnnlab.results.records import Json
from rnnlab.training.devices import evenly, processes_of

# The cores that this process may use.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
NUMERICS = (  # settings of JAX that change numbers, which the environment sets too
    'jax_enable_x64',
    'jax_default_matmul_precision',
    'jax_default_prng_impl',
    'jax_threefry_partitionable',
    'jax_random_seed_offset',
)
TPUS = 'v4:2x2x1', 'v5e:2x2', 'v5p:2x2x1', 'v6e:2x2'
NO_NUMERICS = (
    'jax_num_cpu_devices', 'jax_compilation_cache_dir', 'jax_enable_compilation_cache',
)  # fmt: skip
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of malloc.h


def keep_memory(arenas: int = 1) -> None:
    """Memory that is freed stays in this process for the next use, where glibc allocates it.

    XLA allocates anew what a step needs. If the system has to clear those pages each time, a
    gradient over long sequences takes a tenth longer.

    Args:
        arenas: of malloc, at most; 0 is its own choice.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(M_MMAP_MAX, 0)
        allocator.mallopt(M_TRIM_THRESHOLD, -1)
        allocator.mallopt(M_ARENA_MAX, arenas)


def recorded(config: Training) -> Json:
    """JAX's settings that are given or change numbers, its version, the platform, the devices."""
    given = (n for n in sorted(config.given) if n.startswith('jax_') and n not in NO_NUMERICS)
    of_jax = {name: getattr(jax.config, name) for name in dict.fromkeys([*NUMERICS, *given])}
    if config.precision != 'float32':  # by --precision, not by JAX's own flag
        of_jax['jax_default_matmul_precision'] = None
    kind = devices(config)[0].platform
    machine = {'jax': jax.__version__, 'platform': kind, 'devices': devices_asked(config)}
    return of_jax | machine


def environment(command: str) -> runs.Environment:
    """What began a run or sweep, for people to read."""
    versions = {module.__name__: module.__version__ for module in (rnnlab, jax, jaxlib, numpy)}
    here = jax.devices()
    machine: dict[str, str | int] = {
        'system': platform.platform(),
        'processor': processor_name(),
        'cores': CORES,
        'devices': f'{len(here)} x {here[0].device_kind}',
    }
    versions = {'python': platform.python_version()} | versions
    return {'command': command, 'versions': versions, 'machine': machine}


def processor_name() -> str:
    """The name of the processor's model, where the system says it."""
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(': ')[2]
    return platform.processor() or platform.machine()


def devices(config: Training) -> list[jax.Device]:
    """The devices to use: those that JAX has, or as many of them as --devices says."""
    there = topology(config.compile_for) if config.compile_for else jax.devices()
    number, processes = devices_asked(config) or len(there), processes_of(there)
    if number > len(there):
        words = f'--devices={number} is more than the {len(there)} {there[0].platform} device(s)'
        raise InputError(f'{words} that JAX finds')
    if number % processes:
        raise InputError(f'--devices={number} is no multiple of the {processes} processes')
    return evenly(there, number)


def device(config: Training) -> jax.Device:
    """The first of the devices that is of this process."""
    return next(d for d in devices(config) if d.process_index == jax.process_index())


def shared(config: Training) -> bool:
    """Whether devices share each batch however small the step is: several processes must."""
    return devices_asked(config) is not None or processes_of(devices(config)) > 1


@cache
def topology(name: str) -> list[jax.Device]:
    """The devices of a TPU, for which programs can be compiled; InputError for one unknown."""
    if find_spec('libtpu') is None:
        raise InputError(f"--compile_for={name} needs a TPU's compiler: pip install 'jax[tpu]'")
    from jax.experimental.topologies import get_topology_desc

    try:
        with silenced(2):  # its complaints that there is no TPU
            return get_topology_desc(name, platform='tpu').devices
    except jax.errors.JaxRuntimeError as error:
        words = f'--compile_for={name} is no TPU that the compiler knows'
        raise InputError(f'{words}; {", ".join(TPUS)} are some') from error


def devices_asked(config: Training) -> int | None:
    """How many devices --devices says; auto: those that a resumed run began with, else None."""
    if config.devices != 'auto':
        return int(config.devices)
    return devices_noted(config) if config.resume and not config.sweep else None


def devices_noted(config: Training) -> int | None:
    """How many devices the run in --out began with."""
    if not (config.resume and config.out) or config.sweep:
        return None
    try:
        noted = runs.read_json(Path(config.out) / runs.CONFIG).get('devices')
    except InputError:
        return None
    return noted if isinstance(noted, int) and noted > 0 else None


@contextlib.contextmanager
def precision(config: Training) -> Iterator[None]:
    """Inside, matrix products have the precision that --precision says, float32 being JAX's own."""
    chosen = PRECISIONS[config.precision]
    if chosen is None:
        yield
        return
    if 'jax_default_matmul_precision' in config.given:
        words = f'--precision={config.precision} and --jax_default_matmul_precision'
        raise InputError(f'{words} say the same thing: leave one out')
    with jax.default_matmul_precision(chosen):
        yield
