"""Training: a run is two pure functions, start and advance, so that a sweep is their vmap.

advance takes as many steps as asked on the device, without the host. How a run is cut into such chunks changes no bit of it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnlab.data import Split
from rnnlab.errors import InputError, positive
from rnnlab.models import Model
from rnnlab.recurrence.masking import within
from rnnlab.training.batches import Batch, Batches
from rnnlab.training.losses import Loss, cross_entropy
from rnnlab.training.optim import Hyper

# What a run's key is folded with to give each use of chance its own; a new use takes a new number.
PARAMS, ORDER, DROPOUT, EXAMPLES = 0, 1, 2, 3

NATS = cross_entropy()
USES = DROPOUT, EXAMPLES


def classification(hyper: Hyper) -> Loss:
    return cross_entropy(hyper.label_smoothing)


class Totals(NamedTuple):
    """Sums over the steps since the last multiple of `every`."""

    figures: dict[str, Array]  # those of the loss, over all that was asked for
    asked: Array  # how many those were
    grad_norm: Array  # global norms before clipping, over steps
    steps: Array

    def means(self) -> dict[str, Any]:
        """Each figure (the loss first) and the gradient's norm (a step); a number each, or an array for lanes."""
        names = dict.fromkeys(['loss', *self.figures])  # JAX sorts them
        means = {
            name: mean(self.figures[name], np.maximum(self.asked, 1)) for name in names
        }  # a lane that took no step has none
        return means | {'grad_norm': mean(self.grad_norm, np.maximum(self.steps, 1))}


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
    carry: Any = None  # what the next batch goes on from, where batches do

    @property
    def finite(self) -> Array:
        return self.taken == self.step


class Run(NamedTuple):
    """start: (hyper, key) -> TrainState.

    advance: (hyper, key, data, state, steps) -> the TrainState after that many steps; it uses the state up. In a vmap over
        lanes, state.step is the one thing that they share.
    """

    start: Callable[[Hyper, Array], TrainState]
    advance: Callable[[Hyper, Array, Split | None, TrainState, int], TrainState]


def make_run(
    model: Callable[[Hyper], Model],
    optimizer: Callable[[Hyper], optax.GradientTransformation],
    batches: Batches,
    *,
    every: int,
    loss: Callable[[Hyper], Loss] = classification,
    mesh: Mesh | None = None,
) -> Run:
    """A run that minimises the mean loss of each batch over all that is asked for in it.

    Args:
        model, optimizer, loss: made from the run's continuous settings, which may be arrays.
        batches: where its examples come from.
        every: steps over which the totals are summed, then begun anew.
        mesh: devices (axis 'batch') that share each batch; None is one device.
    """
    positive('batch_size', batches.size)
    positive('every', every)
    zeros = no_totals(loss(Hyper()))

    def start(hyper: Hyper, key: Array) -> TrainState:
        hyper = as_arrays(hyper)
        net = model(hyper)
        params = net.init(jax.random.fold_in(key, PARAMS))
        carry = net.carry(params, batches.size) if batches.carried else None
        return TrainState(
            jnp.int32(0), jnp.int32(0), params, optimizer(hyper).init(params), zeros, carry
        )

    def advance(
        hyper: Hyper, key: Array, data: Split | None, state: TrainState, steps: int
    ) -> TrainState:
        hyper = as_arrays(hyper)
        tx = optimizer(hyper)
        gradient = over_devices(
            [differentiated(part) for part in sums(model(hyper), loss(hyper), batches)], mesh
        )
        stop = state.step + jnp.asarray(steps, jnp.int32)

        def epoch(state: TrainState) -> TrainState:
            number, offset = jnp.divmod(state.step, batches.steps)
            order = batches.order(jax.random.fold_in(jax.random.fold_in(key, ORDER), number))
            begin = state.step - offset
            end = jnp.minimum(stop, begin + batches.steps)

            def take(state: TrainState) -> TrainState:
                at = state.step - begin
                return train_step(state, *batches.pick(order, at), at)

            return lax.while_loop(lambda s: s.step < end, take, state)

        def train_step(state: TrainState, examples: Array, which: Array, at: Array) -> TrainState:
            keys, draws = (
                jax.random.split(
                    jax.random.fold_in(jax.random.fold_in(key, use), state.step), batches.size
                )
                for use in USES
            )
            (grads, figures, count), carry = gradient(
                which, state.params, state.carry, data, Batch(examples, keys, draws), at
            )
            grads = jax.tree.map(lambda g: g / jnp.maximum(count, 1).astype(g.dtype), grads)
            norm = optax.tree.norm(grads)
            updates, opt_state = tx.update(grads, state.opt_state, state.params)
            before = jax.tree.map(
                lambda total: jnp.where(state.step % every == 0, jnp.zeros_like(total), total),
                state.totals,
            )
            after = state.replace(
                taken=state.taken + 1,
                params=optax.apply_updates(state.params, updates),
                opt_state=opt_state,
                totals=jax.tree.map(
                    jnp.add, before, Totals(figures, count, norm, jnp.ones_like(count))
                ),
                carry=carry,
            )
            finite = state.finite & jnp.isfinite(figures['loss']) & jnp.isfinite(norm)
            return jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state).replace(
                step=state.step + 1
            )

        return lax.while_loop(lambda s: s.step < stop, epoch, state)

    placed: dict[str, Any] = {}
    if (
        mesh
    ):  # states are everywhere, going in and coming out, so that the next call compiles nothing new
        placed = {
            'in_shardings': (None, None, None, everywhere(mesh), None),
            'out_shardings': everywhere(mesh),
        }
    return Run(jax.jit(start), jax.jit(advance, donate_argnames='state', **placed))


def as_arrays(hyper: Hyper) -> Hyper:
    """Numbers as arrays of their own type, so that they compute in it as in a lane."""
    return jax.tree.map(lambda value: jnp.asarray(value, float), hyper)


def no_totals(loss: Loss) -> Totals:
    none = jnp.int32(0)
    return Totals(
        {name: jnp.zeros((), kind) for name, kind in loss.figures.items()},
        none,
        jnp.zeros(()),
        none,
    )


def sums(model: Model, loss: Loss, batches: Batches) -> list[Callable]:
    """For each of the `takes` (params, carry, data, batch, at) -> ((figures, count), carry): the sums over all that is asked for.

    Padding and examples that only fill the batch up are not.
    """

    def of(take: Callable) -> Callable:
        def batch_sums(params, carry, data, batch: Batch, at: Array):
            inputs, labels, lengths = take(data, batch, at)
            if batches.carried:
                fresh = model.carry(params, len(batch.examples))
                carry = jax.tree.map(
                    lambda first, before: jnp.where(at == 0, first, before), fresh, carry
                )
            after, outputs = model.run(
                params, inputs, lengths, batch.keys, carry if batches.carried else None
            )
            asked = batch.examples >= 0
            if outputs.ndim == 3:
                inside = (
                    jnp.ones(outputs.shape[1::-1], bool)
                    if lengths is None
                    else within(outputs.shape[1], lengths)
                )
                asked = (inside & jnp.expand_dims(asked, 0)).T
            return loss.sums(outputs, labels, asked), after if batches.carried else None

        return batch_sums

    return [of(take) for take in batches.takes]


def differentiated(batch_sums: Callable) -> Callable:
    """(params, ...) -> ((gradient of the loss, figures, count), carry)."""

    def total(params, *rest):
        (figures, count), carry = batch_sums(params, *rest)
        return figures['loss'], (figures, count, carry)

    def gradient(params, *rest):
        grads, (figures, count, carry) = jax.grad(total, has_aux=True)(params, *rest)
        return (grads, figures, count), carry

    return gradient


def over_devices(functions: list[Callable], mesh: Mesh | None) -> Callable:
    """(which, params, carry, data, batch, at) -> what that one of the functions gives, (sums, carry); only that one runs, and each
    device of the mesh takes its part of the batch."""

    def chosen(which, *rest):
        return lax.switch(which, functions, *rest)

    if mesh is None:
        return chosen

    def shared(*args):
        totals, carry = chosen(*args)
        return lax.psum(totals, 'batch'), carry

    whole, part = PartitionSpec(), PartitionSpec('batch')
    return jax.shard_map(
        shared,
        mesh=mesh,
        in_specs=(whole, whole, part, whole, part, whole),
        out_specs=(whole, part),
        check_vma=False,  # the scan's carry starts the same on every device and then differs
    )


# Operations of a step from which devices share it: to meet costs two cores about 0.3 ms. An LSTM's step (T, B, D, H) on one and two
# devices: 0.2 and 0.5 ms (28, 8, 8, 8), 0.6 and 1.0 (28, 32, 28, 16), 1.9 and 1.9 (8, 32, 8, 128), 5.0 and 3.5 (28, 64, 28, 64).
SHARED = 1.5e8


def batch_mesh(
    batch_size: int, devices: Sequence[Any] | None = None, operations: float = SHARED
) -> Mesh | None:
    """The most of these devices (None: of all) that divide the batch, or None where that is one, or a step of so many floating-point
    operations is too small to be shared."""
    if operations < SHARED:
        return None
    devices = jax.devices() if devices is None else devices
    number = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    if number == 1:
        return None
    return jax.make_mesh(
        (number,), ('batch',), axis_types=(jax.sharding.AxisType.Auto,), devices=devices[:number]
    )


def everywhere(mesh: Mesh) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def make_evaluate(
    model: Model,
    batches: Batches,
    *,
    loss: Loss = NATS,
    mesh: Mesh | None = None,
    program: Callable = jax.jit,
) -> Callable:
    """(params, data, start=0, count=None) -> the figures of the loss, means over all that is asked for in `count` examples from
    `start` on, or in all of streams.

    Every one of them counts once: batches `in_order`, the last one filled up and masked. Past the last example it begins at the
    first. With several buckets it is always all examples. `program` makes what runs of the pure function.
    """

    @program
    def totals(params, data: Split, start, count):
        batch_sums = over_devices(sums(model, loss, batches), mesh)
        order = batches.order((start, count))

        def add(at, before):
            total, carry = before
            examples, which = batches.pick(order, at)
            more, carry = batch_sums(which, params, carry, data, Batch(examples), at)
            return jax.tree.map(jnp.add, total, more), carry

        zero = no_totals(loss)
        steps = batches.steps if batches.carried else -(-count // batches.size)
        carry = model.carry(params, batches.size) if batches.carried else None
        return lax.fori_loop(0, steps, add, ((zero.figures, zero.asked), carry))[0]

    def evaluate(params, data: Split, start: int = 0, count: int | None = None) -> dict[str, Any]:
        count = len(data.labels) if count is None else count
        if not 0 < count <= len(data.labels):
            raise InputError(f'cannot evaluate {count} of {len(data.labels)} examples')
        if (len(batches.takes) > 1 or batches.carried) and (start, count) != (0, len(data.labels)):
            raise InputError('with buckets or streams all examples are evaluated, not some')
        figures, asked = totals(params, data, jnp.int32(start), jnp.int32(count))
        return {name: mean(figures[name], np.maximum(asked, 1)) for name in loss.figures}

    return evaluate


def fit(
    run: Run,
    hyper: Hyper,
    key: Array,
    data: Split | None,
    state: TrainState,
    *,
    stop: int,
    every: int,
    seconds: float = 1.0,
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
