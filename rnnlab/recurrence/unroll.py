"""unroll: a cell over time, by the fastest engine that can run it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Inexact, Int, Shaped

from rnnlab.cells.base import Arrays, Carry, Cell, Chain, Gated, Linear, Params, Tree
from rnnlab.cells.params import check_cell
from rnnlab.errors import InputError, known, positive
from rnnlab.recurrence import checks, masking
from rnnlab.recurrence.engines.gated import gated
from rnnlab.recurrence.engines.linear import associative, linear
from rnnlab.recurrence.engines.native import kernels, native
from rnnlab.recurrence.engines.scan import in_parts, scan
from rnnlab.recurrence.masking import Constants, Inputs, LastOutput, Masked, Output, zeroed

Engine = Callable[[Masked, Constants, Carry, Inputs, bool], tuple[Carry, Output]]
ENGINES: dict[str, Engine] = {
    'scan': scan,
    'gated': gated,
    'native': native,
    'linear': linear,
    'associative': associative,
}


def engines(cell: Cell, platform: str | None = None) -> list[str]:
    """Names of the ENGINES that can run a cell, the preferred one first; not for a stack.

    `platform` is 'cpu', 'cuda', 'rocm' or 'tpu'; None is JAX's default. On a CPU one step after
    another is several times as fast as the associative scan; an accelerator waits for every step.
    'native' needs a C++ compiler there.
    """
    if isinstance(cell.form, Gated):
        on_cpu = cell.form.native and (platform or jax.default_backend()) == 'cpu'
        return [*(['native'] if on_cpu and kernels('float32') else []), 'gated', 'scan']
    if isinstance(cell.form, Linear):
        cpu = (platform or jax.default_backend()) == 'cpu'
        return [*(['linear', 'associative'] if cpu else ['associative', 'linear']), 'scan']
    return ['scan']


def unroll(
    cell: Cell,
    params: Params,
    xs: Shaped[Arrays, ' T *batch D'],
    initial_carry: Carry | None = None,
    *,
    lengths: Int[Arrays, '*batch'] | Sequence[int] | None = None,
    reset: Bool[Arrays, ' T *batch'] | None = None,
    reverse: bool = False,
    last: bool = False,
    recurrent_dropout_mask: Float[Arrays, '*batch H'] | tuple | None = None,
    zoneout: checks.Zoneout = None,
    bptt: int | None = None,
    remat: int | None = None,
    engine: str | None = None,
    time_major: bool = True,
    perturbation: Carry | None = None,
) -> tuple[Carry, Inexact[Array, '... H']]:
    """(carry, ys [T, *batch, H]) of a cell over xs [T, *batch, D], as in this loop:

        carry = cell.carry(params, batch) if initial_carry is None else initial_carry
        for t in range(T):              # with reverse T - 1 down to 0
            if t < lengths:
                if reset[t]:            # with reverse t + 1 < lengths and reset[t + 1]
                    carry = cell.carry(params, batch)
                carry, ys[t] = cell.step(params, carry, xs[t], recurrent_dropout_mask)
            else:
                ys[t] = 0               # and the carry is kept

    Where params, xs, carry and mask have several floating-point types, so that a step would change
    that of the carry, all of them are promoted to jnp.result_type of them first.

    Args:
        initial_carry: a carry as `cell.carry` and an earlier unroll return it.
        lengths: int [*batch], the time steps of each sequence before its padding; length 0 returns
            the initial carry. The content of the padding, NaN included, affects neither values nor
            gradients.
        reset: bool [T, *batch], true at the first step of a new sequence: no state passes from step
            t - 1 to step t. With reverse the carry is reset between the two, when step t - 1 is
            taken.
        last: ys is instead [*batch, H], the output of each sequence's last step in running order; 0
            for length 0.
        recurrent_dropout_mask: [*batch, H], multiplies h before every recurrent product, the same
            at every step; a tuple of them for a stack. `dropout_mask` draws one.
        zoneout: {'h': rate}, for an LSTM also 'c': the fraction of the old carry kept at every
            step, a number or an array [T, *batch, H]; a tuple of these for a stack. An output that
            is h, or is read from it, is that of the mixed h.
        bptt: truncated backpropagation: no gradient flows from step t to step t - 1 where t is a
            multiple of bptt; values are unaffected. None, or T and more, is the full gradient.
        remat: keep for the gradient the carry of every remat-th step alone and recompute the
            others: less memory, more time, the same values. About the square root of T uses the
            least memory.
        engine: a name of ENGINES; None is the first of `engines` for the platform that the program
            is lowered for. Forward-mode differentiation needs 'scan'.
        time_major: False takes xs, reset and arrays of zoneout as [*batch, T, ...] and returns ys
            so; carries are the same.
        perturbation: a carry with a leading axis T, added to the carry after each step, by the
            engine 'scan'. The gradient with respect to zeros is that with respect to the carry
            after every step (in y it counts where y is h, or a linear cell reads it from h).

    Raises:
        InputError: params with other names or shapes than those of `cell.init`, arguments that do
            not fit xs or each other, an engine that is unknown or cannot run this cell.
    """
    if not isinstance(cell, Cell):
        raise InputError(f'unroll takes a cell such as rnnlab.lstm(128), not {type(cell).__name__}')
    for name, number in (('bptt', bptt), ('remat', remat)):
        if number is not None:
            positive(name, number)
    xs = checks.xs(xs, time_major)
    check_cell(cell, params, xs.shape[-1])
    options = Options(
        lengths=checks.lengths(lengths, xs),
        reset=checks.reset(reset, xs, time_major),
        reverse=reverse,
        last=last,
        bptt=bptt,
        remat=remat,
        engine=engine,
    )
    carry = checks.carry(cell, params, xs, initial_carry)
    if not time_major:
        zoneout = jax.tree.map(lambda r: jnp.moveaxis(r, -2, 0) if jnp.ndim(r) > 1 else r, zoneout)
    run = over_cells if isinstance(cell.form, Chain) else over_time
    own = Own(recurrent_dropout_mask, zoneout, perturbation)
    carry, ys = run(cell, params, xs, carry, own, options)
    return carry, ys if time_major or last else jnp.moveaxis(ys, 0, -2)


class Own(NamedTuple):
    """The arguments of unroll of which a stack has one for each of its cells."""

    recurrent_dropout_mask: Tree
    zoneout: checks.Zoneout
    perturbation: Carry


class Options(NamedTuple):
    """The arguments of unroll that all cells of a stack share."""

    lengths: Array | None
    reset: Array | None
    reverse: bool
    last: bool
    bptt: int | None
    remat: int | None
    engine: str | None


def over_time(
    cell: Cell, params: Params, xs: Array, carry: Carry, own: Own, options: Options
) -> tuple[Carry, Array]:
    """unroll of a cell that is no stack."""
    mask, zoneout, perturbation = own
    lengths, reset, reverse, last, bptt, remat, name = options
    params, carry, xs, mask, y = checks.promoted(cell, params, carry, xs, mask)
    rates = checks.zoneout(cell, zoneout, carry, xs)
    engine = choose(cell, name if perturbation is None else 'scan', len(xs))
    prepared = cell.form.prepare(params, xs.shape[-1]) if engine is gated else params
    valid, begins = masking.masks(len(xs), lengths, reset, reverse)
    boundary = masking.boundaries(len(xs), bptt, reverse)
    inputs = Inputs(xs, valid, begins, boundary, rates, perturbation)

    def run(masked: Masked, carry: Carry) -> tuple[Carry, Tree]:
        def part(carry: Carry, inputs: Inputs) -> tuple[Carry, Output]:
            return engine(masked, (prepared, mask), carry, inputs, reverse)

        if remat is None:
            return part(carry, inputs)
        return in_parts(jax.checkpoint(part, prevent_cse=False), remat, carry, inputs, reverse)

    if not last:
        return run(Masked(cell), carry)
    if not isinstance(cell.form, Linear) or engine is scan:
        return run(LastOutput(cell), (carry, jnp.zeros(y.shape, y.dtype)))[0]
    carry, _ = run(LastOutput(cell), carry)  # the other engines read outputs after the recurrence
    taken = None if lengths is None else lengths > 0
    x = zeroed(taken, at_last(xs, lengths, reverse))
    return carry, zeroed(taken, cell.form.read(params, carry.h, x))


def over_cells(
    stack: Cell, params: Params, xs: Array, carry: Carry, own: Own, options: Options
) -> tuple[Carry, Array]:
    """unroll of a stack, cell by cell: faster than step by step."""
    cells, join = stack.form
    each = (checks.per_cell(name, value, cells) for name, value in own._asdict().items())
    shared = options._replace(last=False)._asdict()
    carries = []
    for cell, p, before, *its in zip(cells, params, carry, *each, strict=True):
        after, ys = unroll(cell, p, xs, before, **Own(*its)._asdict(), **shared)
        carries.append(after)
        xs = join(xs, ys)
    if options.lengths is not None:  # a join may have let the padding of xs through
        xs = zeroed(masking.within(len(xs), options.lengths), xs)
    return tuple(carries), at_last(xs, options.lengths, options.reverse) if options.last else xs


def choose(cell: Cell, engine: str | None, time_steps: int) -> Engine:
    """The named engine, or the preferred one for the platform that the program is lowered for."""
    if engine is None:
        if time_steps == 0:
            return scan
        on_cpu, elsewhere = (ENGINES[engines(cell, platform)[0]] for platform in ('cpu', 'cuda'))
        return on_cpu if on_cpu is elsewhere else by_platform(on_cpu, elsewhere)
    known('engine', engine, ENGINES)
    if engine not in (possible := engines(cell)):
        raise InputError(f'engine {engine!r} cannot run this cell; {" and ".join(possible)} can')
    return ENGINES[engine]


def by_platform(on_cpu: Engine, elsewhere: Engine) -> Engine:
    """One engine on a CPU and another elsewhere; only the one that is needed is compiled."""

    def run(
        cell: Masked, constants: Constants, carry: Carry, inputs: Inputs, reverse: bool
    ) -> tuple[Carry, Output]:
        def on(engine: Engine) -> Callable[..., tuple[Carry, Output]]:
            return lambda p, c, i: engine(cell, p, c, i, reverse)

        return jax.lax.platform_dependent(
            constants, carry, inputs, cpu=on(on_cpu), default=on(elsewhere)
        )

    return run


def at_last(ys: Array, lengths: Array | None, reverse: bool) -> Array:
    """ys [T, *batch, H] at the last step in running order, [*batch, H]; 0 without steps."""
    if not len(ys):
        return jnp.zeros(ys.shape[1:], ys.dtype)
    if reverse:
        return ys[0]
    if lengths is None:
        return ys[-1]
    at = jnp.expand_dims(jnp.clip(lengths - 1, 0, len(ys) - 1), (0, -1))
    return jnp.take_along_axis(ys, at, axis=0)[0]  # outputs of a sequence of length 0 are zeros
