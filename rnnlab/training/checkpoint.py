"""Checkpoints of a run: the newest tree of arrays, saved while training continues.

They survive a kill at any moment.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnlab.errors import InputError, first_line


def open_checkpoints(folder: Path) -> Any:
    """Orbax's manager of the folder; close it to wait for the last save."""
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(max_to_keep=1)
    return ocp.CheckpointManager(folder.resolve(), options=options)


def save(manager: Any, step: int, tree: Any) -> None:
    """Saves a tree of arrays under a step, unless that step is saved already."""
    import orbax.checkpoint as ocp

    if step != manager.latest_step():
        # A copy, since the next chunk donates the state's memory while this is still being written.
        copied = jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)
        manager.save(step, args=ocp.args.StandardSave(copied))


def restore(manager: Any, like: Any = None) -> Any:
    """The newest tree, or None where none is saved.

    `like` has the shapes that it must have; None: as it is, in dicts. Raises InputError for a
    checkpoint that is damaged or of another model.
    """
    import orbax.checkpoint as ocp

    step = manager.latest_step()
    if step is None:
        return None
    target = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    with without_late_reads():
        try:
            return manager.restore(step, args=ocp.args.StandardRestore(target))
        except Exception as error:  # whatever Orbax and TensorStore raise on damaged files
            time.sleep(0.5)  # until TensorStore's threads have ended
            words = f'the checkpoint {manager.directory / str(step)} is damaged or of another model'
            reason = first_line(error)
            raise InputError(f'{words}, train again in a new folder: {reason}') from error


@contextlib.contextmanager
def without_late_reads() -> Iterator[None]:
    """Inside, the reads that TensorStore's threads finish after one has failed are not reported."""
    report = sys.unraisablehook

    def hook(late: Any) -> None:
        if 'Event loop is closed' not in str(late.exc_value):
            report(late)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = report


def check_shapes(params: Any, like: Any, folder: Path) -> None:
    """Raises InputError for parameters with other shapes than `like`, naming the first one."""
    there, here = (
        {path: tuple(leaf.shape) for path, leaf in jax.tree.leaves_with_path(part)}
        for part in (params, like)
    )
    for path in there | here:
        if there.get(path) != here.get(path):
            name = jax.tree_util.keystr(path, simple=True, separator=' ')
            words = f'{name} is {there.get(path)} there, {here.get(path)} here'
            raise InputError(f'the checkpoint {folder} is of another model: {words}')
