"""Devices that share a batch, of one process or of several."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnlab.cells.base import Carry, Params, Tree
from rnnlab.errors import InputError


def over_devices(functions: list[Callable], mesh: Mesh | None) -> Callable:
    """(which, params, carry, data, batch, at) -> (sums, carry, statistics) of functions[which].

    Each device of the mesh takes its part of the batch; the sums are over all of them, and the
    statistics the same on each.
    """

    def chosen(which: Array, *rest: Tree) -> tuple[Tree, Carry, Params]:
        return lax.switch(which, functions, *rest)

    if mesh is None:
        return chosen

    def shared(*args: Tree) -> tuple[Tree, Carry, Params]:
        totals, carry, statistics = chosen(*args)
        return lax.psum(totals, 'batch'), carry, statistics

    whole, part = PartitionSpec(), PartitionSpec('batch')
    return jax.shard_map(
        shared,
        mesh=mesh,
        in_specs=(whole, whole, part, whole, part, whole),
        out_specs=(whole, part, whole),
        check_vma=False,  # the scan's carry starts the same on every device and then differs
    )


# Floating-point operations of a step from which sharing it between devices pays: two cores take
# about 0.3 ms to synchronise.
SHARED = 1.5e8


def batch_mesh(
    batch_size: int, devices: Sequence[jax.Device] | None = None, operations: float = SHARED
) -> Mesh | None:
    """The most of these devices (None: of all) that divide the batch, as a mesh.

    None for one device, or a step of fewer than SHARED operations. Each process has equally many.
    """
    if operations < SHARED:
        return None
    devices = jax.devices() if devices is None else devices
    processes = processes_of(devices)
    if batch_size % processes:
        raise InputError(f'`batch_size={batch_size}` is no multiple of the {processes} processes')
    numbers = range(processes, len(devices) + 1, processes)
    number = max(n for n in numbers if batch_size % n == 0)
    if number == 1:
        return None
    auto, ours = (jax.sharding.AxisType.Auto,), evenly(devices, number)
    return jax.make_mesh((number,), ('batch',), axis_types=auto, devices=ours)


def processes_of(devices: Sequence[jax.Device]) -> int:
    return len({device.process_index for device in devices})


def evenly(devices: Sequence[jax.Device], number: int) -> list[jax.Device]:
    """So many of the devices, equally many of each process."""
    processes = dict.fromkeys(device.process_index for device in devices)
    each = [[d for d in devices if d.process_index == process] for process in processes]
    return [device for own in each for device in own[: number // len(each)]]


def everywhere(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def replicated(tree: Tree, mesh: Mesh | None) -> Tree:
    """The tree on each device of the mesh, which may be of several processes that all have it."""
    if mesh is None or not mesh.is_multi_process:
        return jax.device_put(tree, everywhere(mesh) if mesh else None)

    def put(leaf: Tree) -> Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, everywhere(mesh), whole.__getitem__)

    return jax.tree.map(put, tree)
