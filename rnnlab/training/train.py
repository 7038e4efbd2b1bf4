"""Training: a run is two pure functions, start and advance, so that a sweep is their vmap.

advance takes any number of steps on the device, without the host. How a run is divided into such
chunks changes no bit of it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.sharding import Mesh

from rnnlab.cells.base import Carry, Params, Tree
from rnnlab.data import Split
from rnnlab.errors import InputError, positive
from rnnlab.models import Model
from rnnlab.recurrence.masking import within
from rnnlab.training.batches import Batch, Batches, Order
from rnnlab.training.devices import everywhere, over_devices
from rnnlab.training.losses import Loss, cross_entropy
from rnnlab.training.optim import Hyper

# What a run's key is folded with for each use of randomness; a new use takes a new number.
PARAMS, ORDER, DROPOUT, EXAMPLES = 0, 1, 2, 3

NATS = cross_entropy()
Sums = tuple[dict[str, Array], Array]  # of each metric over targets, and how many targets
Gradient = tuple[tuple[Params, dict[str, Array], Array], Carry, Params]  # see differentiated


def classification(hyper: Hyper) -> Loss:
    return cross_entropy(hyper.label_smoothing)


class Totals(NamedTuple):
    """Sums over the steps since the last multiple of `every`."""

    metrics: dict[str, Array]  # over targets
    targets: Array  # how many
    grad_norm: Array  # global norms before clipping, over steps
    steps: Array

    def means(self) -> dict[str, Tree]:
        """The mean of each metric over targets; a number each, or an array for lanes."""
        names = dict.fromkeys(['loss', *self.metrics])  # JAX sorts them
        return {name: mean(self.metrics[name], np.maximum(self.targets, 1)) for name in names}

    def mean_grad_norm(self) -> Tree:
        return mean(self.grad_norm, np.maximum(self.steps, 1))


def mean(total: Array, count: Array | np.ndarray) -> Tree:
    """total / count on the host in double precision: a float, or an array for lanes."""
    value = np.float64(total) / count
    return value.item() if np.ndim(value) == 0 else value


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that changes in a run.

    Once the loss or gradient of a step is not finite, nothing changes any more but `step`, which
    the lanes of a vmap share.
    """

    step: Array  # steps, counted through all batches
    taken: Array  # steps taken: as many, or those before the first that was not finite
    params: Params
    opt_state: optax.OptState
    totals: Totals
    carry: Carry = None  # initial carry of the next batch, where batches continue
    stopped: Array | None = None  # whether a lane ended before the others; None: none can

    def replace(self, **changes: Tree) -> 'TrainState':
        return replace(self, **changes)

    @property
    def finite(self) -> Array:
        """Whether no loss or gradient was anything else."""
        advancing = self.taken == self.step
        return advancing if self.stopped is None else advancing | self.stopped

    @property
    def training(self) -> Array:
        """Whether the next step changes anything."""
        return self.finite if self.stopped is None else self.finite & ~self.stopped


class Run(NamedTuple):
    """A run as two pure functions.

    start: (hyper, key) -> TrainState.
    advance: (hyper, key, data, state, steps) -> the TrainState after that many steps; the state is
        donated. In a vmap over lanes, state.step is the one thing that they share.
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
    """A run that minimises the mean loss over the unmasked targets of each batch.

    Args:
        model, optimizer, loss: made from the dynamic settings, which may be arrays.
        batches: where its examples come from.
        every: steps over which the totals are summed, then begun anew.
        mesh: devices (axis 'batch') that share each batch; None is one device.
    """
    positive('batch_size', batches.size)
    positive('every', every)

    def start(hyper: Hyper, key: Array) -> TrainState:
        hyper = as_arrays(hyper)
        net = model(hyper)
        params = net.init(jax.random.fold_in(key, PARAMS))
        carry = net.carry(params, batches.size) if batches.carried else None
        opt_state, totals = optimizer(hyper).init(params), no_totals(loss(Hyper()))
        return TrainState(jnp.int32(0), jnp.int32(0), params, opt_state, totals, carry)

    def advance(
        hyper: Hyper, key: Array, data: Split | None, state: TrainState, steps: int
    ) -> TrainState:
        hyper = as_arrays(hyper)
        tx = optimizer(hyper)
        parts = sums(model(hyper), loss(hyper), batches, 'batch' if mesh else None)
        gradient = over_devices([differentiated(part) for part in parts], mesh)

        def step(state: TrainState, order: Order, at: Array) -> TrainState:
            examples, which = batches.pick(order, at)
            batch = Batch(examples, *batch_keys(key, state.step, batches.size))

            def of_batch(params: Params, carry: Carry) -> Gradient:
                return gradient(which, params, carry, data, batch, at)

            return train_step(state, of_batch, tx=tx, every=every)

        stop = state.step + jnp.asarray(steps, jnp.int32)
        return over_epochs(step, batches, jax.random.fold_in(key, ORDER), state, stop)

    placed: dict[str, Tree] = {}
    if mesh:  # replicated in and out, so that the next call compiles nothing new
        placed['in_shardings'] = (None, None, None, everywhere(mesh), None)
        placed['out_shardings'] = everywhere(mesh)
    return Run(jax.jit(start), jax.jit(advance, donate_argnames='state', **placed))


def train_step(
    state: TrainState, gradient: Callable, *, tx: optax.GradientTransformation, every: int
) -> TrainState:
    """The state after one optimizer step, or the same one if the loss or gradient is not finite.

    gradient: (params, carry) -> ((gradient of the summed loss, metrics, count), carry, statistics).
    """
    (grads, metrics, count), carry, statistics = gradient(state.params, state.carry)
    grads = jax.tree.map(lambda g: g / jnp.maximum(count, 1).astype(g.dtype), grads)
    norm = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    new_period = state.step % every == 0
    before = jax.tree.map(lambda x: jnp.where(new_period, jnp.zeros_like(x), x), state.totals)
    after = state.replace(
        taken=state.taken + 1,
        params=optax.apply_updates(state.params, updates) | statistics,
        opt_state=opt_state,
        totals=jax.tree.map(jnp.add, before, Totals(metrics, count, norm, jnp.ones_like(count))),
        carry=carry,
    )
    finite = state.training & jnp.isfinite(metrics['loss']) & jnp.isfinite(norm)
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state)
    return kept.replace(step=state.step + 1)


def batch_keys(key: Array, step: Array, size: int) -> Iterator[Array]:
    """Keys [B] of a step, one an example: those of dropout, and those of generated examples."""
    for use in (DROPOUT, EXAMPLES):
        yield jax.random.split(jax.random.fold_in(jax.random.fold_in(key, use), step), size)


def over_epochs(
    step: Callable[[TrainState, Order, Array], TrainState],
    batches: Batches,
    key: Array,
    state: TrainState,
    stop: Array,
) -> TrainState:
    """Takes steps until `stop`, with a new order of the batches in each epoch."""

    def epoch(state: TrainState) -> TrainState:
        number, offset = jnp.divmod(state.step, batches.steps)
        order = batches.order(jax.random.fold_in(key, number))
        begin = state.step - offset
        end = jnp.minimum(stop, begin + batches.steps)
        return lax.while_loop(
            lambda s: s.step < end, lambda s: step(s, order, s.step - begin), state
        )

    return lax.while_loop(lambda s: s.step < stop, epoch, state)


def as_arrays(hyper: Hyper) -> Hyper:
    """The settings as arrays of the default float type, so that a run computes as a lane does."""
    return jax.tree.map(lambda value: jnp.asarray(value, float), hyper)


def no_totals(loss: Loss) -> Totals:
    zero = jnp.int32(0)
    sums = {metric.name: jnp.zeros((), dtype) for metric, dtype in loss.metrics.items()}
    return Totals(sums, zero, jnp.zeros(()), zero)


def sums(model: Model, loss: Loss, batches: Batches, axis: str | None = None) -> list[Callable]:
    """Sums over the targets of a batch, a function for each of `batches.takes`.

    Each is (params, carry, data, batch, at, perturbation=None) -> ((sums of the metrics, count of
    targets), carry, statistics), perturbation and statistics those of Model.forward. Padding, and
    examples that only fill a batch up, are masked. `axis` is that of the mesh whose devices share
    the batch.
    """

    def of(take: Callable) -> Callable:
        def batch_sums(
            params: Params,
            carry: Carry,
            data: Split | None,
            batch: Batch,
            at: Array,
            perturbation: Carry = None,
        ) -> tuple[Sums, Carry, Params]:
            inputs, labels, lengths = take(data, batch, at)
            if batches.carried:
                fresh = model.carry(params, len(batch.examples))
                carry = jax.tree.map(lambda new, old: jnp.where(at == 0, new, old), fresh, carry)
            initial = carry if batches.carried else None
            mask, keys = batch.examples >= 0, batch.keys
            after, outputs, statistics = model.forward(
                params, inputs, lengths, keys, initial, perturbation, present=mask, axis=axis
            )
            if outputs.ndim == 3:
                shape = outputs.shape[1::-1]
                valid = jnp.ones(shape, bool) if lengths is None else within(shape[0], lengths)
                mask = (valid & jnp.expand_dims(mask, 0)).T
            totals = loss.sums(outputs, labels, mask)
            return totals, after if batches.carried else None, statistics

        return batch_sums

    return [of(take) for take in batches.takes]


def differentiated(batch_sums: Callable) -> Callable:
    """(params, ...) -> ((gradient of the summed loss, metrics, count), carry, statistics)."""

    def total(params: Params, *rest: Tree) -> tuple[Array, Tree]:
        (metrics, count), carry, statistics = batch_sums(params, *rest)
        return metrics['loss'], (metrics, count, carry, statistics)

    def gradient(params: Params, *rest: Tree) -> Gradient:
        grads, aux = jax.grad(total, has_aux=True)(params, *rest)
        metrics, count, carry, statistics = aux
        return (grads, metrics, count), carry, statistics

    return gradient


def make_evaluate(
    model: Model,
    batches: Batches,
    *,
    loss: Loss = NATS,
    mesh: Mesh | None = None,
    program: Callable = jax.jit,
) -> Callable:
    """(params, data, start=0, count=None) -> the mean of each metric over `count` examples.

    They begin at `start`, and after the last example comes the first. Every target counts once:
    a last batch that is not full is masked. With buckets or streams it is always all examples.

    Args:
        batches: those of `in_order`, or streams.
        program: compiles the pure function (params, data, start, count) -> (sums, count).
    """

    @program
    def totals(params: Params, data: Split, start: Array, count: Array) -> Sums:
        batch_sums = over_devices(sums(model, loss, batches), mesh)
        order = batches.order((start, count))

        def add(at: Array, before: tuple[Sums, Carry]) -> tuple[Sums, Carry]:
            total, carry = before
            examples, which = batches.pick(order, at)
            more, carry, _ = batch_sums(which, params, carry, data, Batch(examples), at)
            return jax.tree.map(jnp.add, total, more), carry

        zero = no_totals(loss)
        steps = batches.steps if batches.carried else -(-count // batches.size)
        carry = model.carry(params, batches.size) if batches.carried else None
        return lax.fori_loop(0, steps, add, ((zero.metrics, zero.targets), carry))[0]

    def evaluate(params: Params, data: Split, start: int = 0, count: int | None = None) -> dict:
        count = len(data.labels) if count is None else count
        if not 0 < count <= len(data.labels):
            raise InputError(f'cannot evaluate {count} of {len(data.labels)} examples')
        if (len(batches.takes) > 1 or batches.carried) and (start, count) != (0, len(data.labels)):
            raise InputError('with buckets or streams all examples are evaluated, not some')
        values, targets = totals(params, data, jnp.int32(start), jnp.int32(count))
        names = (metric.name for metric in loss.metrics)
        return {name: mean(values[name], np.maximum(targets, 1)) for name in names}

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
    after: Callable[[TrainState], TrainState] = lambda state: state,
    agree: Callable[[int], int] = lambda steps: steps,
) -> Iterator[TrainState]:
    """Trains until step `stop`, yielding the state after each chunk of about `seconds`.

    A chunk ends at every multiple of `every`. The next one donates the state: copy what is kept of
    it. `after` makes the state to continue with from that at the end of a chunk. `agree` makes one
    number of the steps that each of several processes would take next. Ends early where no lane is
    in training: each has stopped, or had a loss or gradient that is not finite.
    """
    chunk, compiled = 1, False
    while (step := int(state.step)) < stop and np.any(state.training):
        began = time.perf_counter()
        steps = agree(min(chunk, stop - step, every - step % every))
        state = run.advance(hyper, key, data, state, steps)
        done = int(state.step) - step  # waits for the device
        if compiled:
            chunk = min(10 * chunk, 1 + int(seconds * done / (time.perf_counter() - began)))
        compiled = True
        state = after(state)
        yield state
