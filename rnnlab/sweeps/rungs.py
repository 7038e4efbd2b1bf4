"""Successive halving (Jamieson and Talwalkar 2016): where lanes stop, and how many continue."""

from rnnlab.errors import InputError


def rung_steps(rungs: int, eta: int, steps: int, every: int) -> list[int]:
    """The last step of each rung: `steps`, and before it `eta` times fewer for each rung.

    Rounded down to a multiple of `every`, the steps between evaluations. Raises InputError where
    the first rung ends before the first evaluation.
    """
    ends = [steps // (eta**rung * every) * every for rung in range(rungs - 1, 0, -1)]
    if ends and not ends[0]:
        first = steps / eta ** (rungs - 1)
        words = f'`rungs={rungs}`: the first rung ends at step {first:.4g} of {steps}, before the'
        raise InputError(
            f'{words} first evaluation at step {every}; take fewer rungs, or a lower `eval_every`'
        )
    return [*ends, steps]


def survivors(count: int, eta: int, rungs: int) -> list[int]:
    """How many of `count` settings are in each rung; InputError where none is left."""
    left = [count // eta**rung for rung in range(rungs)]
    if not left[-1]:
        words = f'`rungs={rungs}` with `eta={eta}` needs {eta ** (rungs - 1)} settings'
        raise InputError(f'{words} or more, not {count} (the seeds of one are together)')
    return left
