"""The names of params, which of them are recurrent, and the check that they are a network's."""

from collections.abc import Collection, Mapping

import jax
import numpy as np

from rnnlab.cells.base import Blocks, Cell, Chain, Tree
from rnnlab.errors import InputError


def named_leaves(tree: Tree, separator: str = '.') -> dict[str, Tree]:
    """The leaves of a tree by their paths, the same for dicts, lists and records."""
    return {
        jax.tree_util.keystr(path, simple=True, separator=separator): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def check(params: Tree, expected: Tree, refused: str, optional: Collection[str] = ()) -> None:
    """Raises InputError unless params have the names and shapes of `expected`, a tree of arrays or
    of their shapes; `optional` are further names that they may have.

    refused: how the message begins, up to whose params they should be.
    """
    given, wanted = named_leaves(params), named_leaves(expected)
    extra = [name for name in given if name not in wanted and name not in optional]
    missing = [name for name in wanted if name not in given]
    if extra or missing:
        faults = [f'has no {outermost(extra[0], wanted)!r}'] if extra else []
        faults += [f'needs {outermost(missing[0], given)!r}'] if missing else []
        entries = ', '.join(dict.fromkeys(outermost(name, ()) for name in given)) or 'none'
        found = entries if isinstance(params, Mapping | tuple | list) else type(params).__name__
        raise InputError(f'{refused}, which {" and ".join(faults)}; the entries are {found}')
    for name, leaf in wanted.items():
        if (shape := np.shape(given[name])) != leaf.shape:
            raise InputError(f'{refused}, whose {name!r} must be {[*leaf.shape]}, not {[*shape]}')


def check_cell(cell: Cell, params: Tree, inputs: int) -> None:
    """Raises InputError unless params have the names and shapes of `cell.init` for D inputs."""
    expected = jax.eval_shape(lambda: cell.init(jax.random.key(0), inputs))
    check(params, expected, f'params are not those of {cell}', optional(cell))


def optional(cell: Cell) -> set[str]:
    """The names in a cell's layout: also those that only some initializers make, a second bias."""
    if isinstance(cell.form, Chain):
        return {f'{n}.{name}' for n, part in enumerate(cell.form.cells) for name in optional(part)}
    return {*(cell.layout or ())}


def recurrent_entries(cell: Cell, params: Tree) -> Tree:
    """Which entries of params, or of their shapes, are recurrent by the cell's layout: bool arrays
    that broadcast against them. All are False for a cell without a layout.
    """
    if isinstance(cell.form, Chain):
        return tuple(map(recurrent_entries, cell.form.cells, params))
    of_h = jax.eval_shape(lambda params: cell.carry(params, ()), params).h.shape[-1]

    def entries(name: str, leaf: Tree) -> np.ndarray:
        blocks = (cell.layout or {}).get(name, Blocks())
        if blocks.recurrent is None and blocks.rows == ('x', 'h'):
            return np.arange(leaf.shape[0])[:, None] >= leaf.shape[0] - of_h
        whole = 'h' in blocks.rows if blocks.recurrent is None else blocks.recurrent
        return np.full((1,) * len(leaf.shape), whole)

    return {name: entries(name, leaf) for name, leaf in params.items()}


def outermost(name: str, names: Collection[str]) -> str:
    """The shortest beginning of a path that is of none of the others."""
    parts = name.split('.')
    starts = ['.'.join(parts[:number]) for number in range(1, len(parts))]
    others = [f'{other}.' for other in names]
    return next((s for s in starts if not any(o.startswith(f'{s}.') for o in others)), name)
