"""Decoded arrays kept between runs in ~/.cache/rnnlab (or under XDG_CACHE_HOME)."""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


def cache_folder() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'rnnlab'


def cached(name: str, source: Path, decode: Callable[[], Arrays]) -> Arrays:
    """The arrays that `decode` returns, from the cache until a file of the folder `source` changes.

    An unreadable cache is written again; an unwritable one is not used.
    """
    files = sorted(path.resolve() for path in source.iterdir() if path.is_file())
    stamp = repr([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files])
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
