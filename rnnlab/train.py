"""Training: a run is two pure functions, start and advance, so that a sweep is their vmap.

advance takes as many steps as asked on the device, without the host. How a run is cut into such chunks changes no bit of it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnlab.batches import Buckets, epoch_order, one_bucket
from rnnlab.data import Split
from rnnlab.errors import InputError, positive
from rnnlab.models import Model
from rnnlab.optim import Hyper

# What a run's key is folded with to give each use of chance its own; a new use takes a new number.
PARAMS, ORDER, DROPOUT = 0, 1, 2


class Totals(NamedTuple):
    """Sums over the steps since the last multiple of `every`."""

    loss: Array  # nats, over examples
    correct: Array  # examples
    examples: Array
    grad_norm: Array  # global norms before clipping, over steps
    steps: Array

    def means(self) -> dict[str, Any]:
        """loss (nats an example), accuracy (a share) and the gradient's norm (a step); a number each, or an array for lanes."""
        examples = np.maximum(self.examples, 1)  # a lane whose first step was not finite has none
        return {
            'loss': mean(self.loss, examples),
            'accuracy': mean(self.correct, examples),
            'grad_norm': mean(self.grad_norm, np.maximum(self.steps, 1)),
        }


def mean(total: Any, count: Any) -> Any:
    """total / count on the host in double precision: a float, or an array with an entry a lane."""
    value = np.float64(total) / count
    return value.item() if np.ndim(value) == 0 else value


class TrainState(struct.PyTreeNode):
    """Everything that changes in a run.

    Where the loss or gradient of a step is not finite, nothing changes any more but `step`, which lanes of a vmap share.
    """

    step: Array  # where the run is in its batches
    taken: Array  # steps taken: as many, or those before the first that was not finite
    params: Any
    opt_state: Any
    totals: Totals

    @property
    def finite(self) -> Array:
        return self.taken == self.step


class Run(NamedTuple):
    """start: (hyper, key) -> TrainState.

    advance: (hyper, key, data, state, steps) -> the TrainState after that many steps; it uses the state up. In a vmap over
        lanes, state.step is the one thing that they share.
    """

    start: Callable[[Hyper, Array], TrainState]
    advance: Callable[[Hyper, Array, Split, TrainState, int], TrainState]


def make_run(
    model: Callable[[Hyper], Model],
    optimizer: Callable[[Hyper], optax.GradientTransformation],
    *,
    batch_size: int,
    every: int,
    buckets: Buckets | None = None,
    mesh: Mesh | None = None,
) -> Run:
    """A run of a classifier on batches of an order that each epoch shuffles anew; one batch of an epoch may be smaller.

    Args:
        model, optimizer: made from the run's continuous settings, which may be arrays.
        batch_size: examples a step.
        every: steps over which the totals are summed, then begun anew.
        buckets: of the training examples by length, for batches of that size; None takes all time steps of everyone.
        mesh: devices (axis 'batch') that share each batch; None is one device.
    """
    positive('batch_size', batch_size)
    positive('every', every)

    def start(hyper: Hyper, key: Array) -> TrainState:
        hyper = as_arrays(hyper)
        params = model(hyper).init(jax.random.fold_in(key, PARAMS))
        opt_state = optimizer(hyper).init(params)
        return TrainState(jnp.int32(0), jnp.int32(0), params, opt_state, no_totals())

    def advance(hyper: Hyper, key: Array, data: Split, state: TrainState, steps: int) -> TrainState:
        hyper = as_arrays(hyper)
        tx, loss = optimizer(hyper), partial(sums, model(hyper), smoothing=hyper.label_smoothing)
        groups = buckets or one_bucket(len(data.labels), data.inputs.shape[1], batch_size)
        gradient = over_devices(in_bucket([jax.value_and_grad(loss(t), has_aux=True) for t in groups.time_steps]), mesh)
        schedule, bucket_of = jnp.asarray(groups.schedule, jnp.int32), jnp.asarray(groups.of_batch)
        stop = state.step + jnp.asarray(steps, jnp.int32)

        def epoch(state: TrainState) -> TrainState:
            number, offset = jnp.divmod(state.step, len(schedule))
            order = epoch_order(jax.random.fold_in(jax.random.fold_in(key, ORDER), number), groups, batch_size)
            begin = state.step - offset
            end = jnp.minimum(stop, begin + len(schedule))

            def take(state: TrainState) -> TrainState:
                at = schedule[state.step - begin]
                return train_step(state, order[at], bucket_of[at])

            return lax.while_loop(lambda s: s.step < end, take, state)

        def train_step(state: TrainState, index: Array, bucket: Array) -> TrainState:
            valid = index >= 0
            size = jnp.sum(valid, dtype=jnp.int32)
            keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, DROPOUT), state.step), batch_size)
            (total_loss, correct), grads = gradient(state.params, data, bucket, Batch(index, valid, keys))
            grads = jax.tree.map(lambda g: g / size.astype(g.dtype), grads)
            norm = optax.tree.norm(grads)
            updates, opt_state = tx.update(grads, state.opt_state, state.params)
            before = jax.tree.map(lambda total: jnp.where(state.step % every == 0, jnp.zeros_like(total), total), state.totals)
            after = state.replace(
                taken=state.taken + 1,
                params=optax.apply_updates(state.params, updates),
                opt_state=opt_state,
                totals=jax.tree.map(jnp.add, before, Totals(total_loss, correct, size, norm, jnp.ones_like(size))),
            )
            finite = state.finite & jnp.isfinite(total_loss) & jnp.isfinite(norm)
            return jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state).replace(step=state.step + 1)

        return lax.while_loop(lambda s: s.step < stop, epoch, state)

    return Run(jax.jit(start), jax.jit(advance, donate_argnames='state'))


def as_arrays(hyper: Hyper) -> Hyper:
    """Numbers as arrays of their own type, so that they compute in it as in a lane."""
    return jax.tree.map(lambda value: jnp.asarray(value, float), hyper)


def no_totals() -> Totals:
    zero, none = jnp.zeros(()), jnp.int32(0)
    return Totals(zero, none, none, zero, none)


class Batch(NamedTuple):
    examples: Array  # int [B], their places in the data
    valid: Array  # bool [B]; an example that is not only fills the batch up
    keys: Array | None = None  # [B], for dropout; None: it is off


def sums(model: Model, time_steps: int, smoothing: float | Array | None = None) -> Callable:
    """(params, data, batch) -> (cross-entropy in nats, right answers), summed over the valid examples of that many time steps.

    Smoothing is the share of each label that is spread evenly over all classes (Szegedy et al. 2016, section 7).
    """

    def batch_sums(params, data: Split, batch: Batch) -> tuple[Array, Array]:
        inputs, labels, lengths = jax.tree.map(lambda leaf: leaf[batch.examples], data)
        logits = model.apply(params, inputs[:, :time_steps], lengths, batch.keys)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        if smoothing is not None:
            even = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
            losses = losses + jnp.asarray(smoothing, losses.dtype) * (even - losses)
        right = jnp.argmax(logits, axis=-1) == labels
        return jnp.sum(jnp.where(batch.valid, losses, 0)), jnp.sum(right & batch.valid, dtype=jnp.int32)

    return batch_sums


def in_bucket(functions: list[Callable]) -> Callable:
    """(params, data, bucket, batch) -> what the function of that bucket gives; only that one runs."""
    return lambda params, data, bucket, batch: lax.switch(bucket, functions, params, data, batch)


def over_devices(batch_sums: Callable, mesh: Mesh | None) -> Callable:
    """The same sums, each device of the mesh taking its part of the batch."""
    if mesh is None:
        return batch_sums
    whole, part = PartitionSpec(), PartitionSpec('batch')
    return jax.shard_map(
        lambda *args: lax.psum(batch_sums(*args), 'batch'),
        mesh=mesh,
        in_specs=(whole, whole, whole, part),
        out_specs=whole,
        check_vma=False,  # the scan's carry starts the same on every device and then differs
    )


def batch_mesh(batch_size: int, devices: Sequence[Any] | None = None) -> Mesh | None:
    """The most of these devices (None: of all) that divide the batch, or None where that is one."""
    devices = jax.devices() if devices is None else devices
    number = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    if number == 1:
        return None
    return jax.make_mesh((number,), ('batch',), axis_types=(jax.sharding.AxisType.Auto,), devices=devices[:number])


def everywhere(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def make_evaluate(
    model: Model, *, batch_size: int, buckets: Buckets | None = None, mesh: Mesh | None = None, program: Callable = jax.jit
) -> Callable:
    """(params, data, start=0, count=None) -> (loss in nats, accuracy), means over `count` examples from `start` on.

    Every one of them counts once: the last batch is filled up and masked. Past the last example it begins at the first.
    Buckets of the examples by length, for batches of that size, save time; with them it is always all examples.
    `program` makes what runs of the pure function.
    """

    @program
    def totals(params, data: Split, start, count):
        groups = buckets or one_bucket(len(data.labels), data.inputs.shape[1], batch_size)
        batch_sums = over_devices(in_bucket([sums(model, t) for t in groups.time_steps]), mesh)
        order, bucket_of = jnp.asarray(np.argsort(groups.of_example, kind='stable'), jnp.int32), jnp.asarray(groups.of_batch)

        def add(number, total):
            at = number * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
            index = order[(start + at) % len(order)]
            return jax.tree.map(jnp.add, total, batch_sums(params, data, bucket_of[number], Batch(index, at < count)))

        zero = no_totals()
        return lax.fori_loop(0, -(-count // batch_size), add, (zero.loss, zero.correct))

    def evaluate(params, data: Split, start: int = 0, count: int | None = None) -> tuple[Any, Any]:
        count = len(data.labels) if count is None else count
        if not 0 < count <= len(data.labels):
            raise InputError(f'cannot evaluate {count} of {len(data.labels)} examples')
        if buckets and (start, count) != (0, len(data.labels)):
            raise InputError('with buckets all examples are evaluated, not some')
        loss, correct = totals(params, data, jnp.int32(start), jnp.int32(count))
        return mean(loss, count), mean(correct, count)

    return evaluate


def fit(
    run: Run, hyper: Hyper, key: Array, data: Split, state: TrainState, *, stop: int, every: int, seconds: float = 1.0
) -> Iterator[TrainState]:
    """Trains until step `stop`, giving back the state after each chunk of about `seconds`.

    A chunk ends at every multiple of `every`. The next one uses the state up: what is kept of it must be copied. Ends after
    a chunk in which a loss or gradient was not finite, with lanes once that has happened to all of them.
    """
    chunk, compiled = 1, False
    while (step := int(state.step)) < stop and np.any(state.finite):
        began = time.perf_counter()
        state = run.advance(hyper, key, data, state, min(chunk, stop - step, every - step % every))
        done = int(state.step) - step  # waits for the device
        if compiled:
            chunk = min(10 * chunk, 1 + int(seconds * done / (time.perf_counter() - began)))
        compiled = True
        yield state
