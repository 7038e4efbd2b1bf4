"""Records of runs and sweeps for tests."""

import itertools

from rnnlab.results.records import Metrics, Row, Summary, Trial
from rnnlab.training.losses import cross_entropy, squared_error

ACCURATE = Metrics.of(cross_entropy(), 'accuracy')
EXAMPLES = {'validation': 1000, 'test': 1000}
SQUARED = Metrics.of(squared_error(), 'loss')


def row(epoch, metrics=ACCURATE, **splits):
    """An evaluation of splits, of which all metrics have one value."""
    values = {split: {m.name: value for m in metrics.every} for split, value in splits.items()}
    time = {'seconds': 5.0 + 2.5 * epoch, 'grad_norm': 1.0}
    return Row(step=int(10 * epoch), epoch=float(epoch), splits=values, **time)


def summary(best, test, metrics=ACCURATE, **others):
    """The result of a run of which all metrics of a split have one value; None: no such split."""

    def values(value):
        return {} if value is None else {metric.name: value for metric in metrics.every}

    last = {'train': values(0.9)} | ({} if best is None else {'validation': values(best - 0.1)})
    sizes = {
        'examples': EXAMPLES,
        'kept_step': 20,
        'steps': 20,
        'parameters': 1234,
        'seconds': 9.5,
        'baseline': None,
    }
    return Summary(best=best, last=last, test=values(test), **sizes | others)


def trials(metrics=ACCURATE):
    """Trials of two cells, three learning rates and two seeds, of which number 3 diverged, and
    two evaluations of each."""
    results, curves = [], {}
    axes = itertools.product(('gru', 'lstm'), (0.001, 0.01, 0.1), (0, 1))
    for number, (cell, lr, seed) in enumerate(axes):
        value, diverged = 0.5 + 0.04 * number, number == 3
        names = [metric.name for metric in metrics.every]
        lost = Summary(
            best=None, last={}, test=dict.fromkeys(names), examples=EXAMPLES, baseline=None,
            kept_step=0, steps=20, parameters=1234, seconds=9.5,
        )  # fmt: skip
        settings = {'cell': cell, 'lr': lr, 'seed': seed}
        status = 'diverged' if diverged else 'finished'
        result = lost if diverged else summary(value, value - 0.1, metrics)
        results.append(Trial(number=number, settings=settings, status=status, summary=result))
        curves[number] = [row(n, metrics, train=value, validation=value / n) for n in (2, 1)]
    return results, curves
