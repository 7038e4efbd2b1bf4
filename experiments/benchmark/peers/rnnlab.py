"""The timed work here, on the devices that a run would take."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from experiments.benchmark.peers.functional import loss_and_norm, repeated
from experiments.benchmark.work import LR, SEED, Shape, Work, make_data, make_model, make_weights
from rnnlab.cells import find
from rnnlab.cells.base import Params
from rnnlab.data import Split
from rnnlab.models import Model
from rnnlab.recurrence import engines
from rnnlab.training.batches import Batch, in_order, shuffled
from rnnlab.training.devices import batch_mesh, everywhere, over_devices
from rnnlab.training.optim import Hyper, optimizer
from rnnlab.training.train import NATS, differentiated, make_run, sums


def prepare(cell: str, shape: Shape, kind: str) -> Work:
    model = make_model(cell, shape)
    native = engines(find(cell)(shape.hidden))[0] == 'native'  # which takes all cores by itself
    operations = 0 if native else shape.operations(cell, 'gradient')
    mesh = batch_mesh(shape.batch, operations=operations)
    params, data = jax.device_put(
        (make_weights(cell, shape).params, make_data(shape, kind)),
        everywhere(mesh) if mesh else None,
    )
    if kind == 'forward':
        return forward(model, params, data, mesh, shape.steps)
    if kind == 'gradient':
        return gradient(model, params, data, mesh, shape.steps)
    return training(model, params, data, mesh, shape.times(kind), shape.batch)


def forward(model: Model, params: Params, data: Split, mesh: Mesh | None, steps: int) -> Work:
    apply = model.apply
    if mesh:
        whole, part = PartitionSpec(), PartitionSpec('batch')
        apply = jax.shard_map(
            apply, mesh=mesh, in_specs=(whole, part), out_specs=part, check_vma=False
        )
    return repeated(jax.jit(apply), (params, data.inputs), steps, jnp.linalg.norm)


def gradient(model: Model, params: Params, data: Split, mesh: Mesh | None, steps: int) -> Work:
    size = len(data.labels)
    functions = [differentiated(part) for part in sums(model, NATS, in_order(data, size))]
    batch = Batch(jnp.arange(size))

    @jax.jit
    def mean_gradient(params: Params, data: Split) -> tuple[Array, Params]:
        totals, *_ = over_devices(functions, mesh)(0, params, None, data, batch, 0)
        grads, metrics, count = totals
        return metrics['loss'] / count, jax.tree.map(lambda leaf: leaf / count, grads)

    return repeated(mean_gradient, (params, data), steps, loss_and_norm)


def training(
    model: Model, params: Params, data: Split, mesh: Mesh | None, steps: int, batch_size: int
) -> Work:
    batches = shuffled(data, batch_size)
    tx = optimizer('adam', 'torch')
    run = make_run(lambda hyper: model, tx, batches, every=steps, mesh=mesh)
    hyper, key = Hyper(lr=LR, clip=float('inf')), jax.random.key(SEED)
    state = run.start(hyper, key).replace(params=params)

    def work() -> list[float]:
        nonlocal state
        state = run.advance(hyper, key, data, state, steps)
        return [state.totals.means()['loss']]

    return work
