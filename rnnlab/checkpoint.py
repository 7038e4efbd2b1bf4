"""Checkpoints of a run: the newest whole TrainState, saved while training goes on, safe against a kill at any moment."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnlab.errors import InputError, first_line
from rnnlab.train import TrainState


def open_checkpoints(folder: Path) -> Any:
    """Orbax's manager of the folder; close it to wait for the last save."""
    import orbax.checkpoint as ocp

    return ocp.CheckpointManager(folder.resolve(), options=ocp.CheckpointManagerOptions(max_to_keep=1))


def save(manager: Any, state: TrainState, seconds: float) -> None:
    """Saves the state under its step, with the seconds that the run has taken; does nothing where that step is saved."""
    import orbax.checkpoint as ocp

    step = int(state.step)
    if step != manager.latest_step():
        # copied, since the next chunk reuses the state's memory while this is still being written
        tree = jax.tree.map(lambda leaf: np.array(leaf, copy=True), {'state': state, 'seconds': np.float64(seconds)})
        manager.save(step, args=ocp.args.StandardSave(tree))


def restore(manager: Any, like: TrainState) -> tuple[TrainState, float] | None:
    """The newest state and its seconds, or None where none is saved; `like` has the shapes that it must have.

    Raises InputError for a checkpoint that is damaged or of another model.
    """
    import orbax.checkpoint as ocp

    step = manager.latest_step()
    if step is None:
        return None
    target = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), {'state': like, 'seconds': np.float64(0)})
    try:
        tree = manager.restore(step, args=ocp.args.StandardRestore(target))
    except Exception as error:  # whatever orbax and tensorstore raise on damaged files
        where = manager.directory / str(step)
        raise InputError(f'the checkpoint {where} is damaged or of another model: {first_line(error)}') from error
    return jax.tree.map(jnp.asarray, tree['state']), float(tree['seconds'])
