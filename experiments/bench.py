"""Times the same work here and in other libraries; also sweeps, memory, sequence length, start-up.

python -m experiments.bench --peers=torch,flax --shapes=rows64 --cells=lstm --out=runs/bench
python -m experiments.bench --what=sweep --peers=torch --repeats=1
python -m experiments.bench --what=memory --peers=flax
python -m experiments.bench --what=length --cells=elman,lstm --repeats=3 --out=runs/length
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from absl import flags

import experiments.runner.cli
from experiments.benchmark import length, memory, race, startup, sweeps
from experiments.benchmark.peers import CELLS, PEERS
from experiments.benchmark.work import KINDS, SHAPES
from experiments.runner.cli import FLAGS
from rnnlab.errors import InputError, known


@dataclass(frozen=True, kw_only=True)
class Config:
    what: tuple[str, ...] = ('gradient', 'train_step')
    peers: tuple[str, ...] = tuple(PEERS)
    shapes: tuple[str, ...] = tuple(SHAPES)
    cells: tuple[str, ...] | None = None
    repeats: int = 5
    out: str = '.'


MEASUREMENTS: dict[str, Callable[[Config], None]] = {
    'sweep': lambda config: sweeps.time_sweeps(config.peers, config.repeats),
    'memory': lambda config: memory.compare_memory(config.peers),
    'length': lambda config: length.time_lengths(
        config.cells or length.CELLS, config.repeats, Path(config.out)
    ),
    'start': lambda config: startup.time_startup(config.repeats),
}

experiments.runner.cli.pictures()
flags.DEFINE_list(
    'what',
    list(Config.what),
    f'Work to time, of {", ".join(KINDS)}; or one of {", ".join(MEASUREMENTS)}.',
)
flags.DEFINE_list('peers', list(Config.peers), f'Other libraries, of {", ".join(PEERS)}.')
flags.DEFINE_list('shapes', list(Config.shapes), f'Of {", ".join(SHAPES)}.')
flags.DEFINE(
    experiments.runner.cli.CellsParser(),
    'cells',
    None,
    f'Any cells; peers have {", ".join(CELLS)}, which is the default.',
)
flags.DEFINE_integer('repeats', Config.repeats, 'Timings of each, by turns.', lower_bound=1)


def main() -> None:
    values: dict[str, Any] = {field.name: FLAGS[field.name].value for field in fields(Config)}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    measure(Config(**(values | lists)))


def measure(config: Config) -> None:
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
    alone = [what for what in config.what if what in MEASUREMENTS]
    if alone and len(config.what) > 1:
        raise InputError(f'--what={alone[0]} is measured alone')
    if alone:
        MEASUREMENTS[alone[0]](config)
    else:
        works = list(itertools.product(config.what, config.shapes, config.cells or CELLS))
        race.time_libraries(works, config.peers, config.repeats, Path(config.out))


if __name__ == '__main__':
    experiments.runner.cli.run(main)
