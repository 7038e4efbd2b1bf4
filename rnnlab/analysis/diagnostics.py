"""What a cell is doing: the values of its gates over time, how far back a gradient reaches, how large its recurrence is."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Inexact

from rnnlab.analysis.describe import parameters, spans
from rnnlab.cells.base import Carry, Cell, Linear, Params


def trace(
    cell: Cell, params: Params, xs: Float[Array, ' T *batch D']
) -> tuple[Carry, Float[Array, ' T *batch H'], tuple[Inexact[Array, ' T *batch _'], ...]]:
    """(carries, each field [T, *batch, H], after every step; ys [T, *batch, H]; each gate [T, *batch, H], as cell.gates names them)."""

    def step(carry, x):
        after, y = cell.step(params, carry, x)
        values = cell.values(params, carry, x) if cell.values else ()
        return after, (after, y, values)

    _, (carries, ys, values) = lax.scan(step, cell.carry(params, xs.shape[1:-1]), xs)
    return carries, ys, values


def gradient_reach(
    cell: Cell, params: Params, xs: Float[Array, 'T B D']
) -> dict[str, Float[Array, 'T B']]:
    """How much a change of the carry moves the output, by lag, for xs [T, B, D].

    For each field s of the carry (h; an LSTM's c too) the spectral norms [T, B] of the Jacobians of h after the last step
    with respect to s after the step `lag` before it, for lags 0 to T - 1, the other fields held. A norm that falls like
    r^lag is a gradient that vanishes (Bengio, Simard, Frasconi 1994; Pascanu, Mikolov, Bengio 2013).
    """

    def one(xs):
        first = cell.carry(params, ())
        flat, unravel = ravel_pytree(first)
        parts, begin = {}, 0
        for name, leaf in first._asdict().items():
            parts[name] = slice(begin, begin + leaf.size)
            begin += leaf.size

        def step(flat, x):
            return ravel_pytree(cell.step(params, unravel(flat), x)[0])[0]

        def forward(flat, x):
            after = step(flat, x)
            return after, (flat, x)

        _, visited = lax.scan(forward, flat, xs)

        def back(product, at):
            norms = {name: jnp.linalg.norm(product[:, part], ord=2) for name, part in parts.items()}
            return product @ jax.jacrev(step, holomorphic=jnp.iscomplexobj(flat))(*at), norms

        last = jnp.eye(flat.size, dtype=flat.dtype)[parts['h']]
        return lax.scan(back, last, visited, reverse=True)[1]

    norms = jax.vmap(one, in_axes=1, out_axes=1)(xs)
    return jax.tree.map(lambda leaf: leaf[::-1], norms)


def spectral_radii(cell: Cell, params: Params, inputs: int) -> dict[str, float]:
    """The greatest modulus of the eigenvalues of each gate's square recurrent matrix, by the gate's name; of a linear cell that of its a,
    for x = 0. Above 1 what is fed back can grow, below 1 it fades (Pascanu, Mikolov, Bengio 2013). Not for stacks."""
    if isinstance(cell.form, Linear):
        a, _, _ = cell.form.drive(params, jnp.zeros((1, inputs), jax.tree.leaves(params)[0].dtype))
        return {'a': float(jnp.max(jnp.abs(a)))}
    radii = {}
    for _, leaf, rows, columns in parameters(cell, params, inputs):
        of_h = dict(spans(rows)).get('h')
        for gate, (begin, end) in spans(columns):
            if of_h and of_h[1] - of_h[0] == end - begin:
                radii[gate] = float(
                    np.max(np.abs(np.linalg.eigvals(np.asarray(leaf)[slice(*of_h), begin:end])))
                )
    return radii
