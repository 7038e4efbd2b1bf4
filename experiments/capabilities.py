"""What each cell can do: a sweep over cells, tasks, learning rates and seeds at equal parameters.

python -m experiments.capabilities --out=runs/capabilities
python -m experiments.capabilities --sweep=cell=elman,lstm,mingru --sweep=task=parity,s3 --epochs=20
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median_low
from typing import NamedTuple

from experiments import memory
from experiments.runner import cli
from experiments.runner.console import console, drawing, say
from experiments.runner.fields import ends, shown
from experiments.runner.sweep import sweep
from rnnlab.cells import CELLS
from rnnlab.data import LENGTHS
from rnnlab.errors import InputError
from rnnlab.results import plots, runs, trials
from rnnlab.results.ranking import Setting, by_setting
from rnnlab.results.records import FAILED
from rnnlab.results.statistics import interval, sampling_error
from rnnlab.results.tables import new_table, render
from rnnlab.results.trials import SweepRecord

# The lengths that a task is trained at: a state is learned where short sequences are among them.
STATES = 'parity', 's3', 'dyck', 'counting', 'modular', 'a5'
RECALL = 'induction', 'selective_copy', 'mqar'
TRAINED: dict[str, int | str] = {**dict.fromkeys(STATES, '3..25'), **dict.fromkeys(RECALL, 32)}
AXES = {  # those that no flag names
    'task': ','.join(TRAINED),
    'cell': ','.join(CELLS),
    'lr': '3e-3,1e-2',
    'seed': '0..2',
}
DEFAULTS = {
    'parameters': 5000,
    'epochs': 15,
    'validation': 500,
    'test_length': ('2x', '8x'),
    'max_trials': 10_000,
}
SOLVED = 0.95  # of the labels are right
TABLE, PICTURE = 'capabilities.csv', 'capabilities.png'

Config = memory.Config
Pair = tuple[str, str]  # a cell and a task


class Capability(NamedTuple):
    """What a cell does on a task, with the setting that validated best in the mean of its seeds."""

    setting: Setting
    examples: int
    accuracies: dict[float, list[float]]  # of each seed, by the multiple of the trained length

    @property
    def reaches(self) -> list[int]:
        """How many of the lengths each seed solves, from the trained one on."""
        seeds = zip(*self.accuracies.values(), strict=True)
        return [[*(value >= SOLVED for value in own), False].index(False) for own in seeds]

    @property
    def solved(self) -> str:
        """How many of the seeds solve the trained length."""
        return f'{sum(reach > 0 for reach in self.reaches)}/{len(self.reaches)}'

    @property
    def length(self) -> str:
        """What the median seed reaches."""
        reach = median_low(self.reaches)
        return times([*self.accuracies][reach - 1]) if reach else '-'

    @property
    def words(self) -> str:
        """Both, or where no seed solves the task the mean accuracy at the trained length."""
        if any(self.reaches):
            return f'{self.solved}  {self.length}'
        return f'{fmean(next(iter(self.accuracies.values()))):.2f}'

    def cells(self) -> Iterator[str]:
        """Of the accuracy at each length the mean and its interval."""
        for values in self.accuracies.values():
            mean = fmean(values)
            of_mean = interval(values, sampling_error(mean, self.examples))
            low_high = of_mean and f' ({max(of_mean.low, 0):.3f} to {min(of_mean.high, 1):.3f})'
            yield f'{mean:.3f}{low_high or ""}'


def resolve(config: memory.Config) -> memory.Config:
    config = memory.resolve(config.filled({'length': TRAINED.get(config.task)}))
    if memory.problem(config).numbers:
        words = f'--task={config.task} predicts numbers'
        raise InputError(f'{words}: capabilities compares accuracies, of tasks with classes')
    if other := [text for text in config.test_length if not text.endswith('x')]:
        raise InputError(f'--test_length={other[0]}: capabilities takes multiples, like 8x')
    return config


def completed(config: Config) -> Config:
    """The configuration with the axes and settings that no flag gives."""
    axes = {re.split('[=~]', axis)[0].strip() for axis in config.sweep}
    given = axes | config.given | {*config.changed(*AXES, *DEFAULTS, 'hidden_size')}
    more = [f'{name}={values}' for name, values in AXES.items() if name not in given]
    values = {name: value for name, value in DEFAULTS.items() if name not in given}
    if 'hidden_size' in given:
        values.pop('parameters', None)
    now_given = config.given | {'sweep', *values}
    return config.replace(sweep=(*config.sweep, *more), given=now_given, **values)


def main(config: Config) -> None:
    config = completed(config)
    if not (folder := sweep(TASK, config)):
        return
    record = SweepRecord.read(folder)
    results, _ = trials.last_rungs(trials.read_finished(folder, record.metrics))
    if found := capabilities(config, by_setting(results, record.ranked_by)):
        show(found, record, f'{len(results)} of {record.trials} trials', folder)


def capabilities(config: Config, settings: list[Setting]) -> dict[Pair, Capability]:
    """That of the best setting of each cell and task, in the order of their trials.

    settings: the best first.
    """
    found: dict[Pair, Capability] = {}
    for setting in settings:
        cell, task, length = (
            setting.settings.get(name, getattr(config, name)) for name in ('cell', 'task', 'length')
        )
        trained = ends(length or TRAINED.get(task) or LENGTHS[task])[1]
        if any(trial.status != FAILED for trial in setting.trials):
            found.setdefault((cell, task), capability(setting, trained))
    return dict(sorted(found.items(), key=lambda item: item[1].setting.trials[0].number))


def capability(setting: Setting, trained: int) -> Capability:
    """What a setting does, at the trained length and at those that are longer."""
    summaries = [trial.summary for trial in setting.trials if trial.status != FAILED]
    longer = sorted(n for n in summaries[0].tests if n > trained)
    tests = {1.0: [own.test for own in summaries]}
    tests |= {n / trained: [own.tests[n] for own in summaries] for n in longer}
    accuracies = {n: [own['accuracy'] or 0.0 for own in every] for n, every in tests.items()}
    return Capability(setting, summaries[0].examples['test'], accuracies)


def show(found: dict[Pair, Capability], record: SweepRecord, title: str, folder: Path) -> None:
    """Prints, writes and draws the capabilities."""
    lengths = [times(n) for n in next(iter(found.values())).accuracies]
    names = [name for name in record.names if name not in ('cell', 'task', 'seed')]
    heads = ['cell', 'task', *names, 'solved', 'reaches', *lengths]
    table, rows = new_table(*heads, right=tuple(heads[2:])), []
    for pair, own in found.items():
        settings = (shown(own.setting.settings[name]) for name in names)
        rows.append([*pair, *settings, own.solved, own.length, *own.cells()])
        table.add_row(*rows[-1])
    runs.write_table(folder / TABLE, [heads, *rows])
    console.print(f'\n{render(table)}\n')
    say(f'solved: how many seeds have {SOLVED:.0%} of the labels of the trained length right')
    say('reaches: the longest test that the median seed solves, and all shorter ones')
    say('then the accuracy by length, mean and 95 % interval, of the setting that validated best')
    with drawing(folder / PICTURE):
        values = {pair: (fmean(own.reaches), own.words) for pair, own in found.items()}
        plots.capabilities(values, lengths, folder / PICTURE, title)
    say(f'{folder / TABLE} has the table; drawn: {PICTURE}')


def times(multiple: float) -> str:
    return f'{multiple:g}x'


TASK = replace(memory.TASK, resolve=resolve, launched='capabilities')

if __name__ == '__main__':
    cli.run(Config, main)
