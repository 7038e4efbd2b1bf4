"""The page conformance.md, and the table of the laws of one cell."""

import importlib.metadata
from collections.abc import Collection, Mapping

import numpy as np

from experiments.benchmark.timing import machine
from experiments.parity.comparison import TITLES, Columns, Differences
from rnnlab.results.tables import markdown, new_table, render

PACKAGES = {'torch': 'torch', 'keras': 'keras', 'flax': 'flax', 'haiku': 'dm-haiku'}
NOTES = {  # by cell or library
    'conv_lstm': 'conv_lstm has its peepholes at 0 where libraries have none; its two directions '
    'are added, not concatenated.',
    'torch': 'torch: lstm_projected is nn.LSTM with proj_size.',
    'keras': 'Keras: its tanh rounds to float32 on JAX, so jnp.tanh replaces it. Its ConvLSTMs '
    'take no mask of lengths on JAX: these sequences are equally long.',
    'flax': 'Flax: ugrnn is its MGUCell with reset_gate=False; otherwise that resets after the '
    'product and keeps by f, and is not mgu. Its optimizers are optax, which has the constants of '
    'torch, except for RMSprop, where it has its own.',
    'haiku': 'Haiku takes no lengths: sequences are equally long. Its VanillaRNN uses ReLU, its '
    'GRU is gru_chung.',
    'tf1': 'TF1 means its definitions, written in NumPy; gradients are compared with finite '
    'differences of these.',
}


def page(cells: Mapping[str, Columns], steps: Mapping[str, Columns], noted: Collection[str]) -> str:
    """The text of conformance.md. noted: the cells and libraries in it."""
    notes = (NOTES[name] for name in NOTES if name in noted)
    parts = [heading(noted), table('cell', cells), *notes, table('optimizer, 50 steps', steps)]
    return '\n\n'.join(parts) + '\n'


def heading(peers: Collection[str]) -> str:
    """The machine and the versions of the libraries."""
    versions = (
        f'{TITLES[peer]} {importlib.metadata.version(package)}'
        for peer, package in PACKAGES.items()
        if peer in peers
    )
    return ', '.join([machine(), f'NumPy {np.__version__}', *versions])


def table(first: str, rows: Mapping[str, Columns]) -> str:
    heads = [*next(iter(rows.values()))]
    lines = [[f'`{row}`', *(shown(each) for each in line.values())] for row, line in rows.items()]
    return markdown([first, *heads], lines)


def shown(column: Differences | None) -> str:
    """The greatest difference; — where there is nothing to compare."""
    return number(column.greatest if column else None)


def number(value: float | None) -> str:
    return '—' if value is None else f'{value:.0e}'.replace('0e+00', '0')


def laws_table(values: Mapping[str, float | None]) -> str:
    rows = new_table('law', 'greatest difference', right=('greatest difference',))
    for law, value in values.items():
        rows.add_row(law, number(value))
    return render(rows)
