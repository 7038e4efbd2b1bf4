"""Tasks that only a memory solves, generated from keys.

TASKS: name -> maker, (length) -> Task. LENGTHS: name -> default length.
"""

from collections.abc import Callable, Mapping
from inspect import signature

import jax
import numpy as np
from jax import Array

from rnnlab.data.dataset import Dataset, Split
from rnnlab.data.tasks import association, automata, memory
from rnnlab.data.tasks.task import Task

EXAMPLES_SEED = 4711  # of the validation and test sequences, the same for every run

MAKERS: tuple[Callable[..., Task], ...] = (
    memory.adding, memory.copy, memory.parity, memory.recall, memory.flipflop, memory.integrate,
    memory.delayed_match, automata.s3, automata.s5, automata.a5, automata.modular, automata.dyck,
    automata.counting, association.mqar, association.selective_copy, association.induction,
)  # fmt: skip
TASKS = {make.__name__: make for make in MAKERS}
LENGTHS = {name: signature(make).parameters['length'].default for name, make in TASKS.items()}


def memory_sequences(
    task: Task, validation: int, test: int, longer: Mapping[int, Task] | None = None
) -> Dataset:
    """Validation and test sequences, always the same; training generates its own (train is None).

    Args:
        validation, test: how many sequences; without validation (0) that split is None.
        longer: the same task with other lengths, for further test splits.
    """

    def split(task: Task, count: int, number: int) -> Split:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(EXAMPLES_SEED), number), count)
        return Split(*map(np.asarray, jax.jit(jax.vmap(task.sample))(keys)))

    return Dataset(
        train=None,
        validation=split(task, validation, 0) if validation else None,
        test=split(task, test, 1),
        tests={length: split(other, test, 1) for length, other in (longer or {}).items()},
        outputs=task.outputs,
        baseline=task.baseline,
    )


def of_lengths(task: Task, shortest: int) -> Callable[[Array], tuple[Array, Array, Array]]:
    """The task with sequences from `shortest` to `task.length` steps, drawn uniformly.

    Returns key -> (inputs, labels, time steps), padded to those of the longest.
    """
    number = (task.length - shortest) // task.spacing + 1

    def sample(key: Array) -> tuple[Array, Array, Array]:
        of_length, of_sequence = jax.random.split(key)
        drawn = jax.random.randint(of_length, (), 0, number)
        length = shortest + task.spacing * drawn
        inputs, labels = task.sample(of_sequence, length)
        return inputs, labels, length + len(inputs) - task.length

    return sample
