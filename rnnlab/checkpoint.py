"""Checkpoints of a run: the newest tree of arrays, saved while training goes on, safe against a kill at any moment."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnlab.errors import InputError, first_line


def open_checkpoints(folder: Path) -> Any:
    """Orbax's manager of the folder; close it to wait for the last save."""
    import orbax.checkpoint as ocp

    return ocp.CheckpointManager(folder.resolve(), options=ocp.CheckpointManagerOptions(max_to_keep=1))


def save(manager: Any, step: int, tree: Any) -> None:
    """Saves a tree of arrays under a step; does nothing where that step is saved."""
    import orbax.checkpoint as ocp

    if step != manager.latest_step():
        # copied, since the next chunk reuses the state's memory while this is still being written
        manager.save(step, args=ocp.args.StandardSave(jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)))


def restore(manager: Any, like: Any) -> Any:
    """The newest tree, or None where none is saved; `like` has the shapes that it must have.

    Raises InputError for a checkpoint that is damaged or of another model.
    """
    import orbax.checkpoint as ocp

    step = manager.latest_step()
    if step is None:
        return None
    target = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    where = manager.directory / str(step)
    try:
        return manager.restore(step, args=ocp.args.StandardRestore(target))
    except Exception as error:  # whatever orbax and tensorstore raise on damaged files
        raise InputError(f'the checkpoint {where} is damaged or of another model: {first_line(error)}') from error


def restore_params(folder: Path, like: Any) -> Any:
    """The parameters in the newest checkpoint of the folder, those of the best evaluation where they were kept.

    Raises InputError where there is none, or one that is damaged or has not the shapes of `like`.
    """
    import orbax.checkpoint as ocp

    tree = None
    if folder.is_dir():
        with open_checkpoints(folder) as manager:
            try:
                if (step := manager.latest_step()) is not None:
                    tree = manager.restore(step, args=ocp.args.StandardRestore())
            except Exception as error:  # as above
                raise InputError(f'the checkpoint {folder} is damaged: {first_line(error)}') from error
    if tree is None:
        raise InputError(f'there is no checkpoint {folder} yet')
    evaluated = 'best' in tree and int(tree['best']['step']) > 0
    params = tree['best']['params'] if evaluated else tree['state']['params']
    there, here = ({path: tuple(leaf.shape) for path, leaf in jax.tree.leaves_with_path(part)} for part in (params, like))
    for path in there | here:
        if there.get(path) != here.get(path):
            name = jax.tree_util.keystr(path, simple=True, separator=' ')
            raise InputError(f'the checkpoint {folder} is of another model: {name} is {there.get(path)} there, {here.get(path)} here')
    return params
