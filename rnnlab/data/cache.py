"""What is kept in ~/.cache/rnnlab (or under XDG_CACHE_HOME): decoded arrays and programs."""

import contextlib
import hashlib
import os
import platform
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

MOST = 4 * 2**30  # bytes that are kept


def cache_folder() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'rnnlab'


def processor() -> str:
    """What programs are compiled for: the kind of processor and its instructions."""
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    kind = [line for line in lines if line.startswith(('model name', 'flags', 'Features'))] or lines
    return f'{platform.machine()} {sorted(set(kind))}'


def trim(folder: Path, most: int = MOST) -> None:
    """Deletes the files of a folder that were used longest ago, until the rest has `most` bytes.

    Other processes may use and trim it meanwhile.
    """
    with contextlib.suppress(OSError):
        files = [(path, path.stat()) for path in folder.rglob('*') if path.is_file()]
        size = sum(status.st_size for _, status in files)
        for path, status in sorted(files, key=lambda file: max(file[1].st_atime, file[1].st_mtime)):
            if size <= most:
                break
            path.unlink(missing_ok=True)
            size -= status.st_size


def content(folder: Path) -> str:
    """A text that changes with the files of a folder."""
    files = sorted(path.resolve() for path in folder.iterdir() if path.is_file())
    return repr([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files])


def cached(name: str, source: Path | str, decode: Callable[[], Arrays]) -> Arrays:
    """The arrays that `decode` returns, from the cache until a file of the folder `source`, or that
    text, changes.

    An unreadable cache is written again; an unwritable one is not used.
    """
    stamp = source if isinstance(source, str) else content(source)
    folder = cache_folder()
    path = folder / f'{name}-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.npz'
    try:
        with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        arrays = decode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as new:
            np.savez(new, allow_pickle=False, **arrays)
        os.replace(new.name, path)  # all of it or nothing
    except OSError:
        pass
    return arrays
