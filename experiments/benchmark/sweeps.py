"""A sweep of many trials: in one process, in a process a trial, and one by one in torch."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from experiments.benchmark.timing import child, environment, require, spread
from experiments.runner.console import console
from rnnlab.data import IMAGES, image_sequences
from rnnlab.errors import InputError
from rnnlab.results.tables import new_table, render
from rnnlab.sweeps.axes import Grid, Settings, parse, product

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import LSTM, Linear

AXES = ('cell=elman,lstm,gru', 'lr=log(1e-4,1e-1,6)', 'seed=0..2')  # README's first sweep
MNIST = (sys.executable, '-m', 'experiments.mnist', '--dataset=digits', '--epochs=10')


def trials() -> list[Settings]:
    return list(product([axis for axis in map(parse, AXES) if isinstance(axis, Grid)]))


def time_sweeps(peers: Sequence[str], repeats: int) -> None:
    """Times whole processes, start-up and compilation included, and prints a table.

    Each way begins with nothing compiled; 'one sweep again' is the same with all of it kept.
    """
    ways = {'one sweep': 'lanes', 'one sweep again': 'lanes', 'a process a trial': 'alone'}
    if 'torch' in peers:
        require(['torch'])
        ways['torch, one process'] = 'torch'
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for way, cache in ways.items():
                began = time.perf_counter()
                run_all(way, f'{folder}/{way}', f'{folder}/{cache}')
                times[way].append(time.perf_counter() - began)
    print_table(times, len(trials()))


def run_all(way: str, out: str, cache: str) -> None:
    """Trains all trials in one of those ways, with that folder of compiled programs."""
    commands: list[list[str]] = []
    if way.startswith('one sweep'):
        commands = [[*MNIST, *(f'--sweep={axis}' for axis in AXES), f'--out={out}/sweep']]
    elif way == 'a process a trial':
        for number, settings in enumerate(trials()):
            flags = [f'--{name}={value}' for name, value in settings.items()]
            commands.append([*MNIST, *flags, f'--out={out}/{number}'])
    else:
        commands = [child('sweeps')]
    for command in commands:
        variables = environment() | {'XDG_CACHE_HOME': cache}
        if subprocess.run(command, env=variables, stdout=subprocess.DEVNULL).returncode:
            raise InputError(f'{way} failed; see its output above')


def print_table(times: dict[str, list[float]], number: int) -> None:
    headings = ('seconds: median', 'least', 'most', 'a trial', 'relative to the sweep')
    table = new_table(f'{number} trials', *headings, right=headings)
    sweep = median(times['one sweep'])
    for way, seconds in times.items():
        values = [f'{value:.1f}' for value in spread(seconds)]
        middle = median(seconds)
        table.add_row(way, *values, f'{middle / number:.2f}', f'{middle / sweep:.1f}')
    console.print(render(table))


def train_in_torch() -> None:
    """Trains the trials one by one in torch, with its own initial parameters and batch orders.

    Prints the settings, the best validation accuracy and the test accuracy of each.
    """
    import torch

    data = image_sequences(IMAGES['digits']())
    scale = np.float32(data.scale)
    (inputs, labels), validation, test = (
        (torch.from_numpy(part.inputs * scale), torch.from_numpy(part.labels).long())
        for part in (data.train, data.validation, data.test)
        if part
    )
    cells = {'elman': torch.nn.RNN, 'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}
    for settings in trials():
        torch.manual_seed(int(settings['seed']))
        layer = cells[settings['cell']](8, 128, batch_first=True)
        readout = torch.nn.Linear(128, 10)
        params = [*layer.parameters(), *readout.parameters()]
        tx = torch.optim.Adam(params, lr=float(settings['lr']))
        best = 0.0
        for _ in range(10):
            for batch in torch.randperm(len(labels)).split(32):
                logits = readout(layer(inputs[batch])[0][:, -1])
                loss = torch.nn.functional.cross_entropy(logits, labels[batch])
                tx.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                tx.step()
            best = max(best, torch_accuracy(layer, readout, *validation))
        print(*settings.values(), best, torch_accuracy(layer, readout, *test), flush=True)


def torch_accuracy(layer: 'LSTM', readout: 'Linear', inputs: 'Tensor', labels: 'Tensor') -> float:
    import torch

    with torch.no_grad():
        return (readout(layer(inputs)[0][:, -1]).argmax(-1) == labels).float().mean().item()


if __name__ == '__main__':
    train_in_torch()
