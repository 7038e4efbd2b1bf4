"""The results of lanes: the rows of metrics.jsonl, the tests, and the summaries."""

import math
from typing import NamedTuple, SupportsFloat

import numpy as np

from experiments.runner.loop import Progress
from rnnlab.analysis.describe import count
from rnnlab.results.records import SPLITS, Row, Summary, Values


def running_best(progress: Progress) -> np.ndarray | None:
    """The best value of the selection metric in each lane, NaN where it diverged.

    None before the first evaluation.
    """
    if not (number := progress.evaluations):
        return None
    metric, history = progress.program.plan.metrics.selection, progress.history
    split = progress.program.plan.config.eval_split
    values = history[split if split in history else 'train'][metric.name][:number]
    best = metric.score(np.max(metric.score(values), axis=0))
    return np.where(progress.state.finite, best, np.nan)[: progress.trials]


def rows(progress: Progress, lane: int, begin: int = 0) -> list[Row]:
    """The evaluations of a lane, up to its last step; of so many the later ones."""
    history, plan = progress.history, progress.program.plan
    number = int(np.sum(history['finite'][: progress.evaluations, lane]))

    def row(at: int) -> Row:
        step = min((at + 1) * plan.every, plan.steps)

        def values(split: str) -> Values:
            names = (metric.name for metric in plan.metrics.every)
            return {name: finite(history[split][name][at, lane]) for name in names}

        def gradients() -> dict[str, list[float | None]]:
            norms = history['gradients'].items()
            # four digits, since there are as many as time steps
            return {name: [finite(f'{v:.4g}') for v in values[at, lane]] for name, values in norms}

        return Row(
            step=step,
            epoch=plan.epoch(step),
            splits={split: values(split) for split in SPLITS if split in history},
            grad_norm=finite(history['grad_norm'][at, lane]),
            gradients=gradients() if 'gradients' in history else None,
            seconds=round(float(history['seconds'][at, lane]), 3),
        )

    return [row(at) for at in range(begin, number)]


def finite(value: SupportsFloat | str) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


class Tested(NamedTuple):
    """The metrics of the kept parameters of a lane."""

    test: Values  # on the test split; none without one
    tests: dict[int, Values]  # on the further ones, by length

    @property
    def finite(self) -> bool:
        """Whether the test is; what is longer than in training may overflow."""
        return all(value is not None for value in self.test.values())

    def lost(self) -> 'Tested':
        """What a diverged lane has."""
        return Tested(
            dict.fromkeys(self.test), {n: dict.fromkeys(own) for n, own in self.tests.items()}
        )


def tested(progress: Progress) -> list[Tested]:
    """The tests of each lane."""
    program, params = progress.program, progress.params()
    test = program.test(params, program.test_split) if program.test else {}
    tests = {n: own(params, program.test_splits[n]) for n, own in program.tests.items()}

    def of(values: dict[str, np.ndarray], lane: int) -> Values:
        return {name: finite(every[lane]) for name, every in values.items()}

    return [
        Tested(of(test, lane), {n: of(values, lane) for n, values in tests.items()})
        for lane in range(progress.trials)
    ]


def summarise(progress: Progress, lane: int, rows: list[Row], tested: Tested) -> Summary:
    """The result of a lane, from its evaluations and its test."""
    plan, best = progress.program.plan, progress.best
    metric = plan.metrics.selection
    validated = [row.splits.get('validation', {}).get(metric.name) for row in rows]
    values = [value for value in validated if value is not None]
    last = rows[-1].splits if rows else {}
    examples = {'validation': plan.window} if validated else {}
    examples |= {'test': len(plan.data.test.labels)} if plan.data.test else {}
    state = progress.state
    impatient = state.stopped is not None and bool(state.stopped[lane])
    ended = int(state.taken[lane]) if impatient else progress.stop
    return Summary(
        best=max(values, key=metric.score, default=None),
        last={name: last[name] for name in ('train', 'validation') if name in last},
        test=tested.test,
        tests=tested.tests,
        examples=examples,
        kept_step=int((best.step if best else progress.state.taken)[lane]),
        stopped_at=ended if ended < plan.steps else None,
        baseline=plan.data.baseline,
        parameters=count(progress.state.params) // progress.program.lanes,
        steps=plan.steps,
        seconds=round(progress.seconds / progress.trials, 3),
    )
