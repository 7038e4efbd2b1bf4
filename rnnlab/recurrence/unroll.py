"""unroll: a cell over time, whatever engine does it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnlab.cells.base import Carry, Cell, Chain, Gated, Linear, Params, take_step
from rnnlab.errors import InputError, first_line, known, positive
from rnnlab.recurrence.engines.gated import gated
from rnnlab.recurrence.engines.linear import associative, linear
from rnnlab.recurrence.engines.parts import in_parts
from rnnlab.recurrence.engines.scan import scan
from rnnlab.recurrence.masking import Inputs, cuts, holding, masked, masks, within, zeroed

ENGINES: dict[str, Callable] = {
    'scan': scan,
    'gated': gated,
    'linear': linear,
    'associative': associative,
}


def engines(cell: Cell) -> list[str]:
    """The names of the ENGINES that can run a cell (of a chain its parts), the one that `unroll` takes first."""
    if isinstance(cell.form, Gated):
        return ['gated', 'scan']
    if isinstance(cell.form, Linear):
        # Milliseconds of a gradient of the recurrence alone, (T, B, H), a step after another and associative, two cores: 4.5 and 55
        # (256, 32, 128), 172 and 577 (4096, 32, 128), 34 and 109 (65536, 1, 64). An accelerator waits for every step: not measured.
        # A scan with the products inside takes from 0.7 (an LRU, two inputs, T = 200) to 4 times as long (T = 16384, batch of 1).
        return (
            ['linear', 'associative', 'scan']
            if jax.default_backend() == 'cpu'
            else ['associative', 'linear', 'scan']
        )
    return ['scan']


def unroll(
    cell: Cell,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    lengths: Array | Sequence[int] | None = None,
    reset: Array | None = None,
    reverse: bool = False,
    last: bool = False,
    noise: Any = None,
    zoneout: Any = None,
    bptt: int | None = None,
    remat: int | None = None,
    engine: str | None = None,
) -> tuple[Carry, Array]:
    """Runs a cell over xs [T, *batch, D]; the result is (carry, ys [T, *batch, H]) of this loop:

        carry = cell.carry(params, batch) if carry is None
        for t in range(T):                              # T - 1 down to 0 with reverse
            if t < lengths:
                if reset[t]:                            # t + 1 < lengths and reset[t + 1] with reverse
                    carry = cell.carry(params, batch)
                carry, ys[t] = cell.step(params, carry, xs[t], noise)
            else:
                ys[t] = 0                               # and the carry stays

    Args:
        carry: what to start from, as `cell.carry` gives it and an earlier unroll returns it.
        lengths: int [*batch], the time steps of each sequence, the padding behind them; 0 gives back the first carry.
            What stands in the padding, NaN too, changes neither values nor gradients.
        reset: bool [T, *batch], true where a new sequence begins: nothing crosses from step t - 1 to t. So with
            reverse the carry starts anew between the two, when step t - 1 is taken.
        last: ys is instead [*batch, H], the output of the last step taken of each sequence; zero where length is 0.
        noise: what multiplies the carry before every recurrent product, the same at every step: [*batch, H], a tuple of
            them for a stack. `dropout_mask` draws it.
        zoneout: what of the old carry stays at every step, {'h': share}, of an LSTM 'c' too: numbers, or arrays [T, *batch, H]; a tuple of
            these for a stack. Where y is the new h, or a linear cell's reading of it, it is that of the mixed one.
        bptt: truncated backpropagation: the carry goes on, but no gradient crosses from step t - 1 to t where t is a
            multiple of bptt. None, or T and more, is the whole gradient.
        remat: keep for the gradient only the carry of every remat-th step, and compute what is between again: less memory,
            more time, the same values. About the square root of T keeps least.
        engine: a name of ENGINES; None takes the first of `engines`. Forward mode has 'scan' alone.

    Raises:
        InputError: params, a carry, lengths, reset, noise or zoneout that do not fit xs, an unknown engine, one that cannot run this
            cell, bptt or remat that are no whole number above zero.
    """
    if not isinstance(cell, Cell):
        raise InputError(f'unroll takes a cell such as rnnlab.lstm(128), not {type(cell).__name__}')
    for name, number in (('bptt', bptt), ('remat', remat)):
        if number is not None:
            positive(name, number)
    xs = jnp.asarray(xs)
    if xs.ndim < 2:
        raise InputError(f'unroll takes xs [T, ..., D], not an array of shape {list(xs.shape)}')
    time_steps, *batch = xs.shape[:-1]
    if lengths is not None:
        lengths = jnp.asarray(lengths)
        if list(lengths.shape) != batch or not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise InputError(
                f'lengths must be whole numbers {batch}, one a sequence, not {lengths.dtype} {list(lengths.shape)}'
            )
        if not isinstance(lengths, jax.core.Tracer) and lengths.size:
            given = np.asarray(lengths)  # whose extremes no trace around takes part in
            if not 0 <= given.min() <= given.max() <= time_steps:
                raise InputError(
                    f'lengths go from 0 to the {time_steps} steps of xs, not from {given.min()} to {given.max()}'
                )
    if reset is not None:
        reset = jnp.asarray(reset)
        if reset.shape != xs.shape[:-1] or reset.dtype != bool:
            raise InputError(
                f'reset must be bool {list(xs.shape[:-1])}, not {reset.dtype} {list(reset.shape)}'
            )
    try:
        fresh = cell.carry(params, tuple(batch))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise unfit(cell, params, xs, error) from error
    if carry is None:
        carry = fresh
    elif jax.tree.map(jnp.shape, carry) != jax.tree.map(jnp.shape, fresh):
        raise InputError(
            f'the carry of this cell for xs {list(xs.shape)} has the shapes {shapes(fresh)}, not {shapes(carry)}'
        )

    if isinstance(cell.form, Chain):
        if noise is not None and (
            not isinstance(noise, tuple) or len(noise) != len(cell.form.cells)
        ):
            raise InputError(
                f'noise for a stack must be a tuple of {len(cell.form.cells)}, one for each of its cells'
            )
        options = {
            'lengths': lengths,
            'reset': reset,
            'reverse': reverse,
            'bptt': bptt,
            'remat': remat,
            'engine': engine,
        }
        if zoneout is not None and (
            not isinstance(zoneout, tuple) or len(zoneout) != len(cell.form.cells)
        ):
            raise InputError(
                f'zoneout for a stack must be a tuple of {len(cell.form.cells)}, one for each of its cells'
            )
        return climb(cell.form, params, xs, carry, noise, zoneout, last, options)
    if noise is not None and not cell.takes_mask:
        raise InputError(
            'noise multiplies what recurrent products read, and the step of this cell takes none: leave it out'
        )
    if noise is not None and jnp.shape(noise) != jnp.shape(fresh.h):
        raise InputError(
            f'noise for this cell and xs {list(xs.shape)} must be {list(fresh.h.shape)}, not {list(jnp.shape(noise))}'
        )

    try:
        y = jax.eval_shape(
            lambda *at: take_step(cell, *at)[1],
            params,
            carry,
            jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype),
            noise,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise unfit(cell, params, xs, error) from error

    held = (
        None
        if not zoneout
        else {name: shares(name, value, fresh, xs) for name, value in zoneout.items()}
    )

    possible = engines(cell)
    engine = engine or (possible[0] if time_steps else 'scan')
    known('engine', engine, ENGINES)
    if engine not in possible:
        raise InputError(
            f'engine {engine!r} cannot run a cell of this form; this one runs on {", ".join(possible)}'
        )
    if engine == 'gated':
        params = cell.form.prepare(params, xs.shape[-1])
    inputs = Inputs(
        xs, *masks(time_steps, lengths, reset, reverse), cuts(time_steps, bptt, reverse), held
    )
    state, over_time = carry, masked(cell)
    at_once = last and engine in ('linear', 'associative')
    if at_once:  # only the last h is read
        over_time = over_time._replace(read=lambda *_: ())
    elif last:
        state, over_time = (carry, jnp.zeros(y.shape, y.dtype)), holding(over_time)

    def run(state, inputs):
        return ENGINES[engine](over_time, (params, noise), state, inputs, reverse)

    if remat is None:
        state, ys = run(state, inputs)
    else:  # only the states between parts are kept
        state, ys = in_parts(jax.checkpoint(run, prevent_cse=False), remat, state, inputs, reverse)
    if at_once:
        asked = None if lengths is None else lengths > 0
        x = zeroed(asked, final(xs, lengths, reverse))
        return state, zeroed(asked, cell.form.read(params, state.h, x))
    return state if last else (state, ys)


def unfit(cell: Cell, params: Any, xs: Array, error: Exception) -> InputError:
    """What is wrong with params that a cell takes no step with."""

    def by_name(tree):
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {
            jax.tree_util.keystr(path, simple=True, separator='.'): [*jnp.shape(leaf)]
            for path, leaf in leaves
        }

    wanted = by_name(
        jax.eval_shape(lambda key: cell.init(key, xs.shape[-1], float), jax.random.key(0))
    )
    if wanted == by_name(params):
        return InputError(
            f'the cell takes no step over xs {xs.dtype} {list(xs.shape)}: {first_line(error)}'
        )
    return InputError(
        f'for xs {list(xs.shape)} the params of this cell should be {wanted}, and not {by_name(params)}'
    )


def shares(field: str, value: Any, carry: Carry, xs: Array) -> Array:
    """The shares of zoneout for a field of the carry, with an axis of time; a number counts for all."""
    if field not in carry._fields:
        raise InputError(
            f'zoneout names {field!r}, but the carry of this cell has {", ".join(carry._fields)}'
        )
    if field != 'h' and 'm' in carry._fields:
        raise InputError(
            f'zoneout of {field} is not possible: {", ".join(carry._fields)} hang together, only h can stay by itself'
        )
    value, wanted = jnp.asarray(value), [len(xs), *getattr(carry, field).shape]
    if value.ndim and list(value.shape) != wanted:
        raise InputError(
            f'zoneout of {field} must be a number or an array {wanted}, not {list(value.shape)}'
        )
    return value if value.ndim else jnp.broadcast_to(value, (len(xs), *[1] * (xs.ndim - 1)))


def shapes(carry: Carry) -> str:
    return ', '.join(str(list(jnp.shape(leaf))) for leaf in jax.tree.leaves(carry))


def climb(form: Chain, params, xs, carries, noise, zoneout, last: bool, options: dict[str, Any]):
    """A chain, layer by layer: each layer's whole unroll feeds the next, which equals its step by step and is faster."""
    after = []
    nothing = [None] * len(form.cells)
    for cell, p, before, part, held in zip(
        form.cells, params, carries, noise or nothing, zoneout or nothing, strict=True
    ):
        new, ys = unroll(cell, p, xs, before, noise=part, zoneout=held, **options)
        after.append(new)
        xs = form.join(xs, ys)
    if options['lengths'] is not None:  # a join may have let the inputs' padding through
        xs = zeroed(within(len(xs), options['lengths']), xs)
    return tuple(after), final(xs, options['lengths'], options['reverse']) if last else xs


def final(ys: Array, lengths: Array | None, reverse: bool) -> Array:
    """What is at the last step taken [*batch, H], from all ys [T, *batch, H]; zeros where there are no steps."""
    if not len(ys):
        return jnp.zeros(ys.shape[1:], ys.dtype)
    if reverse:
        return ys[0]
    if lengths is None:
        return ys[-1]
    at = jnp.expand_dims(jnp.clip(lengths - 1, 0, len(ys) - 1), (0, -1))
    return jnp.take_along_axis(ys, at, axis=0)[0]  # outputs of a sequence of length 0 are zeros
