"""--parameters: the hidden size whose model comes nearest below so many, so that cells of different kinds compare fairly."""

import json
from bisect import bisect_right
from collections.abc import Callable
from functools import cache

import jax

from experiments.runner.cli import FLAGS, set_defaults, sweepable
from experiments.runner.task import DYNAMIC, Experiment, make_hyper
from rnnlab.analysis.describe import count
from rnnlab.errors import InputError


def settle(experiment: Experiment) -> None:
    """Gives flags that are open their values, the hidden size too where --parameters asks for it; InputError for flags that do not go
    together. With --parameters this loads the data, whose width and vocabulary are part of the model."""
    experiment.settle()
    if FLAGS.parameters is None:
        return
    if FLAGS['hidden_size'].present:
        raise InputError(
            '--parameters chooses the hidden size; leave out --parameters or --hidden_size'
        )
    structure = {
        name: flag.value
        for name, flag in sweepable().items()
        if name not in DYNAMIC and name != 'hidden_size'
    }
    set_defaults({'hidden_size': chosen(experiment, json.dumps(structure))})


@cache
def chosen(experiment: Experiment, structure: str) -> int:
    """The hidden size for the flags as they are; `structure` is those that decide it, so that trials of one program ask but once."""
    hyper, data = make_hyper(), experiment.load()

    def parameters(hidden_size: int) -> int:
        set_defaults({'hidden_size': hidden_size})
        return count(jax.eval_shape(experiment.build(data, hyper).init, jax.random.key(0)))

    if size := largest(parameters, FLAGS.parameters):
        return size
    raise InputError(
        f'--parameters={FLAGS.parameters} is too few: with --cell={FLAGS.cell} a hidden size of 1 has {parameters(1):,}'
    )


def largest(parameters: Callable[[int], int], budget: int) -> int:
    """The largest size of which there are no more parameters than that, 0 if there is none; more size is taken to be more
    parameters, as it is but for an sru, which has fewer where D is H."""
    above = 1
    while parameters(above) <= budget:
        above *= 2
    return bisect_right(range(above), budget, lo=above // 2, key=parameters) - 1 if above > 1 else 0
