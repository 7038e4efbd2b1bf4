"""What a cell is, and the functions that make one from its equations.

Letters in shapes: T time steps, B batch, D inputs, H hidden size, N the columns of all gates.
`...` is any leading batch axes, none included.
"""

import inspect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from functools import wraps
from types import MappingProxyType
from typing import Any, NamedTuple, ParamSpec, TypeAlias, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import PyTree

from rnnlab.initializers import Drawn, Initializer
from rnnlab.precision import product

Arrays = Array | np.ndarray  # what a user may pass
Rate = float | Array  # a number, or that of a lane
Tree: TypeAlias = PyTree  # of arrays
Params: TypeAlias = Tree  # of one cell a dict
Carry: TypeAlias = Tree  # a NamedTuple of arrays; of a chain a tuple of them
Mask = Array | tuple | None  # of recurrent dropout; of a chain a tuple
Gates = tuple[Array, ...]  # the values of a cell's gates
Step = tuple[Carry, Array, Gates]  # the new carry, the output, the values of the gates
Arguments = ParamSpec('Arguments')

# The functions of a cell; what they take and return is said in Cell, Gated and Linear.
Init = Callable[..., Params]
InitialCarry = Callable[[Params, tuple[int, ...]], Carry]
Affine = Callable[[Params, Carry, Array], Tree]
Elementwise = Callable[[Params, Carry, Tree], Step]
Prepare = Callable[[Params, int], Params]
Drive = Callable[[Params, Array], tuple[Array, Array, Gates]]
Read = Callable[[Params, Array, Array], Array]


class Blocks(NamedTuple):
    """The blocks of a parameter: what its rows read, and the gates that its columns make."""

    rows: tuple[str, ...] = ()  # ('x', 'h') of a kernel for [x, h]
    columns: tuple[str, ...] = ()  # ('i', 'f', 'g', 'o') of an LSTM's
    recurrent: bool | None = None  # whether it makes the new state; None: its rows that read h do


Layout = Mapping[str, Blocks]  # by parameter


@dataclass(frozen=True, eq=False, repr=False)
class Cell:
    """A recurrent cell: functions that close over hyperparameters. What is learned is in params.

    init: (key, D, dtype=float) -> params.
    carry: (params, batch_shape) -> the initial carry of a sequence, a NamedTuple of arrays
        [*batch_shape, H] (other widths in some cells) with a field h.
    step: (params, carry, x [..., D], mask=None) -> (carry, y [..., H]): the definition of the
        cell. The mask, an array [..., H] (a tuple of them for a Chain), multiplies what the
        recurrent products read of the carry: recurrent dropout.
    gates: the names of the gates, in the order of the columns of the kernels.
    values: (params, carry, x) -> the gates' values in that step, arrays [..., H] in the order of
        `gates`; None: unknown.
    form: an equal of step that an engine runs faster (Gated, Linear), or the cells of a Chain;
        None for a plain cell.
    takes_mask: whether step takes the mask; without it the cell has no recurrent dropout.
    zoneout: the fields of the carry that zoneout supports.
    layout: the blocks of each parameter, also of those that only some initializers make; None:
        unknown, only shapes are described.
    name, hyperparameters: the function that made the cell, and its arguments with defaults. Set
        by `maker`; `dataclasses.replace` drops them, since its result is another cell.

    Cells of the same maker with equal arguments are equal, so jax.jit with a static cell compiles
    once for them. An argument that is an array, as in the lanes of a sweep, equals only itself.
    """

    init: Init
    carry: InitialCarry
    step: Callable[..., tuple[Carry, Array]]
    gates: tuple[str, ...] = ()
    values: Callable[[Params, Carry, Array], Gates] | None = None
    form: Any = None
    _: KW_ONLY
    takes_mask: bool = False
    zoneout: tuple[str, ...] = ('h',)
    layout: Layout | None = None
    name: str = field(default='', init=False)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict, init=False)
    _maker: Callable[..., 'Cell'] | None = field(default=None, init=False)

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


def by_value(value: object) -> Hashable:
    """The value, or its identity if it is an array or not hashable."""
    try:
        hash(value)
    except TypeError:
        return object, id(value)
    return (object, id(value)) if isinstance(value, Array) else value


def maker(make: Callable[Arguments, Cell], name: str = '') -> Callable[Arguments, Cell]:
    """The function `make` with its cells named after it and compared by its arguments.

    The name is that of the function, with its module for one outside rnnlab: mymodule:mycell.
    """
    signature = inspect.signature(make)
    inside = make.__module__.startswith('rnnlab.')
    name = name or (make.__name__ if inside else f'{make.__module__}:{make.__name__}')

    @wraps(make)
    def made(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Cell:
        cell = make(*args, **kwargs)
        if not isinstance(cell, Cell):
            return cell  # of a user's function; rnnlab.testing.structure refuses it
        arguments = signature.bind(*args, **kwargs)
        arguments.apply_defaults()
        cell = replace(cell)
        object.__setattr__(cell, 'name', name)
        object.__setattr__(cell, 'hyperparameters', MappingProxyType(arguments.arguments))
        object.__setattr__(cell, '_maker', make)
        return cell

    return made


class Gated(NamedTuple):
    """The form of a cell with one affine map of input and carry, then elementwise work.

    affine: (params, carry, x) -> z, an array [..., N] or a tuple of such.
    elementwise: (params, carry, z) -> (carry, y, values of the gates); may use params and mix
        features, never the batch.
    prepare: (params, D) -> params that affine and elementwise take as well, computed once for all
        steps.
    native: its kernel of the engine `native`, if there is one.
    """

    affine: Affine
    elementwise: Elementwise
    prepare: Prepare
    native: str | None = None


class Linear(NamedTuple):
    """The form of a cell with h' = a h + b, every unit on its own, a and b functions of the input.

    drive: (params, x [..., D]) -> (a, b, values of the gates), a and b arrays [..., H] of the type
        of h; an a that does not depend on x is [H].
    read: (params, h, x) -> y, for the new h.
    """

    drive: Drive
    read: Read


class Chain(NamedTuple):
    """The form of cells on top of each other: join(x, y) of each is the next one's input."""

    cells: tuple[Cell, ...]
    join: Callable[[Array, Array], Array]


class Hidden(NamedTuple):
    """The carry of cells that have only h."""

    h: Array  # [..., H]


class Fields(TypedDict, total=False):
    """Further fields of a cell."""

    zoneout: tuple[str, ...]
    layout: Layout


def plain(
    init: Init,
    carry: InitialCarry,
    whole: Callable[..., Step],
    gates: tuple[str, ...],
    *,
    form: Any = None,
    takes_mask: bool = True,
    **more: Unpack[Fields],
) -> Cell:
    """The cell of one function `whole`: (params, carry, x, mask=None) -> (carry, y, values of the
    gates); without takes_mask (params, carry, x). more are further fields of Cell."""

    def masked(
        params: Params, carry: Carry, x: Array, mask: Array | None = None
    ) -> tuple[Carry, Array]:
        return whole(params, carry, x, mask)[:2]

    def unmasked(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        return whole(params, carry, x)[:2]

    def values(params: Params, carry: Carry, x: Array) -> Gates:
        return whole(params, carry, x)[2]

    step = masked if takes_mask else unmasked
    return Cell(init, carry, step, gates, values, form, takes_mask=takes_mask, **more)


def gated(
    init: Init,
    carry: InitialCarry,
    affine: Affine,
    elementwise: Elementwise,
    gates: tuple[str, ...],
    *,
    prepare: Prepare = lambda params, inputs: params,
    native: str | None = None,
    takes_mask: bool = True,
    **more: Unpack[Fields],
) -> Cell:
    """The cell of one affine map and elementwise work (see Gated), from which its step follows.

    gates names the last result of elementwise. more are further fields of Cell: takes_mask=False
    for a cell without recurrent products.
    """

    def whole(params: Params, carry: Carry, x: Array, mask: Array | None = None) -> Step:
        return elementwise(params, carry, named(affine(params, dropped(carry, mask), x)))

    form = Gated(affine, elementwise, prepare, native)
    return plain(init, carry, whole, gates, form=form, takes_mask=takes_mask, **more)


def linear(
    init: Init,
    carry: InitialCarry,
    drive: Drive,
    read: Read,
    gates: tuple[str, ...],
    **more: Unpack[Fields],
) -> Cell:
    """The cell with h' = a h + b (see Linear), from which its step follows.

    gates names the last result of drive. more are further fields of Cell. It has no recurrent
    product, so it takes no mask.
    """

    def step(params: Params, carry: Hidden, x: Array) -> tuple[Hidden, Array]:
        a, b, _ = drive(params, x)
        h = jnp.broadcast_to(a, b.shape) * carry.h + b
        return Hidden(h), read(params, h, x)

    def values(params: Params, carry: Hidden, x: Array) -> Gates:
        return drive(params, x)[2]

    return Cell(init, carry, step, gates, values, Linear(drive, read), **more)


# The parts that families share. A joint cell has one kernel for [x, h].


def joint(
    init: Init,
    carry: InitialCarry,
    elementwise: Elementwise,
    gates: tuple[str, ...],
    zoneout: tuple[str, ...] = ('h',),
    native: str | None = None,
) -> Cell:
    """The gated cell whose affine map is [x, h] W + b."""
    columns = Blocks(columns=gates)
    return gated(
        init,
        carry,
        joint_affine,
        elementwise,
        gates,
        prepare=split_weights,
        native=native,
        zoneout=zoneout,
        layout={'kernel': Blocks(('x', 'h'), gates), 'bias': columns, 'recurrent_bias': columns},
    )


def joint_params(initializer: Initializer, weights: Drawn) -> dict[str, Array]:
    """The params of `joint` from a kernel for x, one for h, and biases [2, N]."""
    kernel, recurrent, biases = weights
    return {'kernel': jnp.concatenate([kernel, recurrent])} | initializer.biases(biases)


def joint_affine(params: Params, carry: Carry, x: Array) -> Array:
    """[x, h] W + b, with params kernel W [D + H, N], or its parts kernel and recurrent_kernel,
    and bias b [N], to which recurrent_bias is added if there is one."""
    bias = params['bias']
    if 'recurrent_bias' in params:
        bias = bias + params['recurrent_bias']
    if 'recurrent_kernel' in params:
        of_h = product(carry.h, params['recurrent_kernel'])
        return biased(product(x, params['kernel']) + of_h, bias)
    return biased(product(jnp.concatenate([x, carry.h], axis=-1), params['kernel']), bias)


def split_weights(params: Params, inputs: int) -> Params:
    """The params of `joint` with a kernel for x and one for h, unless D is far below H.

    Two products keep the gradient of h from being computed with that of x; with few inputs one
    product of [x, h] is faster.
    """
    hidden = params['kernel'].shape[0] - inputs
    if 6 * inputs < hidden:
        return params
    kernel, recurrent = jnp.split(params['kernel'], [inputs])
    return params | {'kernel': kernel, 'recurrent_kernel': recurrent}


def split_layout(gates: tuple[str, ...]) -> dict[str, Blocks]:
    """The layout of params with a kernel for x, one for h, and a bias."""
    return {
        'kernel': Blocks(('x',), gates),
        'recurrent_kernel': Blocks(('h',), gates),
        'bias': Blocks(columns=gates),
    }


def zero_carry(kind: Any, size: int, like: str = 'bias') -> InitialCarry:
    """The carry function with zeros [*batch, size] in each field of the NamedTuple `kind`, of the
    dtype of params[like]."""

    def carry(params: Params, batch_shape: tuple[int, ...]) -> Carry:
        zeros = jnp.zeros((*batch_shape, size), params[like].dtype)
        return kind(*(zeros for _ in kind._fields))

    return carry


def biased(z: Array, bias: Array) -> Array:
    """z [..., N] + bias [N]; broadcast explicitly, as jax_numpy_rank_promotion='raise' demands."""
    return z + jnp.broadcast_to(bias, z.shape)


def times(h: Array, scale: Array) -> Array:
    """h [..., H] times scale [H], broadcast explicitly."""
    return h * jnp.broadcast_to(scale, h.shape)


def norm(z: Array) -> Array:
    """z [..., N] with mean 0 and variance 1 over its features (Ba, Kiros, Hinton 2016, equation 4,
    with 1e-5 added to the variance)."""
    z = z - jnp.mean(z, axis=-1, keepdims=True)
    return z * lax.rsqrt(jnp.mean(z * z, axis=-1, keepdims=True) + 1e-5)


def named(z: Tree) -> Tree:
    """z, marked as what the scan engine keeps for the gradient; it recomputes everything else."""
    return jax.tree.map(lambda leaf: checkpoint_name(leaf, 'z'), z)


def dropped(carry: Carry, mask: Array | None) -> Carry:
    """The carry as the recurrent products read it: its h times the mask, if there is one."""
    if mask is None:
        return carry
    return carry._replace(h=carry.h * jnp.broadcast_to(mask, carry.h.shape))


def take_step(
    cell: Cell, params: Params, carry: Carry, x: Array, mask: Mask
) -> tuple[Carry, Array]:
    """The cell's step; without a mask it gets three arguments, which suits any cell."""
    return cell.step(params, carry, x) if mask is None else cell.step(params, carry, x, mask)


def output(cell: Cell, params: Params, inputs: int) -> jax.ShapeDtypeStruct:
    """Shape [H] and dtype of the output of one step for an input [D], without computing it."""
    x = jax.ShapeDtypeStruct((inputs,), jax.tree.leaves(params)[0].dtype)
    return jax.eval_shape(
        lambda params, x: cell.step(params, cell.carry(params, ()), x)[1], params, x
    )
