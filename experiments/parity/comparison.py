"""The greatest differences between rnnlab and its counterparts, for cells and for optimizers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from experiments.parity.harness import TOLERANCE, Image, Peer, Tree, comparisons
from experiments.parity.libraries import PEERS
from experiments.parity.optimizers import PATHS, SETTINGS, ours
from experiments.parity.reference import numpy_reference
from rnnlab import testing as laws
from rnnlab.cells import CELLS

TITLES = {'torch': 'torch', 'keras': 'Keras', 'flax': 'Flax', 'haiku': 'Haiku', 'tf1': 'TF1'}


@dataclass
class Differences:
    """The greatest relative difference by what is compared; None where there is nothing to check.

    errors: a line for each difference above the tolerance.
    """

    values: dict[str, float | None]
    errors: list[str] = field(default_factory=list)

    @property
    def greatest(self) -> float | None:
        return max((value for value in self.values.values() if value is not None), default=None)


Columns = dict[str, Differences | None]  # None: the library lacks the function


def compare_cell(
    name: str, row: str, image: Image, peers: Sequence[str], with_laws: bool
) -> Iterator[tuple[str, Differences | None]]:
    """The columns of a cell's row, by title."""
    in_numpy = compare_peer(name, f'{row} and NumPy', numpy_reference(name, image))
    of_derivatives = Differences({'derivatives': in_numpy.values.pop('derivatives')})
    yield 'NumPy', in_numpy
    yield 'finite differences', of_derivatives
    for library in peers:
        title, peer = TITLES[library], PEERS[library](name, image)
        yield title, peer and compare_peer(name, f'{row} and {title}', peer)
    if with_laws:
        values = laws.check(name, CELLS[name])
        exact = {law for law in values if laws.LAWS[law] is not laws.finite_differences}
        yield 'laws', Differences({law: values[law] for law in values if law in exact})


def compare_peer(name: str, where: str, peer: Peer) -> Differences:
    return differences(where, comparisons(name, peer))


def compare_optimizer(name: str, peers: Sequence[str]) -> Columns:
    """The columns of an optimizer's row, by title."""
    return {TITLES[library]: compare_path(name, library) for library in peers if library in PATHS}


def compare_path(name: str, library: str) -> Differences | None:
    constants, make_path = PATHS[library]
    theirs = make_path(name)
    if theirs is None:
        return None
    claim = 'parameters', ours(name, constants, **SETTINGS[name]), theirs
    return differences(f'{name} and {TITLES[library]}', [claim])


def differences(where: str, claims: Iterable[tuple[str, Tree, Tree]]) -> Differences:
    found = Differences({})
    for what, mine, theirs in claims:
        try:
            found.values[what] = laws.compare(TOLERANCE, what, mine, theirs)
        except AssertionError as error:
            found.errors.append(f'{where}: {error}')
            found.values[what] = laws.compare(np.inf, what, mine, theirs)
    return found
