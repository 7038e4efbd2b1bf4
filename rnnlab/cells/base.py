"""What a cell is: a record of functions; and the ways to make one from its equations or from other cells.

Letters in shapes: T time steps, B batch, D inputs, H hidden size, N columns of all gates. `...` is any leading batch axes,
none included.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from rnnlab.errors import InputError
from rnnlab.precision import product

Params = Any
Carry = Any


class Cell(NamedTuple):
    """A recurrent cell; hyperparameters are closed over, everything learned is in params.

    init: (key, D, dtype=float) -> params.
    carry: (params, batch_shape) -> the carry that a sequence starts from, a NamedTuple of arrays [*batch_shape, H], of some
        cells of other widths; one of its fields is h.
    step: (params, carry, x [..., D], noise=None) -> (carry, y [..., H]): the definition of the cell. The noise, an array
        [..., H] (a tuple of them for a Chain), multiplies what the recurrent products read of the carry: recurrent dropout.
    gates: their names, in the order of the columns of its kernels.
    values: (params, carry, x) -> what each gate is in that step, arrays [..., H] in the order of `gates`; None: not shown.
    form: a faster equal of step for an engine (Gated, Linear) or the parts that it is made of (Chain); None for a plain cell.
    """

    init: Callable[..., Params]
    carry: Callable[[Params, tuple[int, ...]], Carry]
    step: Callable[..., tuple[Carry, Array]]
    gates: tuple[str, ...] = ()
    values: Callable[[Params, Carry, Array], tuple[Array, ...]] | None = None
    form: Any = None


class Gated(NamedTuple):
    """One affine map of input and carry, then elementwise work: what the engine with its own gradient takes.

    affine: (params, carry, x) -> z, an array [..., N] or a tuple of such.
    pointwise: (params, carry, z) -> (carry, y, values of the gates); may use params and mix features, never the batch.
    ready: (params, D) -> the params as affine and pointwise take them as well, made once for all steps.
    """

    affine: Callable[[Params, Carry, Array], Any]
    pointwise: Callable[[Params, Carry, Any], tuple[Carry, Array, tuple[Array, ...]]]
    ready: Callable[[Params, int], Params] = lambda params, inputs: params


class Linear(NamedTuple):
    """h' = a h + b, every unit by itself, with a and b of the input alone: what engines take that see all steps at once.

    drive: (params, x [..., D]) -> (a, b, values of the gates), a and b arrays [..., H] of the type of h; an a that is always the same [H].
    read: (params, h, x) -> y, for the new h.
    """

    drive: Callable[[Params, Array], tuple[Array, Array, tuple[Array, ...]]]
    read: Callable[[Params, Array, Array], Array]


class Hidden(NamedTuple):
    """The carry of cells that have no more than h."""

    h: Array  # [..., H]


class Chain(NamedTuple):
    """Cells one above the other: each one's output y is joined with its input x to become the next one's input."""

    cells: tuple[Cell, ...]
    join: Callable[[Array, Array], Array]


def joint(params: Params, x: Array, h: Array) -> Array:
    """[x, h] W + b, with params kernel W [D + H, N] and bias b [N], the sum of two where a recurrent_bias is there too."""
    bias = (
        params['bias'] + params['recurrent_bias'] if 'recurrent_bias' in params else params['bias']
    )
    if 'recurrent_kernel' in params:
        return biased(product(x, params['kernel']) + product(h, params['recurrent_kernel']), bias)
    return biased(product(jnp.concatenate([x, h], axis=-1), params['kernel']), bias)


def apart(params: Params, inputs: int) -> Params:
    """The params of `joint` with a kernel for x and one for h, where there are not much fewer inputs than units.

    Two products keep the gradient of h from being computed with that of x. Milliseconds of a gradient on one core (LSTM; T, B, D, H), joint
    and apart: 2.21 and 2.02 (28, 32, 28, 64), 13.3 and 12.7 (28, 64, 28, 150), 38 and 38 (500, 64, 32, 32), 765 and 697
    (128, 64, 512, 512); but 296 and 356 (784, 64, 1, 128).
    """
    hidden = params['kernel'].shape[0] - inputs
    if 6 * inputs < hidden:
        return params
    kernel, recurrent = jnp.split(params['kernel'], [inputs])
    return params | {'kernel': kernel, 'recurrent_kernel': recurrent}


def biased(z: Array, bias: Array) -> Array:
    """z [..., N] + bias [N]; the broadcast is spelled out because strict tests forbid the silent one."""
    return z + jnp.broadcast_to(bias, z.shape)


def times(h: Array, scale: Array) -> Array:
    """h [..., H] times a number for each unit [H], the broadcast spelled out."""
    return h * jnp.broadcast_to(scale, h.shape)


def norm(z: Array) -> Array:
    """z [..., N] with mean 0 and variance 1 over its features (Ba, Kiros, Hinton 2016, equation 4, with 1e-5 added to the variance)."""
    z = z - jnp.mean(z, axis=-1, keepdims=True)
    return z * lax.rsqrt(jnp.mean(z * z, axis=-1, keepdims=True) + 1e-5)


def named(z: Any) -> Any:
    """Marks what the default engine keeps for the gradient; everything else it computes again."""
    return jax.tree.map(lambda leaf: checkpoint_name(leaf, 'z'), z)


def dropped(carry: Carry, noise: Array | None) -> Carry:
    """The carry as the recurrent products read it: h times the noise, where there is one."""
    return (
        carry
        if noise is None
        else carry._replace(h=carry.h * jnp.broadcast_to(noise, carry.h.shape))
    )


def takes_noise(cell: Cell) -> bool:
    """Whether the step has recurrent products that noise can multiply; of a chain, that of all its cells."""
    if isinstance(cell.form, Chain):
        return all(map(takes_noise, cell.form.cells))
    return 'noise' in inspect.signature(cell.step).parameters


def take_step(
    cell: Cell, params: Params, carry: Carry, x: Array, noise: Any
) -> tuple[Carry, Array]:
    """The cell's step; without noise it is not named, so that a cell written without it runs too."""
    return cell.step(params, carry, x) if noise is None else cell.step(params, carry, x, noise)


def plain(init, carry, whole, gates, form=None) -> Cell:
    """A cell from one function (params, carry, x, noise=None) -> (carry, y, values of the gates)."""

    def step(params, carry, x, noise=None):
        carry, y, _ = whole(params, carry, x, noise)
        return carry, y

    def values(params, carry, x):
        return whole(params, carry, x)[2]

    return Cell(init, carry, step, gates, values, form)


def gated(init, carry, affine, pointwise, gates, ready=None, takes_noise=True) -> Cell:
    """A cell of one affine map and elementwise work; the step follows from the two. Without recurrent products it takes no noise.

    init and carry as in Cell, affine, pointwise and ready as in Gated; gates names what pointwise gives last.
    """

    def whole(params, carry, x, noise=None):
        return pointwise(params, carry, named(affine(params, dropped(carry, noise), x)))

    form = Gated(affine, pointwise) if ready is None else Gated(affine, pointwise, ready)
    cell = plain(init, carry, whole, gates, form)
    return (
        cell
        if takes_noise
        else cell._replace(step=lambda params, carry, x: whole(params, carry, x)[:2])
    )


def linear(init, carry, drive, read, gates) -> Cell:
    """A cell with h' = a h + b; the step follows from drive and read. It has no recurrent product, and so takes no noise.

    init and carry (Hidden) as in Cell, drive and read as in Linear; gates names what drive gives last.
    """

    def step(params, carry, x):
        a, b, _ = drive(params, x)
        h = jnp.broadcast_to(a, b.shape) * carry.h + b
        return Hidden(h), read(params, h, x)

    def values(params, carry, x):
        return drive(params, x)[2]

    return Cell(init, carry, step, gates, values, Linear(drive, read))


def output(cell: Cell, params: Params, inputs: int) -> jax.ShapeDtypeStruct:
    """Shape [H] and dtype of one step's output for an input [D], without computing it."""
    x = jax.ShapeDtypeStruct((inputs,), jax.tree.leaves(params)[0].dtype)
    return jax.eval_shape(
        lambda params, x: cell.step(params, cell.carry(params, ()), x)[1], params, x
    )


def stack(*cells: Cell) -> Cell:
    """Cells one above the other, again a cell; its params and its carry are tuples with one entry a cell."""
    return chain(cells, lambda x, y: y)


def residual(cell: Cell) -> Cell:
    """x + y of a cell whose outputs are as many as its inputs, again a cell.

    Raises InputError at init when they are not.
    """

    def join(x, y):
        if x.shape[-1] != y.shape[-1]:
            raise InputError(
                f'residual adds outputs to inputs, but there are {y.shape[-1]} outputs and {x.shape[-1]} inputs; '
                f'choose a hidden size of {x.shape[-1]}'
            )
        return x + y

    return chain((cell,), join)


def trainable_carry(cell: Cell) -> Cell:
    """The cell, or each one of a stack, with a learned start of the carry: params has initial_h [H] and so on for every field besides, of a
    complex one both parts [2, H]. They begin where the cell's own sequences do."""
    if isinstance(cell.form, Chain):
        return chain(tuple(map(trainable_carry, cell.form.cells)), cell.form.join)

    def init(key, inputs, dtype=float):
        params = cell.init(key, inputs, dtype)
        first = cell.carry(params, ())._asdict()
        return params | {
            f'initial_{name}': jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x
            for name, x in first.items()
        }

    def carry(params, batch_shape):
        def learned(name, own):
            start = params[f'initial_{name}']
            return jnp.broadcast_to(
                lax.complex(*start) if jnp.iscomplexobj(own) else start, own.shape
            )

        own = cell.carry(params, batch_shape)
        return type(own)(**{name: learned(name, leaf) for name, leaf in own._asdict().items()})

    return cell._replace(init=init, carry=carry)


def chain(cells: tuple[Cell, ...], join) -> Cell:
    if not cells:
        raise InputError('stack takes at least one cell')

    def init(key, inputs, dtype=float):
        params = []
        for cell, cell_key in zip(cells, jax.random.split(key, len(cells)), strict=True):
            params.append(cell.init(cell_key, inputs, dtype))
            y = output(cell, params[-1], inputs)
            inputs = jax.eval_shape(join, jax.ShapeDtypeStruct((inputs,), y.dtype), y).shape[-1]
        return tuple(params)

    def carry(params, batch_shape):
        return tuple(cell.carry(p, batch_shape) for cell, p in zip(cells, params, strict=True))

    def step(params, carries, x, noise=None):
        after = []
        for cell, p, before, part in zip(
            cells, params, carries, noise or [None] * len(cells), strict=True
        ):
            new, y = take_step(cell, p, before, x, part)
            after.append(new)
            x = join(x, y)
        return tuple(after), x

    return Cell(init, carry, step, form=Chain(cells, join))
