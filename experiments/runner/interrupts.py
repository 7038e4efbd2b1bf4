"""Signals: a training stops at the end of a chunk, and what it saves then is not interrupted."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

Interrupts = list[int]  # the signals that ask to stop


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

    def ask(number: int, frame: Any) -> None:
        interrupts.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
