"""Records of runs and sweeps for tests."""

import itertools
import json
import random

from rnnlab.results.records import Metrics, Row, Summary, Trial
from rnnlab.training.losses import cross_entropy, squared_error

ACCURATE = Metrics.of(cross_entropy(), 'accuracy')
EXAMPLES = {'validation': 1000, 'test': 1000}
SQUARED = Metrics.of(squared_error(), 'loss')


OTHER = (None, True, -1, 0.5, 1e300, 10**400, 'x', [], [1], {}, {'x': []})


def damaged(text, number):
    """That many texts of JSON like this one, but for a value that is another or missing."""
    rng = random.Random(0)

    def parts(whole):
        keys = whole if isinstance(whole, dict) else range(isinstance(whole, list) and len(whole))
        for key in keys:
            yield from [(whole, key), *parts(whole[key])]

    for _ in range(number):
        whole = json.loads(text)
        at, key = rng.choice([*parts(whole)])
        if rng.random() < 0.2:
            del at[key]
        else:
            at[key] = rng.choice(OTHER)
        yield json.dumps(whole)


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
