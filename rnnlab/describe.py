"""describe: a model's parameters as a table, with the rows and columns that each gate owns."""

import io
import math

import jax

from rnnlab.cells.cell import Cell, Chain, output
from rnnlab.models import Model, output_size


def describe(model: Model) -> str:
    """The layers with inputs -> outputs, and for each parameter its shape, what its rows read, whose its columns are, and
    how many numbers it holds."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    params = jax.eval_shape(model.init, jax.random.key(0))
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column('layer', 'total', no_wrap=True)
    for heading in ('parameter', 'shape', 'rows', 'columns'):
        table.add_column(heading)
    table.add_column('count', f'{count(params):,}', justify='right')
    width = model.inputs
    for name, layer_params in params.items():
        if name in model.layers:
            layer = model.layers[name]
            outputs = output_size(layer, layer_params, width)
            rows = [row for part, cell in layer.cells.items() for row in cell_rows(cell, layer_params[part], width, part)]
            title, width = f'{name}: {width} -> {outputs}', outputs
        else:
            rows = [(parameter, leaf.shape, '', '') for parameter, leaf in by_rank(layer_params)]
            title = '{}: {} -> {}'.format(name, *rows[0][1])
        for number, (parameter, shape, sources, gates) in enumerate(rows):
            cells = parameter, str(list(shape)), sources, gates, f'{math.prod(shape):,}'
            table.add_row(title if number == 0 else '', *cells, end_section=number == len(rows) - 1)
    out = io.StringIO()
    Console(file=out, width=140, color_system=None, force_jupyter=False).print(table)
    return '\n'.join(line.rstrip() for line in out.getvalue().strip('\n').splitlines())


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
    hidden = output(cell, params, inputs).shape[-1]
    prefix = '' if path == 'cell' else f'{path} '
    for parameter, leaf in by_rank(params):
        *rows, columns = leaf.shape
        gates = slices(dict.fromkeys(cell.gates, hidden)) if columns == hidden * len(cell.gates) else ''
        sources = {(inputs + hidden,): {'x': inputs, 'h': hidden}, (inputs,): {'x': inputs}}.get(tuple(rows), {})
        if rows and parameter.startswith('recurrent'):
            sources = {'h': hidden}
        yield prefix + parameter, leaf.shape, slices(sources), gates


def by_rank(params):
    """Kernels before biases."""
    return sorted(params.items(), key=lambda item: -len(item[1].shape))


def slices(sizes: dict[str, int]) -> str:
    """'x 0:28  h 28:156' for {'x': 28, 'h': 128}."""
    begin, parts = 0, []
    for name, size in sizes.items():
        parts.append(f'{name} {begin}:{begin + size}')
        begin += size
    return '  '.join(parts)
