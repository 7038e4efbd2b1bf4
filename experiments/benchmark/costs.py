"""What else is measured beside the race of bench.py: sweeps, memory, length and starting."""

import importlib.util
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import jax
import numpy as np

import experiments.runner.cli
from experiments.runner.cli import FLAGS
from experiments.runner.console import console
from rnnlab.cells import find, lstm
from rnnlab.data import IMAGES, image_sequences
from rnnlab.errors import InputError
from rnnlab.models import classifier
from rnnlab.recurrence import engines, recurrent, unroll
from rnnlab.results import plots, runs
from rnnlab.results.tables import new_table, render
from rnnlab.sweeps.axes import Grid, Settings, parse, product

AXES = ('cell=elman,lstm,gru', 'lr=log(1e-4,1e-1,6)', 'seed=0..2')  # README's first sweep
SWEEP = ('--dataset=digits', '--epochs=10')
MEMORY_LENGTHS = (256, 1024, 4096, 16384)
MEMORY_UNITS, MEMORY_BATCH, MEMORY_PEERS = 128, 32, ('flax', 'torch')
LENGTHS = (*MEMORY_LENGTHS, 65536)
LENGTH_BATCH, LENGTH_INPUTS, LENGTH_UNITS = 8, 64, 128
WARM_UP, READING = 0.15, 0.1  # seconds at least


def installed(peers: list[str]) -> None:
    for peer in peers:
        if importlib.util.find_spec(peer) is None:
            raise InputError(
                f'{peer} is not installed: pip install {"dm-haiku" if peer == "haiku" else peer}, or leave it out of --peers'
            )


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != 'PJRT_NPROC'} | {
        'JAX_PLATFORMS': 'cpu'
    }


def machine() -> str:
    cores = experiments.runner.cli.CORES
    return f'{date.today()}, {cores} cores ({platform.machine()}), Python {platform.python_version()}, JAX {jax.__version__}'


def awake(go: Callable[[], Any]) -> float:
    """The seconds of one go, once it has been done for a while untimed; of a short one the mean of many."""
    mean_of(go, WARM_UP)
    return mean_of(go, READING)


def mean_of(go: Callable[[], Any], least: float) -> float:
    """The mean seconds of as many goes, one at least, as fill that time."""
    began, number = time.perf_counter(), 0
    while True:
        go()
        number += 1
        if (seconds := time.perf_counter() - began) >= least:
            return seconds / number


def all_settings() -> list[Settings]:
    return list(product([axis for axis in map(parse, AXES) if isinstance(axis, Grid)]))


def time_sweeps() -> None:
    """Whole processes, start and compilation counted in."""
    mnist = [sys.executable, '-m', 'experiments.mnist', *SWEEP]
    axes = [f'--sweep={axis}' for axis in AXES]
    trials = [
        [f'--{name}={value}' for name, value in settings.items()] for settings in all_settings()
    ]
    ways: dict[str, Callable[[str], list[list[str]]]] = {
        'one sweep': lambda out: [[*mnist, *axes, f'--out={out}/sweep']],
        'a process a trial': lambda out: [
            [*mnist, *trial, f'--out={out}/{number}'] for number, trial in enumerate(trials)
        ],
    }
    if 'torch' in FLAGS.peers:
        installed(['torch'])
        ways['torch, one process'] = lambda out: [
            [sys.executable, '-m', 'experiments.bench', '--worker=sweep']
        ]
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(FLAGS.repeats):
        for name, commands in ways.items():
            with tempfile.TemporaryDirectory() as out:
                began = time.perf_counter()
                for command in commands(out):
                    if subprocess.run(
                        command, env=environment(), stdout=subprocess.DEVNULL
                    ).returncode:
                        raise InputError(f'{name} ended early; what it said stands above')
                times[name].append(time.perf_counter() - began)
    headings = ('seconds: median', 'least', 'most', 'a trial', 'times as long as the sweep')
    table = new_table(f'{len(trials)} trials', *headings, right=headings)
    ours = statistics.median(times['one sweep'])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        figures = (
            f'{median:.1f}',
            f'{min(seconds):.1f}',
            f'{max(seconds):.1f}',
            f'{median / len(trials):.2f}',
            f'{median / ours:.1f}',
        )
        table.add_row(name, *figures)
    console.print(render(table))


def torch_sweep() -> None:
    """The same trials one after the other, as they are written for torch: its own start and orders, everything else alike."""
    import torch

    data = image_sequences(IMAGES['digits']())
    splits = [
        (
            torch.from_numpy(part.inputs * np.float32(data.scale)),
            torch.from_numpy(part.labels).long(),
        )
        for part in (data.train, data.validation, data.test)
        if part
    ]
    (inputs, labels), held_out, test = splits
    for settings in all_settings():
        torch.manual_seed(int(settings['seed']))
        make = {'elman': torch.nn.RNN, 'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}[settings['cell']]
        layer, readout = make(8, 128, batch_first=True), torch.nn.Linear(128, 10)
        params = [*layer.parameters(), *readout.parameters()]
        tx = torch.optim.Adam(params, lr=float(settings['lr']))

        def accuracy(images, digits, layer=layer, readout=readout):
            with torch.no_grad():
                return (readout(layer(images)[0][:, -1]).argmax(-1) == digits).float().mean().item()

        best = 0.0
        for _ in range(10):
            for index in torch.randperm(len(labels)).split(32):
                loss = torch.nn.functional.cross_entropy(
                    readout(layer(inputs[index])[0][:, -1]), labels[index]
                )
                tx.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                tx.step()
            best = max(best, accuracy(*held_out))
        print(*settings.values(), best, accuracy(*test), flush=True)


def compare_memory() -> None:
    """The gradient of a loss at the end of ever longer sequences: with all kept, with --remat near the root of the length, and as
    flax and torch have it."""
    peers = [peer for peer in MEMORY_PEERS if peer in FLAGS.peers]
    installed(peers)
    headings = ['time steps', 'remat', 'MB', 'seconds', 'MB with remat', 'seconds']
    for peer in peers:
        headings += [f'MB in {peer}', 'seconds', 'MB here / there']
    table = new_table(*headings, right=tuple(headings))
    for time_steps in MEMORY_LENGTHS:
        remat = round(time_steps**0.5)
        ours, seconds = measured('rnnlab', time_steps)
        figures = [ours, seconds, *measured('rnnlab', time_steps, remat)]
        for peer in peers:
            theirs, seconds = measured(peer, time_steps)
            figures += [theirs, seconds, ours / theirs if theirs else math.inf]
        table.add_row(f'{time_steps:,}', str(remat), *(f'{figure:.3g}' for figure in figures))
    console.print(render(table))
    console.print(
        f"\nwhat the process's peak grows by; LSTM of {MEMORY_UNITS} units, batch {MEMORY_BATCH}, read out after the last step, float32"
    )


def measured(library: str, time_steps: int, remat: int = 0) -> tuple[float, float]:
    """What measure_gradient prints in a process of its own."""
    argv = [
        sys.executable,
        '-m',
        'experiments.bench',
        f'--worker=memory:{library}:{time_steps}:{remat}',
    ]
    child = subprocess.run(argv, env=environment(), stdout=subprocess.PIPE, text=True)
    if child.returncode:
        raise InputError(
            f'the gradient over {time_steps} steps in {library} ended early; what it said stands above'
        )
    megabytes, seconds = map(float, child.stdout.split())
    return megabytes, seconds


def measure_gradient(library: str, time_steps: int, remat: int) -> None:
    """Prints the megabytes by which the peak of this process grows, and the seconds of the second time."""
    gradient = ready_gradient(library, np.zeros((MEMORY_BATCH, time_steps, 1), np.float32), remat)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        began = time.perf_counter()
        gradient()
    print(
        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        time.perf_counter() - began,
    )


def ready_gradient(library: str, inputs: np.ndarray, remat: int) -> Callable[[], Any]:
    """The gradient in that library, not yet run."""
    if library == 'torch':
        import torch

        layer, readout, xs = (
            torch.nn.LSTM(1, MEMORY_UNITS),
            torch.nn.Linear(MEMORY_UNITS, 10),
            torch.from_numpy(inputs).transpose(0, 1),
        )
        return lambda: (readout(layer(xs)[0][-1]) ** 2).sum().backward()
    net: Any
    if library == 'flax':
        from flax import linen

        class Net(linen.Module):
            @linen.compact
            def __call__(self, inputs):
                ys: Any = linen.RNN(linen.OptimizedLSTMCell(MEMORY_UNITS))(inputs)
                return linen.Dense(10)(ys[:, -1])

        net = Net()
        params = net.init(
            jax.random.key(0), inputs[:, :1]
        )  # of all inputs it would raise the peak already
    else:
        net = classifier([recurrent(lstm(MEMORY_UNITS), remat=remat or None)], inputs=1, classes=10)
        params = net.init(jax.random.key(0))
    return compiled(net.apply, params, inputs)


def compiled(apply: Callable, params: Any, inputs: Any) -> Callable[[], Any]:
    """The gradient of the outputs' squares, compiled and not yet run."""
    gradient = (
        jax.jit(jax.grad(lambda params, inputs: (apply(params, inputs) ** 2).sum()))
        .lower(params, inputs)
        .compile()
    )
    return lambda: jax.block_until_ready(gradient(params, inputs))


def time_lengths() -> None:
    """The gradient over ever longer sequences, for each cell in every engine that runs it, by turns."""
    folder, unit = (
        Path(FLAGS.out),
        f'batch {LENGTH_BATCH}, {LENGTH_INPUTS} inputs, {LENGTH_UNITS} units, float32',
    )
    seconds: dict[str, dict[int, list[float]]] = {}
    for time_steps in LENGTHS:
        ways = gradients(FLAGS.cells, time_steps)
        for _ in range(FLAGS.repeats):
            for name, go in ways.items():
                seconds.setdefault(name, {}).setdefault(time_steps, []).append(awake(go))
        runs.write_json(
            folder / 'length.json', {'machine': machine(), 'work': unit, 'seconds': seconds}
        )
    medians = {
        name: {at: statistics.median(times) for at, times in own.items()}
        for name, own in seconds.items()
    }
    plots.length(medians, folder / 'length.png', f'The gradient of a layer: {unit}')
    columns = [f'T = {time_steps:,}' for time_steps in LENGTHS]
    table = new_table('cell/engine', *columns, right=tuple(columns))
    for name, own in medians.items():
        table.add_row(
            name, *(f'{1e3 * median:.3g} ({1e6 * median / at:.3g})' for at, median in own.items())
        )
    console.print(render(table))
    console.print(
        f'\nmilliseconds of a gradient, in brackets microseconds a step; {unit}; {machine()}'
    )
    console.print(f'written: {folder / "length.json"}; drawn: {folder / "length.png"}')


def gradients(cells: list[str], time_steps: int) -> dict[str, Callable[[], Any]]:
    """The gradient of all outputs, by cell/engine."""
    xs = jax.random.normal(jax.random.key(1), (time_steps, LENGTH_BATCH, LENGTH_INPUTS))
    ways = {}
    for name in cells:
        cell = find(name)(LENGTH_UNITS)
        for engine in engines(cell):

            def outputs(params, xs, cell=cell, engine=engine):
                return unroll(cell, params, xs, engine=engine)[1]

            ways[f'{name}/{engine}'] = compiled(
                outputs, cell.init(jax.random.key(0), LENGTH_INPUTS), xs
            )
    return ways


def time_starts() -> None:
    """Importing, and the first twenty steps of an experiment: with nothing compiled yet, and once more."""
    train = ['-m', 'experiments.mnist', '--dataset=digits', '--steps=20', '--eval_every=20']
    ways = {
        'import jax': ['-c', 'import jax'],
        'import rnnlab': ['-c', 'import rnnlab'],
        '20 steps, cold': train,
        '20 steps, warm': train,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(FLAGS.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for number, (name, argv) in enumerate(ways.items()):
                own = [f'--out={folder}/{number}'] if argv is train else []
                began = time.perf_counter()
                kept = environment() | {'XDG_CACHE_HOME': folder}  # nothing in it at first
                subprocess.run(
                    [sys.executable, *argv, *own], env=kept, stdout=subprocess.DEVNULL, check=True
                )
                seconds[name].append(time.perf_counter() - began)
    table = new_table(
        'a process that does',
        'seconds: median',
        'least',
        'most',
        right=('seconds: median', 'least', 'most'),
    )
    for name, times in seconds.items():
        table.add_row(
            name,
            *(f'{figure:.2f}' for figure in (statistics.median(times), min(times), max(times))),
        )
    console.print(render(table))
