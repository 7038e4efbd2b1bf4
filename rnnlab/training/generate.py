"""Generation: a model's outputs become its next inputs, one step at a time."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

from rnnlab.cells.base import Arrays, Carry, Params
from rnnlab.models import Model


def tokens(
    model: Model,
    params: Params,
    prompt: Int[np.ndarray, ' T'],
    key: Array,
    temperature: float = 1.0,
    never: tuple[int, ...] = (),
) -> Iterator[int]:
    """Ids without end, each drawn from softmax(logits / temperature) given all before it.

    Args:
        model: a network with a vocabulary and without a pool.
        prompt: the first ids [T], at least one.
        temperature: 0 takes the most likely id.
        never: ids that are not drawn.
    """
    step = jax.jit(partial(next_logits, model))
    carry, logits = step(params, jnp.asarray(prompt, jnp.int32), model.carry(params, 1))
    number = 0
    while True:
        own_key = jax.random.fold_in(key, number)
        token = draw(logits, own_key, jnp.asarray(temperature, logits.dtype), never)
        yield int(token)
        carry, logits = step(params, token.astype(jnp.int32)[None], carry)
        number += 1


def next_logits(model: Model, params: Params, ids: Array, carry: Carry) -> tuple[Carry, Array]:
    """(carry, logits [V] of the id after ids [T])."""
    carry, logits = model.run(params, ids[None], carry=carry)
    return carry, logits[0, -1]


@partial(jax.jit, static_argnames='never')
def draw(logits: Array, key: Array, temperature: Array, never: tuple[int, ...]) -> Array:
    """An id drawn from softmax(logits / temperature)."""
    logits = logits.at[jnp.array(never, int)].set(-jnp.inf)
    below = logits - jnp.max(logits)  # by a tiny temperature, only these stay finite at the top
    drawn = jax.random.categorical(key, below / jnp.where(temperature > 0, temperature, 1))
    return jnp.where(temperature > 0, drawn, jnp.argmax(logits))


def forecast(
    model: Model, params: Params, carry: Carry, x: Float[Array, 'B D'], horizon: int
) -> Float[Array, 'B {horizon} D']:
    """The `horizon` steps [B, horizon, D] after x [B, D], each predicted from the one before.

    The model predicts its own inputs; carry is its carry before x.
    """

    def step(state: tuple[Carry, Array], _: None) -> tuple[tuple[Carry, Array], Array]:
        carry, x = state
        carry, outputs = model.run(params, jnp.expand_dims(x, 1), carry=carry)
        return (carry, outputs[:, 0]), outputs[:, 0]

    _, outputs = lax.scan(step, (carry, x), length=horizon)
    return jnp.moveaxis(outputs, 0, 1)


def read(
    model: Model, params: Params, inputs: Float[Arrays, 'B T D']
) -> tuple[Carry, Float[Array, 'B T K']]:
    """(carries before each step [T, ...], outputs [B, T, K]) of a network on inputs [B, T, D]."""

    def step(carry: Carry, x: Array) -> tuple[Carry, tuple[Carry, Array]]:
        after, outputs = model.run(params, jnp.expand_dims(x, 1), carry=carry)
        return after, (carry, outputs[:, 0])

    carry = model.carry(params, len(inputs))
    _, (carries, outputs) = lax.scan(step, carry, jnp.moveaxis(inputs, 1, 0))
    return carries, jnp.moveaxis(outputs, 0, 1)
