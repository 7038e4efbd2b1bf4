"""What all frameworks share: the weights of a network, and those of one cell apart from how a framework lays them out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnlab.cells import CELLS, Cell
from rnnlab.cells.reference import REFERENCES
from rnnlab.errors import InputError
from rnnlab.recurrence import Layer, bidirectional, recurrent

# The cells that frameworks have too, by their names in CELLS, with the gates that their columns are.
GATES = {
    'elman': 'h', 'irnn': 'h', 'indrnn': 'h',
    'lstm': 'ifgo', 'lstm_peephole': 'ifgo', 'lstm_coupled': 'fgo', 'lstm_projected': 'ifgo',
    'gru': 'rzn', 'gru_reset_before': 'rzn', 'gru_chung': 'rzn', 'ugrnn': 'gn',
}  # fmt: skip
MORE = {
    'indrnn': 'recurrent_scale',
    'lstm_peephole': 'peephole',
    'lstm_projected': 'projection',
}  # params that no other has
JOINT = (
    'elman',
    'irnn',
    'ugrnn',
    *(kind for kind in GATES if kind.startswith('lstm')),
)  # one kernel for [x, h]; may have two biases


class Weights(NamedTuple):
    """layers: recurrent layers, the lowest first.

    params: by the names of `rnnlab.models.network`: layer_1, layer_2, ...; and embedding, dense and readout where there are any.
    """

    layers: list[Layer]
    params: dict[str, Any]


class Sides(NamedTuple):
    """One cell's arrays, the side of the input apart from the recurrent one, gates in the order that they have here."""

    kind: str  # a name in GATES
    kernel: Any  # [D, N]
    recurrent_kernel: Any  # [H, N], of a projection [P, N]; None: there is none
    bias: Any  # [N]
    recurrent_bias: Any = None  # [N]; None: there is none, or bias is the sum of both
    more: Any = None  # what the params have as MORE says


# What a network is made of, in the order in which data passes: {'table'} of an embedding, {'kernel', 'bias'} of a dense map,
# Sides of a recurrent layer, a pair of them of a bidirectional one.
Part = dict[str, Any] | Sides | tuple[Sides, Sides]


def assembled(parts: Sequence[Part]) -> Weights:
    """The weights of a network; a dense map that comes last is its readout. InputError for another order than network's."""
    layers: list[Layer] = []
    params: dict[str, Any] = {}
    for number, part in enumerate(parts, 1):
        if isinstance(part, Sides):
            layers.append(recurrent(make_cell(part)))
            name, own = f'layer_{len(layers)}', {'cell': cell_params(part)}
        elif isinstance(part, tuple):
            layers.append(bidirectional(*(make_cell(sides) for sides in part)))
            name, own = (
                f'layer_{len(layers)}',
                dict(zip(('forward', 'backward'), map(cell_params, part), strict=True)),
            )
        else:
            name, own = (
                'embedding' if 'table' in part else 'readout' if number == len(parts) else 'dense',
                part,
            )
        if name in params or (params and rank(name) < rank([*params][-1])):
            raise InputError(
                'a network is an embedding, a dense map, recurrent layers and a dense readout, in this order, each of them or not'
            )
        params[name] = own
    return Weights(
        layers, jax.tree.map(jnp.array, params)
    )  # a copy: the framework may go on training


def taken_apart(
    layers: Sequence[Layer], params: dict[str, Any], framework: str, kinds: Sequence[str]
) -> list[Part]:
    """The parts of a network in the order in which data passes. InputError unless each cell computes what one of `kinds` does."""
    params = arrays(params)

    def sides(name: str, part: str, cell: Cell) -> Sides:
        if name not in params or part not in params[name]:
            raise InputError(
                f'params have no {name}.{part}, which the layers ask for; they have {", ".join(params)}'
            )
        own = params[name][part]
        kind = kind_of(cell, own)
        if kind not in kinds:
            raise InputError(
                f'{framework} has no cell that computes what {name} does; it has {", ".join(kinds)}'
            )
        assert kind is not None
        kernel, recurrent_kernel = own['kernel'], own.get('recurrent_kernel')
        more = own[MORE[kind]] if kind in MORE else None
        if recurrent_kernel is None:
            kernel, recurrent_kernel = parted(kind, kernel, more)
        return Sides(kind, kernel, recurrent_kernel, own['bias'], own.get('recurrent_bias'), more)

    parts: list[Part] = [params[name] for name in ('embedding', 'dense') if name in params]
    for number, layer in enumerate(layers, 1):
        both = [sides(f'layer_{number}', part, cell) for part, cell in layer.cells.items()]
        parts.append(both[0] if len(both) == 1 else (both[0], both[1]))
    return parts + [params[name] for name in ('readout',) if name in params]


def rank(name: str) -> int:
    return {'embedding': 0, 'dense': 1, 'readout': 3}.get(name, 2)


def make_cell(sides: Sides) -> Cell:
    """The cell, with a start that has the same params: torch's has two biases."""
    two = sides.kind in JOINT and sides.recurrent_bias is not None
    options = {'projection': sides.more.shape[1]} if sides.kind == 'lstm_projected' else {}
    return CELLS[sides.kind](
        sides.bias.shape[0] // len(GATES[sides.kind]), init='torch' if two else 'keras', **options
    )


def cell_params(sides: Sides) -> dict[str, Any]:
    params = {
        'kernel': sides.kernel,
        'recurrent_kernel': sides.recurrent_kernel,
        'bias': sides.bias,
    }
    if sides.kind in JOINT:
        params = {
            'kernel': joined([sides.kernel, sides.recurrent_kernel], axis=0),
            'bias': sides.bias,
        }
    params |= {'recurrent_bias': sides.recurrent_bias, MORE.get(sides.kind, ''): sides.more}
    return {name: leaf for name, leaf in params.items() if leaf is not None}


def parted(kind: str, kernel: Any, more: Any) -> tuple[Any, Any]:
    """The kernel of x and that of h from the one of [x, h], whose h may be a projection."""
    outputs = more.shape[1] if kind == 'lstm_projected' else kernel.shape[1] // len(GATES[kind])
    inputs = kernel.shape[0] - outputs
    return kernel[:inputs], kernel[inputs:]


def kind_of(cell: Cell, params: Any) -> str | None:
    """The name in GATES of the cell that computes the same; None where there is none. A step on random numbers tells: cells
    of other equations may have the same gates and params."""
    if not isinstance(params, dict):
        return None
    names = params.keys() - {'recurrent_bias'}
    kinds = [
        kind for kind, gates in GATES.items() if (*gates,) == cell.gates and names == needed(kind)
    ]
    if not kinds or np.ndim(params['kernel']) != 2:
        return None
    rng = np.random.default_rng(0)
    probe = {
        name: rng.normal(0, 0.5, np.shape(leaf)).astype(np.float32) for name, leaf in params.items()
    }
    carry = jax.tree.map(
        lambda leaf: rng.normal(0, 1, leaf.shape).astype(np.float32),
        jax.eval_shape(lambda: cell.carry(probe, ())),
    )
    if carry._fields != (('c', 'h') if kinds[0].startswith('lstm') else ('h',)):
        return None
    inputs = len(probe['kernel']) - (0 if 'recurrent_kernel' in names else len(carry.h))
    x = rng.normal(0, 1, inputs).astype(np.float32)
    with jax.ensure_compile_time_eval(), jax.default_matmul_precision('highest'):
        _, y = cell.step(probe, carry, x)
    for kind in kinds:
        if (kind == 'gru') <= ('recurrent_bias' in probe) and np.allclose(
            REFERENCES[kind](probe, x, *carry)[2], y, atol=1e-3
        ):
            return kind
    return None


def needed(kind: str) -> set[str]:
    return (
        {'kernel', 'bias'}
        | ({MORE[kind]} if kind in MORE else set())
        | (set() if kind in JOINT else {'recurrent_kernel'})
    )


# Arrays: NumPy's where they have values, so that nothing is compiled and no bit lost; tracers otherwise.


def arrays(tree: Any) -> Any:
    return jax.tree.map(
        lambda leaf: leaf if isinstance(leaf, jax.core.Tracer) else np.asarray(leaf), tree
    )


def joined(parts: Sequence[Any], axis: int = -1) -> Any:
    return (np if all(isinstance(part, np.ndarray) for part in parts) else jnp).concatenate(
        parts, axis=axis
    )


def zeros(like: Any, number: int) -> np.ndarray:
    return np.zeros(number, like.dtype)


def blocks(array: Any, number: int) -> list[Any]:
    """The array in so many parts of the last axis."""
    width = array.shape[-1] // number
    return [array[..., width * part : width * (part + 1)] for part in range(number)]


def ordered(array: Any, have: str, want: str) -> Any:
    """The gates of the last axis, a letter each, in another order."""
    parts = dict(zip(have, blocks(array, len(have)), strict=True))
    return joined([parts[gate] for gate in want])


def one_bias(sides: Sides) -> Any:
    return sides.bias if sides.recurrent_bias is None else sides.bias + sides.recurrent_bias


def told_by_shape(recurrent_kernel: Any, what: str) -> str:
    """Of a recurrent kernel [H, N] the kind, as if elman were tanh and the GRU's reset after; InputError for another shape."""
    kinds = {1: 'elman', 3: 'gru', 4: 'lstm'}
    shape = recurrent_kernel.shape
    if len(shape) != 2 or shape[1] % shape[0] or shape[1] // shape[0] not in kinds:
        raise InputError(
            f'{what}: a recurrent kernel of {list(shape)} is none of an RNN, GRU or LSTM'
        )
    return kinds[shape[1] // shape[0]]
