"""Params in safetensors files: names, shapes and bytes, no code."""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rnnlab.cells.base import Arrays, Params, Tree
from rnnlab.cells.params import check, named_leaves
from rnnlab.errors import InputError, first_line


def save(path: str | Path, params: Params) -> None:
    """Writes params, a tree of dicts and tuples, under names such as layer_1.cell.kernel.

    The entries of a tuple are named 0, 1, ... Raises InputError if the file cannot be written, or
    a name has a '.' in it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    flat = {name: np.ascontiguousarray(leaf) for name, leaf in named_leaves(params).items()}
    keys = (key for path, _ in jax.tree.leaves_with_path(params) for key in path)
    if any('.' in str(getattr(key, 'key', '')) for key in keys):
        raise InputError("params whose names have a '.' in them could not be loaded: rename them")
    try:
        save_file(flat, path)
    except (OSError, SafetensorError) as error:
        raise InputError(f'{path} cannot be written: {first_line(error)}') from error


def load(path: str | Path, like: Params = None) -> Params:
    """The params of a file, JAX arrays (float64 only with jax_enable_x64).

    like: a tree of arrays or shapes that they have to fit, such as jax.eval_shape(model.init, key);
        without it names are split at each '.', and names 0, 1, ... make a tuple.

    Raises InputError for what is no safetensors file, and unless the names and shapes are those of
    `like`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        flat = load_file(path)
    except (OSError, SafetensorError) as error:
        message = f'{path} is no safetensors file that can be read: {first_line(error)}'
        raise InputError(message) from error
    if like is None:
        return jax.tree.map(jnp.asarray, nested(flat))
    wanted = named_leaves(like)
    check(flat, wanted, f'{path} has other params than `like`')
    leaves = [jnp.asarray(flat[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def nested(flat: Mapping[str, Arrays]) -> Tree:
    """The tree of dicts and tuples with leaves of these names."""
    groups: dict[str, Tree] = {}
    for name, leaf in flat.items():
        first, point, rest = name.partition('.')
        if point:
            groups.setdefault(first, {})[rest] = leaf
        else:
            groups[first] = leaf
    tree = {name: nested(part) if isinstance(part, dict) else part for name, part in groups.items()}
    numbers = [str(number) for number in range(len(tree))]
    return tuple(tree[number] for number in numbers) if tree and tree.keys() == {*numbers} else tree
