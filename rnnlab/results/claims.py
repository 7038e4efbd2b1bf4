"""Claims: how processes that share the folder of a sweep divide its batches of trials.

A claim is a file that one process alone can make, and touches every few seconds. When it no longer
does, it counts as dead, and one other process makes the next claim on the batch: `00012.1` is
followed by `00012.2`. If the first is alive after all, both train the batch to the same results.
"""

import contextlib
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from rnnlab.errors import first_line
from rnnlab.results.typed import fits

CLAIMS = 'claims'  # the folder of a sweep's claims, while anything is left to train
BEAT = 10.0  # seconds between two touches
MISSED = 6  # beats, after which a claim is stale


class Record(TypedDict):
    """What the file of a claim holds."""

    trials: list[int]
    step: int  # of the checkpoint that it begins with
    host: str
    process: int
    log: str | None  # the file that its process writes to
    error: str | None  # that ended it


class Claim(NamedTuple):
    """A claim, as every process sees it."""

    path: Path
    age: float  # seconds since the last touch
    record: Record | None  # None: it is just being written

    @property
    def attempt(self) -> int:
        return int(self.path.suffix[1:])

    @property
    def stale(self) -> bool:
        ended = self.record is not None and self.record['error'] is not None
        return ended or self.age > BEAT * MISSED

    def began_at(self, step: int) -> bool:
        return self.record is not None and self.record['step'] == step

    @property
    def last_words(self) -> str:
        """The error that ended it, or the last line of its log."""
        if self.record and self.record['error']:
            return self.record['error']
        log = self.record and self.record['log']
        return last_line(Path(log) if log else None)


def last_line(log: Path | None) -> str:
    """The last line of a log that says anything."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = log.read_text(errors='replace').splitlines() if log else []
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else 'it left no word'


def take(folder: Path, batch: str, attempt: int, trials: Sequence[int], step: int) -> Path | None:
    """Makes a claim on a batch of trials; None where another process was first."""
    path = folder / CLAIMS / f'{batch}.{attempt}'
    record = Record(
        trials=[*trials],
        step=step,
        host=socket.gethostname(),
        process=os.getpid(),
        log=log(),
        error=None,
    )
    try:
        with path.open('x') as file:
            file.write(json.dumps(record))
    except FileExistsError:
        return None
    except OSError:  # a full disk
        path.unlink(missing_ok=True)
        raise
    return path


def log() -> str | None:
    """The file that standard error is written to, where it is one."""
    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.fstat(2).st_mode):
            return os.readlink('/proc/self/fd/2')
    return None


@contextlib.contextmanager
def held(claim: Path, result: Path) -> Iterator[None]:
    """Inside, a thread touches the claim, which is removed at the end.

    An error is noted in it instead, for others to see at once that it is dead. Where another
    process has taken the batch meanwhile, or written its result, an error has no consequence.
    """
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(claim)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
        claim.unlink(missing_ok=True)
    except Exception as error:
        if is_last(claim) and not result.exists():
            with contextlib.suppress(OSError):
                if record := record_of(claim.read_text()):
                    claim.write_text(json.dumps(record | {'error': first_line(error)}))
            raise
    finally:
        ended.set()
        thread.join()


def is_last(claim: Path) -> bool:
    """Whether it is there, and no process has made a later one."""
    every = read(claim.parent.parent).get(claim.stem)
    return every is not None and every[-1].path == claim


def read(folder: Path) -> dict[str, list[Claim]]:
    """The claims on each batch, in the order in which they were made."""
    paths = [p for p in (folder / CLAIMS).glob('*.*') if p.suffix[1:].isdecimal()]
    now = clock(folder / CLAIMS) if paths else 0.0
    claims: dict[str, list[Claim]] = {}
    for path in sorted(paths, key=lambda path: int(path.suffix[1:])):
        # A file that is opened has the newest time, also on network file systems.
        with contextlib.suppress(FileNotFoundError), path.open() as file:
            age = now - os.fstat(file.fileno()).st_mtime
            claims.setdefault(path.stem, []).append(Claim(path, age, record_of(file.read())))
    return claims


def training(folder: Path) -> set[int]:
    """The trials of a sweep that processes train now."""
    last = (every[-1] for every in read(folder).values())
    return {n for c in last if c.record and not c.stale for n in c.record['trials']}


def record_of(text: str) -> Record | None:
    with contextlib.suppress(ValueError, RecursionError):
        if fits(record := json.loads(text), Record):
            return record
    return None


def drop(folder: Path, batch: str) -> None:
    """Removes all claims on a batch."""
    for path in (folder / CLAIMS).glob(f'{batch}.*'):
        path.unlink(missing_ok=True)


def clock(folder: Path) -> float:
    """The time of the file system that holds a folder, whatever the clock of this machine says."""
    try:
        os.utime(folder)
    except PermissionError:  # a folder of another user
        return time.time()
    return folder.stat().st_mtime
