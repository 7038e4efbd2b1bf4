"""The memory of a gradient over long sequences: in full, with --remat near the square root of the
length, and in Flax and torch.

The loss is at the end of the sequence, so that the gradient reaches back through all of it. What
is measured is how much the peak memory of a process grows.
"""

import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from experiments.benchmark.timing import child, compiled_gradient, require, worker_environment
from experiments.benchmark.work import Shape
from experiments.runner.console import console
from rnnlab.cells import lstm
from rnnlab.errors import InputError
from rnnlab.models import classifier
from rnnlab.recurrence import recurrent
from rnnlab.results.tables import new_table, render

LENGTHS = (256, 1024, 4096, 16384)
UNITS, BATCH, PEERS = 128, 32, ('flax', 'torch')


def compare_memory(peers: Sequence[str]) -> None:
    """Prints the megabytes and seconds of a gradient for each length."""
    peers = [peer for peer in PEERS if peer in peers]
    require(peers)
    headings = ['time steps', 'remat', 'MB', 'seconds', 'MB with remat', 'seconds']
    for peer in peers:
        headings += [f'MB in {peer}', 'seconds', 'MB here / there']
    table = new_table(*headings, right=tuple(headings))
    for time_steps in LENGTHS:
        remat = round(time_steps**0.5)
        ours, seconds = measure('rnnlab', time_steps)
        values = [ours, seconds, *measure('rnnlab', time_steps, remat)]
        for peer in peers:
            theirs, seconds = measure(peer, time_steps)
            values += [theirs, seconds, ours / theirs if theirs else math.inf]
        table.add_row(f'{time_steps:,}', str(remat), *(f'{value:.3g}' for value in values))
    console.print(render(table))
    model = f'LSTM of {UNITS} units, batch {BATCH}, read out after the last step, float32'
    console.print(f'\ngrowth of the peak memory of a process; {model}')


def measure(library: str, time_steps: int, remat: int = 0) -> tuple[float, float]:
    """Megabytes and seconds of a gradient in a fresh process; remat 0 keeps everything."""
    command = child('memory', library, time_steps, remat)
    result = subprocess.run(command, env=worker_environment(), stdout=subprocess.PIPE, text=True)
    if result.returncode:
        words = f'the gradient over {time_steps} steps in {library}'
        raise InputError(f'{words} failed; see its output above')
    megabytes, seconds = map(float, result.stdout.split())
    return megabytes, seconds


def print_measurement(library: str, time_steps: int, remat: int) -> None:
    """Prints the megabytes by which two gradients raise this process's peak, and the seconds of
    the second one."""
    inputs = np.zeros((BATCH, time_steps, 1), np.float32)
    gradient = GRADIENTS[library](inputs, remat)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        began = time.perf_counter()
        gradient()
    seconds = time.perf_counter() - began
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, seconds)


def rnnlab_gradient(inputs: np.ndarray, remat: int) -> Callable[[], object]:
    model = classifier([recurrent(lstm(UNITS), remat=remat or None)], inputs=1, classes=10)
    return compiled_gradient(model.apply, model.init(jax.random.key(0)), inputs)


def flax_gradient(inputs: np.ndarray, remat: int) -> Callable[[], object]:
    from experiments.benchmark.peers.flax import Classifier

    shape = Shape(time_steps=inputs.shape[1], batch=BATCH, inputs=1, hidden=UNITS)
    model: Any = Classifier('lstm', shape)
    # One time step is enough; all of them would already raise the peak.
    return compiled_gradient(model.apply, model.init(jax.random.key(0), inputs[:, :1]), inputs)


def torch_gradient(inputs: np.ndarray, remat: int) -> Callable[[], object]:
    import torch

    layer, readout = torch.nn.LSTM(1, UNITS), torch.nn.Linear(UNITS, 10)
    xs = torch.from_numpy(inputs).transpose(0, 1)
    return lambda: (readout(layer(xs)[0][-1]) ** 2).sum().backward()


GRADIENTS: dict[str, Callable[[np.ndarray, int], Callable[[], object]]] = {
    'rnnlab': rnnlab_gradient,
    'flax': flax_gradient,
    'torch': torch_gradient,
}

if __name__ == '__main__':
    print_measurement(sys.argv[1], *map(int, sys.argv[2:]))
