"""Compares every cell and optimizer with NumPy and other libraries; checks your own cell's laws.

python -m experiments.conformance --peers=torch,keras,flax,haiku,tf1 --laws --out=runs/conformance
python -m experiments.conformance --cell=mymodule:mycell
"""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from experiments.parity.comparison import Columns, compare_cell, compare_optimizer
from experiments.parity.harness import IMAGES
from experiments.parity.libraries import PEERS
from experiments.parity.optimizers import SETTINGS
from experiments.parity.tables import PACKAGES, heading, laws_table, page, shown
from experiments.runner import cli
from experiments.runner.config import known_cells
from experiments.runner.console import console
from experiments.runner.fields import Config as Fields
from experiments.runner.fields import operational
from rnnlab import testing as laws
from rnnlab.cells import CELLS, find
from rnnlab.errors import InputError, known
from rnnlab.results import runs
from rnnlab.results.records import Json


@dataclass(frozen=True, kw_only=True)
class Config(Fields):
    cell: tuple[str, ...] = operational(
        tuple(CELLS),
        'Cells; mymodule:mycell, from a file of yours, is checked against the laws.',
        check=known_cells,
    )
    peers: tuple[str, ...] = operational(
        tuple(PEERS), f'Libraries, of {", ".join(PEERS)}; left out if not installed.'
    )
    laws: bool = operational(False, 'Check the laws of these cells, eight seconds each.')
    out: str = operational('.', 'Folder of conformance.md and conformance.json.', path=True)


def main(config: Config) -> None:
    """Does what the configuration says; InputError for a law broken or a difference too large."""
    jax.config.update('jax_enable_x64', True)
    os.environ['KERAS_BACKEND'] = 'jax'
    for peer in config.peers:
        known('peer', peer, PEERS)
    for name in config.cell:
        if name not in CELLS:
            console.print(f'{name}\n\n{laws_table(laws.check(name, find(name)))}\n')
    if names := [name for name in config.cell if name in CELLS]:
        compare_all(names, installed(config.peers), config.laws, Path(config.out))


def installed(peers: Sequence[str]) -> list[str]:
    """Those of the libraries that are installed, in the order of the tables; names the others."""
    missing = [peer for peer in peers if peer in PACKAGES and not importlib.util.find_spec(peer)]
    if missing:
        console.print(f'left out, since not installed: {", ".join(missing)}')
    return [peer for peer in PEERS if peer in peers and peer not in missing]


def compare_all(names: Sequence[str], peers: Sequence[str], with_laws: bool, folder: Path) -> None:
    """Prints the differences of each cell as they are found, then writes them to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cells: dict[str, Columns] = {}
    for name in names:
        for row, image in IMAGES.get(name, {name: ()}).items():
            cells[row] = dict(compare_cell(name, row, image, peers, with_laws))
            found = (f'{title} {shown(each)}' for title, each in cells[row].items() if each)
            console.print(f'{row}: {", ".join(found)}')
    steps = {name: compare_optimizer(name, peers) for name in SETTINGS}
    rows = [*cells.values(), *steps.values()]
    errors = [e for row in rows for each in row.values() if each for e in each.errors]
    text = page(cells, steps, [*names, *peers])
    runs.write_text(folder / 'conformance.md', text)
    record = {'cells': to_json(cells), 'optimizers': to_json(steps), 'above': errors}
    runs.write_json(folder / 'conformance.json', {'heading': heading(peers), **record})
    console.print(f'\n{text}\nwritten: {folder / "conformance.md"}, {folder / "conformance.json"}')
    if errors:
        more = (
            f'; and {len(errors) - 1} more in {folder / "conformance.json"}' if errors[1:] else ''
        )
        raise InputError(errors[0] + more)


def to_json(rows: Mapping[str, Columns]) -> Json:
    return {
        row: {title: each and each.values for title, each in columns.items()}
        for row, columns in rows.items()
    }


if __name__ == '__main__':
    cli.run(Config, main)
