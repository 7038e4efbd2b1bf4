"""How fast the same work is done here and in other libraries, how near the chip's own rate; sweeps, memory and starting, too.

python -m experiments.bench --peers=torch,flax --shapes=rows64 --cells=lstm --what=gradient,train_step --out=runs/bench
python -m experiments.bench --what=sweep --peers=torch --repeats=1
python -m experiments.bench --what=memory
"""

import importlib.util
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import experiments.flags
from experiments.contenders import CONTENDERS, SHAPES, WHATS
from experiments.display import console
from experiments.flags import FLAGS
from rnnlab import plots, runs
from rnnlab.axes import Grid, Settings, parse, product
from rnnlab.cells import CELLS
from rnnlab.data import IMAGES, image_sequences
from rnnlab.errors import InputError, known
from rnnlab.models import classifier
from rnnlab.recurrence import recurrent
from rnnlab.tables import new_table, render

BENCH_CELLS = ('elman', 'lstm', 'gru')
PEERS = {'torch': ('torch, 1 thread', 'torch, 2 threads'), 'keras': ('keras',), 'flax': ('flax',), 'haiku': ('haiku',)}
OURS = 'rnnlab'
AXES = ('cell=elman,lstm,gru', 'lr=log(1e-4,1e-1,6)', 'seed=0..2')  # README's first sweep
SWEEP = ('--dataset=digits', '--epochs=10')
LENGTHS = (256, 1024, 4096, 16384)
MEMORY_UNITS, MEMORY_BATCH = 128, 32
AGREE = 'forward', 'gradient'  # torch's two biases move twice as far as one, in training
WIDE = 64  # units from which a share of the chip's rate says something

experiments.flags.pictures()
flags.DEFINE_list('what', ['gradient', 'train_step'], f'What is timed, of {", ".join(WHATS)}; or one of sweep, memory, start.')
flags.DEFINE_list('peers', list(PEERS), f'Libraries beside rnnlab: {", ".join(PEERS)}.')
flags.DEFINE_list('shapes', list(SHAPES), f'Of {", ".join(SHAPES)}.')
flags.DEFINE_list('cells', list(BENCH_CELLS), f'Of {", ".join(BENCH_CELLS)}.')
flags.DEFINE_integer('repeats', 5, 'Times each, by turns, after one that compiles.', lower_bound=1)
flags.DEFINE_string('worker', None, 'What a child of this process does: a contender, sweep, or memory:STEPS:REMAT.')


class Row(NamedTuple):
    """The seconds of every contender for one of the things that are timed: each time, and how much of the chip's rate it is."""

    what: str
    shape: str
    cell: str
    seconds: dict[str, list[float]]
    operations: float  # floating-point operations of the recurrent layers' products

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    @property
    def best_peer(self) -> str | None:
        return min((name for name in self.seconds if name != OURS), key=self.median, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as long the best peer takes."""
        return self.median(self.best_peer) / self.median(OURS) if self.best_peer else None


def main() -> None:
    if FLAGS.worker in CONTENDERS:
        work(FLAGS.worker)
    elif FLAGS.worker == 'sweep':
        torch_sweep()
    elif FLAGS.worker:
        measure_gradient(*map(int, FLAGS.worker.split(':')[1:]))
    else:
        alone: dict[str, Callable[[], None]] = {'sweep': time_sweeps, 'memory': compare_memory, 'start': time_starts}
        for what in FLAGS.what:
            known('--what', what, [*WHATS, *alone])
        for shape in FLAGS.shapes:
            known('shape', shape, SHAPES)
        for cell in FLAGS.cells:
            known('cell of the benchmark', cell, BENCH_CELLS)
        for peer in FLAGS.peers:
            known('peer', peer, PEERS)
        if chosen := [what for what in FLAGS.what if what in alone]:
            if len(FLAGS.what) > 1:
                raise InputError(f'--what={chosen[0]} is measured alone')
            alone[chosen[0]]()
        else:
            time_shapes()


def installed(peers: list[str]) -> None:
    for peer in peers:
        if importlib.util.find_spec(peer) is None:
            raise InputError(f'{peer} is not installed: pip install {"dm-haiku" if peer == "haiku" else peer}, or leave it out of --peers')


def time_shapes() -> None:
    """Every library does every piece of work, in a process of its own that lives as long as the benchmark, by turns."""
    installed(FLAGS.peers)
    folder = Path(FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    names = [OURS, *(name for peer in FLAGS.peers for name in PEERS[peer])]
    workers = {name: start(name) for name in names}
    rate = matmul_rate()
    rows = []
    for row in race(workers):
        rows.append(row)
        ratio = f'{row.ratio:.2f} times as fast as {row.best_peer}' if row.ratio else ''
        console.print(f'{row.what} {row.shape} {row.cell}: {1e3 * row.median(OURS):.4g} ms   {ratio}')
    for worker in workers.values():
        worker.communicate()
    rate = max(rate, matmul_rate())
    text = '\n'.join([machine(rate), '', table(rows, names, rate), '', *summary(rows, rate)])
    console.print(f'\n{text}')
    (folder / 'bench.md').write_text(text + '\n')
    runs.write_json(folder / 'bench.json', {'machine': machine(rate), 'matmul_rate': rate, 'rows': [row._asdict() for row in rows]})
    medians = [(f'{row.what}, {row.shape}, {row.cell}', {name: row.median(name) for name in row.seconds}) for row in rows]
    plots.bench(medians, OURS, folder / 'bench.png')
    console.print(f'\nwritten: {folder / "bench.md"}, {folder / "bench.json"}; drawn: {folder / "bench.png"}')


def start(name: str) -> Any:
    argv = [sys.executable, '-m', 'experiments.bench', f'--worker={name}']
    if name == OURS:
        argv.append(f'--jax_num_cpu_devices={experiments.flags.CORES}')
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment())


def race(workers: dict[str, Any]) -> Iterator[Row]:
    for what in FLAGS.what:
        for name in FLAGS.shapes:
            for cell in FLAGS.cells:
                numbers = {who: ask(who, worker, {'what': what, 'shape': name, 'cell': cell}) for who, worker in workers.items()}
                ready = {who: workers[who] for who, found in numbers.items() if found is not None}
                for who in ready:
                    if what in AGREE and not np.allclose(numbers[who], numbers[OURS], rtol=1e-4):
                        raise InputError(f'{who} does other work: {what} {name} {cell} gives {numbers[who]} and not {numbers[OURS]}')
                seconds: dict[str, list[float]] = {who: [] for who in ready}
                for _ in range(FLAGS.repeats):
                    for who, worker in ready.items():
                        seconds[who].append(ask(who, worker, 'go'))
                times = SHAPES[name].times(what) if what == 'epoch' else 1
                operations = SHAPES[name].operations(cell) * times * (1 if what == 'forward' else 3)
                yield Row(what, name, cell, seconds, operations)


def ask(name: str, worker: Any, message: Any) -> Any:
    worker.stdin.write(json.dumps(message) + '\n')
    answer = worker.stdout.readline()
    if not answer:
        raise InputError(f'the benchmark of {name} ended early; what it said stands above')
    return json.loads(answer)


def work(name: str) -> None:
    """Answers what is asked: to make something ready, with its numbers; or to do it, with the seconds of a step (or an epoch)."""
    os.environ['KERAS_BACKEND'] = 'jax'
    go, times = None, 1
    for line in sys.stdin:
        message = json.loads(line)
        if message == 'go':
            assert go
            began = time.perf_counter()
            go()
            answer: Any = (time.perf_counter() - began) / times
        else:
            shape, what = SHAPES[message['shape']], message['what']
            go = CONTENDERS[name](message['cell'], shape, what)
            times = 1 if what == 'epoch' else shape.times(what)
            answer = go and go()
        print(json.dumps(answer), flush=True)


def matmul_rate() -> float:
    """Floating-point operations a second in products of two float32 matrices, the best of ten."""
    size = 1536
    a = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    best = math.inf
    for _ in range(10):
        began = time.perf_counter()
        product(a, a).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def machine(rate: float) -> str:
    cores = experiments.flags.CORES
    return (
        f'{date.today()}, {cores} cores ({platform.machine()}), Python {platform.python_version()}, JAX {jax.__version__}; '
        f'products of float32 matrices run at {rate / 1e9:.0f} billion operations a second'
    )


def table(rows: list[Row], names: list[str], rate: float) -> str:
    """Milliseconds, the median and in brackets the spread; Markdown."""
    heads = ['what', 'shape', 'cell', *names, 'best peer takes', 'share of the matmul rate']
    lines = ['| ' + ' | '.join(heads) + ' |', '|' + '---|' * len(heads)]
    for row in rows:
        times = [milliseconds(row.seconds[name]) if name in row.seconds else '' for name in names]
        ratio = f'{row.ratio:.2f} times as long' if row.ratio else ''
        lines.append('| ' + ' | '.join([row.what, row.shape, row.cell, *times, ratio, f'{share(row, rate):.0%}']) + ' |')
    return '\n'.join(lines)


def milliseconds(seconds: list[float]) -> str:
    return '{:.3g} ({:.3g} to {:.3g})'.format(*(1e3 * figure for figure in (statistics.median(seconds), min(seconds), max(seconds))))


def share(row: Row, rate: float) -> float:
    return row.operations / rate / row.median(OURS)


def summary(rows: list[Row], rate: float) -> Iterator[str]:
    for what in FLAGS.what:
        own = [row for row in rows if row.what == what]
        ratios = [row.ratio for row in own if row.ratio]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            yield f'{what}: the best peer takes {min(ratios):.2f} times as long at least, {mean:.2f} in the geometric mean'
        if wide := [share(row, rate) for row in own if SHAPES[row.shape].hidden >= WIDE]:
            yield f'{what}: {min(wide):.0%} to {max(wide):.0%} of the matmul rate from {WIDE} units on'


def all_settings() -> list[Settings]:
    return list(product([axis for axis in map(parse, AXES) if isinstance(axis, Grid)]))


def time_sweeps() -> None:
    """Whole processes, start and compilation counted in."""
    mnist = [sys.executable, '-m', 'experiments.mnist', *SWEEP]
    axes = [f'--sweep={axis}' for axis in AXES]
    trials = [[f'--{name}={value}' for name, value in settings.items()] for settings in all_settings()]
    ways: dict[str, Callable[[str], list[list[str]]]] = {
        'one sweep': lambda out: [[*mnist, *axes, f'--out={out}/sweep']],
        'a process a trial': lambda out: [[*mnist, *trial, f'--out={out}/{number}'] for number, trial in enumerate(trials)],
    }
    if 'torch' in FLAGS.peers:
        installed(['torch'])
        ways['torch, one process'] = lambda out: [[sys.executable, '-m', 'experiments.bench', '--worker=sweep']]
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(FLAGS.repeats):
        for name, commands in ways.items():
            with tempfile.TemporaryDirectory() as out:
                began = time.perf_counter()
                for command in commands(out):
                    if subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL).returncode:
                        raise InputError(f'{name} ended early; what it said stands above')
                times[name].append(time.perf_counter() - began)
    headings = ('seconds: median', 'least', 'most', 'a trial', 'times as long as the sweep')
    table = new_table(f'{len(trials)} trials', *headings, right=headings)
    ours = statistics.median(times['one sweep'])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        figures = f'{median:.1f}', f'{min(seconds):.1f}', f'{max(seconds):.1f}', f'{median / len(trials):.2f}', f'{median / ours:.1f}'
        table.add_row(name, *figures)
    console.print(render(table))


def torch_sweep() -> None:
    """The same trials one after the other, as they are written for torch: its own start and orders, everything else alike."""
    import torch

    data = image_sequences(IMAGES['digits']())
    splits = [(torch.from_numpy(part.inputs * np.float32(data.scale)), torch.from_numpy(part.labels).long()) for part in data[:3] if part]
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
                loss = torch.nn.functional.cross_entropy(readout(layer(inputs[index])[0][:, -1]), labels[index])
                tx.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                tx.step()
            best = max(best, accuracy(*held_out))
        print(*settings.values(), best, accuracy(*test), flush=True)


def compare_memory() -> None:
    """The gradient of a loss at the end of ever longer sequences, with all kept and with --remat near the root of the length."""
    headings = ('MB', 'seconds', 'MB with remat', 'seconds')
    table = new_table('time steps', 'remat', *headings, right=('time steps', 'remat', *headings))
    for time_steps in LENGTHS:
        remat, figures = round(time_steps**0.5), []
        for every in (0, remat):
            argv = [sys.executable, '-m', 'experiments.bench', f'--worker=memory:{time_steps}:{every}']
            child = subprocess.run(argv, env=environment(), stdout=subprocess.PIPE, text=True)
            if child.returncode:
                raise InputError(f'the gradient over {time_steps} steps ended early; what it said stands above')
            figures += [f'{float(figure):.3g}' for figure in child.stdout.split()]
        table.add_row(f'{time_steps:,}', str(remat), *figures)
    console.print(render(table))
    console.print(
        f"\nwhat the process's peak grows by; LSTM of {MEMORY_UNITS} units, batch {MEMORY_BATCH}, read out after the last step, float32"
    )


def measure_gradient(time_steps: int, remat: int) -> None:
    """Prints the megabytes by which the peak of this process grows, and the seconds of the second time."""
    net = classifier([recurrent(CELLS['lstm'](MEMORY_UNITS), remat=remat or None)], inputs=1, classes=10)
    params, inputs = net.init(jax.random.key(0)), np.zeros((MEMORY_BATCH, time_steps, 1), np.float32)
    gradient = jax.jit(jax.grad(lambda params, inputs: (net.apply(params, inputs) ** 2).sum())).lower(params, inputs).compile()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        began = time.perf_counter()
        jax.block_until_ready(gradient(params, inputs))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, time.perf_counter() - began)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != 'PJRT_NPROC'} | {'JAX_PLATFORMS': 'cpu'}


def time_starts() -> None:
    """Importing, and the first twenty steps of an experiment: with nothing compiled yet, and once more."""
    train = ['-m', 'experiments.mnist', '--dataset=digits', '--steps=20', '--eval_every=20']
    ways = {'import jax': ['-c', 'import jax'], 'import rnnlab': ['-c', 'import rnnlab'], '20 steps, cold': train, '20 steps, warm': train}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(FLAGS.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for number, (name, argv) in enumerate(ways.items()):
                own = [f'--out={folder}/{number}', f'--jax_compilation_cache_dir={folder}/compiled'] if argv is train else []
                began = time.perf_counter()
                subprocess.run([sys.executable, *argv, *own], env=environment(), stdout=subprocess.DEVNULL, check=True)
                seconds[name].append(time.perf_counter() - began)
    table = new_table('a process that does', 'seconds: median', 'least', 'most', right=('seconds: median', 'least', 'most'))
    for name, times in seconds.items():
        table.add_row(name, *(f'{figure:.2f}' for figure in (statistics.median(times), min(times), max(times))))
    console.print(render(table))


if __name__ == '__main__':
    experiments.flags.run(main)
