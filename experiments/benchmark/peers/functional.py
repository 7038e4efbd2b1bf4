"""The work of a library whose model is a function (params, inputs) -> logits."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import Array

from experiments.benchmark.work import EPSILON, LR, SEED, Shape, Work
from rnnlab.cells.base import Params, Tree
from rnnlab.data import Split

State = tuple[Params, optax.OptState]  # params and the optimizer's state


def prepare(
    apply: Callable[[Params, Array], Array], params: Params, data: Split, shape: Shape, kind: str
) -> Work:
    """The work of that kind; steps of training are one compiled program."""
    steps = shape.times(kind)
    params, data = jax.device_put((params, data))
    if kind == 'forward':
        return repeated(jax.jit(apply), (params, data.inputs), steps, jnp.linalg.norm)

    def loss(params: Params, inputs: Array, labels: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, inputs), labels).mean()

    if kind == 'gradient':
        gradient = jax.jit(jax.value_and_grad(loss))
        return repeated(gradient, (params, data.inputs, data.labels), steps, loss_and_norm)
    return training(loss, params, data, shape, kind)


def training(
    loss: Callable[[Params, Array, Array], Array],
    params: Params,
    data: Split,
    shape: Shape,
    kind: str,
) -> Work:
    """An epoch of shuffled batches, or steps on one batch."""
    tx = optax.adam(LR, eps=EPSILON)
    state = params, tx.init(params)

    @partial(jax.jit, donate_argnums=0)
    def train(state: State, key: Array, data: Split) -> tuple[State, Array]:
        if kind == 'epoch':
            order = jax.random.permutation(key, len(data.labels)).reshape(-1, shape.batch)
        else:
            order = jnp.broadcast_to(jnp.arange(shape.batch), (shape.times(kind), shape.batch))

        def step(state: State, batch: Array) -> tuple[State, Array]:
            params, opt_state = state
            value, grads = jax.value_and_grad(loss)(params, data.inputs[batch], data.labels[batch])
            updates, opt_state = tx.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), value

        return jax.lax.scan(step, state, order)

    def work() -> list[float]:
        nonlocal state
        state, losses = train(state, jax.random.key(SEED), data)
        return [float(losses.mean())]

    return work


def repeated(
    function: Callable[..., Tree],
    arguments: tuple[object, ...],
    times: int,
    numbers: Callable[[Tree], Tree],
) -> Work:
    """Calls a jitted function that many times; numbers: results -> what is compared."""

    def work() -> list[float]:
        results = None
        for _ in range(times):
            results = jax.block_until_ready(function(*arguments))
        return [float(number) for number in jax.tree.leaves(numbers(results))]

    return work


def loss_and_norm(results: tuple[Array, Params]) -> list[Array]:
    """The loss and the gradient's norm, biases excluded: some libraries have each of them twice."""
    loss, grads = results
    matrices = [
        leaf
        for path, leaf in jax.tree.leaves_with_path(grads)
        if jnp.ndim(leaf) > 1 and 'bias' not in jax.tree_util.keystr(path)
    ]
    return [loss, optax.tree.norm(matrices)]
