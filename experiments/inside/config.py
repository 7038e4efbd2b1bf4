"""The flags of explain."""

from dataclasses import dataclass
from typing import ClassVar

import experiments.runner.config as groups
from experiments.runner.fields import operational
from experiments.runner.training import Seed


@dataclass(frozen=True, kw_only=True)
class Config(groups.OneCell, Seed, groups.DataDir):
    OPEN: ClassVar = {'hidden_size': 4}

    out: str | None = operational(
        None,
        'Folder of the pictures; by default the current one, with --run its folder explain.',
        path=True,
    )
    inputs: int = operational(3, 'Features of a time step.', low=1)
    time_steps: int = operational(5, 'Time steps of a sequence.', low=1)
    batch_size: int = operational(1, 'Sequences.', low=1)
    plot: bool = operational(
        False, 'Draw the gates over time, and how far a gradient reaches back.'
    )
    run: str | None = operational(None, 'Explain a trained run, on its data.', path=True)
    html: bool = operational(
        False, 'Write the coloured words of a review as a page too.', needs=('run', ())
    )
    example: str = operational(
        '0', 'Number of a test example; of imdb also the text of a review.', needs=('run', ())
    )
    fixed_points: bool = operational(
        False, 'Find the fixed and slow points of the first layer.', needs=('run', ())
    )
    lyapunov: bool = operational(
        False, 'Compute the Lyapunov exponents of the first layer.', needs=('run', ())
    )
