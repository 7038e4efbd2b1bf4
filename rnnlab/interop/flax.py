"""Flax: the params of linen's and nnx's SimpleCell, LSTMCell, OptimizedLSTMCell, GRUCell and ungated MGUCell, Dense, Linear and Embed."""

from collections.abc import Mapping, Sequence
from typing import Any

from rnnlab.errors import InputError, known
from rnnlab.interop.weights import (
    GATES,
    Part,
    Sides,
    Weights,
    arrays,
    assembled,
    blocks,
    joined,
    one_bias,
    taken_apart,
    told_by_shape,
    zeros,
)
from rnnlab.recurrence import Layer

KINDS = ('elman', 'irnn', 'lstm', 'gru', 'ugrnn')
NAMES = GATES | {'ugrnn': 'fn'}  # its gate is called f there
ACTIVATIONS = {'tanh': 'elman', 'relu': 'irnn'}
DIRECTIONS = ('forward_rnn', 'backward_rnn')


def from_flax(source: Any, *, activation: str = 'tanh') -> Weights:
    """Params of linen, or modules of nnx, as layers and params; arrays may be traced.

    Taken are the params of a cell, nn.RNN and nn.Bidirectional; a tuple of two is (forward, backward) where a compact module
    keeps the cells side by side. A Dense (nnx: Linear) is the readout, or before the first layer the dense map, an Embed the
    embedding. Of nnx modules the functions are checked too; params alone do not tell them.

    The blocks of the gates are joined, in the same order. Flax's GRU has no recurrent bias for r and z (nnx's none at all), here
    it is then 0. An MGUCell with reset_gate=False is ugrnn. to_flax gives back linen's params with the same bits.

    Args:
        source: one or a list, in the order in which data passes: nested dicts, with or without 'params' around, or nnx modules.
        activation: tanh or relu, the activation_fn of SimpleCells.

    Raises InputError for other cells (other MGUCells, ConvLSTMCell), and for nnx modules with other functions or residual=True.
    """
    known('activation', activation, ACTIVATIONS)
    sources = source if isinstance(source, list) else [source]
    return assembled(
        [part_of(tree_of(one, activation), ACTIVATIONS[activation]) for one in sources]
    )


def to_flax(layers: Sequence[Layer], params: dict[str, Any]) -> list[dict[str, Any]]:
    """linen's params of each module: Embed, Dense, nn.RNN or nn.Bidirectional of such, Dense. A cell's own are below 'cell'.

    Flax has one bias where an Elman cell or LSTM with torch's start has two, and where a GRU has one of each side for r and z:
    it gets their sums. An irnn needs activation_fn=nn.relu there, a ugrnn an MGUCell with reset_gate=False.

    Raises InputError for a cell that Flax does not have.
    """
    return [tree_of_part(part) for part in taken_apart(layers, params, 'Flax', KINDS)]


def tree_of(source: Any, activation: str) -> Any:
    """Nested dicts of arrays, a tuple of them for two directions."""
    if isinstance(source, tuple):
        return tuple(tree_of(side, activation) for side in source)
    if not isinstance(source, Mapping):
        source = nnx_params(source, activation)
    tree = plain(source)
    return tree['params'] if tree.keys() == {'params'} else tree


def plain(tree: Any) -> Any:
    """Dicts of arrays from any mapping; nnx's variables are asked for their values."""
    if isinstance(tree, Mapping):
        return {name: plain(part) for name, part in tree.items()}
    return arrays(tree.get_value() if hasattr(tree, 'get_value') else tree)


def nnx_params(module: Any, activation: str) -> Any:
    from flax import nnx

    if not isinstance(module, nnx.Module):
        raise InputError(f'from_flax takes params and nnx modules, not {type(module).__name__}')
    for _, part in nnx.iter_modules(module):
        if getattr(part, 'residual', False):
            raise InputError('a SimpleCell with residual=True computes what no cell here does')
        simple = type(part).__name__ == 'SimpleCell'
        for which, name in (
            ('activation_fn', activation if simple else 'tanh'),
            ('gate_fn', 'sigmoid'),
        ):
            found = getattr(getattr(part, which, None), '__name__', name)
            if found != name:
                raise InputError(
                    f'{type(part).__name__}: {which} {found} is not what the cell here computes; {name} is'
                )
    return nnx.state(module, nnx.Param)


def part_of(tree: Any, elman: str) -> Part:
    if isinstance(tree, tuple) or tree.keys() == {*DIRECTIONS}:
        both = [
            part_of(side, elman)
            for side in (tree if isinstance(tree, tuple) else (tree[name] for name in DIRECTIONS))
        ]
        if len(both) != 2 or not all(isinstance(side, Sides) for side in both):
            raise InputError('two directions are a pair of the params of recurrent cells')
        return both[0], both[1]  # type: ignore[return-value]
    names = {name.rstrip('_') for name in tree}  # nnx has if_
    if names == {'cell'}:
        return part_of(tree['cell'], elman)
    if names == {'embedding'}:
        return {'table': tree['embedding']}
    if names in ({'kernel'}, {'kernel', 'bias'}):
        return {'kernel': tree['kernel'], 'bias': bias_of(tree)}
    if names == {'i', 'h'}:
        return both_sides(elman, tree['i'], tree['h'])
    for kind in ('lstm', 'gru', 'ugrnn'):
        if names == {side + gate for side in 'ih' for gate in NAMES[kind]} and not (
            kind == 'ugrnn' and 'bias' in tree['hn']
        ):
            named = {name.rstrip('_'): block for name, block in tree.items()}
            return both_sides(
                kind, *(gathered([named[side + gate] for gate in NAMES[kind]]) for side in 'ih')
            )
    if names == {'dense_i', 'dense_h'}:
        kind = told_by_shape(tree['dense_h']['kernel'], 'dense_h')
        return both_sides(elman if kind == 'elman' else kind, tree['dense_i'], tree['dense_h'])
    raise InputError(
        f'{", ".join(sorted(tree))}: not the params of a SimpleCell, LSTMCell, GRUCell, Dense or Embed of Flax'
    )


def gathered(gates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One dense map of those of the gates."""
    return {
        'kernel': joined([gate['kernel'] for gate in gates]),
        'bias': joined([bias_of(gate) for gate in gates]),
    }


def both_sides(kind: str, of_input: Mapping[str, Any], recurrent: Mapping[str, Any]) -> Sides:
    bias, recurrent_bias = bias_of(of_input), bias_of(recurrent)
    if kind == 'gru':
        return Sides(kind, of_input['kernel'], recurrent['kernel'], bias, recurrent_bias)
    return Sides(
        kind, of_input['kernel'], recurrent['kernel'], bias + recurrent_bias
    )  # one of them is 0


def bias_of(block: Mapping[str, Any]) -> Any:
    return block.get('bias', zeros(block['kernel'], block['kernel'].shape[1]))


def tree_of_part(part: Part) -> dict[str, Any]:
    if isinstance(part, dict):
        return {'embedding': part['table']} if 'table' in part else part
    if not isinstance(part, Sides):
        return {name: tree_of_part(sides) for name, sides in zip(DIRECTIONS, part, strict=True)}
    if part.kind in ('elman', 'irnn'):
        return {
            'cell': {
                'i': {'kernel': part.kernel, 'bias': one_bias(part)},
                'h': {'kernel': part.recurrent_kernel},
            }
        }
    gates = NAMES[part.kind]
    cell = {
        side + gate: {'kernel': block}
        for side, kernel in (('i', part.kernel), ('h', part.recurrent_kernel))
        for gate, block in zip(gates, blocks(kernel, len(gates)), strict=True)
    }
    for gate, bias in zip(gates, blocks(one_bias(part), len(gates)), strict=True):
        cell[('h' if part.kind == 'lstm' else 'i') + gate]['bias'] = bias
    if part.kind == 'gru':
        cell['in']['bias'], cell['hn']['bias'] = (
            blocks(bias, 3)[2] for bias in (part.bias, part.recurrent_bias)
        )
    return {'cell': cell}
