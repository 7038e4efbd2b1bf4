"""What a cell is: a record of functions; and the ways to make one from its equations or from other cells.

Letters in shapes: T time steps, B batch, D inputs, H hidden size, N columns of all gates. `...` is any leading batch axes,
none included.
"""

import inspect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from functools import wraps
from types import MappingProxyType
from typing import Any, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from rnnlab.precision import product

Params = Any
Carry = Any
Arguments = ParamSpec('Arguments')


@dataclass(frozen=True, eq=False, repr=False)
class Cell:
    """A recurrent cell; hyperparameters are closed over, everything learned is in params.

    init: (key, D, dtype=float) -> params.
    carry: (params, batch_shape) -> the initial carry of a sequence, a NamedTuple of arrays [*batch_shape, H], of some
        cells of other widths; one of its fields is h.
    step: (params, carry, x [..., D], mask=None) -> (carry, y [..., H]): the definition of the cell. The mask, an array
        [..., H] (a tuple of them for a Chain), multiplies what the recurrent products read of the carry: recurrent dropout.
    gates: their names, in the order of the columns of its kernels.
    values: (params, carry, x) -> the gates' values in that step, arrays [..., H] in the order of `gates`; None: not shown.
    form: a faster equal of step for an engine (Gated, Linear) or the cells of a Chain; None for a plain cell.
    takes_mask: whether step has the argument mask; without it a cell has no recurrent dropout.
    zoneout: the fields of the carry that zoneout supports.
    layout: by parameter, the names of its row blocks and column blocks; None: not known.

    name, hyperparameters: what made the cell, and the arguments it was called with, defaults included. `maker` sets them;
        `dataclasses.replace` drops them, as the result is another cell.

    Cells made by the same maker with equal arguments are equal, so that jax.jit with a static cell compiles once for
    them; arrays, as a sweep closes over, are equal to themselves alone.
    """

    init: Callable[..., Params]
    carry: Callable[[Params, tuple[int, ...]], Carry]
    step: Callable[..., tuple[Carry, Array]]
    gates: tuple[str, ...] = ()
    values: Callable[[Params, Carry, Array], tuple[Array, ...]] | None = None
    form: Any = None
    _: KW_ONLY
    takes_mask: bool = False
    zoneout: tuple[str, ...] = ('h',)
    layout: Mapping[str, Any] | None = None
    name: str = field(default='', init=False)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict, init=False)
    _maker: Callable[..., Any] | None = field(default=None, init=False)

    def _identity(self) -> tuple[Hashable, ...]:
        if self._maker is not None:
            return self._maker, *map(by_value, self.hyperparameters.values())
        return tuple(by_value(getattr(self, part.name)) for part in fields(self) if part.init)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        if self._maker is None:
            return f'Cell(step={self.step.__module__}.{self.step.__qualname__})'
        shown: list[str] = []
        for name, parameter in inspect.signature(self._maker).parameters.items():
            value = self.hyperparameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                shown += map(repr, value)
            elif by_value(value) != by_value(parameter.default):
                shown.append(f'{name}={value!r}')
        return f'{self.name}({", ".join(shown)})'


class Same:
    """Equal to what holds the same object."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def by_value(value: Any) -> Hashable:
    """The value for comparison: itself if hashable, otherwise (arrays, tracers) equal only to the same object."""
    try:
        hash(value)
    except TypeError:
        return Same(value)
    return Same(value) if isinstance(value, Array) else value


def maker(make: Callable[Arguments, Cell], name: str = '') -> Callable[Arguments, Cell]:
    """The function `make` with its cells named after it (a user's: mymodule:mycell) and compared by its arguments."""
    signature = inspect.signature(make)
    library = make.__module__.startswith('rnnlab.')
    name = name or (make.__name__ if library else f'{make.__module__}:{make.__name__}')

    @wraps(make)
    def made(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Cell:
        cell = make(*args, **kwargs)
        if not isinstance(cell, Cell):
            return cell  # of a user's own function; refused where it is used
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        cell = replace(cell)
        object.__setattr__(cell, 'name', name)
        object.__setattr__(cell, 'hyperparameters', MappingProxyType(bound.arguments))
        object.__setattr__(cell, '_maker', make)
        return cell

    return made


class Gated(NamedTuple):
    """One affine map of input and carry, then elementwise work: what the engine with its own gradient takes.

    affine: (params, carry, x) -> z, an array [..., N] or a tuple of such.
    elementwise: (params, carry, z) -> (carry, y, values of the gates); may use params and mix features, never the batch.
    prepare: (params, D) -> the params as affine and elementwise take them as well, made once for all steps.
    """

    affine: Callable[[Params, Carry, Array], Any]
    elementwise: Callable[[Params, Carry, Any], tuple[Carry, Array, tuple[Array, ...]]]
    prepare: Callable[[Params, int], Params] = lambda params, inputs: params


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


def dropped(carry: Carry, mask: Array | None) -> Carry:
    """The carry as the recurrent products read it: h times the mask, where there is one."""
    return (
        carry if mask is None else carry._replace(h=carry.h * jnp.broadcast_to(mask, carry.h.shape))
    )


def take_step(cell: Cell, params: Params, carry: Carry, x: Array, mask: Any) -> tuple[Carry, Array]:
    """The cell's step; without mask it is not named, so that a cell written without it runs too."""
    return cell.step(params, carry, x) if mask is None else cell.step(params, carry, x, mask)


def plain(init, carry, whole, gates, form=None, takes_mask=True, zoneout=('h',)) -> Cell:
    """A cell from one function (params, carry, x, mask=None) -> (carry, y, values of the gates)."""

    def step(params, carry, x, mask=None):
        carry, y, _ = whole(params, carry, x, mask)
        return carry, y

    def values(params, carry, x):
        return whole(params, carry, x)[2]

    return Cell(
        init,
        carry,
        step if takes_mask else lambda params, carry, x: step(params, carry, x),
        gates,
        values,
        form,
        takes_mask=takes_mask,
        zoneout=zoneout,
    )


def gated(
    init, carry, affine, elementwise, gates, prepare=None, takes_mask=True, zoneout=('h',)
) -> Cell:
    """A cell of one affine map and elementwise work; the step follows from the two.

    init and carry as in Cell, affine, elementwise and prepare as in Gated; gates names what elementwise gives last. Without recurrent
    products it takes no mask.
    """

    def whole(params, carry, x, mask=None):
        return elementwise(params, carry, named(affine(params, dropped(carry, mask), x)))

    form = Gated(affine, elementwise) if prepare is None else Gated(affine, elementwise, prepare)
    return plain(init, carry, whole, gates, form, takes_mask, zoneout)


def linear(init, carry, drive, read, gates) -> Cell:
    """A cell with h' = a h + b; the step follows from drive and read. It has no recurrent product, and so takes no mask.

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
