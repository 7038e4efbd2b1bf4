"""Flax: the params of recurrent cells, Dense, Linear and Embed, of linen and nnx.

The cells are SimpleCell, LSTMCell, OptimizedLSTMCell, GRUCell and MGUCell without its reset gate.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rnnlab.cells.base import Tree
from rnnlab.errors import InputError, known
from rnnlab.interop.weights import (
    GATES,
    Array,
    Arrays,
    CellWeights,
    Params,
    Part,
    Weights,
    arrays,
    assembled,
    blocks,
    check_attributes,
    dense,
    joined,
    kind_by_shape,
    parts_of,
    taken_apart,
)
from rnnlab.recurrence import Layer

KINDS = ('elman', 'irnn', 'lstm', 'gru', 'ugrnn')
NAMES = GATES | {'ugrnn': 'fn'}  # its gate is called f in Flax
ACTIVATIONS = {'tanh': 'elman', 'relu': 'irnn'}
PLAIN = {  # attributes of nnx modules with the values that change nothing
    'activation_fn': ('tanh',),
    'gate_fn': ('sigmoid',),
    'residual': (False,),
    'carry_init': ('zeros', None),
    'merge_fn': ('_concatenate',),
    'dot_general': ('dot_general',),
    'promote_dtype': ('promote_dtype',),
    'preferred_element_type': (None,),
}
DIRECTIONS = ('forward_rnn', 'backward_rnn')


def from_flax(source: object, *, activation: str = 'tanh') -> Weights:
    """Params of linen or modules of nnx as layers and params; arrays may be traced.

    source: one or a list, in the order in which data passes: params (nested dicts, with or without
        'params' around them) or nnx modules, of cells, RNN and Bidirectional; a tuple of two is
        (forward, backward), for a compact module that has the cells side by side. A Dense (nnx:
        Linear) is the readout, or before the first layer the dense map; an Embed is the embedding.
    activation: tanh or relu, the activation_fn of SimpleCells. nnx modules are checked for their
        functions, params do not tell them.

    Flax's GRU has no recurrent bias for r and z (nnx's none at all): it is 0 here. to_flax returns
    the same bits. Raises InputError for other cells (other MGUCells, ConvLSTMCell), and for nnx
    modules with other functions, residual=True or reverse=True.
    """
    known('activation', activation, ACTIVATIONS)
    elman = ACTIVATIONS[activation]
    return assembled(parts_of(source, lambda own: part_of(tree_of(own, activation), elman)))


def to_flax(layers: Sequence[Layer], params: Params) -> list[Params]:
    """linen's params of each module: Embed, Dense, RNN or Bidirectional of RNNs, Dense.

    Those of a cell are under 'cell'. Flax has one bias where an Elman cell or LSTM may have two,
    and where a GRU has two for r and z: it gets their sums. An irnn needs activation_fn=nn.relu in
    Flax, a ugrnn is an MGUCell with reset_gate=False. Raises InputError for a cell that Flax does
    not have.
    """
    return [params_of(part) for part in taken_apart(layers, params, 'Flax', KINDS)]


def tree_of(source: object, activation: str) -> Params:
    """The params of a module as nested dicts of arrays."""
    tree = plain(source if isinstance(source, Mapping) else nnx_params(source, activation))
    return tree['params'] if tree.keys() == {'params'} else tree


def plain(tree: Tree) -> Tree:
    """Nested dicts of arrays from nested mappings of arrays or nnx variables."""
    if isinstance(tree, Mapping):
        return {name: plain(part) for name, part in tree.items()}
    return arrays(tree.get_value() if hasattr(tree, 'get_value') else tree)


def nnx_params(module: object, activation: str) -> Mapping[str, Tree]:
    """The params of an nnx module; InputError if it has functions that no cell here has."""
    from flax import nnx

    if not isinstance(module, nnx.Module):
        raise InputError(f'from_flax takes params and nnx modules, not {type(module).__name__}')
    for _, part in nnx.iter_modules(module):
        name = type(part).__name__
        own: dict[str, dict[str, Sequence[object]]] = {
            'SimpleCell': {'activation_fn': (activation,)},
            'RNN': {'reverse': (False,)},
        }
        check_attributes(part, name, PLAIN | own.get(name, {}))
    return nnx.state(module, nnx.Param)


def part_of(tree: Params, elman: str) -> Any:
    """The part of a module's params."""
    names = {name.rstrip('_') for name in tree}  # nnx has if_
    if names == {*DIRECTIONS}:
        forward, backward = (part_of(tree[name], elman) for name in DIRECTIONS)
        return forward, backward
    if names == {'cell'}:
        return part_of(tree['cell'], elman)
    if names == {'embedding'}:
        return {'table': tree['embedding']}
    if names in ({'kernel'}, {'kernel', 'bias'}):
        return dense(**tree)
    if names == {'i', 'h'}:
        return cell_of(elman, dense(**tree['i']), dense(**tree['h']))
    if names == {'dense_i', 'dense_h'}:
        kind = kind_by_shape(tree['dense_h']['kernel'], 'dense_h')
        x, h = dense(**tree['dense_i']), dense(**tree['dense_h'])
        return cell_of(elman if kind == 'elman' else kind, x, h)
    for kind in ('lstm', 'gru', 'ugrnn'):
        reset = kind == 'ugrnn' and 'bias' in tree.get('hn', {})  # of an MGUCell
        if names == {side + gate for side in 'ih' for gate in NAMES[kind]} and not reset:
            gates = {name.rstrip('_'): dense(**block) for name, block in tree.items()}
            x, h = (joined_gates([gates[side + gate] for gate in NAMES[kind]]) for side in 'ih')
            return cell_of(kind, x, h)
    raise InputError(
        f'{", ".join(sorted(tree))}: not the params of a SimpleCell, LSTMCell, GRUCell, Dense or '
        f'Embed of Flax'
    )


def joined_gates(gates: Sequence[Arrays]) -> Arrays:
    """One dense map of those of the gates."""
    return {name: joined([gate[name] for gate in gates]) for name in ('kernel', 'bias')}


def cell_of(kind: str, x: Arrays, h: Arrays) -> CellWeights:
    """The cell of the dense maps of x and h, ; only a GRU has two biases."""
    two = kind == 'gru'
    return CellWeights(
        kind=kind,
        kernel=x['kernel'],
        recurrent_kernel=h['kernel'],
        bias=x['bias'] if two else x['bias'] + h['bias'],  # one of them is 0
        recurrent_bias=h['bias'] if two else None,
    )


def params_of(part: Part) -> Params:
    """The params of linen's module that part_of takes."""
    if isinstance(part, dict):
        return {'embedding': part['table']} if 'table' in part else part
    if isinstance(part, tuple):
        return dict(zip(DIRECTIONS, map(params_of, part), strict=True))
    if part.kind in ('elman', 'irnn'):
        x = {'kernel': part.kernel, 'bias': part.bias_sum}
        return {'cell': {'i': x, 'h': {'kernel': part.recurrent_kernel}}}
    gates = NAMES[part.kind]

    def by_gate(array: Array) -> list[tuple[str, Array]]:
        return list(zip(gates, blocks(array, len(gates)), strict=True))

    cell = {f'i{gate}': {'kernel': block} for gate, block in by_gate(part.kernel)}
    cell |= {f'h{gate}': {'kernel': block} for gate, block in by_gate(part.recurrent_kernel)}
    for gate, bias in by_gate(part.bias_sum):
        cell[f'h{gate}' if part.kind == 'lstm' else f'i{gate}']['bias'] = bias
    if part.kind == 'gru':
        cell['in']['bias'], cell['hn']['bias'] = (blocks(bias, 3)[2] for bias in part.both_biases)
    return {'cell': cell}
