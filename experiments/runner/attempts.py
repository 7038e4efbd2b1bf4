"""The checkpoints of a batch of trials that several processes attempt to train, in turn or at once.

Each attempt has its own folder, and begins with the checkpoint of the one before.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rnnlab.results import trials


def checkpoint_folder(state: Path, attempt: int | None) -> Path:
    """The folder of an attempt's checkpoints, those of the attempt before included.

    A process that still trains there finds its folder gone, and ends. `state` is that of a process
    that trains alone, or of a batch that has ended.
    """
    if attempt is None or state.exists():
        return state
    folder = state.with_name(f'{state.name}.{attempt}')
    others = [path for path in state.parent.glob(f'{state.name}.*') if path.suffix[1:].isdecimal()]
    if others and folder not in others:
        with suppress(OSError):  # it has just been removed
            max(others, key=trials.saved_step).rename(folder)
    return folder


def keep(folder: Path, state: Path) -> None:
    """The checkpoints of an attempt that has ended become those of the batch."""
    if folder != state:
        with suppress(OSError):  # another process was faster
            folder.rename(state)


def remove(room: Path, batch: str, which: Callable[[Path], bool]) -> None:
    """Removes what lies beside the results of a batch."""
    for left in room.glob(f'{batch}.*/'):
        if which(left):
            shutil.rmtree(left, ignore_errors=True)  # a report may have done so since
