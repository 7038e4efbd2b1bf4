"""Signals: Ctrl-C ends a process at once, but a training at the end of a chunk, which it saves.

This imports nothing that takes long: it is the first module of an experiment's process.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

Interrupts = list[int]  # the signals that ask to stop


def end_at_once() -> None:
    """From here on Ctrl-C ends the process with one line and exit code 130.

    It raises nothing: JAX calls Python where exceptions are swallowed, and an import may catch one.
    """

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, b'error: interrupted\n')
        os._exit(128 + number)

    signal.signal(signal.SIGINT, end)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not interrupt what is done inside."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def watched_signals() -> Iterator[Interrupts]:
    """The signals that ask to stop, empty until one comes; a second Ctrl-C ends the process."""
    interrupts: Interrupts = []

    def ask(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
