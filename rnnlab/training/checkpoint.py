"""Checkpoints of a run: the newest tree of arrays, saved while training continues.

They survive a kill at any moment. A checksum tells one that has been damaged since.
"""

import contextlib
import gc
import hashlib
import logging
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from rnnlab.cells.base import Params, Tree
from rnnlab.cells.params import named_leaves
from rnnlab.errors import InputError, first_line

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager

CHECKSUM = 'checksum'  # the leaf beside those of the tree


@dataclass
class Checkpoints:
    """The checkpoints of a folder, and the one that a thread is writing."""

    folder: Path
    manager: 'CheckpointManager'
    thread: ThreadPoolExecutor
    writing: 'Future[str] | None' = None  # gives what went wrong

    def check(self) -> None:
        """Raises InputError if the last save has failed by now, or the folder is gone."""
        if not self.folder.is_dir():
            raise InputError(f'{self.folder} has been removed meanwhile')
        if self.writing and self.writing.done():
            self.wait_until_finished()

    def wait_until_finished(self) -> None:
        """Waits for the last save; InputError if it failed."""
        if wrong := self.writing and self.writing.result():
            words = f'no checkpoint can be written in {self.folder}: {wrong}'
            raise InputError(f'{words}; resume once that is fixed')


@contextlib.contextmanager
def open_checkpoints(folder: Path) -> Iterator[Checkpoints]:
    """The checkpoints of a folder, which is made if need be; at the end the last save is done."""
    import orbax.checkpoint as ocp

    if folder.exists() and not folder.is_dir():
        raise InputError(f'{folder} should be a folder of checkpoints; remove it and train again')
    folder.mkdir(exist_ok=True)  # not again that of a run which has been removed
    own = jax.process_index()  # of a run over several processes one alone saves
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1,
        enable_async_checkpointing=False,
        create=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=own, active_processes={own}
        ),
    )
    with (
        quiet(),
        ocp.CheckpointManager(folder.resolve(), options=options) as manager,
        ThreadPoolExecutor(1) as thread,
    ):
        checkpoints = Checkpoints(folder, manager, thread)
        yield checkpoints
        checkpoints.wait_until_finished()


def save(checkpoints: Checkpoints, step: int, tree: dict[str, Tree]) -> None:
    """Begins to save a tree of arrays under a step, unless that step is saved already.

    Raises InputError if the save before has failed.
    """
    import orbax.checkpoint as ocp

    def write() -> str:
        whole = copied | {CHECKSUM: checksum(step, copied)}
        try:
            checkpoints.manager.save(step, args=ocp.args.StandardSave(whole))
        except Exception as error:  # whatever Orbax and TensorStore raise
            return reason(error)
        return ''

    checkpoints.check()
    checkpoints.wait_until_finished()
    if step != checkpoints.manager.latest_step():
        # A copy, since the next chunk donates the state's memory while this is still being written.
        copied = jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)
        checkpoints.writing = checkpoints.thread.submit(write)


def restore(
    checkpoints: Checkpoints, like: Tree = None, adapt: Callable[[Tree], Tree] = lambda saved: saved
) -> Tree:
    """The newest tree, or None where none is saved.

    `like` has the shapes that it must have after `adapt`; None: as it is, in dicts. Raises
    InputError for a checkpoint that is damaged or of another model.
    """
    import orbax.checkpoint as ocp

    manager = checkpoints.manager
    step = manager.latest_step()
    if step is None:
        return None
    folder, sound = checkpoints.folder / str(step), False
    with contextlib.suppress(Exception):  # whatever Orbax and TensorStore raise
        saved = manager.restore(step, args=ocp.args.StandardRestore())
        sound = np.array_equal(saved.pop(CHECKSUM), checksum(step, saved))
    if not sound:
        words = f'the checkpoint {folder} cannot be read: it is damaged, or of another version'
        raise InputError(f'{words}; remove it and train again')
    if like is None:
        return saved
    return typed(adapt(saved), like, folder)


def typed(saved: Tree, like: Tree, folder: Path) -> Tree:
    """A tree of dicts as one like `like`; InputError, naming the folder, for other shapes."""
    check_shapes(saved, like, folder)
    leaves, wanted = named_leaves(saved, ' '), named_leaves(like, ' ')
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in wanted])


def remove_unfinished(checkpoints: Checkpoints) -> None:
    """Removes what a kill left half saved."""
    for left in checkpoints.folder.glob('*.orbax-checkpoint-tmp'):
        shutil.rmtree(left, ignore_errors=True)


def checksum(step: int, tree: Tree) -> np.ndarray:
    """SHA-256 of the step and of each leaf's name, type, shape and bytes."""
    digest = hashlib.sha256(str(step).encode())
    for name, leaf in sorted(named_leaves(tree, ' ').items()):
        array = np.asarray(leaf)
        digest.update(f'{name} {array.dtype} {array.shape}'.encode() + array.tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def reason(error: Exception) -> str:
    """What went wrong, without TensorStore's chain of places where it did."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text, *places = re.split(r" \[\w+='", first_line(error))
    return text.rpartition(': ')[2] if places else text


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Inside, Orbax's threads report nothing: what fails is raised."""
    loggers = [logging.getLogger(name) for name in ('absl', 'asyncio')]
    levels = [logger.level for logger in loggers]
    report = sys.unraisablehook

    # late: reads and writes that end after another one has failed
    def hook(late: 'sys.UnraisableHookArgs') -> None:
        if 'Event loop is closed' not in str(late.exc_value):
            report(late)

    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = hook
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)
        try:
            yield
        except InputError:
            time.sleep(0.5)  # until TensorStore's threads have ended
            gc.collect()  # failed tasks, which would be reported later
            raise
        finally:
            sys.unraisablehook = report
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def check_shapes(params: Params, like: Params, folder: Path) -> None:
    """Raises InputError for parameters with other shapes than `like`, naming the first one."""
    there, here = (
        {name: tuple(leaf.shape) for name, leaf in named_leaves(part, ' ').items()}
        for part in (params, like)
    )
    for name in there | here:
        if there.get(name) != here.get(name):
            words = f'{name} is {there.get(name)} there, {here.get(name)} here'
            raise InputError(f'the checkpoint {folder} is of another model: {words}')
