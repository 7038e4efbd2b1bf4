"""describe: the table of a model's parameters, with the rows and columns of each gate."""

import math
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from typing import NamedTuple

import jax

from rnnlab.cells.base import Blocks, Cell, Chain, Params, Tree, output
from rnnlab.models import Model, beside, output_size
from rnnlab.results.tables import new_table, render


class Parameter(NamedTuple):
    """A parameter of a cell. Its blocks of rows and columns are given as name and size."""

    name: str
    leaf: Tree  # one array, or its shape and dtype
    rows: dict[str, int]
    columns: dict[str, int]


def describe(model: Model) -> str:
    """The table of a model's layers with inputs -> outputs, and of each parameter its shape, what
    its rows read, the gates that its columns make, and the count of its numbers."""
    params = jax.eval_shape(model.init, jax.random.key(0))
    headings, footer = (
        ('layer', 'parameter', 'shape', 'rows', 'columns', 'count'),
        {'layer': 'total', 'count': f'{count(params):,}'},
    )
    table = new_table(*headings, right=('count',), footer=footer)
    width = model.inputs
    blocks = {part for name in model.layers for part in beside(name)}
    for name, layer_params in params.items():
        if name in blocks:
            continue  # shown with its layer
        if name in model.layers:
            layer = model.layers[name]
            outputs = output_size(layer, layer_params, width)
            rows = [
                row
                for part, cell in layer.cells.items()
                for row in cell_rows(cell, layer_params[part], width, part)
            ]
            if model.block is not None:
                own, statistics = (params.get(part, {}) for part in beside(name))
                rows += block_rows(own, statistics, width)
                outputs = width
            title, width = f'{name}: {width} -> {outputs}', outputs
        else:
            rows = [(parameter, leaf.shape, '', '') for parameter, leaf in by_rank(layer_params)]
            title = '{}: {} -> {}'.format(name, *rows[0][1])
        for number, (parameter, shape, sources, gates) in enumerate(rows):
            cells = parameter, str(list(shape)), sources, gates, f'{math.prod(shape):,}'
            table.add_row(title if number == 0 else '', *cells, end_section=number == len(rows) - 1)
    return render(table)


def count(params: Params) -> int:
    """The count of numbers in a tree of parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def cell_rows(
    cell: Cell, params: Params, inputs: int, path: str
) -> Iterator[tuple[str, tuple[int, ...], str, str]]:
    """Name, shape, rows and columns of each parameter of a cell, or of the cells of a chain."""
    if isinstance(cell.form, Chain):
        for number, (part, part_params) in enumerate(zip(cell.form.cells, params, strict=True), 1):
            yield from cell_rows(part, part_params, inputs, f'{path} {number}')
            inputs = output(part, part_params, inputs).shape[-1]
        return
    prefix = '' if path == 'cell' else f'{path} '
    for name, leaf, rows, columns in parameters(cell, params, inputs):
        yield prefix + name, leaf.shape, slices(rows), slices(columns)


def block_rows(
    params: Params, statistics: Params, features: int
) -> Iterator[tuple[str, tuple[int, ...], str, str]]:
    """Name, shape, rows and columns of each parameter of the block around a layer."""
    columns = slices({'value': features, 'gate': features})
    for name, leaf in [*by_rank(params), *statistics.items()]:
        of_layer = f'y 0:{leaf.shape[0]}' if name == 'glu_kernel' else ''
        yield name, leaf.shape, of_layer, columns if name.startswith('glu') else ''


def parameters(cell: Cell, params: Params, inputs: int) -> Iterator[Parameter]:
    """The parameters of a cell, kernels before biases, with the blocks that its layout names; none
    for a cell without a layout."""
    x = jax.ShapeDtypeStruct((inputs,), jax.tree.leaves(params)[0].dtype)
    carry = jax.eval_shape(lambda params: cell.carry(params, ()), params)
    values = jax.eval_shape(cell.values, params, carry, x) if cell.values else ()
    widths = {name: value.shape[-1] for name, value in zip(cell.gates, values, strict=False)}
    for name, leaf in by_rank(params):
        blocks = (cell.layout or {}).get(name, Blocks())
        of_h = carry.h.shape[-1] if 'h' in blocks.rows else 0
        sizes = {'x': leaf.shape[0] - of_h, 'h': of_h}
        columns = {gate: widths[gate] for gate in blocks.columns}
        if sum(columns.values()) != leaf.shape[-1]:  # of a convolution: channels, at any position
            columns = {}
        yield Parameter(name, leaf, {row: sizes[row] for row in blocks.rows}, columns)


def by_rank(params: Mapping[str, Tree]) -> list[tuple[str, Tree]]:
    """The items of params, kernels before biases."""
    return sorted(params.items(), key=lambda item: -len(item[1].shape))


def slices(sizes: dict[str, int]) -> str:
    """'x 0:28  h 28:156' for {'x': 28, 'h': 128}."""
    return '  '.join(f'{name} {begin}:{end}' for name, (begin, end) in spans(sizes))


def spans(sizes: dict[str, int]) -> list[tuple[str, tuple[int, int]]]:
    """Begin and end of each block, one after the other."""
    ends = [0, *accumulate(sizes.values())]
    return list(zip(sizes, pairwise(ends), strict=True))
