"""How fast the same work is done here and in other libraries, how near the chip's own rate; sweeps, memory, length and starting, too.

python -m experiments.bench --peers=torch,flax --shapes=rows64 --cells=lstm --what=gradient,train_step --out=runs/bench
python -m experiments.bench --what=sweep --peers=torch --repeats=1
python -m experiments.bench --what=memory --peers=flax
python -m experiments.bench --what=length --cells=elman,lstm --repeats=3 --out=runs/length
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import experiments.runner.cli
from experiments.benchmark import costs
from experiments.benchmark.peers import CONTENDERS, SHAPES, WHATS
from experiments.runner.cli import FLAGS
from experiments.runner.console import console
from rnnlab.errors import InputError, known
from rnnlab.results import plots, runs
from rnnlab.results.tables import markdown

BENCH_CELLS = ('elman', 'lstm', 'gru')
LENGTH_CELLS = (*BENCH_CELLS, 'mingru', 'lru')
PEERS = {
    'torch': ('torch, 1 thread', 'torch, 2 threads'),
    'keras': ('keras',),
    'flax': ('flax',),
    'haiku': ('haiku',),
}
OURS = 'rnnlab'
AGREE = 'forward', 'gradient'  # torch's two biases move twice as far as one, in training
WIDE = 64  # units from which a share of the chip's rate says something

experiments.runner.cli.pictures()
flags.DEFINE_list(
    'what',
    ['gradient', 'train_step'],
    f'What is timed, of {", ".join(WHATS)}; or one of sweep, memory, length, start.',
)
flags.DEFINE_list('peers', list(PEERS), f'Libraries beside rnnlab: {", ".join(PEERS)}.')
flags.DEFINE_list('shapes', list(SHAPES), f'Of {", ".join(SHAPES)}.')
flags.DEFINE(
    experiments.runner.cli.CellsParser(),
    'cells',
    list(BENCH_CELLS),
    f'Any cells; peers have {", ".join(BENCH_CELLS)}.',
)
flags.DEFINE_integer('repeats', 5, 'Times each, by turns.', lower_bound=1)
flags.DEFINE_string(
    'worker',
    None,
    'What a child of this process does: a contender, sweep, or memory:LIBRARY:STEPS:REMAT.',
)


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
        costs.torch_sweep()
    elif FLAGS.worker:
        _, library, *numbers = FLAGS.worker.split(':')
        costs.measure_gradient(library, *map(int, numbers))
    else:
        alone: dict[str, Callable[[], None]] = {
            'sweep': costs.time_sweeps, 'memory': costs.compare_memory, 'length': costs.time_lengths, 'start': costs.time_starts,
        }  # fmt: skip
        if 'length' in FLAGS.what:
            experiments.runner.cli.set_defaults({'cells': list(LENGTH_CELLS)})
        for flag in ('what', 'shapes'):
            if not FLAGS[flag].value:
                raise InputError(f'--{flag} names nothing to time')
        for what in FLAGS.what:
            known('--what', what, [*WHATS, *alone])
        for peer in FLAGS.peers:
            known('peer', peer, PEERS)
        if chosen := [what for what in FLAGS.what if what in alone]:
            if len(FLAGS.what) > 1:
                raise InputError(f'--what={chosen[0]} is measured alone')
            alone[chosen[0]]()
        else:
            time_shapes()


def time_shapes() -> None:
    """Every library does every piece of work, in a process of its own that lives as long as the benchmark, by turns."""
    for shape in FLAGS.shapes:
        known('shape', shape, SHAPES)
    costs.installed(FLAGS.peers)
    folder = Path(FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    workers = {
        name: start(name)
        for name in [OURS, *(name for peer in FLAGS.peers for name in PEERS[peer])]
    }
    rows, rate, text = [], 0.0, ''
    for row in race(workers):
        rows.append(row)
        rate = max(rate, matmul_rate())
        text = write(folder, rows, list(workers), rate)
        ratio = f'{row.ratio:.2f} times as fast as {row.best_peer}' if row.ratio else ''
        console.print(
            f'{row.what} {row.shape} {row.cell}: {1e3 * row.median(OURS):.4g} ms   {ratio}'
        )
    for worker in workers.values():
        worker.communicate()
    console.print(
        f'\n{text}\nwritten: {folder / "bench.md"}, {folder / "bench.json"}; drawn: {folder / "bench.png"}'
    )


def write(folder: Path, rows: list[Row], names: list[str], rate: float) -> str:
    """All files anew after every row, so that an interrupted race keeps what it has; the result is the text of bench.md."""
    text = (
        '\n\n'.join(
            [machine(rate), short_table(rows, rate), *summary(rows, rate), table(rows, names, rate)]
        )
        + '\n'
    )
    runs.write_text(folder / 'bench.md', text)
    runs.write_json(
        folder / 'bench.json',
        {'machine': machine(rate), 'matmul_rate': rate, 'rows': [row._asdict() for row in rows]},
    )
    medians = [
        (f'{row.what}, {row.shape}, {row.cell}', {name: row.median(name) for name in row.seconds})
        for row in rows
    ]
    plots.bench(medians, OURS, folder / 'bench.png')
    return text


def start(name: str) -> Any:
    argv = [sys.executable, '-m', 'experiments.bench', f'--worker={name}']
    if name == OURS:
        argv.append(f'--jax_num_cpu_devices={experiments.runner.cli.CORES}')
    return subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=costs.environment(),
    )


def race(workers: dict[str, Any]) -> Iterator[Row]:
    for what in FLAGS.what:
        for name in FLAGS.shapes:
            for cell in FLAGS.cells:
                numbers = {
                    who: ask(who, worker, {'what': what, 'shape': name, 'cell': cell})
                    for who, worker in workers.items()
                }
                ready = {who: workers[who] for who, found in numbers.items() if found is not None}
                for who in ready:
                    if what in AGREE and not np.allclose(numbers[who], numbers[OURS], rtol=1e-4):
                        raise InputError(
                            f'{who} does other work: {what} {name} {cell} gives {numbers[who]} and not {numbers[OURS]}'
                        )
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
    """Answers what is asked: to make something ready, with its numbers; or to do it, with the seconds of a step (or an epoch).

    What stood idle comes back slower, by up to a third: caches and clocks are cold, threads asleep. So every turn begins untimed.
    """
    os.environ['KERAS_BACKEND'] = 'jax'
    go, times = None, 1
    for line in sys.stdin:
        message = json.loads(line)
        if message == 'go':
            assert go
            answer: Any = costs.awake(go) / times
        else:
            shape, what = SHAPES[message['shape']], message['what']
            has = name == OURS or message['cell'] in BENCH_CELLS
            go = CONTENDERS[name](message['cell'], shape, what) if has else None
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
    return f'{costs.machine()}; products of float32 matrices run at {rate / 1e9:.0f} billion operations a second'


def short_table(rows: list[Row], rate: float) -> str:
    """A line for each shape and cell: our median, how many times that the best peer takes, and the share where it says something."""
    heads = ['shape (T, batch, inputs, units)', 'cell']
    for what in FLAGS.what:
        heads += [
            f'{what}, ms',
            'best peer takes',
            *(['share of the matmul rate'] if what == 'gradient' else []),
        ]
    found = {(row.shape, row.cell, row.what): row for row in rows}
    lines = []
    for shape, cell in dict.fromkeys((row.shape, row.cell) for row in rows):
        line = [f'`{shape}` ({SHAPES[shape]})' if cell == FLAGS.cells[0] else '', cell]
        for what in FLAGS.what:
            row = found.get((shape, cell, what))  # none yet while the race goes on
            line.append(f'{1e3 * row.median(OURS):.3g}' if row else '')
            line.append(f'{row.ratio:.2f} times ({row.best_peer})' if row and row.ratio else '')
            if what == 'gradient':
                line.append(
                    f'{share(row, rate):.0%}' if row and SHAPES[shape].hidden >= WIDE else ''
                )
        lines.append(line)
    return markdown(heads, lines)


def table(rows: list[Row], names: list[str], rate: float) -> str:
    """Milliseconds, the median and in brackets the spread."""
    lines = []
    for row in rows:
        times = [milliseconds(row.seconds[name]) if name in row.seconds else '' for name in names]
        ratio = f'{row.ratio:.2f} times as long' if row.ratio else ''
        lines.append([row.what, row.shape, row.cell, *times, ratio, f'{share(row, rate):.0%}'])
    return markdown(
        ['what', 'shape', 'cell', *names, 'best peer takes', 'share of the matmul rate'], lines
    )


def milliseconds(seconds: list[float]) -> str:
    return '{:.3g} ({:.3g} to {:.3g})'.format(
        *(1e3 * figure for figure in (statistics.median(seconds), min(seconds), max(seconds)))
    )


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


if __name__ == '__main__':
    experiments.runner.cli.run(main)
