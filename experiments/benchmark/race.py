"""The race: each library does the same work in its own process, by turns."""

import json
import math
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.peers import OURS, PEERS
from experiments.benchmark.tables import Row, page
from experiments.benchmark.timing import child, machine, require, worker_environment
from experiments.benchmark.work import SHAPES
from experiments.runner.console import console, drawing
from experiments.runner.machine import CORES
from rnnlab.errors import InputError
from rnnlab.results import plots, runs

SAME_NUMBERS = 'forward', 'gradient'  # in training torch's two biases move twice as far as one
Worker = subprocess.Popen[str]


def time_libraries(
    works: Sequence[tuple[str, str, str]], peers: Sequence[str], repeats: int, folder: Path
) -> None:
    """Runs the race; prints its tables and writes them and a picture to the folder.

    works: the kind of work, the shape and the cell of each row.
    """
    require(peers)
    folder.mkdir(parents=True, exist_ok=True)
    names = [OURS, *(name for peer in peers for name in PEERS[peer])]
    kinds = [*dict.fromkeys(kind for kind, *_ in works)]
    workers = {name: start(name) for name in names}
    rows: list[Row] = []
    rate, text = 0.0, ''
    for row in race(workers, works, repeats):
        rows.append(row)
        rate = max(rate, matmul_rate())
        text = write(folder, rows, kinds, names, rate)
        ratio = f'{row.ratio:.2f} times as fast as {row.best_peer}' if row.ratio else ''
        work = f'{row.what} {row.shape} {row.cell}'
        console.print(f'{work}: {1e3 * row.median(OURS):.4g} ms   {ratio}')
    for worker in workers.values():
        worker.communicate()
    written = f'written: {folder / "bench.md"}, {folder / "bench.json"}'
    console.print(f'\n{text}\n{written}; drawn: {folder / "bench.png"}')


def start(name: str) -> Worker:
    return subprocess.Popen(
        child('worker', name),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=worker_environment(CORES if name == OURS else 1),
    )


def race(
    workers: dict[str, Worker], works: Sequence[tuple[str, str, str]], repeats: int
) -> Iterator[Row]:
    """The row of each work, once it is timed."""
    for what, shape, cell in works:
        work = {'what': what, 'shape': shape, 'cell': cell}
        numbers = {name: ask(name, worker, work) for name, worker in workers.items()}
        ready = [name for name, found in numbers.items() if found is not None]
        for name in ready:
            if what in SAME_NUMBERS and not np.allclose(numbers[name], numbers[OURS], rtol=1e-4):
                results = f'gives {numbers[name]}, not {numbers[OURS]}'
                raise InputError(f'{name} does other work: {what} {shape} {cell} {results}')
        turns = [{name: ask(name, workers[name], 'time') for name in ready} for _ in range(repeats)]
        seconds = {name: [turn[name] for turn in turns] for name in ready}
        yield Row(**work, seconds=seconds, operations=SHAPES[shape].operations(cell, what))


def ask(name: str, worker: Worker, request: object) -> Any:
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write(json.dumps(request) + '\n')
    answer = worker.stdout.readline()
    if not answer:
        raise InputError(f'the benchmark of {name} failed; see its output above')
    return json.loads(answer)


def write(
    folder: Path, rows: list[Row], kinds: Sequence[str], names: Sequence[str], rate: float
) -> str:
    """Writes all files anew after each row, so that an interrupted race keeps its rows.

    Returns the text of bench.md.
    """
    heading = f'{machine()}; float32 matrix products: {rate / 1e9:.0f} billion operations a second'
    text = page(heading, rows, kinds, names, rate)
    runs.write_text(folder / 'bench.md', text)
    record = {'machine': heading, 'matmul_rate': rate, 'rows': [asdict(row) for row in rows]}
    runs.write_json(folder / 'bench.json', record)
    medians = [
        (f'{row.what}, {row.shape}, {row.cell}', {name: row.median(name) for name in row.seconds})
        for row in rows
    ]
    with drawing(path := folder / 'bench.png'):
        plots.bench(medians, OURS, path)
    return text


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
