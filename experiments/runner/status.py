"""How far a sweep is, as its folder says: its results, and the claims of those who train it."""

from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from rnnlab.results import claims, trials
from rnnlab.results.claims import Claim
from rnnlab.results.records import FAILED, Trial
from rnnlab.results.tables import lines, new_table, render
from rnnlab.results.trials import Place, SweepRecord

STALE = 5  # claims that are told
UNITS = ('days', 86400), ('hours', 3600), ('minutes', 60), ('seconds', 1)


class State(NamedTuple):
    """The state of a sweep."""

    trials: int  # of the sweep
    finished: dict[Place, Trial]
    claims: list[Claim]  # the last one on each batch that has no result
    done: bool

    @property
    def rungs(self) -> list[int]:
        """Those that any trial has come to."""
        claimed = (trials.rung_of(claim.path) for claim in self.claims)
        return sorted({1, *(rung for rung, _ in self.finished), *claimed})

    @property
    def left(self) -> int:
        """Trials without a result."""
        return self.trials - len({number for _, number in self.finished})

    @property
    def seconds_left(self) -> float | None:
        """What the processes that train will need; None where that is unknown."""
        seconds = [t.summary.seconds for t in self.finished.values() if t.status != FAILED]
        working = sum(not claim.stale for claim in self.claims)
        known = seconds and working and self.rungs == [1]
        return self.left * fmean(seconds) / working if known else None

    def counts(self, rung: int) -> Counter[str]:
        """How many trials of a rung are done, failed, claimed or stale."""
        here = [trial for (at, _), trial in self.finished.items() if at == rung]
        counts = Counter('failed' if trial.status == FAILED else 'done' for trial in here)
        for claim in self.claims:
            if claim.record and trials.rung_of(claim.path) == rung:
                counts['stale' if claim.stale else 'claimed'] += len(claim.record['trials'])
        return counts


def read_state(folder: Path) -> State:
    """The state of the sweep in a folder; InputError where there is none."""
    record, ended = SweepRecord.read(folder), not (folder / claims.CLAIMS).exists()
    last = [every[-1] for every in claims.read(folder).values()]
    finished, _ = trials.read_rungs(folder, record.metrics)
    ours = {trials.wave_path(folder, *reversed(place)).stem for place in finished}
    unfinished = [claim for claim in last if claim.path.stem not in ours]
    done = ended and len({number for _, number in finished}) == record.trials
    return State(record.trials, finished, unfinished, done)


def describe(now: State) -> str:
    """The trials by their state, in a row for each rung; the time left; stale claims."""
    several = now.rungs != [1]
    columns = [*['rung'] * several, 'done', 'claimed', 'stale', 'failed', *['left'] * (not several)]
    table = new_table(*columns, right=tuple(columns))
    for rung in now.rungs:
        counts = now.counts(rung) | Counter(rung=rung, left=now.left)
        table.add_row(*(f'{counts[column]:,}' for column in columns))
    parts = [render(table)]
    if (seconds := now.seconds_left) is not None:
        parts.append(f'about {duration(seconds)} left')
    parts += [stale_line(claim) for claim in now.claims if claim.stale][:STALE]
    return '\n'.join(parts)


def duration(seconds: float) -> str:
    unit, size = next(u for u in UNITS if seconds >= 2 * u[1] or u[1] == 1)
    return f'{seconds / size:.0f} {unit}'


def stale_line(claim: Claim) -> str:
    """Whose claim it is, and how that ended."""
    own = claim.record
    where = f'process {own["process"]} on {own["host"]}' if own else 'a process'
    words = f'batch {claim.path.stem}, attempt {claim.attempt}: {where}'
    return lines(f'{words}, silent for {duration(claim.age)}: {claim.last_words}')
