"""The results of a sweep, finished or not: merges and draws them, and prints the best settings.

python -m experiments.report --out=runs/lr
"""

from dataclasses import dataclass
from pathlib import Path

from experiments.runner import cli, fields
from experiments.runner.report import sweep_report
from rnnlab.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Config(fields.Config):
    out: str | None = fields.operational(None, 'Folder of the sweep.', path=True)


def main(config: Config) -> None:
    if config.out is None:
        raise InputError('report takes --out=DIR, the folder of a sweep')
    sweep_report(Path(config.out))


if __name__ == '__main__':
    cli.run(Config, main)
