"""Fixed points and Lyapunov exponents of a trained cell, as tables and pictures."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.inside.part import Part
from experiments.runner.console import console, drawing, say
from rnnlab.analysis.dynamics import (
    Points,
    fixed_points,
    lyapunov,
    principal_plane,
    restored,
    vectors,
)
from rnnlab.cells.base import Arrays
from rnnlab.results import plots
from rnnlab.results.tables import new_table, render

STARTS, MOST, SEQUENCES, TRAJECTORIES = 512, 64, 8, 40
FIXED = 1e-8  # speed below which a point is fixed, not slow


def show_points(part: Part, out: Path, seed: int, task: str) -> None:
    """Prints and draws the fixed and slow points of a cell, from states that it visits on data,
    half of them with noise, for the median of its inputs."""
    with jax.enable_x64(True):
        part = doubled(part)
        cell, params, valid = part.cell, part.params, part.valid
        visited = np.array(vectors(part.trace()[0]))  # [T, B, S]
        states, rng = visited[valid], np.random.default_rng(seed)
        begin = states[rng.integers(len(states), size=STARTS)]
        begin[::2] += states.std(axis=0) * rng.standard_normal(begin[::2].shape)
        x = jnp.median(part.xs[valid], axis=0)
        starts = restored(jnp.asarray(begin), cell.carry(params, ()))
        points = near(fixed_points(cell, params, x, starts), states)
        plane = principal_plane(states)
        at = plane.project(np.asarray(vectors(points.carry)))
    say(f'points of {part.name} near visited states, for the median of its inputs')
    console.print(f'\n{points_table(points)}\n')
    path = out / 'fixed_points.png'
    with drawing(path):
        visited[~valid] = np.nan
        lines = plane.project(visited[:, :TRAJECTORIES]).swapaxes(0, 1)
        fixed = points.speed < FIXED
        title = f'{task}, {part.name}: {fixed.sum()} fixed points, {(~fixed).sum()} slow ones'
        plots.points(
            lines, at, points.unstable, fixed, points.eigenvalues, plane.fractions, path, title
        )
        console.print(f'drawn: {path}')


def near(points: Points, states: np.ndarray) -> Points:
    """The points that are no farther from a visited state [N, S] than these are from their mean."""
    at, some = np.asarray(vectors(points.carry)), states[:: max(1, len(states) // MOST**2)]
    least = [np.linalg.norm(some - state, axis=-1).min() for state in at]
    kept = np.array(least) <= np.linalg.norm(states.std(axis=0))
    return jax.tree.map(lambda leaf: leaf[kept], points)


def points_table(points: Points) -> str:
    """A row for each kind of point: how many there are, their speed and eigenvalues."""
    right = 'unstable directions', 'points', 'greatest speed', 'greatest |eigenvalue|'
    table = new_table('kind', *right, right=right)
    slow = points.speed >= FIXED
    for kind in sorted({*zip(slow.tolist(), points.unstable.tolist(), strict=True)}):
        own = (slow == kind[0]) & (points.unstable == kind[1])
        name = 'slow' if kind[0] else 'fixed, a saddle' if kind[1] else 'fixed, stable'
        moduli = np.abs(points.eigenvalues[own, 0])
        values = str(kind[1]), str(own.sum()), f'{points.speed[own].max():.1e}'
        table.add_row(name, *values, f'{moduli.max():.4f}')
    return render(table)


def show_exponents(before: Part, after: Part, out: Path, task: str) -> None:
    """Prints and draws the Lyapunov exponents on data, before and after training."""
    exponents = {}
    with jax.enable_x64(True):
        for name, part in (('before training', before), ('after training', after)):
            part = doubled(part)
            xs = part.longest(SEQUENCES)
            run = jax.jit(partial(lyapunov, part.cell, skip=len(xs) // 5))
            exponents[name] = np.asarray(run(part.params, xs))
    table = new_table(
        'Lyapunov exponents', 'largest', 'above 0', 'sum', right=('largest', 'above 0', 'sum')
    )
    for name, values in exponents.items():
        spread = f'{values[:, 0].mean():+.4f} ± {values[:, 0].std():.4f}'
        above = f'{np.mean(np.sum(values > 0, axis=1)):.1f} of {values.shape[1]}'
        table.add_row(name, spread, above, f'{values.sum(axis=1).mean():+.2f}')
    table.caption = f'nats a step, mean ± standard deviation of {SEQUENCES} test sequences'
    console.print(f'\n{render(table)}\n')
    path = out / 'lyapunov.png'
    with drawing(path):
        plots.exponents(exponents, path, f'{task}, {after.name}: Lyapunov exponents on test data')
        console.print(f'drawn: {path}')


def doubled(part: Part) -> Part:
    """A few sequences of the part, in double precision."""

    def double(leaf: Arrays) -> Array:
        return jnp.asarray(np.asarray(leaf, np.result_type(leaf.dtype, np.float64)))

    lengths = None if part.lengths is None else part.lengths[:MOST]
    params, xs = jax.tree.map(double, (part.params, part.xs[:, :MOST]))
    return part._replace(params=params, xs=xs, lengths=lengths)
