"""Memory, known from shapes before anything is allocated or compiled."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import Array

from rnnlab.cells.base import Carry, Params, Tree
from rnnlab.data import Split
from rnnlab.errors import InputError
from rnnlab.models import Model
from rnnlab.training.batches import Batch, Batches
from rnnlab.training.losses import Loss
from rnnlab.training.train import sums


def size(tree: Tree) -> int:
    """The bytes of a tree of arrays, or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def shapes(function: Callable, *args: Tree) -> Tree:
    """The shapes of what a function returns; InputError for sizes that no array has."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of huge sizes, which are refused
            warnings.filterwarnings('default', 'no native engine')  # said once, here or later
            return jax.eval_shape(function, *args)
    except OverflowError as error:
        raise InputError('sizes beyond what an array can have: choose smaller ones') from error


def residual_bytes(
    model: Model, loss: Loss, batches: Batches, params: Params, carry: Carry, data: Split | None
) -> int:
    """Bytes that the gradient of a batch keeps of the forward pass."""
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batches.size))
    longest = sums(model, loss, batches)[-1]

    def forward(params: Params, carry: Carry, data: Split | None, keys: Array) -> Tree:
        batch = Batch(jnp.zeros(batches.size, jnp.int32), None, keys)

        def total(params: Params) -> Array:
            return longest(params, carry, data, batch, jnp.int32(0))[0][0]['loss']

        return jax.vjp(total, params)[1]

    return size(shapes(forward, params, carry, data, keys))


def check(what: str, needed: float, device: jax.Device | None = None) -> None:
    """Raises InputError if `what` needs more bytes than a device, by default JAX's first, has."""
    device = device or jax.devices()[0]
    if needed > (there := device_memory(device)):
        holder = 'this machine' if device.platform == 'cpu' else device.device_kind
        words = f'more than the {there / 1e9:,.1f} GB of {holder}; choose smaller sizes'
        raise InputError(f'{what} would take at least {needed / 1e9:,.1f} GB, {words}')


# GiB of a TPU that is only compiled for, by its kind.
TPU = {
    'TPU v2': 8,
    'TPU v3': 16,
    'TPU v4': 32,
    'TPU v5 lite': 16,
    'TPU v5': 95,
    'TPU v6 lite': 32,
    'TPU7x': 96,
}


def device_memory(device: jax.Device) -> int:
    """Bytes for programs on a device; on a CPU those of the machine or the control group."""
    if device.platform == 'tpu' and jax.default_backend() != 'tpu':
        return TPU[device.device_kind] * 2**30
    if stats := device.memory_stats():
        return stats['bytes_limit']
    limits = [os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')]
    groups = Path('/proc/self/cgroup')
    for line in groups.read_text().splitlines() if groups.exists() else []:
        _, controllers, own = line.split(':', 2)
        if controllers in ('', 'memory'):  # of version 2, of version 1
            root = Path('/sys/fs/cgroup', controllers)
            name = 'memory.limit_in_bytes' if controllers else 'memory.max'
            for folder in (root / own.lstrip('/'), *(root / own.lstrip('/')).parents):
                limit = folder / name
                if limit.exists() and (text := limit.read_text().strip()).isdecimal():
                    limits.append(int(text))
    return min(limits)
