"""How the gradient of the loss fades over the time steps of a batch, while a run trains."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from rnnlab.cells.base import Carry, Params, Tree
from rnnlab.cells.params import named_leaves
from rnnlab.data import Split
from rnnlab.models import Model
from rnnlab.training.batches import Batch, Batches
from rnnlab.training.losses import Loss
from rnnlab.training.optim import Hyper
from rnnlab.training.train import ORDER, as_arrays, batch_keys, sums


def carry_gradients(
    total: Callable[[Carry], Array], model: Model, params: Params, batch: int, time_steps: int
) -> Carry:
    """The gradient of a loss with respect to the carry after every step, by layer, with a leading
    axis T: one backward pass.

    total: (perturbation) -> the loss, for the perturbation of Model.run.
    """

    def over_time(leaf: Array) -> Array:
        return jnp.zeros((time_steps, *leaf.shape), leaf.dtype)

    return jax.grad(total)(jax.tree.map(over_time, model.carry(params, batch)))


def make_gradient_norms(
    model: Callable[[Hyper], Model], loss: Callable[[Hyper], Loss], batches: Batches
) -> Callable[..., dict[str, Array]]:
    """(hyper, key, data, params, carry, step) -> by field of the carry ('layer_1.h') the norms [T]
    of the gradient of a batch's mean loss with respect to the field after each time step.

    The batch is the one that step number `step` trains with, its dropout included. A norm is over
    all its sequences and units; after the end of a shorter batch it is 0.
    """

    def norms(
        hyper: Hyper, key: Array, data: Split | None, params: Params, carry: Carry, step: Array
    ) -> dict[str, Array]:
        hyper = as_arrays(hyper)
        net = model(hyper)
        epoch, at = jnp.divmod(step, batches.steps)
        order = batches.order(jax.random.fold_in(jax.random.fold_in(key, ORDER), epoch))
        examples, which = batches.pick(order, at)
        batch = Batch(examples, *batch_keys(key, step, batches.size))

        def steps_of(number: int) -> int:
            return jax.eval_shape(batches.takes[number], data, batch, at).inputs.shape[1]

        longest = max(map(steps_of, range(len(batches.takes))))

        def of(number: int, batch_sums: Callable) -> Callable[[], dict[str, Array]]:
            def total(perturbation: Carry) -> Array:
                (metrics, count), *_ = batch_sums(params, carry, data, batch, at, perturbation)
                return metrics['loss'] / jnp.maximum(count, 1).astype(metrics['loss'].dtype)

            def branch() -> dict[str, Array]:
                time_steps = steps_of(number)
                gradients = carry_gradients(total, net, params, batches.size, time_steps)
                return {
                    name: jnp.pad(norm_by_step(leaf), (0, longest - time_steps))
                    for name, leaf in named_leaves(gradients).items()
                }

            return branch

        parts = enumerate(sums(net, loss(hyper), batches))
        return lax.switch(which, [of(number, part) for number, part in parts])

    return norms


def norm_by_step(leaf: Tree) -> Array:
    """The norms [T] of an array [T, ...]."""
    return jnp.sqrt(jnp.sum(jnp.abs(leaf) ** 2, axis=range(1, leaf.ndim)))
