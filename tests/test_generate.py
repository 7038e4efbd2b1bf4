"""Sampling: what temperature does to a draw."""

import jax
import jax.numpy as jnp
import pytest

from rnnlab.training import generate


@pytest.mark.parametrize('temperature', [0.0, 1.2e-38, 1e-30, 1e-3])
def test_a_tiny_temperature_takes_the_likeliest_id(temperature):
    logits = jnp.array([30.0, -20.0, 50.0, 40.0, 90.0], jnp.float32)
    keys = jax.random.split(jax.random.key(0), 8)
    drawn = [int(generate.draw(logits, key, jnp.float32(temperature), (4,))) for key in keys]
    assert drawn == [2] * 8


def test_draws_have_the_probabilities_of_the_softmax():
    logits, temperature = jnp.array([1.0, 0.0, 3.0, -jnp.inf]), jnp.array(2.0)
    keys = jax.random.split(jax.random.key(1), 4000)
    drawn = jax.vmap(lambda key: generate.draw(logits, key, temperature, ()))(keys)
    shares = jnp.bincount(drawn, length=4) / len(keys)
    assert jnp.allclose(shares, jax.nn.softmax(logits / temperature), atol=0.03)
