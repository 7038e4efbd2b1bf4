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

TASKS: dict[str, Callable[..., Task]] = {
    'adding': memory.adding,
    'copy': memory.copy,
    'parity': memory.parity,
    'recall': memory.recall,
    'flipflop': memory.flipflop,
    'integrate': memory.integrate,
    'delayed_match': memory.delayed_match,
    's3': automata.s3,
    's5': automata.s5,
    'a5': automata.a5,
    'modular': automata.modular,
    'dyck': automata.dyck,
    'counting': automata.counting,
    'mqar': association.mqar,
    'selective_copy': association.selective_copy,
    'induction': association.induction,
}
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
