"""What a run shows on the terminal: its progress, and the tables at its end."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rnnlab.data import Split
from rnnlab.models import Model
from rnnlab.tables import new_table, render

console = Console(highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress(stop: int, step: int) -> Iterator[Callable]:
    """A bar where there is a terminal, and a line for each evaluation, at most one a second between epochs."""
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, shown_at = bar.add_task('compiling', total=stop, completed=step), -math.inf

        def show(step: int, means: dict[str, float], row: dict[str, Any] | None = None) -> None:
            nonlocal shown_at
            bar.update(task, completed=step, description=f'loss {means["loss"]:.4f}  accuracy {means["accuracy"]:.4f}')
            now = time.perf_counter()
            if row and (row['epoch'] == int(row['epoch']) or step == stop or now - shown_at > 1):
                shown_at = now
                parts = [part for part in ('train', 'validation', 'test') if f'{part}_loss' in row]
                figures = '   '.join(f'{part} loss {row[f"{part}_loss"]:.4f} accuracy {row[f"{part}_accuracy"]:.4f}' for part in parts)
                console.print(f'epoch {row["epoch"]:5.2f}  step {step:6d}   {figures}   {row["seconds"]:.1f} s')

        yield show


def summary_table(summary: dict[str, Any]) -> str:
    columns = {'test accuracy': f'{summary["test_accuracy"]:.4f}', 'test loss': f'{summary["test_loss"]:.4f}'}
    if 'best_validation_accuracy' in summary:
        columns['validation: best'] = f'{summary["best_validation_accuracy"]:.4f}'
        columns['last'] = f'{summary["validation_accuracy"]:.4f}'
    if summary['kept_step'] != summary['steps']:
        columns['tested: step'] = f'{summary["kept_step"]:,}'
    columns |= {'parameters': f'{summary["parameters"]:,}', 'steps': f'{summary["steps"]:,}', 'seconds': f'{summary["wall_seconds"]:.1f}'}
    table = new_table(*columns, right=tuple(columns))
    table.add_row(*columns.values())
    return render(table)


def prediction_table(model: Model, params, test: Split) -> str:
    """The first ten test examples: what they are and what the model takes them for."""
    first = jax.tree.map(lambda leaf: leaf[:10], test)
    predicted = np.argmax(jax.jit(model.apply)(params, first.inputs, first.lengths), axis=-1)
    numbers = [str(number) for number in range(len(predicted))]
    table = new_table('test example', *numbers, right=tuple(numbers))
    table.add_row('label', *map(str, first.labels))
    table.add_row('predicted', *map(str, predicted))
    return render(table)
