"""The laws of all cells, to check a cell of your own.

    jax.config.update('jax_enable_x64', True)
    rnnlab.testing.check('mycell', mycell)                # mycell(hidden_size) -> Cell

A cell that breaks one raises LawBroken: one line with the law, what differs, its shape and by how
much.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnlab.analysis.describe import parameters
from rnnlab.cells.base import Carry, Cell, Chain, Mask, Params, Tree, take_step
from rnnlab.errors import InputError, first_line
from rnnlab.recurrence import engines, unroll
from rnnlab.recurrence.dropout import recurrent_masks

D, H, T, B = 2, 5, 4, 3  # all different, so that a swap of axes is noticed
TOLERANCE = 1e-10  # relative to the largest entry of an array
DIFFERENCES_TOLERANCE = 1e-6  # of finite differences
EPSILON = 1e-6
TRUNCATION = 3  # steps, of bptt and remat; T is no multiple of it

Claim = tuple[str, Tree, Tree]  # what is compared, the library's result, the expected one
Results = tuple[tuple[Array, tuple[Carry, Array]], tuple[Params, Array, Carry]]
Run = Callable[..., tuple[Carry, Array]]  # (params, xs, carry, lengths, reset, mask)


class LawBroken(InputError):
    """A cell breaks a law of all cells."""


def check(name: str, make: Callable[[int], Cell]) -> dict[str, float | None]:
    """The largest relative difference by law, in float64; None for a law that does not apply to
    the cell.

    Raises LawBroken for the first law that the cell breaks, InputError if float64 is off.
    """
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise InputError(
            "laws are checked in float64: call jax.config.update('jax_enable_x64', True) first"
        )
    structure(name, make)
    case = make_case(make(H))
    differences: dict[str, float | None] = {}
    for law, claims in LAWS.items():
        tolerance = DIFFERENCES_TOLERANCE if claims is finite_differences else TOLERANCE
        try:
            found = [compare(tolerance, *claim) for claim in claims(case)]
        except AssertionError as error:
            raise LawBroken(f'{name} breaks the law "{law}": {error}') from None
        except Exception as error:  # anything, in a user's cell
            raise LawBroken(
                f'{name} breaks the law "{law}": {type(error).__name__}: {first_line(error)}'
            ) from error
        differences[law] = max(found, default=None)
    return differences


def structure(
    name: str, make: Callable[[int], Cell], inputs: int = D, hidden_size: int = H
) -> None:
    """Checks the shapes and types of one step in float32, without computing it.

    Raises LawBroken if init, carry and step do not fit together or, but for stacks, if the params
    are no dict or the carry is no NamedTuple with a field h.
    """
    law = (
        f'{name} breaks the law "a step keeps the carry\'s structure, shapes and types": '
        f'for x {[B, inputs]} '
    )
    try:
        params, before, after, y = traced_step(name, make, inputs, hidden_size)
    except LawBroken:
        raise
    except Exception as error:  # anything, in a user's cell
        raise LawBroken(f'{law}it raises {type(error).__name__}: {first_line(error)}') from error
    same_tree = str(jax.tree.structure(before)) == str(jax.tree.structure(after))
    require(
        same_tree and shapes(before) == shapes(after),
        f'{law}the carry was {shapes(before)} and became {shapes(after)}',
    )
    for what, tree in (('the params', params), ('the output', y)):
        wrong = {
            at: shape for at, shape in shapes(tree).items() if not shape.startswith('float32 ')
        }
        require(not wrong, f'{law}with all arrays in float32, {what} has {wrong}')
    require(
        y.shape[:-1] == (B,), f'{law}the output is {list(y.shape)}, and should be [{B}, features]'
    )


def traced_step(
    name: str, make: Callable[[int], Cell], inputs: int, hidden_size: int
) -> tuple[Params, Carry, Carry, jax.ShapeDtypeStruct]:
    """Shapes and types of the params, the carry before and after a step, and the output.

    Raises LawBroken for other things than a cell and its functions should return.
    """
    cell = make(hidden_size)
    require(
        isinstance(cell, Cell),
        f'{name}({hidden_size}) must return a Cell, not {type(cell).__name__}',
    )
    one = not isinstance(cell.form, Chain)
    params = jax.eval_shape(lambda key: cell.init(key, inputs, jnp.float32), jax.random.key(0))
    require(
        not one or isinstance(params, dict),
        f'{name}: init must return a dict of arrays, not {type(params).__name__}',
    )
    before = jax.eval_shape(lambda params: cell.carry(params, (B,)), params)
    require(
        not one or 'h' in getattr(before, '_fields', ()),
        f'{name}: carry must return a NamedTuple with a field h, not {type(before).__name__}',
    )
    x = jax.ShapeDtypeStruct((B, inputs), jnp.float32)
    stepped = jax.eval_shape(cell.step, params, before, x)
    require(
        type(stepped) is tuple and len(stepped) == 2,
        f'{name}: step must return a pair, carry and output, not {type(stepped).__name__}',
    )
    values = jax.eval_shape(cell.values, params, before, x) if cell.values else cell.gates
    require(
        len(values) == len(cell.gates),
        f'{name}: gates has {len(cell.gates)} names, {", ".join(cell.gates)}, '
        f'and values returns {len(values)} arrays',
    )
    return params, before, *stepped


def require(holds: bool, message: str) -> None:
    if not holds:
        raise LawBroken(message)


def shapes(tree: Tree) -> dict[str, str]:
    """Type and shape of each leaf, by its path."""
    return {
        jax.tree_util.keystr(path): f'{leaf.dtype} {list(leaf.shape)}'
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A cell with arrays without zeros: params off their initial values, and the carry after a few
    steps. They are NumPy's: JAX would compile each operation on them."""

    cell: Cell
    params: Params
    xs: np.ndarray  # [T, B, D]
    carry: Carry
    mask: Mask  # of recurrent dropout; None if the cell takes none
    paddings: list[tuple[np.ndarray, np.ndarray]]  # lengths [B] and reset [T, B]; without first
    weights: tuple[Tree, np.ndarray]  # of the sum over the last carry and ys that is differentiated
    compiled: dict[tuple[object, ...], Callable[..., Results]] = field(default_factory=dict)

    @property
    def engine(self) -> str:
        return engines(self.cell)[0]

    def arrays(self, padding: int = 1) -> tuple[Tree, ...]:
        """The arguments of gradient and loop."""
        return self.params, self.xs, self.carry, *self.paddings[padding], self.mask

    def gradient(
        self, engine: str, reverse: bool = False, **options: Any
    ) -> Callable[..., Results]:
        """The compiled (params, xs, carry, lengths, reset, mask) -> ((sum, (carry, ys)), its
        gradients by params, xs and carry) of unroll."""
        run = partial(unrolled, self.cell, engine=engine, reverse=reverse, **options)
        return self.compile(run, 'unroll', engine, reverse, *options.items())

    def loop(self, reverse: bool = False, truncation: int = T) -> Callable[..., Results]:
        """The same of the loop over the cell's steps; one program for all orders of these."""
        run = self.compile(partial(looped, self.cell), 'loop')
        steps = np.arange(T)[::-1] if reverse else np.arange(T)
        boundaries = steps + reverse
        cuts = (boundaries % truncation == 0) & (boundaries > 0) & (boundaries < T)
        return lambda *arrays: run(*arrays, (steps, boundaries, cuts))

    def compile(self, run: Run, *key: object) -> Callable[..., Results]:
        if key not in self.compiled:
            summed = partial(self.sum, run)
            self.compiled[key] = jax.jit(
                jax.value_and_grad(summed, argnums=(0, 1, 2), has_aux=True)
            )
        return self.compiled[key]

    def sum(self, run: Run, *arrays: Tree) -> tuple[Array, tuple[Carry, Array]]:
        """A weighted sum of the carry and ys, and these."""
        carry, ys = run(*arrays)
        of_carry, of_ys = self.weights
        leaves = zip(jax.tree.leaves(carry), jax.tree.leaves(of_carry), strict=True)
        total = sum(jnp.sum(leaf.real * w[0] + leaf.imag * w[1]) for leaf, w in leaves)
        return total + jnp.sum(ys * of_ys), (carry, ys)


def make_case(cell: Cell) -> Case:
    rng = np.random.default_rng(0)

    def normal(like: Array, scale: float = 1.0) -> np.ndarray:
        return np.asarray(scale * rng.standard_normal(like.shape), like.dtype)

    init, start = jax.jit(cell.init, static_argnums=1), jax.jit(lambda p: cell.carry(p, (B,)))
    made = init(jax.random.key(0), D)
    params = jax.tree.map(lambda leaf: np.asarray(leaf) + normal(leaf, 0.3), made)
    carry, step = start(params), jax.jit(cell.step)
    for x in rng.standard_normal((3, B, D)):
        carry, y = step(params, carry, x)
    carry, mask = jax.tree.map(np.asarray, carry), None
    if cell.takes_mask:
        draw = partial(recurrent_masks, cell, rate=0.5)
        like = jax.eval_shape(draw, params, keys=jax.random.split(jax.random.key(0), B))
        mask = jax.tree.map(lambda leaf: 1 + normal(leaf, 0.3), like)
    drawn = [(rng.integers(0, T + 1, B), rng.random((T, B)) < 0.3) for _ in range(5)]
    none = np.full(B, T), np.zeros((T, B), bool)
    some = np.array([T, 0, 2]), np.arange(T * B).reshape(T, B) % 5 == 3
    weights = (
        jax.tree.map(lambda leaf: rng.standard_normal((2, *leaf.shape)), carry),
        rng.standard_normal((T, *y.shape)),
    )
    return Case(
        cell=cell,
        params=params,
        xs=rng.standard_normal((T, B, D)),
        carry=carry,
        mask=mask,
        paddings=[none, some, *drawn],
        weights=weights,
    )


def unrolled(
    cell: Cell, params: Params, xs: Array, carry: Carry, *masks: Tree, **options: Any
) -> tuple[Carry, Array]:
    """unroll with the arguments of a Run."""
    names = 'lengths', 'reset', 'recurrent_dropout_mask'
    return unroll(cell, params, xs, carry, **dict(zip(names, masks, strict=True)), **options)


def looped(
    cell: Cell,
    params: Params,
    xs: Array,
    carry: Carry,
    lengths: Array,
    reset: Array,
    mask: Mask,
    order: tuple[Array, Array, Array],
) -> tuple[Carry, Array]:
    """The loop of unroll's docstring, for each sequence on its own, without a batch axis.

    order: for each iteration the time step, the boundary before it, where a reset counts, and
    whether gradients stop there; each [T].
    """

    def one(
        xs: Array, carry: Carry, length: Array, reset: Array, mask: Mask
    ) -> tuple[Carry, Array]:
        first, ys = cell.carry(params, ()), jnp.zeros(())
        for n in range(T):
            t, boundary, cut = (each[n] for each in order)
            inside = t < length
            carry = choose(cut, jax.lax.stop_gradient(carry), carry)
            begins = (boundary < length) & reset[jnp.minimum(boundary, T - 1)]
            before = choose(inside & begins, first, carry)
            after, y = take_step(cell, params, before, jnp.where(inside, xs[t], 0.0), mask)
            carry = choose(inside, after, carry)
            ys = jnp.broadcast_to(ys, (T, *y.shape)).at[t].set(jnp.where(inside, y, 0.0))
        return carry, ys

    return jax.vmap(one, in_axes=(1, 0, 0, 1, 0), out_axes=(0, 1))(xs, carry, lengths, reset, mask)


def choose(condition: Array, yes: Carry, no: Carry) -> Carry:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def compare(tolerance: float, what: str, actual: Tree, expected: Tree) -> float:
    """The largest difference, relative to each array's largest entry; beyond the tolerance an
    AssertionError with its place."""
    largest = 0.0
    leaves = zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    )
    for (path, a), e in leaves:
        a, e = np.asarray(a), np.asarray(e)
        place = f'{what}{jax.tree_util.keystr(path)}'
        assert (a.shape, a.dtype) == (e.shape, e.dtype), (
            f'{place} is {a.dtype} {list(a.shape)}, not {e.dtype} {list(e.shape)}'
        )
        size = max(float(np.max(np.abs(e), initial=0.0)), 1e-3)
        difference = float(np.max(np.abs(a - e), initial=0.0)) / size
        assert difference <= tolerance, (
            f'{place} {a.dtype} {list(a.shape)} differs by {difference:.1e}, '
            f'and {tolerance:.0e} is allowed'
        )
        largest = max(largest, difference)
    return largest


def named(results: Results) -> dict[str, Tree]:
    """What Case.gradient returns, by names for messages, without the sum."""
    (_, (carry, ys)), (params, xs, first) = results
    return {'carry': carry, 'ys': ys, 'd params': params, 'd xs': xs, 'd carry': first}


def any_leading_axes(case: Case) -> Iterator[Claim]:
    step, xs = case.cell.step, case.xs[:2]
    carry = jax.tree.map(lambda leaf: np.stack([leaf, leaf[::-1]]), case.carry)
    mapped = jax.vmap(jax.vmap(step, (None, 0, 0)), (None, 0, 0))
    yield 'a step', *(jax.jit(f)(case.params, carry, xs) for f in (step, mapped))


def unroll_is_the_loop(case: Case) -> Iterator[Claim]:
    for engine in engines(case.cell):
        for reverse in (False, True):
            for number, (lengths, _) in enumerate(case.paddings):
                arrays = case.arrays(number)
                yield (
                    f'engine {engine}{", reverse" if reverse else ""}, lengths {lengths}: ',
                    named(case.gradient(engine, reverse)(*arrays)),
                    named(case.loop(reverse)(*arrays)),
                )


def padding_changes_nothing(case: Case) -> Iterator[Claim]:
    params, xs, *others = case.arrays()
    padding = np.arange(T)[:, None] >= case.paddings[1][0]
    for engine in engines(case.cell):
        for reverse in (False, True):
            for filler in (np.nan, 7.0):
                arrays = params, np.where(padding[..., None], filler, xs), *others
                yield (
                    f'engine {engine}, {filler} in the padding: ',
                    named(case.gradient(engine, reverse)(*arrays)),
                    named(case.loop(reverse)(*arrays)),
                )


def two_pieces_are_the_whole(case: Case) -> Iterator[Claim]:
    run = jax.jit(partial(unroll, case.cell, engine=case.engine))
    middle, first = run(case.params, case.xs[: T // 2], case.carry)
    after, second = run(case.params, case.xs[T // 2 :], middle)
    (_, whole), _ = case.gradient(case.engine)(*unmasked(case))
    yield f'engine {case.engine}: ', (after, np.concatenate([first, second])), whole


def one_step_at_a_time(case: Case) -> Iterator[Claim]:
    step, carry, ys = jax.jit(case.cell.step), case.carry, []
    for x in case.xs:
        carry, y = step(case.params, carry, x)
        ys.append(y)
    (_, whole), _ = case.loop()(*unmasked(case))
    yield 'streamed: ', (carry, np.stack(ys)), whole


def unmasked(case: Case) -> tuple[Tree, ...]:
    """The case's arrays without padding, and with ones for the mask, which is as none."""
    *arrays, mask = case.arrays(padding=0)
    return *arrays, jax.tree.map(np.ones_like, mask)


def last_is_the_last(case: Case) -> Iterator[Claim]:
    last = jax.jit(partial(unrolled, case.cell, engine=case.engine, last=True))
    for number, (lengths, _) in enumerate(case.paddings):
        arrays = case.arrays(number)
        (_, (carry, ys)), _ = case.loop()(*arrays)
        yield (
            f'engine {case.engine}, lengths {lengths}: ',
            last(*arrays),
            (carry, np.asarray(ys)[np.maximum(lengths - 1, 0), np.arange(B)]),
        )


def truncated_and_recomputed(case: Case) -> Iterator[Claim]:
    truncated = case.gradient(case.engine, bptt=TRUNCATION, remat=TRUNCATION)
    yield (
        'bptt and remat: ',
        named(truncated(*case.arrays())),
        named(case.loop(truncation=TRUNCATION)(*case.arrays())),
    )


def a_lane_is_a_run_alone(case: Case) -> Iterator[Claim]:
    several = jax.tree.map(lambda leaf: np.stack([leaf, 1.1 * leaf, 0.9 * leaf]), case.params)
    f, (_, *others) = case.gradient(case.engine), case.arrays()
    lanes = jax.jit(jax.vmap(f, in_axes=(0, *[None] * len(others))))(several, *others)
    for lane in range(3):
        own, alone = jax.tree.map(lambda leaf, lane=lane: np.asarray(leaf)[lane], (lanes, several))
        yield f'lane {lane}: ', named(own), named(f(alone, *others))


def directions(case: Case) -> tuple[Tree, Callable[[Tree], np.float64]]:
    """Tangents of (params, xs, carry), and the derivative along them as a function of the
    gradients."""
    rng = np.random.default_rng(1)
    tangents = jax.tree.map(
        lambda leaf: np.asarray(rng.standard_normal(leaf.shape), leaf.dtype), case.arrays()[:3]
    )

    def along(gradients: Tree) -> np.float64:
        pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(tangents), strict=True)
        return np.float64(sum(np.sum(np.asarray(g) * t).real for g, t in pairs))

    return tangents, along


def forward_mode(case: Case) -> Iterator[Claim]:
    arrays, (tangents, along) = case.arrays(), directions(case)
    run = partial(unrolled, case.cell, engine='scan')

    @jax.jit
    def derivative(at: tuple[Tree, ...], *others: Tree) -> Array:
        return jax.jvp(lambda *at: case.sum(run, *at, *others)[0], at, tangents)[1]

    found = derivative(arrays[:3], *arrays[3:])
    yield 'jvp', np.float64(found), along(case.gradient('scan')(*arrays)[1])


def finite_differences(case: Case) -> Iterator[Claim]:
    arrays, f, (tangents, along) = case.arrays(), case.gradient(case.engine), directions(case)

    def moved(size: float) -> float:
        at = jax.tree.map(lambda x, t: x + size * t, arrays[:3], tangents)
        return float(f(*at, *arrays[3:])[0][0])

    difference = np.float64((moved(EPSILON) - moved(-EPSILON)) / (2 * EPSILON))
    yield 'derivative', along(f(*arrays)[1]), difference


def gates_are_finite(case: Case) -> Iterator[Claim]:
    if case.cell.values is None or not case.cell.gates:
        return
    values = jax.jit(case.cell.values)(case.params, case.carry, case.xs[0])
    infinite = sum(np.sum(~np.isfinite(value)) for value in values)
    yield 'entries of gates that are not finite', np.int64(infinite), np.int64(0)


def a_mask_scales_the_rows(case: Case) -> Iterator[Claim]:
    """A mask that is the same for all sequences multiplies the rows of the recurrent matrices."""
    if case.mask is None or isinstance(case.cell.form, Chain):
        return
    mask = np.linspace(0.0, 2.0, case.carry.h.shape[-1])
    scaled = {
        name: np.concatenate([leaf[: -len(mask)], leaf[-len(mask) :] * mask[:, None]])
        for name, leaf, rows, _ in parameters(case.cell, case.params, D)
        if 'h' in rows
    }
    if scaled:
        run = jax.jit(partial(unroll, case.cell))
        tiled = np.tile(mask, (B, 1))
        yield (
            'mask: ',
            run(case.params, case.xs, case.carry, recurrent_dropout_mask=tiled),
            run(case.params | scaled, case.xs, case.carry),
        )


LAWS: dict[str, Callable[[Case], Iterator[Claim]]] = {
    'a step takes any leading axes': any_leading_axes,
    'unroll is the loop over its steps, gradients too': unroll_is_the_loop,
    'padding changes nothing': padding_changes_nothing,
    'two pieces are the whole': two_pieces_are_the_whole,
    'one step at a time is the whole': one_step_at_a_time,
    'last is the last output': last_is_the_last,
    'truncation is a stop_gradient, recomputing changes nothing': truncated_and_recomputed,
    'a lane is a run alone': a_lane_is_a_run_alone,
    'forward mode is reverse mode': forward_mode,
    'gradients are finite differences': finite_differences,
    'gates are finite': gates_are_finite,
    'a mask scales what recurrent products read': a_mask_scales_the_rows,
}
