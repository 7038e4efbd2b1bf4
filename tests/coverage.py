"""How often 95 % intervals of the mean of n values hold the true one, by method, and how wide they are: why rnnlab.analysis.statistics is as it is;
and how often one of ten settings that are all alike is called worse than that of them which happens to come out best.

python -m tests.coverage      (three minutes)
"""

import math
import warnings

import numpy as np
from scipy import stats

from rnnlab.analysis.statistics import interval, percentile_ends, resamples

SETS = 10_000  # of values: a share of them is known to within 0.01
SLOW_SETS = 1_000  # for scipy's BCa: to within 0.03
KINDS = {
    'normal': lambda rng, shape: rng.standard_normal(shape),
    'exponential': lambda rng, shape: rng.exponential(size=shape) - 1,
}


def percentile(values):
    return percentile_ends(np.sort(values))


def bca(values):
    return stats.bootstrap(
        (values,), np.mean, method='BCa', n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval


def bootstrap_t(values):
    """Studentised: quantiles of (resampled mean - mean) / its own standard error; endless where too many resamples have none."""
    shares, weights = resamples(len(values))
    n, mean, error = len(values), values.mean(), stats.sem(values)
    means = shares @ values
    errors = np.sqrt(np.maximum(shares @ values**2 - means**2, 0) / (n - 1))
    t = np.divide(
        means - mean, errors, out=np.sign(means - mean) * math.inf, where=shares.max(axis=1) < 1
    )

    def low(t):
        order = np.argsort(t)
        return t[order[np.searchsorted(np.cumsum(weights[order]), 0.025 * weights.sum())]]

    return mean + low(-t) * error, mean - low(t) * error


def student(values):
    return stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))


METHODS = {
    'percentile': percentile,
    'BCa': bca,
    'bootstrap-t': bootstrap_t,
    "Student's t": student,
    'rnnlab.analysis.statistics': interval,
}


def called_worse(n, settings=10, sweeps=1_000):
    count = 0
    for figures in np.random.default_rng(n).standard_normal((sweeps, settings, n)):
        best = figures.mean(axis=1).argmax()
        count += sum(
            interval(own).high < 0 for own in np.delete(figures, best, axis=0) - figures[best]
        )
    return count / (sweeps * (settings - 1))


def main() -> None:
    warnings.simplefilter('ignore')  # of BCa where all resamples are equal
    for kind, draw in KINDS.items():
        for n in (3, 5, 10):
            for name, method in METHODS.items():
                values = draw(np.random.default_rng(n), (SLOW_SETS if method is bca else SETS, n))
                low, high = np.array([method(own) for own in values]).T
                held = np.mean((low <= 0) & (high >= 0))
                print(
                    f'{kind:12} n = {n:2}  {name:17} holds it {held:.3f}  width {np.mean(high - low):.2f}',
                    flush=True,
                )
    for n in (3, 5, 10):
        print(f'of ten settings alike, n = {n:2}: called worse {called_worse(n):.3f}', flush=True)


if __name__ == '__main__':
    main()
