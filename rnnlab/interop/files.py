"""Params in safetensors files: names, shapes and bytes, no code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnlab.errors import InputError, first_line


def save(path: str | Path, params: Any) -> None:
    """Writes params, a tree of dicts and tuples, with names such as layer_1.cell.kernel; of a tuple the entries are 0, 1, ...

    Raises InputError where the file cannot be written, or a name has a point in it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    flat = {name: np.ascontiguousarray(leaf) for name, leaf in named_leaves(params).items()}
    if any(
        '.' in str(getattr(key, 'key', ''))
        for keys, _ in jax.tree.leaves_with_path(params)
        for key in keys
    ):
        raise InputError(
            'params whose names have a point in them would not be found again: rename them'
        )
    try:
        save_file(flat, path)
    except (OSError, SafetensorError) as error:
        raise InputError(f'{path} cannot be written: {first_line(error)}') from error


def load(path: str | Path, like: Any = None) -> Any:
    """The params of a file, JAX arrays (float64 only with jax_enable_x64).

    like is a tree of arrays or shapes that they must fit, such as jax.eval_shape(model.init, key); without it names are split at
    their points, and numbers from 0 on make a tuple.

    Raises InputError for what is no safetensors file, and for params that `like` has and the file has not, or in other shapes.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        flat = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f'{path} is no safetensors file that can be read: {first_line(error)}'
        ) from error
    if like is None:
        return jax.tree.map(jnp.asarray, nested(flat))
    wanted = named_leaves(like)
    for name, leaf in wanted.items():
        if name not in flat:
            raise InputError(f'{path} has no {name}; it has {", ".join(sorted(flat))}')
        if flat[name].shape != leaf.shape:
            raise InputError(
                f'{path} has {name} as {list(flat[name].shape)}, not {list(leaf.shape)}'
            )
    return jax.tree.unflatten(
        jax.tree.structure(like), [jnp.asarray(flat[name]) for name in wanted]
    )


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by the names of their branches, with points between."""
    return {
        jax.tree_util.keystr(keys, simple=True, separator='.'): leaf
        for keys, leaf in jax.tree.leaves_with_path(tree)
    }


def nested(flat: Mapping[str, Any]) -> Any:
    """The tree of dicts and tuples whose leaves have these names."""
    groups: dict[str, Any] = {}
    for name, leaf in flat.items():
        first, point, rest = name.partition('.')
        if point:
            groups.setdefault(first, {})[rest] = leaf
        else:
            groups[first] = leaf
    tree = {name: nested(part) if isinstance(part, dict) else part for name, part in groups.items()}
    numbers = [str(number) for number in range(len(tree))]
    return tuple(tree[number] for number in numbers) if tree and tree.keys() == {*numbers} else tree
