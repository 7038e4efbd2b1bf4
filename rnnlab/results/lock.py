"""A lock on a folder, so that one process writes it at a time."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rnnlab.errors import InputError

LOCK = '.lock'  # the name of its file, or what that begins with
PART = '.part'  # ends the names of files and folders that are not whole yet


@contextlib.contextmanager
def locked(folder: Path, part: str = '', wait: bool = False) -> Iterator[None]:
    """Inside, no other process has the lock of this part of a folder, which is made if need be.

    Raises InputError where one has it, or waits for its end. What lies half written in a whole
    folder (no `part`) was left there by a kill, and is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{LOCK}{part}'
    while True:
        file = path.open('a')
        # lockf, not flock: its lock is the process's own, so that it ends with it even if a child
        # lives on, and NFS keeps it for all machines; flock's needs a mount option on some.
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.close()
                words = f'another process is training in {folder}'
                raise InputError(f'{words}; wait for its end, or name a new folder') from None
            break  # this file system has no locks
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()  # whoever had the lock has removed its file
    for left in () if part else folder.glob(f'*{PART}'):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
