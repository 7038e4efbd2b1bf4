"""What came out of a sweep, finished or not: merges it, draws it, and prints its best settings.

python -m experiments.report --out=runs/lr
"""

from pathlib import Path

from absl import flags

import experiments.runner.cli
from experiments.runner.cli import FLAGS
from experiments.runner.console import sweep_report
from rnnlab.errors import InputError

flags.DEFINE_string('out', None, 'Folder of the sweep.')


def main() -> None:
    if FLAGS.out is None:
        raise InputError('report takes --out=DIR, the folder of a sweep')
    sweep_report(Path(FLAGS.out))


if __name__ == '__main__':
    experiments.runner.cli.run(main)
