"""Holds every cell and optimizer against NumPy, finite differences and other libraries; a cell of your own against the laws.

python -m experiments.conformance --peers=torch,keras,flax,haiku,tf1 --laws --out=runs/conformance
python -m experiments.conformance --cell=mymodule:mycell
"""

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from absl import flags

import experiments.runner.cli
from experiments.benchmark.timing import machine
from experiments.parity.harness import IMAGES, TOLERANCE, Image, Peer, claims, numpy
from experiments.parity.libraries import PEERS
from experiments.parity.optimizers import PATHS, SETTINGS, ours
from experiments.runner.cli import FLAGS
from experiments.runner.console import console
from rnnlab import testing as laws
from rnnlab.cells import CELLS, find
from rnnlab.errors import InputError, known
from rnnlab.results import runs
from rnnlab.results.tables import markdown, new_table, render

CELL = 'Cells, by default all; mymodule:mycell, of a file of yours, is held against the laws.'
flags.DEFINE(experiments.runner.cli.CellsParser(), 'cell', list(CELLS), CELL)
flags.DEFINE_list(
    'peers',
    list(PEERS),
    f'Libraries: {", ".join(PEERS)}; those that are not installed are left out.',
)
flags.DEFINE_boolean(
    'laws', False, 'Hold all these cells against the laws too, some eight seconds each.'
)
flags.DEFINE_string('out', '.', 'Folder of conformance.md and conformance.json.')

DISTRIBUTIONS = {'torch': 'torch', 'keras': 'keras', 'flax': 'flax', 'haiku': 'dm-haiku'}
TITLES = {'torch': 'torch', 'keras': 'Keras', 'flax': 'Flax', 'haiku': 'Haiku', 'tf1': 'TF1'}
NOTES = {
    'tf1': 'TF1 stands for its definitions, written in NumPy; gradients are held against finite differences of these.',
    'flax': 'Flax: ugrnn is its MGUCell with reset_gate=False; otherwise that resets after the product and keeps by f, and is not mgu. '
    "Its optimizers are optax's, with torch's constants, but for RMSprop, whose are nobody else's.",
    'keras': 'Keras: its tanh rounds to float32 on JAX, so jnp.tanh stands in its place. Its ConvLSTMs take no mask of lengths on JAX: '
    'these sequences are equally long.',
    'haiku': 'Haiku takes no lengths: sequences are equally long. Its VanillaRNN is of ReLUs, its GRU is gru_chung.',
    'torch': 'torch: lstm_projected is nn.LSTM with proj_size.',
}
CONVOLUTIONS = 'conv_lstm has its peepholes at 0 where libraries have none; its two directions are added, not put side by side.'
Figures = dict[str, float]  # by what is compared
Table = dict[
    str, dict[str, Figures | None]
]  # by row and column; None: the library has no such function


def main() -> None:
    jax.config.update('jax_enable_x64', True)
    os.environ['KERAS_BACKEND'] = 'jax'
    for peer in FLAGS.peers:
        known('peer', peer, PEERS)
    own, registered = (
        [name for name in FLAGS.cell if (name in CELLS) == there] for there in (False, True)
    )
    for name in own:
        console.print(f'{name}\n\n{laws_table(laws.check(name, find(name)))}\n')
    if registered:
        compare_all(registered, Path(FLAGS.out))


def compare_all(names: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    missing = [
        peer
        for peer in FLAGS.peers
        if peer in DISTRIBUTIONS and importlib.util.find_spec(peer) is None
    ]
    peers = [peer for peer in PEERS if peer in FLAGS.peers and peer not in missing]
    if missing:
        console.print(f'left out, since not installed: {", ".join(missing)}')
    above: list[str] = []
    cells: Table = {}
    for name in names:
        for row, image in IMAGES.get(name, {name: ()}).items():
            cells[row] = dict(columns(name, row, image, peers, above))
            console.print(
                f'{row}: {", ".join(f"{column} {shown(figures)}" for column, figures in cells[row].items() if figures)}'
            )
    steps: Table = {
        name: {TITLES[peer]: path(name, peer, above) for peer in peers if peer in PATHS}
        for name in SETTINGS
    }
    text = (
        '\n\n'.join(
            [
                heading(peers),
                table('cell', cells),
                *notes(names, peers),
                table('optimizer, 50 steps', steps),
            ]
        )
        + '\n'
    )
    runs.write_text(folder / 'conformance.md', text)
    runs.write_json(
        folder / 'conformance.json',
        {'heading': heading(peers), 'cells': cells, 'optimizers': steps, 'above': above},
    )
    console.print(f'\n{text}\nwritten: {folder / "conformance.md"}, {folder / "conformance.json"}')
    if above:
        raise InputError(
            above[0]
            + (f'; and {len(above) - 1} more in {folder / "conformance.json"}' if above[1:] else '')
        )


def columns(
    name: str, row: str, image: Image, peers: list[str], above: list[str]
) -> Iterator[tuple[str, Figures | None]]:
    """Each column's figures, and to `above` a line for each field that is too far off."""
    figures = compared(row, 'NumPy', name, image, numpy(name, image), above)
    of_differences = {'derivatives': figures.pop('derivatives')}
    yield 'NumPy', figures
    yield 'finite differences', of_differences
    for peer in peers:
        counterpart = PEERS[peer](name, image)
        yield (
            TITLES[peer],
            counterpart and compared(row, TITLES[peer], name, image, counterpart, above),
        )
    if FLAGS.laws:
        figures = laws.check(name, CELLS[name])
        yield (
            'laws',
            {
                law: figure
                for law, figure in figures.items()
                if laws.LAWS[law] is not laws.finite_differences
            },
        )


def compared(
    row: str, title: str, name: str, image: Image, peer: Peer, above: list[str]
) -> Figures:
    return {
        what: difference(f'{row} and {title}', what, mine, theirs, above)
        for what, mine, theirs in claims(name, image, peer)
    }


def path(name: str, peer: str, above: list[str]) -> Figures | None:
    constants, make = PATHS[peer]
    theirs = make(name)
    if theirs is None:
        return None
    mine = ours(name, constants, **SETTINGS[name])
    return {
        'parameters': difference(f'{name} and {TITLES[peer]}', 'parameters', mine, theirs, above)
    }


def difference(where: str, what: str, mine, theirs, above: list[str]) -> float:
    try:
        return laws.compare(TOLERANCE, what, mine, theirs)
    except AssertionError as error:
        above.append(f'{where}: {error}')
        return laws.compare(np.inf, what, mine, theirs)


def heading(peers: list[str]) -> str:
    versions = [
        f'{TITLES[peer]} {importlib.metadata.version(DISTRIBUTIONS[peer])}'
        for peer in peers
        if peer in DISTRIBUTIONS
    ]
    return ', '.join([machine(), f'NumPy {np.__version__}', *versions])


def notes(names: list[str], peers: list[str]) -> Iterator[str]:
    if 'conv_lstm' in names:
        yield CONVOLUTIONS
    yield from (NOTES[peer] for peer in peers)


def table(first: str, rows: Table) -> str:
    heads = list(next(iter(rows.values())))
    return markdown(
        [first, *heads],
        [
            [f'`{row}`', *(shown(figures) for figures in line.values())]
            for row, line in rows.items()
        ],
    )


def shown(figures: Figures | None) -> str:
    return f'{max(figures.values()):.0e}'.replace('0e+00', '0') if figures else '—'


def laws_table(figures: Figures) -> str:
    rows = new_table('law', 'greatest difference', right=('greatest difference',))
    for law, figure in figures.items():
        rows.add_row(law, f'{figure:.0e}')
    return render(rows)


if __name__ == '__main__':
    experiments.runner.cli.run(main)
