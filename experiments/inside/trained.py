"""What a trained run computes on its data: gates, carries and gradients over time.

Shapes: B examples, T time steps.
"""

import importlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.inside import attractors, reviews
from experiments.inside.cell import Values, by_name
from experiments.inside.config import Config
from experiments.inside.part import Part
from experiments.runner import machine
from experiments.runner.config import Layers
from experiments.runner.console import console, drawing, say
from experiments.runner.fields import specs
from experiments.runner.restore import EXPERIMENTS, recall, restore_params
from experiments.runner.task import Plan, forget, make_plan
from rnnlab.analysis.diagnostics import gradient_reach
from rnnlab.cells import Chain
from rnnlab.cells.base import Carry, Params
from rnnlab.data import Split
from rnnlab.errors import InputError
from rnnlab.models import embed
from rnnlab.results import plots, runs
from rnnlab.results.tables import new_table, number, render
from rnnlab.training.gradients import carry_gradients, norm_by_step
from rnnlab.training.optim import Hyper
from rnnlab.training.train import PARAMS

STEPS, EXAMPLES, LAGS = 1000, 200, 100  # at most so many steps, examples and lags are looked at
OWN = (  # with --run
    'run', 'out', 'html', 'example', 'fixed_points', 'lyapunov', 'data_dir', 'seed',
)  # fmt: skip


def explain(config: Config) -> None:
    """Prints and draws what the run in --run computes."""
    if others := sorted(config.given & specs(Config).keys() - {*OWN}):
        raise InputError(f'--{others[0]} goes without --run, which has its own cell and data')
    forget()
    plan, own, folder = restored_plan(config)
    if config.html and plan.task.name != 'imdb':
        words = f'--html colours the words of a review; {folder} is a run of {plan.task.name}'
        raise InputError(words)
    with machine.precision(own):
        params = jax.tree.map(jnp.asarray, restore_params(folder, plan.params))
        first = jax.jit(plan.model.init)(jax.random.fold_in(jax.random.key(own.seed), PARAMS))
        one, label, name = example(config, plan)
        out = Path(config.out or folder / 'explain')
        out.mkdir(parents=True, exist_ok=True)
        size = f'{own.layers} x {own.cell}, {own.hidden_size} units'
        say(f'{folder}: {plan.task.name}, {size}')
        some = several(plan)
        before, after = (parts_of(plan, p, some) for p in (first, params))
        console.print(f'\n{saturation_table(before, after)}\n')
        show_example(plan, params, one, label, name, out)
        draw_reach(before[0], after[0], out, f'{own.cell}, {own.hidden_size} units')
        if plan.task.name == 'imdb':
            reviews.show(plan, params, one, name, out, config.html)
        if config.fixed_points:
            attractors.show_points(after[0], out, config.seed, plan.task.name)
        if config.lyapunov:
            attractors.show_exponents(before[0], after[0], out, plan.task.name)


def restored_plan(config: Config) -> tuple[Plan, Layers, Path]:
    """The plan, configuration and folder of the run; InputError for what cannot be explained."""
    folder = Path(config.run or '')
    name = runs.read_json(folder / runs.CONFIG).get('experiment')
    if name not in EXPERIMENTS:
        raise InputError(f'{folder} holds no run that can be explained, but one of {name}')
    module = importlib.import_module(f'experiments.{name}')
    given: dict[str, str | None] = {'out': config.run}
    if 'data_dir' in specs(module.Config):
        given['data_dir'] = config.data_dir
    folder, own = recall(name, module.Config(**given), '--run=DIR')
    if not own.layers:
        raise InputError(f'the run in {folder} has no recurrent layer to explain')
    if others := own.changed('zoneout', 'zoneout_cell', 'block'):
        raise InputError(f'the run in {folder} has --{others[0]}, which explain does not show')
    plan = make_plan(module.TASK, own)
    cells = (cell for layer in plan.model.layers.values() for cell in layer.cells.values())
    if any(isinstance(cell.form, Chain) for cell in cells):
        raise InputError(f'explain shows single cells, and {own.cell} is made of several')
    return plan, own, folder


def split_of(plan: Plan) -> tuple[str, Split]:
    """The examples that are explained: those of the test split, else of validation."""
    split = plan.data.test or plan.held_out
    if split is None:
        raise InputError('this run has no test or validation examples to explain')
    return ('test' if plan.data.test else 'validation'), split


def example(config: Config, plan: Plan) -> tuple[Split, int | None, str]:
    """(one example without padding [1, T, ...], its class or None, its name)."""
    name, split = split_of(plan)
    text = config.example
    if not text.isdecimal():
        if plan.task.name != 'imdb':
            raise InputError(f'--example={text} should be the number of a {name} example')
        return reviews.encoded(plan, text), None, 'text'
    at = int(text)
    if at >= len(split.labels):
        words = f'--example={at}: there are {len(split.labels)} {name} examples'
        raise InputError(f'{words}, numbered from 0')
    inputs, labels = (np.asarray(leaf[at : at + 1]) for leaf in split[:2])
    of_steps = labels.shape[1:2] == inputs.shape[1:2]  # a label at each step
    length = inputs.shape[1] if split.lengths is None else int(split.lengths[at])
    if length > STEPS:
        say(f'shown: the last {STEPS} of {length:,} steps')
    shown = slice(max(0, length - STEPS), length)
    inputs, labels = inputs[:, shown], labels[:, shown] if of_steps else labels
    return Split(inputs, labels), int(labels[0]) if labels.ndim == 1 else None, text


def several(plan: Plan) -> Split:
    """The first examples, at most STEPS steps of each."""
    _, split = split_of(plan)
    inputs, lengths = split.inputs[:EXAMPLES, -STEPS:], split.lengths
    if lengths is not None:
        inputs, lengths = split.inputs[:EXAMPLES, :STEPS], np.minimum(lengths[:EXAMPLES], STEPS)
    return Split(np.asarray(inputs), None, lengths)  # type: ignore[arg-type]


def parts_of(plan: Plan, params: Params, some: Split) -> list[Part]:
    """The cells of the network, the lowest first, with what they read."""
    net, parts = plan.model, []
    xs = jax.jit(partial(embed, net))(params, some.inputs)
    for name, layer in net.layers.items():
        for part, cell in layer.cells.items():
            backward = part == 'backward'
            whole = f'{name}.{part}' if len(layer.cells) > 1 else name
            read = xs[::-1] if backward else xs
            parts.append(Part(whole, cell, params[name][part], read, some.lengths, backward))
        xs = jax.jit(layer.apply)(params[name], xs)[1]
    return parts


def saturation_table(before: list[Part], after: list[Part]) -> str:
    """Fractions of the values of each gate near the ends of its range, before and after training
    (Karpathy, Johnson, Fei-Fei 2016)."""
    headings = 'near its lower end: before', 'lower: after', 'near its upper end: before'
    columns = *headings, 'upper: after'
    table = new_table('cell', 'gate', 'range', *columns, right=columns)
    for old, new in zip(before, after, strict=True):
        gates = [part.trace()[2] for part in (old, new)]
        for name, *values in zip(new.cell.gates, *gates, strict=True):
            of_step = [np.asarray(v)[new.valid].real for v in values]
            low = -1 if min(v.min() for v in of_step) < 0 else 0
            ends = [[np.mean(v < low + 0.1), np.mean(v > 0.9)] for v in of_step]
            shown = [f'{ends[when][end]:.1%}' for end in range(2) for when in range(2)]
            table.add_row(new.name, name, f'{low} to 1', *shown)
    table.caption = 'gates of the first test examples: within 0.1 of an end of their range'
    return render(table)


def show_example(
    plan: Plan, params: Params, one: Split, label: int | None, name: str, out: Path
) -> None:
    """Prints the answer to an example; draws gates, carries and gradients of each cell."""
    net, loss = plan.model, plan.task.loss(plan.config)(Hyper())
    outputs = jax.jit(net.apply)(params, one.inputs)
    labels = one.labels
    if labels is None:
        labels = np.argmax(outputs, axis=-1).astype(np.int32)

    def total(perturbation: Carry) -> Array:
        made = net.run(params, one.inputs, perturbation=perturbation)[1]
        mask = jnp.ones(made.shape[:-1], bool)
        metrics, count = loss.sums(made, jnp.asarray(labels), mask)
        return metrics['loss'] / jnp.maximum(count, 1).astype(metrics['loss'].dtype)

    steps = one.inputs.shape[1]
    gradients = jax.jit(lambda p: carry_gradients(total, net, p, 1, steps))(params)
    zeros = jax.tree.map(jnp.zeros_like, gradients)
    words = f'example {name}: {steps} steps, loss {number(float(jax.jit(total)(zeros)))}'
    if outputs.ndim == 2 and outputs.shape[-1] > 1:
        chances = np.asarray(jax.nn.softmax(outputs[0]))
        best = int(chances.argmax())
        names = plan.data.classes or [f'class {at}' for at in range(len(chances))]
        words += f', {names[best]} with probability {chances[best]:.4f}'
        words += '' if label is None else f', labelled {names[label]}'
    say(words)
    for part in parts_of(plan, params, one):
        carries, ys, gates = part.trace()
        values = by_name(part.cell, carries._fields, carries, gates, ys)
        flipped: Values = {n: v[::-1] if part.backward else v for n, v in values.items()}
        layer, _, direction = part.name.partition('.')
        own = gradients[layer][direction == 'backward'] if direction else gradients[layer]
        norms = {field: np.asarray(norm_by_step(leaf)) for field, leaf in own._asdict().items()}
        path = out / f'example_{name}_{part.name}.png'
        title = f'{plan.task.name}, {part.name}: {words}'
        with drawing(path):
            plots.gates({n: v[:, 0] for n, v in flipped.items()}, path, title, norms)
            console.print(f'drawn: {path}')


def draw_reach(before: Part, after: Part, out: Path, what: str) -> None:
    """Draws how far gradients reach in the lowest layer, before and after training."""
    norms = {}
    for name, part in (('before training', before), ('after training', after)):
        reach = jax.jit(partial(gradient_reach, part.cell))
        norms[name] = reach(part.params, part.longest(32)[-LAGS:])
    path = out / 'gradient_reach.png'
    with drawing(path):
        plots.reach(norms, path, f'How far a gradient reaches: {after.name}, {what}')
        console.print(f'drawn: {path}')
