"""What a model makes by itself: its own outputs become its next inputs, one step at a time, with the carry handed on."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rnnlab.models import Model


def tokens(
    model: Model,
    params,
    prompt: np.ndarray,
    key: Array,
    temperature: float = 1.0,
    never: tuple[int, ...] = (),
) -> Iterator[int]:
    """Ids without end, each drawn from softmax(logits / temperature) after all before it; the likeliest, where that is 0.

    Args:
        model: a network over a vocabulary, read out at every step.
        prompt: ids [T] that come first, one at least.
        never: ids that are not drawn.
    """

    @jax.jit
    def read(params, ids, carry):
        carry, logits = model.run(params, ids[None], carry=carry)
        return carry, logits[0, -1]

    @jax.jit
    def draw(logits, key, temperature):
        logits = logits.at[jnp.array(never, int)].set(-jnp.inf)
        drawn = jax.random.categorical(key, logits / jnp.where(temperature > 0, temperature, 1))
        return jnp.where(temperature > 0, drawn, jnp.argmax(logits))

    carry, logits = read(params, jnp.asarray(prompt, jnp.int32), model.carry(params, 1))
    number = 0
    while True:
        token = draw(
            logits, jax.random.fold_in(key, number), jnp.asarray(temperature, logits.dtype)
        )
        yield int(token)
        carry, logits = read(params, token.astype(jnp.int32)[None], carry)
        number += 1


def forecast(model: Model, params, carry, x: Array, horizon: int) -> Array:
    """[B, horizon, D]: what comes after x [B, D], the last values known, each step predicted from the one before.

    The model predicts the very D numbers that it reads; carry is what it had before x.
    """

    def step(state, _):
        carry, x = state
        carry, outputs = model.run(params, jnp.expand_dims(x, 1), carry=carry)
        return (carry, outputs[:, 0]), outputs[:, 0]

    _, outputs = lax.scan(step, (carry, x), length=horizon)
    return jnp.moveaxis(outputs, 0, 1)


def read(model: Model, params, inputs: Array) -> tuple[Array, Array]:
    """(the carries before each step, each leaf [T, ...]; outputs [B, T, K]) of a network that reads inputs [B, T, D] step by step."""

    def step(carry, x):
        after, outputs = model.run(params, jnp.expand_dims(x, 1), carry=carry)
        return after, (carry, outputs[:, 0])

    _, (carries, outputs) = lax.scan(
        step, model.carry(params, len(inputs)), jnp.moveaxis(inputs, 1, 0)
    )
    return carries, jnp.moveaxis(outputs, 0, 1)
