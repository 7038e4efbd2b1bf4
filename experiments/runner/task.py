"""What an experiment is, and the plan of a training that its configuration makes."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from experiments.runner import machine, model
from experiments.runner.config import Layers, Training
from experiments.runner.console import console, prediction_table
from experiments.runner.fields import check_needs, open_values
from rnnlab.analysis.describe import count
from rnnlab.cells.base import Arrays, Params
from rnnlab.data import Dataset, Split
from rnnlab.errors import InputError
from rnnlab.models import Model
from rnnlab.precision import reduced
from rnnlab.recurrence import engines
from rnnlab.results.records import Json, Metrics
from rnnlab.training import memory
from rnnlab.training.batches import Batch, Batches, in_order, shuffled
from rnnlab.training.devices import batch_mesh
from rnnlab.training.gradients import make_gradient_norms
from rnnlab.training.losses import Loss
from rnnlab.training.optim import Hyper, optimizer, recurrent_mask, schedule
from rnnlab.training.train import Run, classification, make_evaluate, make_run

C = TypeVar('C', bound=Layers)  # the configuration of an experiment

EVAL_BATCH = 500
SURELY = 0.75  # of what the gradient keeps by its shapes, that a program takes; measured: 0.8 to 1
AT_MOST = 100  # bytes kept for the gradient by column of parameters and step; cells keep 3 to 10


def shuffled_examples(config: Layers, data: Split) -> Batches:
    """Batches of the training examples, new ones in each epoch."""
    if config.batch_size > len(data.labels):
        words = f'--batch_size={config.batch_size} is more than the {len(data.labels)}'
        raise InputError(f'{words} training examples')
    return shuffled(data, config.batch_size, getattr(config, 'buckets', 1))


def examples_in_order(config: Layers, data: Split, size: int, whole: bool) -> Batches:
    """Batches of `size` examples to evaluate; by length where all examples are."""
    return in_order(data, size, getattr(config, 'buckets', 1) if whole else 1)


def show_predictions(plan: 'Plan', params: Params, folder: Path) -> None:
    assert plan.data.test
    console.print(f'\n{prediction_table(plan.model, params, plan.data.test)}')


@dataclass(frozen=True, kw_only=True)
class Task(Generic[C]):
    """An experiment with configurations of type C.

    name: of the experiment whose runs these are.
    launched: what was launched, if that makes such runs and has another name.
    load: (C) -> what `dataset` makes a Dataset of; it reads those fields alone that say data=True.
    build: (C, Dataset, Hyper) -> Model.
    resolve: (C) -> C with open fields filled in; InputError for settings that do not fit together.
    dataset: (C, what load gives) -> Dataset; InputError for settings that do not fit the data.
    selection: the metric that chooses the best parameters and ranks trials.
    loss: (C) -> (Hyper) -> Loss.
    batches: (C, training split) -> Batches.
    evaluation_batches: (C, split, size, whole) -> Batches; whole: all examples of the split.
    finish: (Plan, params, folder): what the end of a run shows beside its summary.
    source: (C) -> what identifies the user's data, for config.json; it reads fields as load does.
    """

    name: str
    load: Callable[[C], Any]
    build: Callable[[C, Dataset, Hyper], Model]
    resolve: Callable[[C], C] = lambda config: config
    dataset: Callable[[C, Any], Dataset] = lambda config, loaded: loaded
    selection: str = 'accuracy'
    loss: Callable[[C], Callable[[Hyper], Loss]] = lambda config: classification
    batches: Callable[[C, Any], Batches] = shuffled_examples
    evaluation_batches: Callable[[C, Split, int, bool], Batches] = examples_in_order
    finish: Callable[['Plan[C]', Params, Path], None] = show_predictions
    source: Callable[[C], Json] = lambda config: {}
    launched: str = ''

    @property
    def module(self) -> str:
        return self.launched or self.name


@dataclass(frozen=True, kw_only=True)
class Plan(Generic[C]):
    """A training as a configuration describes it."""

    task: Task[C]
    config: C  # resolved
    loaded: Any  # what task.load gave
    data: Dataset
    model: Model
    metrics: Metrics
    batches: Batches
    steps: int
    every: int  # steps between evaluations
    held_out: Split | None  # evaluated while training
    window: int  # examples of each evaluation
    make_optimizer: Callable[[Hyper], optax.GradientTransformation] = field(repr=False)

    @cached_property
    def params(self) -> Params:
        """The shapes of the model's parameters."""
        return memory.shapes(self.model.init, jax.random.key(0))

    @cached_property
    def time_steps(self) -> int:
        """The time steps of the longest batch."""
        size = self.batches.size

        def inputs(data: Split | None) -> Arrays:
            keys = jax.random.split(jax.random.key(0), size)
            batch = Batch(jnp.zeros(size, jnp.int32), keys, keys)
            return self.batches.takes[-1](data, batch, jnp.int32(0)).inputs

        return memory.shapes(inputs, self.data.train).shape[1]

    def check_memory(self, device: jax.Device) -> None:
        """Raises InputError for a training that cannot fit into the device's memory.

        It takes parameters, optimizer state, the gradient, and what the gradient keeps of the
        forward pass, of which XLA computes a part anew; on a CPU also the copy that is saved.
        """
        config, batches, size = self.config, self.batches, memory.size
        optimizer, loss = self.make_optimizer(config.hyper), self.task.loss(config)(config.hyper)
        state, carry = (self.params, memory.shapes(optimizer.init, self.params)), None
        if batches.carried:
            carry = memory.shapes(partial(self.model.carry, batch=batches.size), self.params)
        copies = 2 if device.platform == 'cpu' else 1
        needed = copies * size(state) + size(self.params)
        columns = sum(sum(leaf.shape[-1:]) for leaf in jax.tree.leaves(self.params))
        at_most = AT_MOST * batches.size * self.time_steps * columns  # spares most runs the tracing
        if needed + at_most > memory.device_memory(device):
            data = self.data.train
            kept = memory.residual_bytes(self.model, loss, batches, self.params, carry, data)
            needed += int(SURELY * kept)
        sizes = f'`hidden_size={config.hidden_size}` and `batch_size={batches.size}`'
        memory.check(f'training with {sizes}', needed, device)

    def build(self, hyper: Hyper) -> Model:
        return self.task.build(self.config, self.data, hyper)

    def make_run(self, mesh: Mesh | None = None) -> Run:
        """The run, whose batches the devices of the mesh share."""

        own = self.build, self.make_optimizer, self.batches
        return make_run(*own, loss=self.task.loss(self.config), every=self.every, mesh=mesh)

    def make_gradient_norms(self) -> Callable:
        """make_gradient_norms of rnnlab over lanes, which share the data and the step."""
        make = make_gradient_norms(self.build, self.task.loss(self.config), self.batches)
        return jax.jit(jax.vmap(make, in_axes=(0, 0, None, 0, 0, None)))

    def make_evaluate(
        self,
        split: Split,
        window: int,
        mesh: Mesh | None = None,
        program: Callable = jax.jit,
        at_once: int = EVAL_BATCH,
    ) -> Callable:
        """rnnlab's evaluate for the first `window` examples of a split, or the next ones."""
        devices = mesh.size if mesh else 1
        size = -(-min(window, at_once) // devices) * devices
        whole = window == len(split.labels)
        batches = self.task.evaluation_batches(self.config, split, size, whole)
        if mesh and batches.size % mesh.size:
            mesh = None
        loss = self.task.loss(self.config)(Hyper())
        return make_evaluate(self.model, batches, loss=loss, mesh=mesh, program=program)

    def mesh(self, devices: Sequence[jax.Device], asked: bool) -> Mesh | None:
        """The devices that share each batch; unless `asked` only where that is worth it.

        It is not for layers of the native engine, which shares their work among all cores.
        """
        size, platform = self.batches.size, devices[0].platform
        if asked:
            return batch_mesh(size, devices)
        recurrent = sum(
            count(self.params[name])
            for name, layer in self.model.layers.items()
            if self.config.zoneout
            or reduced()
            or not all(engines(cell, platform)[0] == 'native' for cell in layer.cells.values())
        )
        return batch_mesh(size, devices, 6 * self.time_steps * size * recurrent)

    @property
    def evaluations(self) -> int:
        return -(-self.steps // self.every)

    def epoch(self, step: int) -> float:
        return round(step / self.batches.steps, 4)


def resolve(task: Task[C], config: C) -> C:
    """The configuration without open fields; InputError for settings that do not fit together.

    With --parameters this loads the data, whose width and vocabulary are part of the model.
    """
    if config.parameters is not None and config.hidden_size is not None:
        words = '--parameters chooses the hidden size'
        raise InputError(f'{words}; leave out --parameters or --hidden_size')
    model.check(config)
    config = task.resolve(config).filled(open_values(type(config)))
    check_needs(config)
    if not config.layers:
        return config.replace(cell=None, hidden_size=None)
    if config.parameters is None:
        return config
    static = config.reduced(lambda spec: spec.kind.name != 'DYNAMIC')
    hyper = jax.tree.map(lambda value: 0.0, config.hyper)  # whose values change no shape
    return config.replace(hidden_size=budgeted(task, static, hyper))


@cache
def budgeted(task: Task[C], config: C, hyper: Hyper) -> int:
    """The largest hidden size with at most `config.parameters` parameters in the model."""
    assert config.parameters is not None
    data = task.dataset(config, load(task, config))

    @cache
    def parameters(hidden_size: int) -> int:
        net = task.build(config.replace(hidden_size=hidden_size), data, hyper)
        return count(jax.eval_shape(net.init, jax.random.key(0)))

    if size := model.largest(parameters, config.parameters):
        return size
    least = f'with --cell={config.cell} a hidden size of 1 has {parameters(1):,}'
    raise InputError(f'--parameters={config.parameters} is too few: {least}')


def load(task: Task[C], config: C) -> Any:
    """What the task loads; trials that agree in the fields of their data share it."""
    return load_once(task.load, config.reduced(lambda spec: spec.data))


@lru_cache(maxsize=1)
def load_once(load: Callable[[C], Any], config: C) -> Any:
    return load(config)


@cache
def source_once(source: Callable[[C], Json], config: C) -> Json:
    return source(config)


def forget() -> None:
    """Empties what an earlier command of this process loaded: its files may have changed."""
    for cached in (budgeted, load_once, source_once):
        cached.cache_clear()


def settings(task: Task[C], config: C) -> Json:
    """All that decides what a run computes: the content of its config.json."""
    metrics = Metrics.of(task.loss(config)(Hyper()), task.selection).to_json()
    source = source_once(task.source, config.reduced(lambda spec: spec.data))
    recorded = config.to_json() | machine.recorded(config) | source
    return {'experiment': task.name} | metrics | recorded


def make_plan(task: Task[C], config: C) -> Plan[C]:
    """The plan of a resolved configuration; InputError for what fits neither data nor memory."""
    loaded = load(task, config)
    data = task.dataset(config, loaded)
    batches = task.batches(config, data.train)
    held_out = getattr(data, config.eval_split)
    check_evaluation(config, held_out)
    steps = config.steps or config.epochs * batches.steps
    share = schedule(config.schedule, steps, config.warmup)
    net = task.build(config, data, config.hyper)
    own = None if config.lr_recurrent is None else recurrent_mask(net)
    plan = Plan(
        task=task,
        config=config,
        loaded=loaded,
        data=data,
        model=net,
        metrics=Metrics.of(task.loss(config)(Hyper()), task.selection),
        batches=batches,
        steps=steps,
        every=config.eval_every or batches.steps,
        held_out=held_out,
        window=config.eval_examples or (len(held_out.labels) if held_out else 0),
        make_optimizer=optimizer(config.optimizer, config.optimizer_constants, share, own),
    )
    plan.check_memory(machine.device(config))
    return plan


def check_evaluation(config: Training, held_out: Split | None) -> None:
    """Raises InputError for an evaluation that the splits of the data do not allow."""
    if held_out is None and config.eval_split == 'test':
        raise InputError('--eval_split=test: this data has no test split, only a validation split')
    there = 0 if held_out is None else len(held_out.labels)
    if config.eval_examples is not None and config.eval_examples > there:
        words = f'--eval_examples={config.eval_examples} is more than the {there}'
        raise InputError(f'{words} of --eval_split={config.eval_split}')
    if held_out is None or config.eval_split != 'validation':
        missing = '--validation above 0' if held_out is None else '--eval_split=validation'
        if config.keep == 'best':
            words = f'--keep=best selects by the validation split: it needs {missing}'
            raise InputError(f'{words}, or take --keep=last')
        if config.patience:
            words = f'--patience={config.patience} counts evaluations of the validation split'
            raise InputError(f'{words}: it needs {missing}')


def checksum(path: str) -> int:
    """A checksum of a file; InputError where there is none."""
    try:
        return zlib.crc32(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise InputError(f'there is no file {path}') from error


def fractions(split: tuple[str, ...]) -> tuple[float, ...]:
    """What --split says: train, validation, test."""
    try:
        return tuple(float(part) for part in split)
    except ValueError as error:
        words = f'--split={",".join(split)} should be three numbers'
        raise InputError(f'{words}: train, validation, test') from error
