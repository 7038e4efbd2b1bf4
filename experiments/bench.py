"""How long the same work takes here and in other libraries: an epoch of film reviews, or a sweep; and what memory a gradient needs.

python -m experiments.bench --peers=keras,torch --cells=lstm --repeats=5
python -m experiments.bench --what=sweep --peers=torch --repeats=1
python -m experiments.bench --what=memory
"""

import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags

import experiments.flags
from experiments.display import console
from experiments.flags import FLAGS
from rnnlab.axes import Grid, Settings, parse, product
from rnnlab.batches import epoch_steps, shuffled
from rnnlab.cells import CELLS
from rnnlab.data import IMAGES, Split, image_sequences, imdb, text_sequences
from rnnlab.errors import InputError, known
from rnnlab.models import classifier
from rnnlab.optim import Hyper, optimizer
from rnnlab.recurrence import recurrent
from rnnlab.tables import new_table, render
from rnnlab.train import batch_mesh, make_run

WORDS, LENGTH, FEATURES, UNITS, BATCH, LR = 10_000, 500, 32, 32, 128, 1e-3  # the recipes imdb_elman, imdb_lstm, imdb_gru

Epoch = Callable[[], float]  # trains an epoch on the reviews, to the end; its mean loss in nats


def rnnlab_epoch(cell: str, data: Split) -> Epoch:
    def model(hyper):
        return classifier([recurrent(CELLS[cell](UNITS))], inputs=FEATURES, classes=2, vocabulary=WORDS)

    hyper, key, steps = Hyper(lr=LR), jax.random.key(0), epoch_steps(len(data.labels), BATCH)
    run = make_run(model, optimizer('rmsprop'), shuffled(data, BATCH), every=steps, mesh=batch_mesh(BATCH))
    state, examples = run.start(hyper, key), jax.device_put(data)

    def epoch():
        nonlocal state
        state = run.advance(hyper, key, examples, state, steps)
        return state.totals.means()['loss']

    return epoch


def keras_epoch(cell: str, data: Split) -> Epoch:
    os.environ['KERAS_BACKEND'] = 'jax'
    import keras

    layer = {'elman': keras.layers.SimpleRNN, 'lstm': keras.layers.LSTM, 'gru': keras.layers.GRU}[cell]
    model = keras.Sequential([keras.layers.Embedding(WORDS, FEATURES), layer(UNITS), keras.layers.Dense(1, activation='sigmoid')])
    model.compile(optimizer=keras.optimizers.RMSprop(LR), loss='binary_crossentropy')
    return lambda: model.fit(data.inputs, data.labels, batch_size=BATCH, epochs=1, verbose=0).history['loss'][0]


def torch_epoch(cell: str, data: Split) -> Epoch:
    import torch

    make = {'elman': torch.nn.RNN, 'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}[cell]
    torch.manual_seed(0)
    embedding, layer, readout = torch.nn.Embedding(WORDS, FEATURES), make(FEATURES, UNITS), torch.nn.Linear(UNITS, 1)
    torch.nn.init.uniform_(embedding.weight, -0.05, 0.05)
    params = [*embedding.parameters(), *layer.parameters(), *readout.parameters()]
    tx = torch.optim.RMSprop(params, lr=LR, alpha=0.9, eps=1e-7)
    inputs, labels = torch.from_numpy(data.inputs).long(), torch.from_numpy(data.labels).float()

    def epoch():
        total = 0.0
        for index in torch.randperm(len(labels)).split(BATCH):
            ys, _ = layer(embedding(inputs[index].T))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(readout(ys[-1])[:, 0], labels[index])
            tx.zero_grad()
            loss.backward()
            tx.step()
            total += loss.item() * len(index)
        return total / len(labels)

    return epoch


CONTENDERS = {'rnnlab': rnnlab_epoch, 'keras': keras_epoch, 'torch': torch_epoch}
BENCH_CELLS = ('elman', 'lstm', 'gru')
AXES = ('cell=elman,lstm,gru', 'lr=log(1e-4,1e-1,6)', 'seed=0..2')  # README's first sweep
SWEEP = ('--dataset=digits', '--epochs=10')
LENGTHS = (256, 1024, 4096, 16384)
MEMORY_UNITS, MEMORY_BATCH = 128, 32


def all_settings() -> list[Settings]:
    return list(product([axis for axis in map(parse, AXES) if isinstance(axis, Grid)]))


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


experiments.flags.data_dir()
flags.DEFINE_enum(
    'what', 'epoch', ['epoch', 'sweep', 'memory'], 'An epoch of film reviews, 54 trials on digits, or the peak memory of a gradient.'
)
flags.DEFINE_list('peers', ['keras', 'torch'], 'Libraries to time beside rnnlab: keras (on JAX), torch.')
flags.DEFINE_list('cells', list(BENCH_CELLS), 'Cells: elman, lstm, gru.')
flags.DEFINE_integer('repeats', 5, 'Times each, by turns; of epochs after one to compile and warm up.', lower_bound=1)
flags.DEFINE_string(
    'worker', None, 'What a child of this process does: CONTENDER:CELL, an epoch for each line it reads; sweep; memory:STEPS:REMAT.'
)


def main() -> None:
    if FLAGS.worker == 'sweep':
        torch_sweep()
    elif FLAGS.worker and FLAGS.worker.startswith('memory:'):
        measure_gradient(*map(int, FLAGS.worker.split(':')[1:]))
    elif FLAGS.worker:
        work(*FLAGS.worker.split(':'))
    else:
        for cell in FLAGS.cells:
            known('cell of the benchmark', cell, BENCH_CELLS)
        for peer in [] if FLAGS.what == 'memory' else FLAGS.peers:
            known('peer', peer, CONTENDERS.keys() - {'rnnlab'})
            if importlib.util.find_spec(peer) is None:
                raise InputError(f'{peer} is not installed: pip install {peer}, or leave it out of --peers')
        {'epoch': time_epochs, 'sweep': time_sweeps, 'memory': compare_memory}[FLAGS.what]()


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


def time_epochs() -> None:
    imdb.load(FLAGS.data_dir)  # once, for all children, into the cache
    headings = ('seconds an epoch: median', 'least', 'most', 'times as fast', 'loss of the last')
    table = new_table('cell', 'library', *headings, right=headings)
    for cell in FLAGS.cells:
        times, losses = race(cell, ['rnnlab', *FLAGS.peers])
        ours = statistics.median(times['rnnlab'])
        for name, seconds in times.items():
            median = statistics.median(seconds)
            figures = f'{median:.2f}', f'{min(seconds):.2f}', f'{max(seconds):.2f}', f'{median / ours:.2f}', f'{losses[name]:.3f}'
            table.add_row(cell, name, *figures)
    console.print(render(table))
    console.print(f"\n{FLAGS.repeats} epochs of each by turns; 'times as fast' is rnnlab against that library, loss a sanity check")


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


def race(cell: str, names: list[str]) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The seconds of every epoch and the last loss of each contender, each in a process of its own on the CPU, by turns."""
    command = [sys.executable, '-m', 'experiments.bench', f'--data_dir={FLAGS.data_dir or ""}']
    workers: dict[str, Any] = {}
    for name in names:
        more = [f'--jax_num_cpu_devices={os.cpu_count()}'] if name == 'rnnlab' else []
        argv = [*command, *more, f'--worker={name}:{cell}']
        workers[name] = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment())
    times: dict[str, list[float]] = {name: [] for name in names}
    losses = {}
    for turn in range(FLAGS.repeats + 1):
        for name, worker in workers.items():
            worker.stdin.write('epoch\n')
            answer = worker.stdout.readline()
            if not answer:
                raise InputError(f'the benchmark of {name} ended early; what it said stands above')
            seconds, losses[name] = map(float, answer.split())
            if turn:  # the first compiles
                times[name].append(seconds)
    for worker in workers.values():
        worker.communicate()
    return times, losses


def work(name: str, cell: str) -> None:
    data = text_sequences(imdb.load(FLAGS.data_dir or None), vocab_size=WORDS, max_length=LENGTH, pad='pre').train
    epoch = CONTENDERS[name](cell, data)
    for _ in sys.stdin:
        began = time.perf_counter()
        loss = epoch()
        print(time.perf_counter() - began, loss, flush=True)


if __name__ == '__main__':
    experiments.flags.run(main)
