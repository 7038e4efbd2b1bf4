"""describe: a model's parameters as a table, with the rows and columns that each gate owns."""

import math
from itertools import accumulate, pairwise

import jax

from rnnlab.cells.base import Cell, Chain, Linear, output
from rnnlab.models import Model, output_size
from rnnlab.results.tables import new_table, render


def describe(model: Model) -> str:
    """The layers with inputs -> outputs, and for each parameter its shape, what its rows read, whose its columns are, and
    how many numbers it holds."""
    params = jax.eval_shape(model.init, jax.random.key(0))
    headings, footer = (
        ('layer', 'parameter', 'shape', 'rows', 'columns', 'count'),
        {'layer': 'total', 'count': f'{count(params):,}'},
    )
    table = new_table(*headings, right=('count',), footer=footer)
    width = model.inputs
    for name, layer_params in params.items():
        if name in model.layers:
            layer = model.layers[name]
            outputs = output_size(layer, layer_params, width)
            rows = [
                row
                for part, cell in layer.cells.items()
                for row in cell_rows(cell, layer_params[part], width, part)
            ]
            title, width = f'{name}: {width} -> {outputs}', outputs
        else:
            rows = [(parameter, leaf.shape, '', '') for parameter, leaf in by_rank(layer_params)]
            title = '{}: {} -> {}'.format(name, *rows[0][1])
        for number, (parameter, shape, sources, gates) in enumerate(rows):
            cells = parameter, str(list(shape)), sources, gates, f'{math.prod(shape):,}'
            table.add_row(title if number == 0 else '', *cells, end_section=number == len(rows) - 1)
    return render(table)


def count(params) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def cell_rows(cell: Cell, params, inputs: int, path: str):
    """(parameter, shape, rows, columns) of a cell, of each of its cells for a chain."""
    if isinstance(cell.form, Chain):
        for number, (part, part_params) in enumerate(zip(cell.form.cells, params, strict=True), 1):
            yield from cell_rows(part, part_params, inputs, f'{path} {number}')
            inputs = output(part, part_params, inputs).shape[-1]
        return
    prefix = '' if path == 'cell' else f'{path} '
    for parameter, leaf, sources, gates in owners(cell, params, inputs):
        yield prefix + parameter, leaf.shape, slices(sources), slices(gates)


def owners(cell: Cell, params, inputs: int):
    """(parameter, leaf, sources, gates) for the parameters of a cell: what its rows read (x, h) and whose its columns are,
    each with how many; empty where that is not known."""
    x = jax.ShapeDtypeStruct((inputs,), jax.tree.leaves(params)[0].dtype)
    carry = jax.eval_shape(lambda params: cell.carry(params, ()), params)
    values = jax.eval_shape(cell.values, params, carry, x) if cell.values else ()
    widths = (
        dict(zip(cell.gates, (value.shape[-1] for value in values), strict=True)) if values else {}
    )
    wider = jax.eval_shape(lambda key: cell.init(key, inputs + 1), jax.random.key(0))
    without_h = used(cell.form.drive, params, x) if isinstance(cell.form, Linear) else set()
    for parameter, leaf in by_rank(params):
        # An RHN has layers in a step: recurrent_kernel_2 makes n_2 and t_2.
        of_its_layer = {
            gate: size
            for gate, size in widths.items()
            if gate.endswith(parameter[parameter.rfind('_') :])
        }
        gates = next(
            (some for some in (widths, of_its_layer) if leaf.shape[-1] == sum(some.values())), {}
        )
        sources = {}
        if leaf.ndim == 2:
            of_x = inputs * (
                wider[parameter].shape[0] - leaf.shape[0]
            )  # one input more is one row more, or one of each step it sees
            of_h = leaf.shape[0] - of_x
            known = of_h in (0, carry.h.shape[-1]) and not (of_h and parameter in without_h)
            sources = {name: size for name, size in (('x', of_x), ('h', of_h)) if size and known}
        yield parameter, leaf, sources, gates


def used(function, params, *rest) -> set[str]:
    """The names of the params that a function of them looks at."""
    jaxpr = jax.make_jaxpr(function)(params, *rest).jaxpr
    seen = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
    return {
        name
        for name, variable in zip(sorted(params), jaxpr.invars, strict=False)
        if id(variable) in seen
    }


def by_rank(params):
    """Kernels before biases."""
    return sorted(params.items(), key=lambda item: -len(item[1].shape))


def slices(sizes: dict[str, int]) -> str:
    """'x 0:28  h 28:156' for {'x': 28, 'h': 128}."""
    return '  '.join(f'{name} {begin}:{end}' for name, (begin, end) in spans(sizes))


def spans(sizes: dict[str, int]) -> list[tuple[str, tuple[int, int]]]:
    """Where each of them begins and ends, one behind the other."""
    ends = [0, *accumulate(sizes.values())]
    return list(zip(sizes, pairwise(ends), strict=True))
