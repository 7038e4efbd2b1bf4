"""The time to import rnnlab, to an experiment's first step, and to its end after twenty."""

import subprocess
import sys
import tempfile
import time

from experiments.benchmark.timing import environment, spread
from experiments.runner.console import console
from rnnlab.results.tables import new_table, render

IMPORTS = 'jax', 'rnnlab'
TRAIN = ['-m', 'experiments.mnist', '--dataset=digits', '--steps=20', '--eval_every=1']


def time_startup(repeats: int) -> None:
    """Times processes and prints a table; the cold ones have no compiled program, the warm ones
    all of them."""
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for module in IMPORTS:
                _, ended = timed(['-c', f'import {module}'], folder)
                seconds.setdefault(f'import {module}', []).append(ended)
            for state in ('cold', 'warm'):
                first, ended = timed([*TRAIN, f'--out={folder}/{state}'], folder)
                seconds.setdefault(f'first step, {state}', []).append(first)
                seconds.setdefault(f'20 steps, {state}', []).append(ended)
    headings = ('seconds: median', 'least', 'most')
    table = new_table('process', *headings, right=headings)
    for name, times in seconds.items():
        table.add_row(name, *(f'{value:.2f}' for value in spread(times)))
    console.print(render(table))


def timed(arguments: list[str], cache: str) -> tuple[float, float]:
    """Seconds from the start of Python to its first line of a step (0.0: none), and to its end."""
    variables = environment() | {'XDG_CACHE_HOME': cache, 'PYTHONUNBUFFERED': '1'}
    began, first = time.perf_counter(), 0.0
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        for line in child.stdout:
            if ' step ' in line and not first:
                first = time.perf_counter() - began
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return first, time.perf_counter() - began
