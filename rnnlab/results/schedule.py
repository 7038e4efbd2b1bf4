"""The settings that the trials of a population went through, and whom each copied."""

from collections.abc import Collection, Mapping
from pathlib import Path

from rnnlab.results import runs
from rnnlab.results.records import Json, Metrics, Outcome, Place, Trial

SCHEDULE = 'schedule.csv'


def write(folder: Path, trials: Collection[Trial], metrics: Metrics) -> None:
    """Writes a row for each trial on each rung, of a sweep in which trials copied others."""
    if not any(trial.copied_from is not None for trial in trials):
        return
    value = Outcome('last', metrics.selection)
    ordered = sorted(trials, key=lambda trial: (trial.number, trial.reached))
    rows = [
        {'trial': trial.number, 'rung': trial.rung, 'until': trial.summary.end}
        | {'copied_from': trial.copied_from}
        | trial.settings
        | {value.words.replace(' ', '_'): value.of(trial.summary)}
        for trial in ordered
    ]
    runs.write_table(folder / SCHEDULE, [rows[0], *(row.values() for row in rows)])


def lineage(trial: Trial, finished: Mapping[Place, Trial]) -> list[Json]:
    """The settings with which the state of a trial was trained, until each step of a change."""
    path, place = [trial], trial.source
    while before := finished.get(place):
        path, place = [before, *path], before.source
    parts: list[Json] = []
    for each in path:
        own = {'trial': each.number} | each.settings
        if parts and parts[-1] | own == parts[-1]:
            parts.pop()
        parts.append({'until': each.summary.end} | own)
    return parts
