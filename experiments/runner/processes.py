"""One run over several processes: they share each batch, and the first alone writes and prints.

All take the same steps. They agree by `exchange`, which all call in the same order: a process that
fails calls it again, and so the others, which wait in their next call, end too.
"""

import contextlib
import json
import os
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.runner.console import console, silenced
from experiments.runner.interrupts import Interrupts
from experiments.runner.training import Training
from rnnlab.cells.base import Tree
from rnnlab.errors import InputError, first_line
from rnnlab.results.records import Json

SECONDS = 120  # within which all processes must have started
FAILED = -1  # what a process that fails tells the others


class Place(NamedTuple):
    """A process among those of a run."""

    processes: int
    number: int  # from 0
    coordinator: str | None  # None: as Slurm has it


def place(config: Training) -> Place | None:
    """The place of this process; None for one alone. InputError for flags that do not fit."""
    given = [f'--{name}' for name in config.changed('processes', 'process_id', 'coordinator')]
    if config.sweep:
        if given:
            raise InputError(f'{given[0]} goes without --sweep: processes share one by --shard=i/n')
        return None
    step = os.environ if 'SLURM_STEP_NUM_TASKS' in os.environ else {}
    total = config.processes or int(step.get('SLURM_STEP_NUM_TASKS', 1))
    if total == 1:
        if given and not config.processes:
            raise InputError(f'{given[0]} goes with --processes=N')
        return None
    own = step.get('SLURM_PROCID') if config.process_id is None else config.process_id
    if own is None:
        words = f'--processes={total} goes with --process_id=I'
        raise InputError(f'{words}, another one from 0 to {total - 1} for each of them')
    if int(own) >= total:
        raise InputError(f'--process_id={own} must be below --processes={total}')
    if not (config.coordinator or step):
        words = f'--processes={total} goes with --coordinator=HOST:PORT'
        raise InputError(f'{words}, an address of the machine of process 0 and a free port')
    return Place(total, int(own), config.coordinator)


def number(config: Training) -> int:
    """How many processes share the run."""
    there = place(config)
    return there.processes if there else 1


def first() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


@contextlib.contextmanager
def joined(config: Training) -> Iterator[None]:
    """Inside, this process is one of those of the run; if one fails, all end with exit code 1."""
    there = place(config)
    if there and not jax.distributed.is_initialized():
        initialize(there)
    if not jax.distributed.is_initialized():
        yield
        return
    check_devices()
    with silenced(1):
        wait()  # as the processes connect, Gloo prints a line
    console.quiet = not first()
    try:
        yield
    except (InputError, OSError):
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # of a process that has ended
            exchange(FAILED)
        raise
    except jax.errors.JaxRuntimeError as error:
        words = f'one of the processes has failed: {first_line(error)}'
        end(f'{words}; start all of them again with --resume')
    wait()


def end(words: str) -> None:
    """Ends this process with a line and without the others, for which JAX would wait."""
    sys.stdout.flush()
    os.write(2, f'error: {words}\n'.encode())
    os._exit(1)


def initialize(there: Place) -> None:
    """Meets the other processes, or ends this one with a line."""
    words = f'--coordinator={there.coordinator or "as Slurm has it"}: not all'
    words += f' {there.processes} processes have met there within {SECONDS} seconds'
    jax.config.update('jax_enable_preemption_service', False)  # it takes SIGTERM for itself
    late = threading.Timer(SECONDS, end, [words])  # before JAX aborts
    late.start()
    try:
        jax.distributed.initialize(
            there.coordinator,
            there.processes,
            there.number,
            initialization_timeout=SECONDS + 60,
            shutdown_timeout_seconds=60,
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(f'{words}: {first_line(error)}') from error
    finally:
        late.cancel()


def check_devices() -> None:
    """Raises InputError unless all processes have equally many devices."""
    each = Counter(device.process_index for device in jax.devices())
    if len({*each.values()}) > 1:
        words = ' and '.join(map(str, sorted({*each.values()})))
        raise InputError(f'the processes of this run have {words} devices: give all --devices=N')


def exchange(value: int) -> list[int]:
    """The value of each process, int32; ends this process where another one has failed."""
    if jax.process_count() == 1:
        return [value]
    values = multihost_utils.process_allgather(np.int32(value)).tolist()
    if FAILED in values and value != FAILED:
        raise SystemExit(1)
    return values


def wait() -> None:
    """Until all processes are here."""
    exchange(0)


def check_same(settings: Json) -> None:
    """Raises InputError unless the settings of all processes are the same."""
    own = zlib.crc32(json.dumps(settings, sort_keys=True).encode()) >> 1
    if len({*exchange(own)}) > 1:
        words = 'the processes of this run have different settings, data or versions of JAX'
        raise InputError(f'{words}: start all with the same flags, but for --process_id')


def least(value: int) -> int:
    """The least value of all processes."""
    return min(exchange(value))


def signalled(interrupts: Interrupts) -> bool:
    """Whether a signal asks one of the processes to stop; then it asks all.

    One that comes meanwhile waits for the next call: the others have not heard of it.
    """
    asked = exchange(interrupts[0] if interrupts else 0)
    if any(asked) and not interrupts:
        interrupts.append(max(asked))
    return any(asked)


def of_first(tree: Tree) -> Tree:
    """The tree as process 0 has it, bit for bit; each process has one of the same shapes."""
    if jax.process_count() == 1:
        return tree
    own = jax.tree.map(np.asarray, tree)
    raw = jax.tree.map(lambda leaf: leaf.reshape(-1).view(np.uint8), own)
    there = multihost_utils.broadcast_one_to_all(raw)

    def typed(leaf: np.ndarray, there: np.ndarray) -> np.ndarray:
        return np.array(there).view(leaf.dtype).reshape(leaf.shape)

    return jax.tree.map(typed, own, there)
