"""The libraries of the race; each module has prepare(cell, shape, kind) -> Work or None."""

import functools
import importlib
from collections.abc import Callable

from experiments.benchmark.work import Work

OURS = 'rnnlab'
CELLS = ('elman', 'lstm', 'gru')  # that a peer may have
PEERS = {  # the names in the tables of what runs each library
    'torch': ('torch, 1 thread', 'torch, 2 threads'),
    'keras': ('keras',),
    'flax': ('flax',),
    'haiku': ('haiku',),
}


def find(name: str) -> Callable[..., Work | None]:
    """The function `prepare` for such a name; imports the library."""
    library, _, threads = name.partition(', ')
    prepare = importlib.import_module(f'experiments.benchmark.peers.{library}').prepare
    return functools.partial(prepare, threads=int(threads.split()[0])) if threads else prepare
