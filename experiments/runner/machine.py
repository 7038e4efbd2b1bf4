"""The devices of a run, the precision of its products, and what is recorded of both."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from experiments.runner.config import PRECISIONS, Training
from rnnlab.errors import InputError
from rnnlab.results import runs

# The cores that this process may use.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
NUMERICS = (  # settings of JAX that change numbers, which the environment sets too
    'jax_enable_x64',
    'jax_default_matmul_precision',
    'jax_default_prng_impl',
    'jax_threefry_partitionable',
    'jax_random_seed_offset',
)
NO_NUMERICS = (
    'jax_num_cpu_devices', 'jax_compilation_cache_dir', 'jax_enable_compilation_cache',
)  # fmt: skip


def recorded(config: Training) -> dict[str, Any]:
    """JAX's settings that are given or change numbers, its version, the platform, the devices."""
    given = (n for n in sorted(config.given) if n.startswith('jax_') and n not in NO_NUMERICS)
    of_jax = {name: getattr(jax.config, name) for name in dict.fromkeys([*NUMERICS, *given])}
    if config.precision != 'float32':  # by --precision, not by JAX's own flag
        of_jax['jax_default_matmul_precision'] = None
    platform = devices(config)[0].platform
    machine = {'jax': jax.__version__, 'platform': platform, 'devices': devices_asked(config)}
    return of_jax | machine


def devices(config: Training) -> list[Any]:
    """The devices to use: those that JAX has, or as many of them as --devices says."""
    there = jax.devices()
    number = devices_asked(config) or len(there)
    if number > len(there):
        words = f'--devices={number} is more than the {len(there)} {there[0].platform} device(s)'
        raise InputError(f'{words} that JAX finds')
    return there[:number]


def devices_asked(config: Training) -> int | None:
    """How many devices --devices says; auto: those that a resumed run began with, else None."""
    if config.devices != 'auto':
        return int(config.devices)
    return devices_noted(config) if config.resume and not config.sweep else None


def devices_noted(config: Any) -> int | None:
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
