"""What a cell computes: equations with shapes, parameters, gates by step, gradients."""

import inspect
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import dropwhile, product, takewhile
from pathlib import Path

import jax
import numpy as np
from jax import Array

from experiments.inside.config import Config
from experiments.runner import model
from experiments.runner.console import console, drawing, say
from experiments.runner.fields import open_values
from rnnlab.analysis.describe import count, parameters, spans
from rnnlab.analysis.diagnostics import gradient_reach, trace
from rnnlab.cells import CELLS, Cell, Chain, Gated, find, reference
from rnnlab.cells.base import Arrays, Carry, Gates, Params
from rnnlab.errors import InputError
from rnnlab.recurrence import engines
from rnnlab.results import plots
from rnnlab.results.tables import new_table, render, width
from rnnlab.training import memory
from rnnlab.training.optim import Hyper

SIZES = 'hidden_size', 'inputs', 'time_steps', 'batch_size'
UNITS, STEPS = 8, 10  # of the first sequence, that are shown; all are compared
LAGS, SEQUENCES = 100, 32  # of the picture of gradients

Values = dict[str, np.ndarray]  # by name, [T, B, H]


def explain(config: Config) -> None:
    """Prints what the cell of a configuration computes on random inputs."""
    config = config.filled(open_values(Config))
    folder = Path(config.out or '.')
    hyper = Hyper(forget_bias=config.forget_bias, init_scale=config.init_scale)
    cell = model.make_cell(config, hyper)
    if isinstance(cell.form, Chain):
        words = f'explain shows one cell, and {config.cell} is made of several'
        raise InputError(f'{words}: name one of them')
    key = jax.random.key(config.seed)
    init = partial(cell.init, jax.random.fold_in(key, 0), config.inputs)
    shape = config.time_steps, config.batch_size, config.inputs
    arrays = memory.shapes(init), jax.ShapeDtypeStruct(shape, float)
    arrays += memory.shapes(partial(trace, cell), *arrays)
    what = ', '.join(f'`{size}={getattr(config, size)}`' for size in SIZES)
    memory.check(what, 2 * memory.size(arrays))  # a loop in float64 computes them too
    if config.plot:
        folder.mkdir(parents=True, exist_ok=True)
    params = init()
    xs = jax.random.normal(jax.random.fold_in(key, 1), shape)
    carries, ys, gates = jax.jit(lambda params, xs: trace(cell, params, xs))(params, xs)
    compare = by_reference if config.cell in reference.REFERENCES else by_step
    fields = carries._fields
    values = by_name(cell, fields, carries, gates, ys)
    expected = by_name(cell, fields, *compare(config, cell, params, xs))
    show_equations(config, cell)
    console.print(f'\nShapes\n\n{shapes_table(config, cell, params, xs, carries, gates, ys)}')
    console.print(f"\nParameters, each gate's part\n\n{parameters_table(config, cell, params)}")
    other = 'the NumPy loop in float64 (rnnlab/cells/reference.py)'
    if compare is by_step:
        other = 'a loop over its own step in float64'
    console.print()
    say(f'Values in {xs.dtype}, and how far {other} is from them')
    console.print(f'\n{values_table(config, values, expected)}\n')
    greatest = max(float(np.max(np.abs(values[name] - expected[name]))) for name in values)
    sizes = f'{config.batch_size} x {config.time_steps} steps, all units'
    say(f'greatest difference, {sizes}: {greatest:.1e}')
    if config.plot:
        draw(config, folder, hyper, key, values)


def show_equations(config: Config, cell: Cell) -> None:
    sizes = f'B = {config.batch_size}, D = {config.inputs}, H = {config.hidden_size}'
    words = f"Equations of {config.cell}: x [B, D] and carry [B, H], {sizes}; a prime is the step's"
    say(f'{words} result')
    console.print('\n' + '\n'.join(map(folded, equations(config))) + '\n')
    first, *others = engines(cell)
    also = f'; {", ".join(others)} can run it too' if others else ''
    dropout = 'yes' if cell.takes_mask else 'no, its step takes no mask'
    say(f'Engine: {first}{also}. Recurrent dropout: {dropout}.')


def equations(config: Config) -> Iterator[str]:
    """The equations in the docstring of the cell, the letters in their shapes replaced by numbers.

    They are its first indented lines. Of a docstring that ends with them nothing is left indented;
    then they are its second paragraph.
    """
    sizes = {'B': config.batch_size, 'D': config.inputs, 'H': config.hidden_size}

    def indented(line: str) -> bool:
        return line.startswith('    ')

    def number(match: re.Match) -> str:
        times, letter = match.groups()
        return f'{times} x {sizes[letter]}' if times else str(sizes[letter])

    def numbers(shape: re.Match) -> str:
        return re.sub(r'(\d*)([BDH])', number, shape[0])

    text = inspect.getdoc(find(config.cell)) or ''
    block = [*takewhile(indented, dropwhile(lambda line: not indented(line), text.splitlines()))]
    found = '\n'.join(block) or text.partition('\n\n')[2].partition('\n\n')[0]
    for line in textwrap.dedent(found).splitlines():
        yield '  ' + re.sub(r'\[[^]]*\]', numbers, line)


def folded(equation: str) -> str:
    """An equation with its shapes on their own line where the terminal is too narrow."""
    left, *right = re.split(r'(?<=\S) {2,}', equation, maxsplit=1)
    most = width()
    if most is None or len(equation) <= most or not right:
        return equation
    return f'{left}\n' + ' ' * (len(left) - len(left.lstrip()) + 4) + right[0]


def by_width(parts: Mapping[str, Array]) -> dict[int, list[str]]:
    widths: dict[int, list[str]] = {}
    for name, part in parts.items():
        widths.setdefault(part.shape[-1], []).append(name)
    return widths


def shapes_table(
    config: Config, cell: Cell, params: Params, xs: Array, carries: Carry, gates: Gates, ys: Array
) -> str:
    time_steps, batch, inputs = xs.shape
    hidden, outputs = config.hidden_size, ys.shape[-1]

    def letters(size: int) -> str:
        if size % hidden:
            return str(size)
        return 'H' if size == hidden else f'{size // hidden}H'

    def source_letters(source: str, size: int) -> str:
        return letters(size) if source == 'h' else 'D' if size == inputs else f'{size // inputs}D'

    def row(what: str, shape: Iterable[int], *words: str) -> None:
        table.add_row(what, str([*shape]), ', '.join(filter(None, words)))

    table = new_table('what', 'shape', 'letters')
    row('inputs, a sequence a row', (batch, time_steps, inputs), 'B, T, D')
    row('xs as unroll takes them, time first', xs.shape, 'T, B, D')
    row('x of one step', (batch, inputs), 'B, D')
    for name, leaf, sources, owned in parameters(cell, params, config.inputs):
        rows = '+'.join(source_letters(*source) for source in sources.items())
        columns = 'H' if len(owned) == 1 else f'{len(owned)}H' if owned else ''
        row(f'parameter {name}', leaf.shape, rows, columns)
    if isinstance(cell.form, Gated):
        affine = jax.eval_shape(cell.form.affine, params, cell.carry(params, (batch,)), xs[0])
        sums = jax.tree.leaves(affine)
        for number, leaf in enumerate(sums, 1):
            part = f'gates of one step ({number} of {len(sums)})'
            what = 'all gates of one step' if len(sums) == 1 else part
            row(f'{what}, before activation', leaf.shape, 'B', letters(leaf.shape[-1]))
    named = dict(zip(cell.gates, gates, strict=True))
    for what, parts in (('gate of one step', named), ('part of the carry', carries._asdict())):
        for size, names in by_width(parts).items():
            row(f'each {what}: {", ".join(names)}', (batch, size), 'B', letters(size))
    row('ys, the outputs of all steps', ys.shape, 'T, B', letters(outputs))
    row('outputs, a sequence a row', (batch, time_steps, outputs), 'B, T', letters(outputs))
    return render(table)


def parameters_table(config: Config, cell: Cell, params: Params) -> str:
    headings = 'reads', 'gate', 'slice', 'shape', 'count'
    footer = {'reads': 'total', 'count': f'{count(params):,}'}
    table = new_table(*headings, right=('count',), footer=footer)
    for name, leaf, sources, gates in parameters(cell, params, config.inputs):
        *outer, last = ((0, size) for size in leaf.shape)
        rows = [(source, [row]) for source, row in spans(sources)] or [('', outer)]
        for (source, row), (gate, column) in product(rows, spans(gates) or [('', last)]):
            ends = [*row, column]
            shape = [end - begin for begin, end in ends]
            where = ', '.join(f'{begin}:{end}' for begin, end in ends)
            table.add_row(source, gate, f'{name}[{where}]', str(shape), f'{math.prod(shape):,}')
    return render(table)


def by_reference(config: Config, cell: Cell, params: Params, xs: Array) -> tuple:
    """Carries, gates and ys, each [T, B, H], by the NumPy loop in float64."""

    def double(leaf: Arrays) -> np.ndarray:
        return np.asarray(leaf, np.result_type(leaf.dtype, np.float64))

    initial = map(double, cell.carry(params, ()))
    carry, params, inputs = [*initial], jax.tree.map(double, params), double(xs)
    batch = range(xs.shape[1])
    sequences = [reference.unroll(config.cell, params, inputs[:, b], *carry) for b in batch]
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *sequences)


def by_step(config: Config, cell: Cell, params: Params, xs: Array) -> tuple:
    """The same by the cell's own step, one after another in float64."""
    with jax.enable_x64(True):
        params, inputs = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, xs))
        carry, steps = cell.carry(params, xs.shape[1:-1]), []
        for x in inputs:
            gates = cell.values(params, carry, x) if cell.values else ()
            carry, y = cell.step(params, carry, x)
            steps.append((carry, gates, y))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *steps)


def by_name(cell: Cell, fields: Sequence[str], carries: Carry, gates: Gates, ys: Array) -> Values:
    """What is shown of every step: the gates, the new carry, and the output unless it is h'.

    A gate that is itself the new carry is left out; complex numbers are shown as both parts.
    """
    named = {name: gate for name, gate in zip(cell.gates, gates, strict=True) if name not in fields}
    named |= {f"{name}'": carry for name, carry in zip(fields, carries, strict=True)}
    if not np.array_equal(ys, named["h'"]):
        named['y'] = ys
    shown: Values = {}
    for name, leaf in named.items():
        value = np.asarray(leaf)
        both = {f'Re {name}': value.real, f'Im {name}': value.imag}
        shown |= both if np.iscomplexobj(value) else {name: value}
    return shown


def values_table(config: Config, values: Values, expected: Values) -> str:
    widest = max(value.shape[-1] for value in values.values())
    units, steps = min(UNITS, widest), min(STEPS, config.time_steps)
    headings = ['step', 'value', *(f'unit {unit}' for unit in range(units)), 'difference']
    table = new_table(*headings, right=tuple(headings[2:]))
    for t in range(steps):
        for number, name in enumerate(values):
            shown = [f'{value:+.4f}' for value in values[name][t, 0, :units]]
            shown += [''] * (units - len(shown))
            difference = f'{np.max(np.abs(values[name][t] - expected[name][t])):.0e}'
            ends = number == len(values) - 1
            step = '' if number else str(t)
            table.add_row(step, name, *shown, difference, end_section=ends)
    if (units, steps, config.batch_size) != (widest, config.time_steps, 1):
        sizes = f'{steps} of {config.time_steps} steps, {units} of {widest} units'
        sizes += f', 1 of {config.batch_size} sequences'
        words = 'the differences are the greatest of all units and sequences'
        table.caption = f'shown: {sizes}; {words}'
    return render(table)


def draw(config: Config, folder: Path, hyper: Hyper, key: Array, values: Values) -> None:
    """Draws the gates of the first sequence, and how far gradients reach beside other cells."""
    gates = folder / f'gates_{config.cell.replace(":", "_")}.png'
    reach = folder / 'gradient_reach.png'
    title = f'{config.cell}: hidden size {config.hidden_size}, random inputs'
    with drawing(gates):
        plots.gates({name: value[:, 0] for name, value in values.items()}, gates, title)
        console.print(f'drawn: {gates}')

    cells = {name: CELLS[name](config.hidden_size) for name in ('elman', 'lstm', 'gru')}
    cells |= {label(config): model.make_cell(config, hyper)}
    xs = jax.random.normal(jax.random.fold_in(key, 2), (LAGS, SEQUENCES, config.inputs))
    sizes = f'hidden size {config.hidden_size}, {config.inputs} inputs'
    words = f'{sizes}, mean of {SEQUENCES} random sequences'
    with drawing(reach):
        norms = {}
        for name, cell in cells.items():
            params = cell.init(jax.random.fold_in(key, 0), config.inputs)
            norms[name] = jax.jit(partial(gradient_reach, cell))(params, xs)
        plots.reach(norms, reach, f'How far a gradient reaches before training\n{words}')
        console.print(f'drawn: {reach}')


def label(config: Config) -> str:
    """The cell, with the options of its initializer."""
    options = {name: getattr(config, name) for name in ('init', 'forget_bias', 'chrono')}
    said = (f'{name}={value}' for name, value in options.items() if value is not None)
    return ' '.join([config.cell, *said])
