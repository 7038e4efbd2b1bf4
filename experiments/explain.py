"""What a cell does: its equations with their shapes, its parameters, its gates step by step, how far a gradient reaches.

python -m experiments.explain --cell=lstm --hidden_size=4 --inputs=3 --time_steps=5
python -m experiments.explain --cell=gru --plot
"""

import inspect
import math
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile, product, takewhile
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

import experiments.runner.config as groups
from experiments.runner import cli, model
from experiments.runner.console import console
from experiments.runner.fields import open_values, operational
from rnnlab.analysis.describe import count, parameters, spans
from rnnlab.analysis.diagnostics import gradient_reach, trace
from rnnlab.cells import CELLS, Cell, Chain, Gated, find, reference
from rnnlab.errors import InputError
from rnnlab.recurrence import engines
from rnnlab.results import plots
from rnnlab.results.tables import new_table, render
from rnnlab.training.optim import Hyper


@dataclass(frozen=True, kw_only=True)
class Config(groups.OneCell, groups.Seed):
    OPEN: ClassVar = {'hidden_size': 4}

    out: str = operational('.', 'Folder of the pictures.')
    inputs: int = operational(3, 'Features of a time step.', low=1)
    time_steps: int = operational(5, 'Time steps of a sequence.', low=1)
    batch_size: int = operational(1, 'Sequences.', low=1)
    plot: bool = operational(
        False, 'Draw the gates over time, and how far a gradient reaches back.'
    )


UNITS, STEPS = 8, 10  # of the first sequence, that are shown; all are compared
LAGS, SEQUENCES = 100, 32  # of the picture of gradients


def main(config: Config) -> None:
    config = config.filled(open_values(Config))
    folder = Path(config.out)
    if config.plot:
        folder.mkdir(parents=True, exist_ok=True)
    hyper = Hyper(forget_bias=config.forget_bias, init_scale=config.init_scale)
    cell = model.make_cell(config, hyper)
    if isinstance(cell.form, Chain):
        raise InputError(
            f'explain shows one cell, and {config.cell} is made of several: name one of them'
        )
    key = jax.random.key(config.seed)
    params = cell.init(jax.random.fold_in(key, 0), config.inputs)
    xs = jax.random.normal(
        jax.random.fold_in(key, 1), (config.time_steps, config.batch_size, config.inputs)
    )
    carries, ys, gates = jax.jit(lambda params, xs: trace(cell, params, xs))(params, xs)
    compare = by_reference if config.cell in reference.REFERENCES else by_step
    values, expected = (
        by_name(cell, carries._fields, *these)
        for these in ((carries, gates, ys), compare(config, cell, params, xs))
    )

    sizes = f'B = {config.batch_size}, D = {config.inputs}, H = {config.hidden_size}'
    console.print(
        f"Equations of {config.cell}: x [B, D] and carry [B, H], {sizes}; a prime is the step's result\n"
    )
    console.print('\n'.join(equations(config)))
    first, *others = engines(cell)
    also = f'; {", ".join(others)} can run it too' if others else ''
    console.print(
        f'\nEngine: {first}{also}. Recurrent dropout: {"yes" if cell.takes_mask else "no, its step takes no mask"}.'
    )
    console.print(f'\nShapes\n\n{shapes_table(config, cell, params, xs, carries, gates, ys)}')
    console.print(f"\nParameters, each gate's part\n\n{parameters_table(config, cell, params)}")
    other = (
        'the NumPy loop in float64 (rnnlab/cells/reference.py)'
        if compare is by_reference
        else 'a loop over its own step in float64'
    )
    console.print(f'\nValues in {xs.dtype}, and how far {other} is from them')
    console.print(f'\n{values_table(config, values, expected)}')
    greatest = max(float(np.max(np.abs(values[name] - expected[name]))) for name in values)
    console.print(
        f'\ngreatest difference, {config.batch_size} x {config.time_steps} steps, all units: {greatest:.1e}'
    )
    if config.plot:
        draw(config, folder, hyper, key, values)


def equations(config: Config) -> Iterator[str]:
    """The first indented lines of the docstring of the cell, the letters in their shapes replaced by numbers.

    Of a docstring that ends with them nothing is left indented; then they are its second paragraph.
    """
    sizes = {'B': config.batch_size, 'D': config.inputs, 'H': config.hidden_size}

    def indented(line):
        return line.startswith('    ')

    def number(match):
        times, letter = match.groups()
        return f'{times} x {sizes[letter]}' if times else str(sizes[letter])

    text = inspect.getdoc(find(config.cell)) or ''
    block = [*takewhile(indented, dropwhile(lambda line: not indented(line), text.splitlines()))]
    for line in textwrap.dedent(
        '\n'.join(block) or text.partition('\n\n')[2].partition('\n\n')[0]
    ).splitlines():
        yield '  ' + re.sub(
            r'\[[^]]*\]', lambda shape: re.sub(r'(\d*)([BDH])', number, shape[0]), line
        )


def by_width(parts: dict[str, np.ndarray]) -> dict[int, list[str]]:
    widths: dict[int, list[str]] = {}
    for name, part in parts.items():
        widths.setdefault(part.shape[-1], []).append(name)
    return widths


def shapes_table(config: Config, cell: Cell, params, xs, carries, gates, ys) -> str:
    time_steps, batch, inputs = xs.shape
    hidden = config.hidden_size

    def letters(columns):
        return (
            'H'
            if columns == hidden
            else f'{columns // hidden}H'
            if columns % hidden == 0
            else str(columns)
        )

    table = new_table('what', 'shape', 'letters')
    table.add_row('inputs, a sequence a row', str([batch, time_steps, inputs]), 'B, T, D')
    table.add_row('xs as unroll takes them, time first', str([*xs.shape]), 'T, B, D')
    table.add_row('x of one step', str([batch, inputs]), 'B, D')
    for name, leaf, sources, owned in parameters(cell, params, config.inputs):
        rows = '+'.join(
            letters(size) if source == 'h' else 'D' if size == inputs else f'{size // inputs}D'
            for source, size in sources.items()
        )
        columns = f'{len(owned)}H' if len(owned) > 1 else 'H' if owned else ''
        table.add_row(
            f'parameter {name}', str([*leaf.shape]), ', '.join(filter(None, [rows, columns]))
        )
    if isinstance(cell.form, Gated):
        sums = jax.tree.leaves(
            jax.eval_shape(cell.form.affine, params, cell.carry(params, (batch,)), xs[0])
        )
        for number, leaf in enumerate(sums, 1):
            what = (
                'all gates of one step'
                if len(sums) == 1
                else f'gates of one step ({number} of {len(sums)})'
            )
            table.add_row(
                f'{what}, before activation', str([*leaf.shape]), f'B, {letters(leaf.shape[-1])}'
            )
    for what, parts in (
        ('gate of one step', dict(zip(cell.gates, gates, strict=True))),
        ('part of the carry', carries._asdict()),
    ):
        for width, names in by_width(parts).items():
            table.add_row(
                f'each {what}: {", ".join(names)}', str([batch, width]), f'B, {letters(width)}'
            )
    table.add_row(
        'ys, the outputs of all steps', str([*ys.shape]), f'T, B, {letters(ys.shape[-1])}'
    )
    table.add_row(
        'outputs, a sequence a row',
        str([batch, time_steps, ys.shape[-1]]),
        f'B, T, {letters(ys.shape[-1])}',
    )
    return render(table)


def parameters_table(config: Config, cell: Cell, params) -> str:
    headings, footer = (
        ('reads', 'gate', 'slice', 'shape', 'count'),
        {'reads': 'total', 'count': f'{count(params):,}'},
    )
    table = new_table(*headings, right=('count',), footer=footer)
    for name, leaf, sources, gates in parameters(cell, params, config.inputs):
        rows: list[tuple[str, list[tuple[int, int]]]] = [
            (source, [row]) for source, row in spans(sources)
        ]
        whole = [(0, size) for size in leaf.shape]
        for (source, row), (gate, column) in product(
            rows or [('', whole[:-1])], spans(gates) or [('', whole[-1])]
        ):
            ends = [*row, column]
            shape = [end - begin for begin, end in ends]
            where = ', '.join(f'{begin}:{end}' for begin, end in ends)
            table.add_row(source, gate, f'{name}[{where}]', str(shape), f'{math.prod(shape):,}')
    return render(table)


def by_reference(config: Config, cell: Cell, params, xs) -> tuple:
    """Carries, gates and ys, each [T, B, H], by the NumPy loop in float64."""
    start = [
        np.asarray(leaf, np.result_type(leaf.dtype, np.float64)) for leaf in cell.carry(params, ())
    ]
    params, xs = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, xs))
    sequences = [
        reference.unroll(config.cell, params, xs[:, b], *start) for b in range(xs.shape[1])
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *sequences)


def by_step(config: Config, cell: Cell, params, xs) -> tuple:
    """The same by the cell's own step, one after another in float64."""
    with jax.enable_x64(True):
        params, xs = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, xs))
        carry, steps = cell.carry(params, xs.shape[1:-1]), []
        for x in xs:
            gates = cell.values(params, carry, x) if cell.values else ()
            carry, y = cell.step(params, carry, x)
            steps.append((carry, gates, y))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *steps)


def by_name(cell: Cell, fields: tuple[str, ...], carries, gates, ys) -> dict[str, np.ndarray]:
    """What is shown of every step: gates (but for one that is the new carry itself), the new carry, and the output where it is not h';
    of complex numbers both parts."""
    named = {name: gate for name, gate in zip(cell.gates, gates, strict=True) if name not in fields}
    named |= {f"{name}'": carry for name, carry in zip(fields, carries, strict=True)}
    if not np.array_equal(ys, named["h'"]):
        named['y'] = ys
    shown: dict[str, np.ndarray] = {}
    for name, value in named.items():
        value = np.asarray(value)
        shown |= (
            {f'Re {name}': value.real, f'Im {name}': value.imag}
            if np.iscomplexobj(value)
            else {name: value}
        )
    return shown


def values_table(config: Config, values, expected) -> str:
    widest = max(value.shape[-1] for value in values.values())
    units, steps = min(UNITS, widest), min(STEPS, config.time_steps)
    headings = ['step', 'value', *(f'unit {unit}' for unit in range(units)), 'difference']
    table = new_table(*headings, right=tuple(headings[2:]))
    for t in range(steps):
        for number, name in enumerate(values):
            shown = [f'{value:+.4f}' for value in np.asarray(values[name][t, 0, :units])]
            shown += [''] * (units - len(shown))
            difference = np.max(np.abs(values[name][t] - expected[name][t]))
            table.add_row(
                str(t) if number == 0 else '',
                name,
                *shown,
                f'{difference:.0e}',
                end_section=number == len(values) - 1,
            )
    if (units, steps, config.batch_size) != (widest, config.time_steps, 1):
        sizes = f'{steps} of {config.time_steps} steps, {units} of {widest} units, 1 of {config.batch_size} sequences'
        table.caption = (
            f'shown: {sizes}; the differences are the greatest of all units and sequences'
        )
    return render(table)


def draw(config: Config, folder: Path, hyper: Hyper, key, values) -> None:
    """The gates of the first sequence over time, and how far gradients reach in this cell beside the three classic ones."""
    gates, reach = (
        folder / f'gates_{config.cell.replace(":", "_")}.png',
        folder / 'gradient_reach.png',
    )
    title = f'{config.cell}: hidden size {config.hidden_size}, random inputs'
    plots.gates({name: np.asarray(value[:, 0]) for name, value in values.items()}, gates, title)

    cells = {name: CELLS[name](config.hidden_size) for name in ('elman', 'lstm', 'gru')} | {
        label(config): model.make_cell(config, hyper)
    }
    xs = jax.random.normal(jax.random.fold_in(key, 2), (LAGS, SEQUENCES, config.inputs))
    norms = {}
    for name, cell in cells.items():
        params = cell.init(jax.random.fold_in(key, 0), config.inputs)
        norms[name] = jax.jit(lambda params, xs, cell=cell: gradient_reach(cell, params, xs))(
            params, xs
        )
    sizes = f'hidden size {config.hidden_size}, {config.inputs} inputs, mean of {SEQUENCES} random sequences'
    plots.reach(norms, reach, f'How far a gradient reaches before training\n{sizes}')
    console.print(f'drawn: {gates} and {reach}')


def label(config: Config) -> str:
    """The cell, with what the flags say of its start."""
    said = [
        f'{name}={getattr(config, name)}'
        for name in ('init', 'forget_bias', 'chrono')
        if getattr(config, name) is not None
    ]
    return ' '.join([config.cell, *said])


if __name__ == '__main__':
    cli.run(Config, main)
