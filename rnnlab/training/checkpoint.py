"""Checkpoints of a run: the newest tree of arrays, saved while training goes on, safe against a kill at any moment."""

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnlab.errors import InputError, first_line


def open_checkpoints(folder: Path) -> Any:
    """Orbax's manager of the folder; close it to wait for the last save."""
    import orbax.checkpoint as ocp

    return ocp.CheckpointManager(
        folder.resolve(), options=ocp.CheckpointManagerOptions(max_to_keep=1)
    )


def save(manager: Any, step: int, tree: Any) -> None:
    """Saves a tree of arrays under a step; does nothing where that step is saved."""
    import orbax.checkpoint as ocp

    if step != manager.latest_step():
        # copied, since the next chunk reuses the state's memory while this is still being written
        manager.save(
            step,
            args=ocp.args.StandardSave(jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)),
        )


def restore(manager: Any, like: Any = None) -> Any:
    """The newest tree, or None where none is saved; `like` has the shapes that it must have, None: as it is, in dicts.

    Raises InputError for a checkpoint that is damaged or of another model.
    """
    import orbax.checkpoint as ocp

    step = manager.latest_step()
    if step is None:
        return None
    target = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    with silence():
        try:
            return manager.restore(step, args=ocp.args.StandardRestore(target))
        except Exception as error:  # whatever orbax and tensorstore raise on damaged files
            time.sleep(0.5)  # until tensorstore's threads have printed tracebacks of their own
            where = f'the checkpoint {manager.directory / str(step)} is damaged or of another model'
            raise InputError(
                f'{where}, train again in a new folder: {first_line(error)}'
            ) from error


@contextlib.contextmanager
def silence():
    """Nothing reaches standard error, not from threads outside Python either."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def check_shapes(params: Any, like: Any, folder: Path) -> None:
    """InputError, naming the first difference, where the parameters of a checkpoint have not the shapes of `like`."""
    there, here = (
        {path: tuple(leaf.shape) for path, leaf in jax.tree.leaves_with_path(part)}
        for part in (params, like)
    )
    for path in there | here:
        if there.get(path) != here.get(path):
            name = jax.tree_util.keystr(path, simple=True, separator=' ')
            raise InputError(
                f'the checkpoint {folder} is of another model: {name} is {there.get(path)} there, {here.get(path)} here'
            )
