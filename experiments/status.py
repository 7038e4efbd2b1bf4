"""How far a sweep is: trials done, claimed by a process, stale, failed, and the time left.

python -m experiments.status --out=runs/lr

Ends with exit code 0 where the sweep is done, else with 3.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.runner import cli, fields
from experiments.runner.console import console, say
from experiments.runner.status import describe, read_state
from rnnlab.errors import InputError

UNDONE = 3  # the exit code


@dataclass(frozen=True, kw_only=True)
class Config(fields.Config):
    out: str | None = fields.operational(None, 'Folder of the sweep.', path=True)


def main(config: Config) -> None:
    if config.out is None:
        raise InputError('status takes --out=DIR, the folder of a sweep')
    now = read_state(Path(config.out))
    console.print(f'\n{describe(now)}\n')
    if not now.done:
        sys.exit(UNDONE)
    say(f'done; ./launch.sh report --out={config.out} shows the results')


if __name__ == '__main__':
    cli.run(Config, main)
