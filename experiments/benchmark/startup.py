"""The time to import rnnlab, and to train the first twenty steps of an experiment."""

import subprocess
import sys
import tempfile
import time

from experiments.benchmark.timing import environment, spread
from experiments.runner.console import console
from rnnlab.results.tables import new_table, render

TRAIN = ['-m', 'experiments.mnist', '--dataset=digits', '--steps=20', '--eval_every=20']
PROCESSES = {
    'import jax': ['-c', 'import jax'],
    'import rnnlab': ['-c', 'import rnnlab'],
    '20 steps, cold': TRAIN,
    '20 steps, warm': TRAIN,
}


def time_startup(repeats: int) -> None:
    """Times whole processes and prints a table; the cold one has no compiled program, the warm one
    all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for number, (name, arguments) in enumerate(PROCESSES.items()):
                out = [f'--out={folder}/{number}'] if arguments is TRAIN else []
                command = [sys.executable, *arguments, *out]
                variables = environment() | {'XDG_CACHE_HOME': folder}  # of compiled programs
                began = time.perf_counter()
                subprocess.run(command, env=variables, stdout=subprocess.DEVNULL, check=True)
                seconds[name].append(time.perf_counter() - began)
    headings = ('seconds: median', 'least', 'most')
    table = new_table('process', *headings, right=headings)
    for name, times in seconds.items():
        table.add_row(name, *(f'{value:.2f}' for value in spread(times)))
    console.print(render(table))
