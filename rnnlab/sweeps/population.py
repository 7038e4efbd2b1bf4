"""Population based training (Jaderberg et al. 2017): who copies whom, and what then changes."""

from collections.abc import Collection, Sequence

import numpy as np

from rnnlab.sweeps.axes import Drawn, Settings, number

FEWEST = 4  # members of a population
FACTORS = (0.8, 1.2)


def copies(
    ranked: Sequence[int], alive: Collection[int], lost: Collection[int], seed: int, rung: int
) -> dict[int, int]:
    """For each of the worst quarter, and of those whose state is lost, one of the best.

    ranked: the members from the best to the worst, of which those alive can be copied.
    """
    quarter = len(ranked) // FEWEST
    best = [member for member in ranked if member in alive][:quarter]
    worst = dict.fromkeys([*ranked[len(ranked) - quarter :], *lost]) if best else ()
    return {member: best[draw(seed, rung, member).integers(len(best))] for member in worst}


def perturbed(
    axes: Sequence[Drawn], settings: Settings, seed: int, rung: int, member: int
) -> Settings:
    """The settings of the axes, each times 0.8 or 1.2 within its range; of a choice any value."""
    rng = draw(seed, rung, member, 1)

    def near(axis: Drawn) -> str:
        if axis.scale == 'choice':
            return axis.values[rng.integers(len(axis.values))]
        value = float(settings[axis.name]) * FACTORS[rng.integers(len(FACTORS))]
        return number(min(max(value, axis.low), axis.high))

    return {axis.name: near(axis) for axis in axes}


def draw(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)
