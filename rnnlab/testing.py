"""The laws that every cell keeps, whatever it computes.

    jax.config.update('jax_enable_x64', True)
    rnnlab.testing.check('mycell', mycell)                # mycell(hidden_size) -> Cell

A cell that breaks one raises LawBroken: a line that names the law, what differs, its shape and by how much.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnlab.analysis.describe import parameters
from rnnlab.cells.base import Carry, Cell, Chain, Params, take_step
from rnnlab.errors import InputError, first_line
from rnnlab.recurrence import engines, unroll
from rnnlab.recurrence.dropout import recurrent_masks

D, H, T, B = 2, 5, 4, 3  # all different, so that none is taken for another
TOLERANCE, OF_DIFFERENCES = (
    1e-10,
    1e-6,
)  # relative to the greatest entry; the second of finite differences
EPSILON = 1e-6
CUT = 3  # steps, for truncation and recomputation: some are left over

Claim = tuple[str, Any, Any]  # what is compared, what the library gives, what it should be


class LawBroken(InputError):
    """A cell does not do what every cell has to."""


class Case(NamedTuple):
    """A cell with nothing zero: parameters off their start, and a carry that it came to itself."""

    cell: Cell
    params: Params
    xs: Array  # [T, B, D]
    carry: Carry
    noise: Any
    masks: list[
        tuple[np.ndarray, np.ndarray]
    ]  # (lengths [B], reset [T, B]); the first says nothing
    weights: Any  # for (carry, ys): what sums them up to one number
    gradient: Callable  # (engine, reverse=False, **options) -> a compiled (params, xs, carry, lengths, reset, noise) -> all of it
    loop: Callable  # the same by hand: (reverse=False, cut=None)


def check(name: str, make: Callable[[int], Cell]) -> dict[str, float]:
    """Holds the cell against every law, in float64: the greatest relative difference by law.

    Raises LawBroken for the first one that it breaks, InputError where float64 is off.
    """
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise InputError(
            "laws hold in float64: call jax.config.update('jax_enable_x64', True) first"
        )
    structure(name, make)
    figures: dict[str, float] = {}
    case = make_case(make(H))
    for law, claims in LAWS.items():
        tolerance = OF_DIFFERENCES if claims is finite_differences else TOLERANCE
        try:
            figures[law] = max((compare(tolerance, *claim) for claim in claims(case)), default=0.0)
        except AssertionError as error:
            raise LawBroken(f'{name} breaks the law "{law}": {error}') from None
        except Exception as error:  # whatever somebody's own cell raises
            raise LawBroken(
                f'{name} breaks the law "{law}": {type(error).__name__}: {first_line(error)}'
            ) from error
    return figures


def structure(
    name: str, make: Callable[[int], Cell], inputs: int = D, hidden_size: int = H
) -> None:
    """The law of shapes, which needs no computing: raises LawBroken where init, carry and step do not fit together, and but for
    stacks where the params are no dict or the carry is no NamedTuple with a field h."""
    law = f'{name} breaks the law "a step keeps the carry\'s structure, shapes and types": '

    def shapes(tree):
        return {
            jax.tree_util.keystr(path): f'{leaf.dtype} {list(leaf.shape)}'
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }

    try:
        cell = make(hidden_size)
        if not isinstance(cell, Cell):
            raise LawBroken(f'{name}({hidden_size}) must give a Cell, not {type(cell).__name__}')
        params = jax.eval_shape(lambda key: cell.init(key, inputs, jnp.float32), jax.random.key(0))
        if not isinstance(cell.form, Chain) and not isinstance(params, dict):
            raise LawBroken(f'{name}: init must give a dict of arrays, not {type(params).__name__}')
        before = jax.eval_shape(lambda params: cell.carry(params, (B,)), params)
        if not isinstance(cell.form, Chain) and 'h' not in getattr(before, '_fields', ()):
            raise LawBroken(
                f'{name}: carry must give a NamedTuple with a field h, not {type(before).__name__}'
            )
        x = jax.ShapeDtypeStruct((B, inputs), jnp.float32)
        stepped = jax.eval_shape(cell.step, params, before, x)
        if type(stepped) is not tuple or len(stepped) != 2:
            raise LawBroken(
                f'{name}: step must give a pair, the carry and the output, not {type(stepped).__name__}'
            )
        after, y = stepped
        values = jax.eval_shape(cell.values, params, before, x) if cell.values else ()
        if cell.values and len(values) != len(cell.gates):
            raise LawBroken(
                f'{name}: gates names {len(cell.gates)}, {", ".join(cell.gates)}, and there are the values of {len(values)}'
            )
    except LawBroken:
        raise
    except Exception as error:  # whatever somebody's own cell raises
        raise LawBroken(
            f'{law}for x {[B, inputs]} it raises {type(error).__name__}: {first_line(error)}'
        ) from error
    if str(jax.tree.structure(before)) != str(jax.tree.structure(after)) or shapes(
        before
    ) != shapes(after):
        raise LawBroken(
            f'{law}for x {[B, inputs]} the carry was {shapes(before)} and became {shapes(after)}'
        )
    for what, tree in (('the params', params), ('the output', y)):
        if wrong := {
            path: shape for path, shape in shapes(tree).items() if not shape.startswith('float32')
        }:
            raise LawBroken(f'{law}for params and x in float32, {what} has {wrong}')
    if y.shape[:-1] != (B,):
        raise LawBroken(
            f'{law}for x {[B, inputs]} the output is {list(y.shape)}, and should be [{B}, features]'
        )


def make_case(cell: Cell) -> Case:
    rng = np.random.default_rng(0)

    def normal(like, scale=1.0):
        return jnp.asarray(scale * rng.standard_normal(like.shape), like.dtype)

    params = jax.tree.map(lambda leaf: leaf + normal(leaf, 0.3), cell.init(jax.random.key(0), D))
    carry, step = cell.carry(params, (B,)), jax.jit(cell.step)
    for x in rng.standard_normal((3, B, D)):
        carry, y = step(params, carry, jnp.asarray(x))
    noise = None
    if cell.takes_mask:
        noise = jax.tree.map(
            lambda leaf: 1 + normal(leaf, 0.3),
            recurrent_masks(cell, params, jax.random.split(jax.random.key(0), B), 0.5),
        )
    masks = [(rng.integers(0, T + 1, B), rng.random((T, B)) < 0.3) for _ in range(5)]
    masks = [
        (np.full(B, T), np.zeros((T, B), bool)),
        (np.array([T, 0, 2]), np.arange(T * B).reshape(T, B) % 5 == 3),
        *masks,
    ]
    weights = (
        jax.tree.map(lambda leaf: rng.standard_normal((2, *leaf.shape)), carry),
        rng.standard_normal((T, *y.shape)),
    )
    compiled: dict[tuple, Callable] = {}

    def whole(run, *key):
        """A compiled (value, (carry, ys)), and the gradients of the value, for masks that are given with the arrays."""

        def value(params, xs, carry, lengths, reset, noise):
            after, ys = run(params, xs, carry, lengths, reset, noise)
            carries = zip(jax.tree.leaves(after), jax.tree.leaves(weights[0]), strict=True)
            return sum(
                jnp.sum(leaf.real * w[0] + leaf.imag * w[1]) for leaf, w in carries
            ) + jnp.sum(ys * weights[1]), (after, ys)

        if key not in compiled:
            compiled[key] = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True))
        return compiled[key]

    def gradient(engine, reverse=False, **options):
        def run(params, xs, carry, lengths, reset, noise):
            return unroll(
                cell,
                params,
                xs,
                carry,
                lengths=lengths,
                reset=reset,
                recurrent_dropout_mask=noise,
                reverse=reverse,
                engine=engine,
                **options,
            )

        return whole(run, 'unroll', engine, reverse, *options.items())

    def loop(reverse=False, cut=None):
        return whole(partial(by_hand, cell, reverse, cut), 'loop', reverse, cut)

    xs = jnp.asarray(rng.standard_normal((T, B, D)))
    return Case(cell, params, xs, carry, noise, masks, weights, gradient, loop)


def by_hand(cell: Cell, reverse: bool, cut: int | None, params, xs, carry, lengths, reset, noise):
    """The loop of unroll's docstring for each sequence by itself, without a batch axis."""

    def one(xs, carry, length, reset, noise):
        first, ys = cell.carry(params, ()), [jnp.zeros(())] * T
        for t in reversed(range(T)) if reverse else range(T):
            here, boundary = t < length, t + 1 if reverse else t
            if cut and boundary % cut == 0 and 0 < boundary < T:
                carry = jax.lax.stop_gradient(carry)
            begins = (boundary < length) & reset[boundary] if boundary < T else False
            before = jax.tree.map(
                lambda a, b, begins=here & begins: jnp.where(begins, a, b), first, carry
            )
            after, y = take_step(cell, params, before, jnp.where(here, xs[t], 0.0), noise)
            carry = jax.tree.map(lambda a, b, here=here: jnp.where(here, a, b), after, carry)
            ys[t] = jnp.where(here, y, 0.0)
        return carry, jnp.stack(ys)

    return jax.vmap(one, in_axes=(1, 0, 0, 1, 0), out_axes=(0, 1))(xs, carry, lengths, reset, noise)


def compare(tolerance: float, what: str, actual: Any, expected: Any) -> float:
    """The greatest difference, relative to each array's greatest entry; AssertionError with its place beyond the tolerance."""
    greatest = 0.0
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
            f'{place} {a.dtype} {list(a.shape)} differs by {difference:.1e}, where {tolerance:.0e} is allowed'
        )
        greatest = max(greatest, difference)
    return greatest


def results(outcome):
    """What a gradient gives, under names for messages."""
    (_, (carry, ys)), (params, xs, first) = outcome
    return {'carry': carry, 'ys': ys, 'd params': params, 'd xs': xs, 'd carry': first}


def any_leading_axes(case: Case) -> Iterator[Claim]:
    cell, xs, carry = (
        case.cell,
        case.xs[:2],
        jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1]]), case.carry),
    )
    every = jax.vmap(jax.vmap(cell.step, (None, 0, 0)), (None, 0, 0))
    yield (
        'a step',
        jax.jit(cell.step)(case.params, carry, xs),
        jax.jit(every)(case.params, carry, xs),
    )


def unroll_is_the_loop(case: Case) -> Iterator[Claim]:
    for engine in engines(case.cell):
        for reverse in (False, True):
            for lengths, reset in case.masks:
                at = case.params, case.xs, case.carry, lengths, reset, case.noise
                way = f'engine {engine}{", reverse" if reverse else ""}, lengths {lengths}: '
                yield (
                    way,
                    results(case.gradient(engine, reverse)(*at)),
                    results(case.loop(reverse)(*at)),
                )


def padding_changes_nothing(case: Case) -> Iterator[Claim]:
    lengths, reset = case.masks[1]
    behind = np.arange(T)[:, None] >= lengths
    for engine in engines(case.cell):
        for reverse in (False, True):
            for filler in (jnp.nan, 7.0):
                xs = jnp.where(behind[..., None], filler, case.xs)
                outcome, expected = (
                    f(case.params, xs, case.carry, lengths, reset, case.noise)
                    for f in (case.gradient(engine, reverse), case.loop(reverse))
                )
                yield f'engine {engine}, {filler} behind: ', results(outcome), results(expected)


def two_pieces_are_the_whole(case: Case) -> Iterator[Claim]:
    """Without masks, as well: they are as if nothing was masked."""
    lengths, reset = case.masks[0]
    ones = jax.tree.map(jnp.ones_like, case.noise)
    engine = engines(case.cell)[0]
    run = jax.jit(partial(unroll, case.cell, engine=engine))
    middle, first = run(case.params, case.xs[: T // 2], case.carry)
    after, second = run(case.params, case.xs[T // 2 :], middle)
    (_, whole), _ = case.gradient(engine)(case.params, case.xs, case.carry, lengths, reset, ones)
    yield f'engine {engine}: ', (after, jnp.concatenate([first, second])), whole


def one_step_at_a_time(case: Case) -> Iterator[Claim]:
    lengths, reset = case.masks[0]
    step, carry, ys = jax.jit(case.cell.step), case.carry, []
    for x in case.xs:
        carry, y = step(case.params, carry, x)
        ys.append(y)
    (_, whole), _ = case.loop()(
        case.params, case.xs, case.carry, lengths, reset, jax.tree.map(jnp.ones_like, case.noise)
    )
    yield 'streamed: ', (carry, jnp.stack(ys)), whole


def last_is_the_last(case: Case) -> Iterator[Claim]:
    engine = engines(case.cell)[0]
    last = jax.jit(partial(unroll, case.cell, engine=engine, last=True))
    for lengths, reset in case.masks:
        after, y = last(
            case.params,
            case.xs,
            case.carry,
            lengths=lengths,
            reset=reset,
            recurrent_dropout_mask=case.noise,
        )
        (_, (carry, ys)), _ = case.loop()(
            case.params, case.xs, case.carry, lengths, reset, case.noise
        )
        yield (
            f'engine {engine}, lengths {lengths}: ',
            (after, y),
            (carry, ys[np.maximum(lengths - 1, 0), np.arange(B)]),
        )


def truncated_and_computed_again(case: Case) -> Iterator[Claim]:
    engine, (lengths, reset) = engines(case.cell)[0], case.masks[1]
    at = case.params, case.xs, case.carry, lengths, reset, case.noise
    yield (
        'bptt and remat: ',
        results(case.gradient(engine, bptt=CUT, remat=CUT)(*at)),
        results(case.loop(cut=CUT)(*at)),
    )


def a_lane_is_a_run_alone(case: Case) -> Iterator[Claim]:
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf, 0.9 * leaf]), case.params)
    f, rest = (
        case.gradient(engines(case.cell)[0]),
        (case.xs, case.carry, *case.masks[1], case.noise),
    )
    lanes = jax.jit(jax.vmap(f, in_axes=(0, *[None] * len(rest))))(several, *rest)
    for lane in range(3):
        ours, alone = jax.tree.map(lambda leaf, lane=lane: leaf[lane], (lanes, several))
        yield f'lane {lane}: ', results(ours), results(f(alone, *rest))


def directions(case: Case) -> tuple[Any, Any]:
    """A direction for (params, xs, carry), and a function of (params, xs, carry) -> the derivative along it, by the gradient."""
    rng = np.random.default_rng(1)
    tangents = jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype),
        (case.params, case.xs, case.carry),
    )

    def along(gradients):
        pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(tangents), strict=True)
        return sum(float(jnp.sum(g * t).real) for g, t in pairs)

    return tangents, along


def forward_mode(case: Case) -> Iterator[Claim]:
    (lengths, reset), f = case.masks[1], case.gradient('scan')
    tangents, along = directions(case)
    at = case.params, case.xs, case.carry

    def run(params, xs, carry):
        after, ys = unroll(
            case.cell,
            params,
            xs,
            carry,
            lengths=jnp.asarray(lengths),
            reset=jnp.asarray(reset),
            recurrent_dropout_mask=case.noise,
            engine='scan',
        )
        carries = zip(jax.tree.leaves(after), jax.tree.leaves(case.weights[0]), strict=True)
        return sum(jnp.sum(leaf.real * w[0] + leaf.imag * w[1]) for leaf, w in carries) + jnp.sum(
            ys * case.weights[1]
        )

    _, forward = jax.jit(lambda *at: jax.jvp(run, at, tangents))(*at)
    yield 'jvp', np.float64(forward), np.float64(along(f(*at, lengths, reset, case.noise)[1]))


def finite_differences(case: Case) -> Iterator[Claim]:
    (lengths, reset), f = case.masks[1], case.gradient(engines(case.cell)[0])
    tangents, along = directions(case)
    at = case.params, case.xs, case.carry
    high, low = (
        float(
            f(
                *jax.tree.map(lambda x, t, size=size: x + size * t, at, tangents),
                lengths,
                reset,
                case.noise,
            )[0][0]
        )
        for size in (EPSILON, -EPSILON)
    )
    yield (
        'derivative',
        np.float64(along(f(*at, lengths, reset, case.noise)[1])),
        np.float64((high - low) / (2 * EPSILON)),
    )


def gates_are_finite(case: Case) -> Iterator[Claim]:
    if case.cell.values is None:
        return
    values = jax.jit(case.cell.values)(case.params, case.carry, case.xs[0])
    yield (
        'entries of gates that are not finite',
        np.int64(sum(np.sum(~np.isfinite(value)) for value in values)),
        np.int64(0),
    )


def noise_scales_the_rows(case: Case) -> Iterator[Claim]:
    """Noise that is the same for all sequences is a recurrent kernel with its rows multiplied."""
    if case.noise is None or not isinstance(case.params, dict) or not hasattr(case.carry, 'h'):
        return
    mask = np.linspace(0.0, 2.0, case.carry.h.shape[-1])
    scaled, found = dict(case.params), False
    for name, leaf, rows, _ in parameters(case.cell, case.params, D):
        if rows.get('h') == len(mask) and leaf.ndim == 2:
            scaled[name], found = leaf.at[-len(mask) :].multiply(mask[:, None]), True
    if found:
        run = jax.jit(partial(unroll, case.cell))
        noise = jnp.tile(mask, (B, 1))
        yield (
            'noise: ',
            run(case.params, case.xs, case.carry, recurrent_dropout_mask=noise),
            run(scaled, case.xs, case.carry),
        )


LAWS: dict[str, Callable[[Case], Iterator[Claim]]] = {
    'a step takes any leading axes': any_leading_axes,
    'unroll is the loop over its steps, gradients too': unroll_is_the_loop,
    'padding changes nothing': padding_changes_nothing,
    'two pieces are the whole': two_pieces_are_the_whole,
    'one step at a time is the whole': one_step_at_a_time,
    'last is the last output': last_is_the_last,
    'truncation is a stop_gradient, computing again changes nothing': truncated_and_computed_again,
    'a lane is a run alone': a_lane_is_a_run_alone,
    'forward mode is reverse mode': forward_mode,
    'gradients are finite differences': finite_differences,
    'gates are finite': gates_are_finite,
    'noise scales what recurrent products read': noise_scales_the_rows,
}
