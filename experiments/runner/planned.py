"""What a sweep is to train: trials, groups of one static configuration, and batches of them."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from experiments.runner.config import Layers
from experiments.runner.fields import parsed
from experiments.runner.task import Task, resolve
from rnnlab.results import trials
from rnnlab.results.trials import Place
from rnnlab.sweeps.axes import Settings
from rnnlab.sweeps.rungs import Bracket


class Planned(NamedTuple):
    """A trial that is still to be trained."""

    number: int
    settings: Settings  # the swept ones, as text
    config: Layers  # resolved
    copied_from: int | None = None  # another trial, whose state it continues from

    @property
    def source(self) -> int:
        return self.number if self.copied_from is None else self.copied_from


class Rung(NamedTuple):
    """The part of a training at whose end trials are compared; a sweep without has one."""

    stop: int  # its last step
    trials: int  # at most
    lane_steps: int  # of all its trials together
    lanes: int  # that train at once
    batches: int  # of them
    batch_bytes: int


@dataclass(frozen=True, kw_only=True)
class Group:
    """Trials of one static configuration, which a program for each rung trains."""

    label: str
    trials: list[Planned]  # in a search those of one point, whose drawn settings are open
    numbers: list[int]  # of all its trials
    rungs: list[Rung]
    brackets: list[Bracket]  # of its points, or of all settings of the sweep
    devices: int  # on all rungs: a lane's last bits depend on it


class Batch(NamedTuple):
    """Trials of a group that a program trains side by side, on one rung."""

    group: Group
    trials: Sequence[Planned]
    number: int = 1  # of the rung

    @property
    def rung(self) -> Rung:
        return self.group.rungs[self.number - 1]

    @property
    def last(self) -> bool:
        return self.number == len(self.group.rungs)

    @property
    def name(self) -> str:
        return trials.wave_name(self.trials[0].number, self.number)

    def path(self, folder: Path) -> Path:
        """The file of its results."""
        return trials.wave_path(folder, self.trials[0].number, self.number)

    def unfinished(self, finished: Container[Place]) -> 'Batch':
        """What is left to train."""
        left = [trial for trial in self.trials if (self.number, trial.number) not in finished]
        return self._replace(trials=left)


def plan_trial(task: Task, config: Layers, number: int, settings: Settings) -> Planned:
    """The trial with these settings; InputError for what a run alone would refuse."""
    values = {name: parsed(type(config), name, text) for name, text in settings.items()}
    own = config.replace(**values, given=config.given | values.keys())
    return Planned(number, settings, resolve(task, own))
