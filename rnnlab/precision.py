"""Products of matrices in bfloat16, summed in float32.

Under `jax.default_matmul_precision('BF16_BF16_F32')` an accelerator rounds what it multiplies to bfloat16 (8 bits) and sums in float32.
XLA's CPU does not listen, but multiplies numbers that are bfloat16 already; `product` rounds them, in the gradient too. Parameters,
carries, gates and sums stay in float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

BFLOAT16 = 'BF16_BF16_F32'  # JAX's name


def product(x: Array, w: Array) -> Array:
    """x [..., D] times w [D, N], in the precision that is set."""
    if not lowered():
        return x @ w
    dtype = jnp.result_type(x, w)
    return rounded(x.astype(dtype), w.astype(dtype))


def lowered() -> bool:
    return jax.config.jax_default_matmul_precision == BFLOAT16  # type: ignore[attr-defined]


def halved(tree: Any) -> Any:
    """What is kept for the gradient, in bfloat16 where that is set; as whole numbers, since XLA's CPU would widen all that a scan has
    put away so far, at every step."""
    return (
        jax.tree.map(
            lambda leaf: jax.lax.bitcast_convert_type(leaf.astype(jnp.bfloat16), jnp.uint16), tree
        )
        if lowered()
        else tree
    )


def restored(tree: Any, like: Any) -> Any:
    """The same again with the type of the other tree's leaves, whatever is set by now."""
    dtype = jax.tree.leaves(like)[0].dtype

    def whole(leaf):
        return (
            jax.lax.bitcast_convert_type(leaf, jnp.bfloat16).astype(dtype)
            if leaf.dtype == jnp.uint16
            else leaf
        )

    return jax.tree.map(whole, tree)


@jax.custom_vjp
def rounded(x, w):
    return jnp.matmul(
        x.astype(jnp.bfloat16), w.astype(jnp.bfloat16), preferred_element_type=x.dtype
    )


def forward(x, w):
    return rounded(x, w), (x, w)


def backward(kept, d_y):
    x, w = kept
    return rounded(d_y, w.T), rounded(x.reshape(-1, x.shape[-1]).T, d_y.reshape(-1, d_y.shape[-1]))


rounded.defvjp(forward, backward)
