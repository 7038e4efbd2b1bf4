"""A cell as a dynamical system: fixed and slow points, their stability, Lyapunov exponents, PCA.

Everything follows from the cell's `step`. A state is the whole carry as a real vector of S entries,
complex numbers as both parts. Letters in shapes: N points, T time steps, B batch, D inputs.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rnnlab.cells.base import Carry, Cell, Params
from rnnlab.errors import InputError, positive
from rnnlab.training import memory

Residual = Callable[[Array], Array]  # F(s) - s of a state s [S], for the step F
SHRINK, GROW = 0.2, 5.0  # the damping after a step that was taken, and one that was not
LEAST, MOST = 1e-14, 1e12  # damping


class Points(NamedTuple):
    """Fixed and slow points of a cell for one input, the slowest first.

    carry: with a leading axis N.
    speed: float [N], the norm of what a step adds to the state: of a fixed point 0, of a slow one a
        local minimum above 0.
    eigenvalues: complex [N, S] of the Jacobian of the step, the largest modulus first.
    """

    carry: Carry
    speed: np.ndarray
    eigenvalues: np.ndarray

    @property
    def unstable(self) -> np.ndarray:
        """int [N], how many eigenvalues have a modulus above 1; 0 is a stable point."""
        return np.sum(np.abs(self.eigenvalues) > 1, axis=-1)


def fixed_points(
    cell: Cell, params: Params, x: Array, starts: Carry, *, steps: int = 200, apart: float = 1e-3
) -> Points:
    """The fixed and slow points that are reached from `starts`, each once (Sussillo, Barak 2013).

    From every start the speed |F(s) - s| of the step F for the input x is minimised by Levenberg
    and Marquardt's method, all in one compiled program. Compute in float64: in float32 a speed
    below about 1e-7 is none.

    Args:
        x: [D], the input of every step.
        starts: carries with a leading axis, such as states that the cell has visited; to find
            saddles too, with noise.
        steps: at most so many of each descent.
        apart: points that are closer are one, the slowest of them.

    Raises:
        InputError: for Jacobians that cannot fit into memory.
    """
    positive('steps', steps)
    states = vectors(starts)
    needed = 4 * states.size * states.shape[-1] * states.dtype.itemsize
    memory.check(f'{len(states)} starts with states of {states.shape[-1]}', needed)
    like = jax.tree.map(lambda leaf: leaf[0], starts)
    found, speed, jacobians = map(np.asarray, descend(cell, steps, params, x, states, like))
    kept = distinct(found, speed, apart)
    eigenvalues = np.linalg.eigvals(jacobians[kept])
    order = np.argsort(-np.abs(eigenvalues), axis=-1)
    return Points(
        carry=restored(jnp.asarray(found[kept]), like),
        speed=speed[kept],
        eigenvalues=np.take_along_axis(eigenvalues, order, axis=-1).astype(complex),
    )


@partial(jax.jit, static_argnums=(0, 1))
def descend(
    cell: Cell, steps: int, params: Params, x: Array, states: Array, like: Carry
) -> tuple[Array, Array, Array]:
    """(states [N, S], speeds [N], Jacobians of the step [N, S, S]) at the ends of the descents."""

    def residual(state: Array) -> Array:
        return vectors(cell.step(params, restored(state, like), x)[0]) - state

    def one(state: Array) -> tuple[Array, Array, Array]:
        end = minimum(residual, state, steps)
        jacobian = jax.jacrev(residual)(end) + jnp.eye(end.size, dtype=end.dtype)
        return end, jnp.linalg.norm(residual(end)), jacobian

    return jax.vmap(one)(states)


class Search(NamedTuple):
    state: Array
    damping: Array
    steps: Array
    moved: Array  # the norm of the last step


def minimum(residual: Residual, state: Array, steps: int) -> Array:
    """A local minimum of the norm of the residual, from a state [S]."""
    identity, least = jnp.eye(state.size, dtype=state.dtype), jnp.finfo(state.dtype).eps

    def unfinished(search: Search) -> Array:
        moves = search.moved > least * (1 + jnp.linalg.norm(search.state))
        return (search.steps < steps) & (search.damping < MOST) & moves

    def step(search: Search) -> Search:
        value, jacobian = residual(search.state), jax.jacrev(residual)(search.state)
        normal = jacobian.T @ jacobian + search.damping * identity
        move = jnp.linalg.solve(normal, -jacobian.T @ value)
        better = jnp.linalg.norm(residual(search.state + move)) < jnp.linalg.norm(value)
        damping = jnp.where(better, search.damping * SHRINK, search.damping * GROW)
        return Search(
            state=jnp.where(better, search.state + move, search.state),
            damping=jnp.maximum(damping, LEAST),
            steps=search.steps + 1,
            moved=jnp.linalg.norm(move),
        )

    one = jnp.ones((), state.dtype)
    begin = Search(state, one, jnp.int32(0), one)
    return lax.while_loop(unfinished, step, begin).state


def distinct(states: np.ndarray, speed: np.ndarray, apart: float) -> np.ndarray:
    """The indices of states [N, S] that are farther than `apart` from all slower ones."""
    kept: list[int] = []
    for at in np.argsort(speed, kind='stable'):
        distances = np.linalg.norm(states[kept] - states[at], axis=-1)
        if np.isfinite(speed[at]) and np.all(distances > apart):
            kept.append(int(at))
    return np.array(kept, int)


def lyapunov(
    cell: Cell, params: Params, xs: Array, carry: Carry | None = None, *, skip: int = 0
) -> Array:
    """The Lyapunov exponents [S], or [B, S], of the state that xs [T, D] or [T, B, D] drive.

    They are in nats a step, the largest first: the mean logarithms of the factors by which a small
    ball around the state grows along its axes (Benettin et al. 1980; of recurrent networks Vogt et
    al. 2022), by a QR decomposition at every step. A sum over directions that are forgotten at once
    is minus infinity.

    Args:
        carry: where the trajectory begins; None is the cell's initial carry.
        skip: steps, below T, whose factors are not counted while the axes turn into place.

    Raises:
        InputError: for a skip that leaves no step.
    """
    if not 0 <= skip < len(xs):
        raise InputError(f'`skip={skip}` must be at least 0 and leave some of the {len(xs)} steps')
    initial = cell.carry(params, xs.shape[1:-1]) if carry is None else carry
    like = cell.carry(params, ())

    def one(xs: Array, state: Array) -> Array:
        def turn(at: tuple[Array, Array], x: Array) -> tuple[tuple[Array, Array], Array]:
            def step(state: Array) -> Array:
                return vectors(cell.step(params, restored(state, like), x)[0])

            state, axes = at
            axes, scale = jnp.linalg.qr(jax.jacrev(step)(state) @ axes)
            return (step(state), axes), jnp.log(jnp.abs(jnp.diag(scale)))

        begin = state, jnp.eye(state.size, dtype=state.dtype)
        logs = lax.scan(turn, begin, xs)[1]
        return jnp.sort(jnp.mean(logs[skip:], axis=0), descending=True)

    over_batch = one if xs.ndim == 2 else jax.vmap(one, in_axes=(1, 0))
    return over_batch(xs, vectors(initial))


class Plane(NamedTuple):
    """The directions in which states vary most: their mean [S], unit axes [K, S], and the fraction
    [K] of the variance along each."""

    mean: np.ndarray
    axes: np.ndarray
    fractions: np.ndarray

    def project(self, states: np.ndarray) -> np.ndarray:
        """The coordinates [..., K] of states [..., S]."""
        return (np.asarray(states) - self.mean) @ self.axes.T


def principal_plane(states: np.ndarray, number: int = 2) -> Plane:
    """The first principal components of states [..., S]."""
    flat = np.asarray(states).reshape(-1, np.shape(states)[-1])
    mean = flat.mean(axis=0)
    _, scale, axes = np.linalg.svd(flat - mean, full_matrices=False)
    variance = scale**2
    whole = variance.sum() or 1.0
    return Plane(mean, axes[:number], variance[:number] / whole)


def vectors(carry: Carry) -> Array:
    """States [..., S]: the fields of a carry one after the other, complex ones as both parts."""
    parts: list[Array] = []
    for leaf in jax.tree.leaves(carry):
        parts += [leaf.real, leaf.imag] if jnp.iscomplexobj(leaf) else [leaf]
    return jnp.concatenate(parts, axis=-1)


def restored(states: Array, like: Carry) -> Carry:
    """The carry of states [..., S], with the fields of `like`."""
    leaves, kind = jax.tree.flatten(like)
    widths = [leaf.shape[-1] for leaf in leaves for _ in range(1 + jnp.iscomplexobj(leaf))]
    parts = iter(jnp.split(states, np.cumsum(widths)[:-1].tolist(), axis=-1))

    def field(leaf: Array) -> Array:
        return lax.complex(next(parts), next(parts)) if jnp.iscomplexobj(leaf) else next(parts)

    return jax.tree.unflatten(kind, [field(leaf) for leaf in leaves])
