"""A sweep is one program: a run over lanes, each with its own settings and key, on all devices."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rnnlab.cells.base import Arrays, Tree
from rnnlab.data import Split
from rnnlab.models import Model
from rnnlab.recurrence.masking import choose
from rnnlab.training.batches import Batches
from rnnlab.training.devices import everywhere
from rnnlab.training.losses import Loss
from rnnlab.training.memory import residual_bytes, size
from rnnlab.training.optim import Hyper
from rnnlab.training.train import Run, TrainState

WHOLE: Tree = PartitionSpec()
PART: Tree = PartitionSpec('lane')


def lanes_per_batch(trials: int, most: int, devices: int) -> int:
    """How many trials train at once, the same number on each device.

    For as few batches of trials as `most` lanes allow, as few lanes as these need.
    """
    devices = min(devices, most, trials)
    batches = -(-trials // (most // devices * devices))
    return -(-trials // (batches * devices)) * devices


def lane_mesh(lanes: int, devices: Sequence[jax.Device]) -> Mesh:
    """The most of these devices that take equally many lanes."""
    number = max(n for n in range(1, len(devices) + 1) if lanes % n == 0)
    auto = (AxisType.Auto,)
    return jax.make_mesh((number,), ('lane',), axis_types=auto, devices=devices[:number])


def stacked(hypers: Sequence[Hyper], keys: Sequence[Array]) -> tuple[Hyper, Array]:
    """The settings and keys with a lane axis. What is None must be so in all of them."""
    return jax.tree.map(lambda *values: jnp.asarray(values, float), *hypers), jnp.stack(keys)


def in_turn(function: Callable) -> Callable:
    """As jax.vmap, but one lane after the other, so that each computes as a run alone does."""
    return lambda *args: jax.lax.map(lambda lane: function(*lane), args)


def single(function: Callable) -> Callable:
    """As jax.vmap, for one lane."""

    def of_one(*args: Tree) -> Tree:
        result = function(*jax.tree.map(lambda leaf: leaf[0], args))
        return jax.tree.map(lambda leaf: jnp.expand_dims(leaf, 0), result)

    return of_one


def each_on(device: jax.Device) -> Callable:
    """How the lanes of one device run fastest.

    In turn on a core, where each stays in the cache; all at once on an accelerator.
    """
    return in_turn if device.platform == 'cpu' else jax.vmap


def with_lanes(run: Run, each: Callable) -> Run:
    """The run over a lane axis of settings, keys and states; `step` is the one thing they share."""

    def start(hypers: Hyper, keys: Array) -> TrainState:
        states = each(lambda hyper, key: run.start(hyper, key).replace(step=None))(hypers, keys)
        return states.replace(step=jnp.int32(0))

    def advance(
        hypers: Hyper, keys: Array, data: Split | None, states: TrainState, steps: int
    ) -> TrainState:
        def lane(hyper: Hyper, key: Array, state: TrainState) -> TrainState:
            before, own = state.replace(step=states.step), steps
            if state.stopped is not None and each is not jax.vmap:  # no step of one that stopped
                left: Tree = jnp.where(state.stopped, 0, steps)
                before, own = before.replace(stopped=None), left
            after = run.advance(hyper, key, data, before, own)
            return after.replace(step=None, stopped=state.stopped)

        after = each(lane)(hypers, keys, states.replace(step=None))
        return after.replace(step=states.step + jnp.asarray(steps, jnp.int32))

    return Run(start, advance)


def over_lanes(run: Run, mesh: Mesh, each: Callable | None = None) -> Run:
    """The run for many settings and keys at once (see `stacked`), its lanes shared by the devices.

    A lane is the run that its settings and key give alone. One whose loss or gradient is not finite
    stays as it was before. `each` is jax.vmap or in_turn; None takes what suits the device.
    """
    start, advance = with_lanes(run, each or each_on(mesh.devices.flat[0]))
    state = TrainState(WHOLE, PART, PART, PART, PART, PART, PART)
    return Run(
        jax.jit(sharded(start, mesh, (PART, PART), state)),
        jax.jit(sharded(advance, mesh, (PART, PART, WHOLE, state, WHOLE), state), donate_argnums=3),
    )


def alone(run: Run, mesh: Mesh | None) -> Run:
    """The run as a single lane; `mesh` is that of `make_run`, whose devices share each batch."""
    start, advance = with_lanes(run, single)
    options: dict[str, Tree] = {}
    if mesh:  # as in make_run
        options['in_shardings'] = (None, None, None, everywhere(mesh), None)
        options['out_shardings'] = everywhere(mesh)
    return Run(jax.jit(start), jax.jit(advance, donate_argnames='states', **options))


def evaluation_over_lanes(mesh: Mesh, each: Callable | None = None) -> Callable:
    """The `program` of make_evaluate for params with a lane axis, which its values have too."""
    each, specs = each or each_on(mesh.devices.flat[0]), (PART, WHOLE, WHOLE, WHOLE)
    return lambda totals: jax.jit(sharded(of_lanes(totals, each), mesh, specs, PART))


def evaluation_alone(totals: Callable) -> Callable:
    """The `program` of make_evaluate for the params of a single lane."""
    return jax.jit(of_lanes(totals, single))


def of_lanes(totals: Callable, each: Callable) -> Callable:
    return lambda params, *rest: each(lambda own: totals(own, *rest))(params)


def sharded(function: Callable, mesh: Mesh, in_specs: Tree, out_specs: Tree) -> Callable:
    # Each device runs the lanes that it has, and none waits for another.
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def placed(state: TrainState, mesh: Mesh) -> TrainState:
    """A state of lanes, with each lane on its device."""
    part = jax.device_put(state.replace(step=None), NamedSharding(mesh, PART))
    return part.replace(step=jax.device_put(state.step, everywhere(mesh)))


def lane(tree: Tree, number: int) -> Tree:
    """The entries of one lane on the host, and the step, which lanes share."""

    def own(leaf: Arrays) -> np.ndarray:
        every = np.asarray(leaf)  # on the host, where a part of it needs no program
        return np.array(every[number] if every.ndim else every)

    return jax.tree.map(own, tree)


@jax.jit
def better(best: Tree, new: Tree, improved: Array) -> Tree:
    """In each lane the entry of `new` where that is an improvement."""
    return choose(improved, new, best)


def lane_bytes(
    run: Run,
    model: Model,
    loss: Loss,
    hyper: Hyper,
    data: Split | None,
    batches: Batches,
    each: Callable,
) -> tuple[int, int]:
    """(bytes for each lane, bytes that the lanes of a device share), estimated without compiling.

    Parameters and optimizer state count twice, before and after a step. A lane that runs also has
    gradients and updates, and twice what the gradient of a batch keeps of the forward pass, for
    what flows back; lanes that run in turn share that.
    """
    key = jax.eval_shape(jax.random.key, 0)
    state = jax.eval_shape(run.start, hyper, key)
    residuals = residual_bytes(model, loss, batches, state.params, state.carry, data)
    kept, working = 2 * size(state), 2 * size(state.params) + 2 * residuals
    return (kept, working) if each is in_turn else (kept + working, 0)
