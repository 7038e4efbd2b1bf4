"""What the frameworks share: the weights of a network, and of one cell in a common form.

A from_x makes parts of the modules of x, in the order in which data passes, and `assembled` makes
Weights of the parts; a to_x makes arrays of the parts that `taken_apart` gives. A part is
{'table'} of an embedding, {'kernel', 'bias'} of a dense map, CellWeights of a recurrent layer, and
a pair of CellWeights (forward, backward) of a bidirectional one.

Letters in shapes: D inputs, H hidden size, P outputs, N columns of all gates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnlab.cells import CELLS, Cell
from rnnlab.cells.base import Tree
from rnnlab.cells.params import named_leaves
from rnnlab.errors import InputError
from rnnlab.models import check_params, network
from rnnlab.recurrence import Layer, bidirectional, recurrent

Array = Any  # of NumPy or JAX, or traced
Arrays = dict[str, Array]
Params = dict[str, Tree]  # a tree of arrays

KINDS = (  # the cells that frameworks have too, by their names in CELLS
    'elman', 'irnn', 'indrnn', 'lstm', 'lstm_peephole', 'lstm_coupled', 'lstm_projected', 'gru',
    'gru_reset_before', 'gru_chung', 'ugrnn',
)  # fmt: skip
KERNELS = {kind: (CELLS[kind](1).layout or {})['kernel'] for kind in KINDS}
GATES = {kind: ''.join(kernel.columns) for kind, kernel in KERNELS.items()}  # a letter for each
MORE = {  # params that no other cell has
    'indrnn': 'recurrent_scale',
    'lstm_peephole': 'peephole',
    'lstm_projected': 'projection',
}


class Weights(NamedTuple):
    """layers: recurrent layers, the lowest first.

    params: by the names of `rnnlab.models.network`: layer_1, layer_2, ...; and embedding, dense
        and readout where there are any.
    """

    layers: list[Layer]
    params: Params


@dataclass(frozen=True, kw_only=True, eq=False)
class CellWeights:
    """The weights of a cell, with separate kernels for x and h."""

    kind: str  # a name in KINDS; GATES has the order of its columns
    kernel: Array  # [D, N]
    recurrent_kernel: Array  # [H, N], [P, N] of a projection
    bias: Array  # [N]
    recurrent_bias: Array = None  # [N]; None: bias is the only one, or the sum of both
    extra: Array = None  # the param that MORE names

    @property
    def bias_sum(self) -> Array:
        return self.bias if self.recurrent_bias is None else self.bias + self.recurrent_bias

    @property
    def both_biases(self) -> tuple[Array, Array]:
        """The bias and the recurrent bias, which may be zeros."""
        if self.recurrent_bias is not None:
            return self.bias, self.recurrent_bias
        return self.bias, zeros(self.bias, len(self.bias))


Part = Arrays | CellWeights | tuple[CellWeights, CellWeights]


def parts_of(source: Any, part: Callable[[Any], Any]) -> list[Part]:
    """The parts of one source or a list of them; a tuple of two is (forward, backward)."""
    sources = source if isinstance(source, list) else [source]
    return [tuple(map(part, of)) if isinstance(of, tuple) else part(of) for of in sources]


def directions(part: CellWeights | tuple[CellWeights, CellWeights]) -> tuple[CellWeights, ...]:
    return part if isinstance(part, tuple) else (part,)


def check_attributes(module: object, label: str, accepted: Mapping[str, Sequence[object]]) -> None:
    """Raises InputError for an attribute with a value that changes what a module computes.

    accepted: by attribute the values that do not; of functions the names.
    """
    for name, values in accepted.items():
        found = getattr(module, name, values[0])
        found = getattr(found, '__name__', found)
        if found not in values:
            raise InputError(
                f'{label}: {name}={found} is not supported, only {" or ".join(map(str, values))}'
            )


def assembled(parts: Sequence[Part]) -> Weights:
    """The weights of a network; a dense map that comes last is its readout.

    Raises InputError for another order than that of `network`.
    """
    layers: list[Layer] = []
    params: Params = {}
    rank = -1
    for number, part in enumerate(parts, 1):
        if isinstance(part, dict):
            own, name = part, 'readout' if number == len(parts) else 'dense'
            name = 'embedding' if 'table' in part else name
        else:
            both = directions(part)
            if len(both) > 2 or not all(isinstance(weights, CellWeights) for weights in both):
                raise InputError('two directions are a pair of recurrent cells')
            make = recurrent if len(both) == 1 else bidirectional
            layers.append(make(*map(make_cell, both)))
            own = dict(zip(layers[-1].cells, map(cell_params, both), strict=True))
            name = f'layer_{len(layers)}'
        before, rank = rank, {'embedding': 0, 'dense': 1, 'readout': 3}.get(name, 2)
        if name in params or rank < before:
            raise InputError(
                'a network is an embedding, a dense map, recurrent layers and a dense readout, '
                'in this order, each of them optional'
            )
        params[name] = own
    return Weights(layers, jax.tree.map(jnp.array, params))  # a copy: training may continue


def taken_apart(
    layers: Sequence[Layer], params: Params, framework: str, kinds: Sequence[str]
) -> list[Part]:
    """The parts of a network; InputError unless each cell is of one of `kinds`."""
    params = arrays(params)
    for number, layer in enumerate(layers, 1):
        for cell in layer.cells.values():
            if kind_of(cell) not in kinds:
                raise InputError(
                    f'{framework} has no cell that computes what layer_{number} does, {cell}; '
                    f'it has {", ".join(kinds)}'
                )
    if 'block_1' in params:
        words = 'a network of pre-norm residual blocks'
        raise InputError(f'{words} has no counterpart in {framework}: take the layers alone')
    check_network(layers, params)
    parts: list[Part] = [params[name] for name in ('embedding', 'dense') if name in params]
    for number, layer in enumerate(layers, 1):
        own = params[f'layer_{number}']
        both = [cell_weights(kind_of(cell), own[part]) for part, cell in layer.cells.items()]
        parts.append(both[0] if len(both) == 1 else (both[0], both[1]))
    return parts + [params[name] for name in ('readout',) if name in params]


def check_network(layers: Sequence[Layer], params: Params) -> None:
    """Raises InputError unless params are those of a network of these layers, of any sizes; an
    embedding, a dense map and a readout are optional."""
    shapes = {name: np.shape(leaf) for name, leaf in named_leaves(params).items()}

    def size(name: str, axis: int) -> int:
        return max(shapes[name][axis], 1) if len(shapes.get(name, ())) == 2 else 1

    if 'embedding' in params:
        inputs = size('embedding.table', 1)
    elif 'dense' in params or not layers:
        inputs = size('dense.kernel' if 'dense' in params else 'readout.kernel', 0)
    else:
        (part, cell), *_ = layers[0].cells.items()
        least = jax.eval_shape(lambda: cell.init(jax.random.key(0), 1))['kernel'].shape[0]
        inputs = max(size(f'layer_1.{part}.kernel', 0) - least + 1, 1)
    net = network(
        layers,
        inputs=inputs,
        outputs=size('readout.kernel', 1),
        vocabulary=size('embedding.table', 0) if 'embedding' in params else None,
        dense=size('dense.kernel', 1) if 'dense' in params else None,
    )
    check_params(
        net, params if 'readout' in params else params | {'readout': net.shapes['readout']}
    )


def joint(kind: str) -> bool:
    """Whether it has one kernel for [x, h], and one or two biases."""
    return 'h' in KERNELS[kind].rows


def make_cell(weights: CellWeights) -> Cell:
    """The cell, with an initializer that gives the same params: that of torch has two biases."""
    kind = weights.kind
    two = joint(kind) and weights.recurrent_bias is not None
    options = {'projection': weights.extra.shape[1]} if kind == 'lstm_projected' else {}
    hidden_size = weights.bias.shape[0] // len(GATES[kind])
    return CELLS[kind](hidden_size, init='torch' if two else 'keras', **options)


def cell_params(weights: CellWeights) -> Arrays:
    """The params of make_cell's cell."""
    kernels = weights.kernel, weights.recurrent_kernel
    if joint(weights.kind):
        kernels = joined(kernels, axis=0), None
    params = {
        'kernel': kernels[0],
        'recurrent_kernel': kernels[1],
        'bias': weights.bias,
        'recurrent_bias': weights.recurrent_bias,
        MORE.get(weights.kind, ''): weights.extra,
    }
    return {name: leaf for name, leaf in params.items() if leaf is not None}


def cell_weights(kind: str, params: Arrays) -> CellWeights:
    """The weights in the params of a cell of that kind."""
    extra = params[MORE[kind]] if kind in MORE else None
    kernels = params['kernel'], params.get('recurrent_kernel')
    if joint(kind):
        kernels = split_kernel(kind, params['kernel'], extra)
    return CellWeights(
        kind=kind,
        kernel=kernels[0],
        recurrent_kernel=kernels[1],
        bias=params['bias'],
        recurrent_bias=params.get('recurrent_bias'),
        extra=extra,
    )


def split_kernel(kind: str, kernel: Array, extra: Array = None) -> tuple[Array, Array]:
    """The kernel of x and that of h (or of its projection) from the one of [x, h]."""
    outputs = extra.shape[1] if kind == 'lstm_projected' else kernel.shape[1] // len(GATES[kind])
    inputs = kernel.shape[0] - outputs
    return kernel[:inputs], kernel[inputs:]


def from_joint(
    kind: str, kernel: Array, bias: Array, *, order: str, added: float, extra: Array = None
) -> CellWeights:
    """Weights from a kernel [D + H, N] and a bias whose gates are in that order.

    added: what the framework adds to the forget gate at every step.
    """
    gates = GATES[kind]
    kernel, bias = (ordered(array, order, gates) for array in (kernel, bias))
    kernel, recurrent_kernel = split_kernel(kind, kernel, extra)
    bias = bias + forget_only(kind, bias, added)
    return CellWeights(
        kind=kind, kernel=kernel, recurrent_kernel=recurrent_kernel, bias=bias, extra=extra
    )


def to_joint(weights: CellWeights, *, order: str, added: float) -> tuple[Array, Array]:
    """(kernel [D + H, N], bias [N]) as from_joint takes them."""
    kernel = joined([weights.kernel, weights.recurrent_kernel], axis=0)
    bias = weights.bias_sum - forget_only(weights.kind, weights.bias, added)
    return ordered(kernel, GATES[weights.kind], order), ordered(bias, GATES[weights.kind], order)


def forget_only(kind: str, bias: Array, value: float) -> np.ndarray:
    """A bias [N] of that value for the forget gate (g of a UGRNN), 0 for others."""
    gates = GATES[kind]
    values = [value if gate == ('g' if kind == 'ugrnn' else 'f') else 0 for gate in gates]
    return np.repeat(np.array(values, bias.dtype), bias.shape[0] // len(gates))


def kind_by_shape(recurrent_kernel: Array, name: str) -> str:
    """'elman', 'gru' or 'lstm', by the shape [H, N]; InputError, with the name, for another."""
    kinds = {1: 'elman', 3: 'gru', 4: 'lstm'}
    shape = recurrent_kernel.shape
    if len(shape) != 2 or shape[1] % shape[0] or shape[1] // shape[0] not in kinds:
        raise InputError(
            f'{name}: a recurrent kernel of {list(shape)} is none of an RNN, GRU or LSTM'
        )
    return kinds[shape[1] // shape[0]]


def kind_of(cell: Cell) -> str:
    """The name in KINDS of a cell's equations, if they are there; else the cell's own name."""
    options = cell.hyperparameters
    if cell.name == 'gru' and not options['reset_after']:
        return 'gru_reset_before'
    if cell.name == 'elman' and options['activation'] == 'relu':
        return 'irnn'
    return cell.name


# Arrays: NumPy's where they have values, so that nothing is compiled and no bit lost.


def arrays(tree: Tree) -> Tree:
    """The tree with NumPy arrays in place of all others; tracers stay."""
    return jax.tree.map(
        lambda leaf: leaf if isinstance(leaf, jax.core.Tracer) else np.asarray(leaf), tree
    )


def joined(parts: Sequence[Array], axis: int = -1) -> Array:
    library = np if all(isinstance(part, np.ndarray) for part in parts) else jnp
    return library.concatenate(parts, axis=axis)


def zeros(like: Array, number: int) -> np.ndarray:
    return np.zeros(number, like.dtype)


def dense(kernel: Array, bias: Array = None) -> Arrays:
    """The part of a dense map; without a bias that is zeros."""
    return {'kernel': kernel, 'bias': zeros(kernel, kernel.shape[1]) if bias is None else bias}


def blocks(array: Array, number: int) -> list[Array]:
    """The array in `number` equal blocks of the last axis."""
    width = array.shape[-1] // number
    return [array[..., width * at : width * (at + 1)] for at in range(number)]


def ordered(array: Array, have: str, want: str) -> Array:
    """The gates of the last axis, a letter each, in another order."""
    parts = dict(zip(have, blocks(array, len(have)), strict=True))
    return joined([parts[gate] for gate in want])
