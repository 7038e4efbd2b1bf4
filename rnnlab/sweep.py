"""A sweep is one program: the vmap of a run over lanes, each with settings and a key of its own, shared out over devices."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rnnlab.batches import Buckets
from rnnlab.data import Split
from rnnlab.models import Model
from rnnlab.optim import Hyper
from rnnlab.train import Batch, Run, TrainState, everywhere, sums

EACH: Any = 0  # of a TrainState every lane has its own, along axis 0, but for the step, which they share
SHARED: Any = None
MAPPED = TrainState(step=SHARED, taken=EACH, params=EACH, opt_state=EACH, totals=EACH)
WHOLE, PART = PartitionSpec(), PartitionSpec('lane')


def lanes_per_wave(trials: int, most: int, devices: int) -> int:
    """The lanes of each wave: for as few waves as `most` lanes allow, as few as these need, and the same on each device."""
    devices = min(devices, most, trials)
    waves = -(-trials // (most // devices * devices))
    return -(-trials // (waves * devices)) * devices


def lane_mesh(lanes: int, devices: Sequence[Any]) -> Mesh:
    """The most of these devices that take as many lanes each."""
    number = max(n for n in range(1, len(devices) + 1) if lanes % n == 0)
    return jax.make_mesh((number,), ('lane',), axis_types=(AxisType.Auto,), devices=devices[:number])


def stacked(hypers: Sequence[Hyper], keys: Sequence[Array]) -> tuple[Hyper, Array]:
    """The settings and keys of lanes, an entry a lane. What is None must be so in all of them."""
    return jax.tree.map(lambda *values: jnp.asarray(values, float), *hypers), jnp.stack(keys)


def over_lanes(run: Run, mesh: Mesh) -> Run:
    """That run for many settings and keys at once (see `stacked`): a TrainState with an entry a lane, but for `step`.

    A lane is the run that its settings and key give alone. One whose loss or gradient is not finite stays as it was before.
    """
    state = jax.tree.map(lambda axis: WHOLE if axis is None else PART, MAPPED, is_leaf=lambda axis: axis is None)
    start = jax.vmap(run.start, out_axes=MAPPED)
    advance = jax.vmap(run.advance, in_axes=(0, 0, None, MAPPED, None), out_axes=MAPPED)
    return Run(
        jax.jit(shared_out(start, mesh, (PART, PART), state)),
        jax.jit(shared_out(advance, mesh, (PART, PART, WHOLE, state, WHOLE), state), donate_argnums=3),
    )


def evaluation_over_lanes(mesh: Mesh) -> Callable:
    """The `program` of make_evaluate for params with an entry a lane; loss and accuracy have one too."""

    def program(totals: Callable) -> Callable:
        return jax.jit(shared_out(jax.vmap(totals, in_axes=(0, None, None, None)), mesh, (PART, WHOLE, WHOLE, WHOLE), PART))

    return program


def shared_out(function: Callable, mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable:
    # Each device runs the lanes that it has, and none waits for another.
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def placed(state: TrainState, mesh: Mesh) -> TrainState:
    """A state of lanes, with each lane on its device."""
    part = jax.device_put(state.replace(step=None), NamedSharding(mesh, PART))
    return part.replace(step=jax.device_put(state.step, everywhere(mesh)))


def one_lane(tree: Any, lane: int) -> Any:
    """The entries of one lane on the host, and the step, which lanes share."""
    return jax.tree.map(lambda leaf: np.array(leaf[lane] if leaf.ndim else leaf), tree)


@jax.jit
def better(best: Any, new: Any, improved: Array) -> Any:
    """In each lane the entry of `new` where that is an improvement."""
    return jax.tree.map(lambda old, leaf: jnp.where(jnp.expand_dims(improved, tuple(range(1, leaf.ndim))), leaf, old), best, new)


def lane_bytes(run: Run, model: Model, hyper: Hyper, data: Split, batch_size: int, buckets: Buckets | None = None) -> int:
    """About how much memory a lane takes on its device, in bytes, without compiling anything.

    Parameters and optimizer state count twice (a step makes new ones beside the old), gradients and updates once each, and
    what the gradient of a batch keeps of the forward pass twice, for what flows back through it.
    """
    key = jax.eval_shape(jax.random.key, 0)
    state = jax.eval_shape(run.start, hyper, key)
    time_steps = max(buckets.time_steps) if buckets else data.inputs.shape[1]
    batch = jax.eval_shape(lambda: Batch(jnp.zeros(batch_size, jnp.int32), jnp.zeros(batch_size, bool)))

    def kept(params, data, batch):
        return jax.vjp(lambda params: sums(model, time_steps)(params, data, batch)[0], params)[1]

    return 2 * size(state) + 2 * size(state.params) + 2 * size(jax.eval_shape(kept, state.params, data, batch))


def size(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def device_memory(device: Any) -> int:
    """Bytes that programs may use on a device; of the host's, what the machine or its container has, for all CPU devices."""
    if stats := device.memory_stats():
        return stats['bytes_limit']
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    limit = Path('/sys/fs/cgroup/memory.max')
    text = limit.read_text().strip() if limit.exists() else 'max'
    return memory if text == 'max' else min(memory, int(text))
