"""Matrix products in bfloat16 with sums in float32.

Under `jax.default_matmul_precision('BF16_BF16_F32')` an accelerator rounds the inputs of products
to bfloat16 (8 bits). XLA's CPU ignores the setting but multiplies bfloat16 arrays, so `product`
rounds its inputs, in the gradient too. Parameters, carries, gates and sums stay in float32.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Shaped

BFLOAT16 = 'BF16_BF16_F32'  # JAX's name
Tree = TypeVar('Tree')


def product(
    x: Shaped[Array | np.ndarray, '... D'], w: Shaped[Array | np.ndarray, 'D N']
) -> Shaped[Array, '... N']:
    """x [..., D] times w [D, N], in the precision that is set."""
    if not reduced():
        return jnp.asarray(x) @ w
    dtype = jnp.result_type(x, w)
    return rounded_product(jnp.asarray(x, dtype), jnp.asarray(w, dtype))


def reduced() -> bool:
    """Whether products are to be in bfloat16."""
    return jax.config.jax_default_matmul_precision == BFLOAT16  # type: ignore[attr-defined]


def packed(tree: Tree) -> Tree:
    """Arrays as kept for the gradient: in bfloat16 precision the bits of their bfloat16 values.

    Bits, not bfloat16: XLA's CPU would convert all that a scan has stored so far to float32 at
        every step.
    """

    def bits(leaf: Array) -> Array:
        return jax.lax.bitcast_convert_type(leaf.astype(jnp.bfloat16), jnp.uint16)

    return jax.tree.map(bits, tree) if reduced() else tree


def unpacked(tree: Tree, like: object) -> Tree:
    """The values of packed arrays, with the type of the leaves of `like`."""
    dtype = jax.tree.leaves(like)[0].dtype

    def values(leaf: Array) -> Array:
        if leaf.dtype != jnp.uint16:
            return leaf
        return jax.lax.bitcast_convert_type(leaf, jnp.bfloat16).astype(dtype)

    return jax.tree.map(values, tree)


@jax.custom_vjp
def rounded_product(x: Array, w: Array) -> Array:
    x_rounded, w_rounded = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
    return jnp.matmul(x_rounded, w_rounded, preferred_element_type=x.dtype)


def forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return rounded_product(x, w), (x, w)


def backward(kept: tuple[Array, Array], d_y: Array) -> tuple[Array, Array]:
    x, w = kept
    d_x = rounded_product(d_y, w.T)
    return d_x, rounded_product(x.reshape(-1, x.shape[-1]).T, d_y.reshape(-1, d_y.shape[-1]))


rounded_product.defvjp(forward, backward)
