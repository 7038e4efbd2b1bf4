"""The results of a sweep, finished or not: merges and draws them, and prints the best settings.

python -m experiments.report --out=runs/lr
python -m experiments.report --out=runs/lr --html
"""

from dataclasses import dataclass
from pathlib import Path

from experiments.runner import cli, fields
from experiments.runner.console import say
from experiments.runner.page import sweep_page
from experiments.runner.report import sweep_report
from rnnlab.errors import InputError
from rnnlab.results import page


@dataclass(frozen=True, kw_only=True)
class Config(fields.Config):
    out: str | None = fields.operational(None, 'Folder of the sweep.', path=True)
    html: bool = fields.operational(
        False, 'Write report.html too: one page with everything, which a browser opens.'
    )


def main(config: Config) -> None:
    if config.out is None:
        raise InputError('report takes --out=DIR, the folder of a sweep')
    if config.html:
        page.plotly()  # raises InputError where it is missing, before anything is written
    report = sweep_report(Path(config.out))
    if config.html:
        say(f'page: {sweep_page(report)}')


if __name__ == '__main__':
    cli.run(Config, main)
