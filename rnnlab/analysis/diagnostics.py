"""What a cell does: its gates over time, how far back a gradient reaches, its spectral radii."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from rnnlab.analysis.describe import count, parameters, spans
from rnnlab.cells.base import Carry, Cell, Gates, Linear, Params
from rnnlab.training import memory


def trace(cell: Cell, params: Params, xs: Array) -> tuple[Carry, Array, Gates]:
    """(carries after every step, each field [T, *batch, H]; ys [T, *batch, H]; the values of each
    gate [T, *batch, H], in the order of cell.gates) over xs [T, *batch, D]."""

    def step(carry: Carry, x: Array) -> tuple[Carry, tuple[Carry, Array, Gates]]:
        after, y = cell.step(params, carry, x)
        values = cell.values(params, carry, x) if cell.values else ()
        return after, (after, y, values)

    return lax.scan(step, cell.carry(params, xs.shape[1:-1]), xs)[1]


def gradient_reach(cell: Cell, params: Params, xs: Array) -> dict[str, Array]:
    """How much a change of the carry changes the output, by lag, for xs [T, B, D].

    For each field s of the carry (h; of an LSTM c too) the spectral norms [T, B] of the Jacobians
    of h after the last step with respect to s after the step `lag` before it, for lags 0 to T - 1,
    the other fields held constant. A norm that falls like r^lag is a vanishing gradient (Bengio,
    Simard, Frasconi 1994; Pascanu, Mikolov, Bengio 2013). Raises InputError for Jacobians that
    cannot fit into memory.
    """
    carry = memory.shapes(lambda params: cell.carry(params, ()), params)
    memory.check(f'{xs.shape[1]} Jacobians', xs.shape[1] * memory.size(carry) * count(carry))

    def one(xs: Array) -> dict[str, Array]:
        first = cell.carry(params, ())
        flat, unravel = ravel_pytree(first)
        parts, begin = {}, 0
        for name, leaf in first._asdict().items():
            parts[name] = slice(begin, begin + leaf.size)
            begin += leaf.size

        def step(flat: Array, x: Array) -> Array:
            return ravel_pytree(cell.step(params, unravel(flat), x)[0])[0]

        def forward(flat: Array, x: Array) -> tuple[Array, tuple[Array, Array]]:
            return step(flat, x), (flat, x)

        def back(product: Array, at: tuple[Array, Array]) -> tuple[Array, dict[str, Array]]:
            norms = {name: jnp.linalg.norm(product[:, part], ord=2) for name, part in parts.items()}
            return product @ jax.jacrev(step, holomorphic=jnp.iscomplexobj(flat))(*at), norms

        _, visited = lax.scan(forward, flat, xs)
        last = jnp.eye(flat.size, dtype=flat.dtype)[parts['h']]
        return lax.scan(back, last, visited, reverse=True)[1]

    norms = jax.vmap(one, in_axes=1, out_axes=1)(xs)
    return jax.tree.map(lambda leaf: leaf[::-1], norms)


def spectral_radii(cell: Cell, params: Params, inputs: int) -> dict[str, float]:
    """The largest modulus of the eigenvalues of each gate's square recurrent matrix, by the gate's
    name; of a linear cell that of its a for x = 0. Not for stacks.

    Above 1 what is fed back can grow, below 1 it fades (Pascanu, Mikolov, Bengio 2013).
    """
    if isinstance(cell.form, Linear):
        a, _, _ = cell.form.drive(params, jnp.zeros((1, inputs), jax.tree.leaves(params)[0].dtype))
        return {'a': float(jnp.max(jnp.abs(a)))}
    radii = {}
    for _, leaf, rows, columns in parameters(cell, params, inputs):
        of_h = dict(spans(rows)).get('h')
        for gate, (begin, end) in spans(columns):
            if of_h and of_h[1] - of_h[0] == end - begin:
                radii[gate] = radius(np.asarray(leaf)[slice(*of_h), begin:end])
    return radii


def radius(matrix: np.ndarray) -> float:
    return float(np.max(np.abs(np.linalg.eigvals(matrix))))
