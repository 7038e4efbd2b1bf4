"""Times the same work here and in other libraries; also sweeps, memory, sequence length, start-up.

python -m experiments.bench --peers=torch,flax --shapes=rows64 --cells=lstm --out=runs/bench
python -m experiments.bench --what=sweep --peers=torch --repeats=1
python -m experiments.bench --what=memory --peers=flax
python -m experiments.bench --what=length --cells=elman,lstm --repeats=3 --out=runs/length
"""

import itertools
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.benchmark import length, memory, race, startup, sweeps
from experiments.benchmark.peers import CELLS, PEERS
from experiments.benchmark.work import KINDS, SHAPES
from experiments.runner import cli
from experiments.runner.config import known_cells
from experiments.runner.fields import Config as Fields
from experiments.runner.fields import operational, specs
from rnnlab.errors import InputError, known

# What is measured alone: how, and the other flags that it reads.
MEASUREMENTS: dict[str, tuple[Callable[['Config'], None], set[str]]] = {
    'sweep': (
        lambda config: sweeps.time_sweeps(config.peers, config.repeats),
        {'peers', 'repeats'},
    ),
    'memory': (lambda config: memory.compare_memory(config.peers), {'peers'}),
    'length': (
        lambda config: length.time_lengths(
            config.cells or length.CELLS, config.repeats, Path(config.out)
        ),
        {'cells', 'repeats', 'out'},
    ),
    'start': (lambda config: startup.time_startup(config.repeats), {'repeats'}),
}


@dataclass(frozen=True, kw_only=True)
class Config(Fields):
    what: tuple[str, ...] = operational(
        ('gradient', 'train_step'),
        f'Work to time, of {", ".join(KINDS)}; or one of {", ".join(MEASUREMENTS)}.',
    )
    peers: tuple[str, ...] = operational(tuple(PEERS), f'Other libraries, of {", ".join(PEERS)}.')
    shapes: tuple[str, ...] = operational(tuple(SHAPES), f'Of {", ".join(SHAPES)}.')
    cells: tuple[str, ...] | None = operational(
        None, f'Any cells; peers have {", ".join(CELLS)}, which is the default.', check=known_cells
    )
    repeats: int = operational(5, 'Timings of each, by turns.', low=1)
    out: str = operational('.', 'Folder of the results and pictures.', path=True)


def main(config: Config) -> None:
    """Does what the configuration says, or raises InputError before anything is timed."""
    for flag, names in {'what': config.what, 'shapes': config.shapes}.items():
        if not names:
            raise InputError(f'--{flag} names nothing to time')
    for what in config.what:
        known('--what', what, [*KINDS, *MEASUREMENTS])
    for peer in config.peers:
        known('peer', peer, PEERS)
    for shape in config.shapes:
        known('shape', shape, SHAPES)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ends child processes, too
    alone = [what for what in config.what if what in MEASUREMENTS]
    if alone and len(config.what) > 1:
        raise InputError(f'--what={alone[0]} is measured alone')
    if alone:
        measure, reads = MEASUREMENTS[alone[0]]
        if unused := config.changed(*{*specs(Config)} - {'what', *reads}):
            raise InputError(f'--{min(unused)} has no use with --what={alone[0]}')
        measure(config)
    else:
        works = list(itertools.product(config.what, config.shapes, config.cells or CELLS))
        race.time_libraries(works, config.peers, config.repeats, Path(config.out))


if __name__ == '__main__':
    cli.run(Config, main)
