"""A sweep: axes make trials, trials of one static configuration a group, and lanes train them."""

import math
import re
from collections import Counter
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jax

from experiments.runner import console, machine
from experiments.runner.fields import Config, Kind, parsed, specs, swept, types_of
from experiments.runner.interrupts import watched_signals
from experiments.runner.lanes import Group, Planned, Rung, Sweep, plan_trial, train_rounds
from experiments.runner.report import sweep_report
from experiments.runner.rounds import POINTS, rounds
from experiments.runner.run import new_folder
from experiments.runner.task import Plan, Task, forget, make_plan, settings
from rnnlab.errors import InputError
from rnnlab.results import runs, trials
from rnnlab.results.lock import locked
from rnnlab.results.records import Metrics, Outcome
from rnnlab.results.trials import SweepRecord
from rnnlab.sweeps import search
from rnnlab.sweeps.axes import Drawn, Grid, Settings, draws, parse, product
from rnnlab.sweeps.rungs import rung_steps, survivors
from rnnlab.training.lanes import each_on, lane_bytes, lane_mesh, lanes_per_batch
from rnnlab.training.memory import device_memory, size

MEMORY = 0.5  # the fraction of it that lanes may fill


def sweep(task: Task, config: Any) -> Path | None:
    """Trains every trial as the run that its settings alone would give, in the sweep's folder.

    Raises InputError for bad input, before anything compiles.
    """
    if jax.config.jax_default_prng_impl != 'threefry2x32':  # type: ignore[attr-defined]
        words = '--sweep needs --jax_default_prng_impl=threefry2x32'
        raise InputError(f'{words}: with others a lane is not the run that its seed gives alone')
    if config.force:
        words = '--force goes without --sweep'
        raise InputError(f'{words}: a sweep is resumed on as many devices as it began with')
    if config.rungs > 1:
        check_rungs(config)
    if config.shard and config.out is None:
        raise InputError('--shard goes with --out, the folder that all parts share')
    forget()
    axes, (part, parts) = read_axes(config), read_shard(config)
    planned = [plan_trial(task, config, n, s) for n, s in enumerate(settings_of(config, axes))]
    everything = [settings(task, trial.config) for trial in planned]
    names = list(dict.fromkeys([*(axis.name for axis in axes), *runs.differing(everything)]))
    seeds = Counter(str([own[n] for n in names if n != 'seed']) for own in everything)
    halves = [max(seeds.values()) * n for n in survivors(len(seeds), config.eta, config.rungs)]
    groups, metrics, validated = make_groups(task, config, planned, names, halves, part, parts)
    if parts > len(planned):
        raise InputError(f'--shard={config.shard}: more parts than the {len(planned)} trials')
    first = planned[0].config
    if first.parameters and 'hidden_size' not in names:
        console.say(f'--parameters={first.parameters}: hidden_size={first.hidden_size}')
    if config.dry_run:
        open_names = [a.name for a in axes if isinstance(a, Drawn)] if config.search else []
        shown = [(t.number, everything[t.number]) for group in groups for t in group.trials]
        table = console.settings_table(shown, names, open_names)
        console.console.print(f'{table}\n\n{console.groups_table(groups)}')
        return None

    folder = Path(config.out or new_folder(task, config))
    record = SweepRecord(
        metrics=metrics,
        ranked_by=Outcome('best' if validated else 'test', metrics.selection),
        sweep=list(config.sweep),
        names=names,
        static=[name for name in names if not is_dynamic(config, name)],
        trials=len(planned) * (config.trials if config.search else 1),
        title=title(task, first, names),
    )
    devices = machine.devices(config)
    everywhere = record.to_json() | how_drawn(config) | {'parts': parts}
    everywhere |= {name: v for name, v in everything[0].items() if name not in names}
    everywhere |= {'devices': len(devices)}
    resume = None if config.shard else config.resume
    runs.check_folder(folder, everywhere, resume, trials.SWEEP)
    with locked(folder, f'-{part + 1}-of-{parts}'):
        with locked(folder, wait=True):  # all parts make the folder
            runs.check_folder(folder, everywhere, resume, trials.SWEEP)
            runs.write_json(folder / trials.SWEEP, everywhere)
            (folder / trials.WAVES).mkdir(exist_ok=True)
        number = sum(len(group.numbers) for group in groups)
        where = f'{len(devices)} {everywhere["platform"]} device(s)'
        console.say(f'{folder}: {number} trials on {where}')
        console.console.print(f'\n{console.groups_table(groups)}\n')
        train(task, config, groups, axes, folder, record)
    return folder


def train(
    task: Task,
    config: Any,
    groups: list[Group],
    axes: list[Grid | Drawn],
    folder: Path,
    record: SweepRecord,
) -> None:
    """Trains all rounds, and reports; on a signal leaves what is there."""
    trials.read_finished(folder, record.metrics)  # says what is damaged or gone
    finished, _ = trials.read_rungs(folder, record.metrics)
    with watched_signals() as interrupts:
        shared = Sweep(folder, record, finished, interrupts)
        with console.sweep_progress(groups, finished, record.ranked_by) as show:
            every = rounds(task, config, groups, axes, shared)
            train_rounds(task, config, every, shared, show)
    ended = len(trials.read_waves(folder, record.metrics)[0])  # other parts may have ended too
    if ended == record.trials and not interrupts:
        sweep_report(folder)
    elif interrupts:
        words = f'stopped with {ended} of {record.trials} trials finished'
        console.say(f'{words}; resume with the same command and --out={folder} --resume')
        raise SystemExit(128 + interrupts[0])
    else:
        words = f'this part is done; {ended} of {record.trials} trials are'
        console.say(f'{words}. The last part merges; so does ./launch.sh report --out={folder}')


def check_rungs(config: Any) -> None:
    """Raises InputError for what does not go with rungs."""
    words = f'--rungs={config.rungs}'
    if config.shard:
        raise InputError(f'{words} goes without --shard: each rung compares all trials')
    if config.search:
        raise InputError(f'{words} goes without --search')
    axes = [axis.partition('=')[0].strip() for axis in config.sweep]
    if config.patience or 'patience' in axes:
        raise InputError(f'{words} goes without --patience: a rung compares all at one step')


def read_axes(config: Any) -> list[Grid | Drawn]:
    """The axes of --sweep; InputError for one that cannot be."""
    kinds = types_of(type(config))
    whole = [name for name, kind in kinds.items() if kind is int]
    try:
        axes = [parse(spec, whole) for spec in config.sweep]
    except InputError as error:
        raise InputError(f'--sweep: {error}') from error
    for number, axis in enumerate(axes):
        if axis.name in (other.name for other in axes[:number]):
            raise InputError(f'--sweep has {axis.name} twice; write all its values into one')
        check_axis(config, axis)
    drawn = [axis for axis in axes if isinstance(axis, Drawn)]
    if drawn and not config.trials:
        raise InputError(f'--sweep={drawn[0].name}~ is drawn from; say how often by --trials=N')
    if not drawn and (config.trials or config.search):
        name = 'search' if config.search else 'trials'
        raise InputError(
            f'--{name} goes with an axis to draw from, like --sweep="lr~log(1e-4,1e-1)"'
        )
    if config.search:
        if fixed := [axis.name for axis in drawn if not is_dynamic(config, axis.name)]:
            words = f'--search={config.search} draws within one static configuration'
            raise InputError(f'{words}, and {fixed[0]} makes others; write --sweep={fixed[0]}=...')
        search.optuna()
        for axis in drawn:
            for value in axis.ends:  # a later batch may reach them
                parsed(type(config), axis.name, value)
    count = math.prod(len(axis.values) for axis in axes if isinstance(axis, Grid))
    if (count := count * (config.trials or 1)) > config.max_trials:
        raise InputError(f'these are {count} trials, more than --max_trials={config.max_trials}')
    return axes


def check_axis(config: Config, axis: Grid | Drawn) -> None:
    """Raises InputError for an axis that is no setting, or has values that the setting lacks."""
    cls, name = type(config), axis.name
    if name not in swept(cls):
        near = get_close_matches(name, swept(cls), 1)
        hint = 'is no flag' + (f'; did you mean {near[0]}?' if near else '')
        if name in specs(cls):
            hint = 'is no setting of the training'
        raise InputError(f'--sweep={name}: {name} {hint}')
    if types_of(cls)[name] is tuple:
        raise InputError(f'--sweep={name}: --{name} is a list, which cannot be swept')
    try:
        values = [parsed(cls, name, value) for value in axis.values]
    except InputError as error:
        raise InputError(f'--sweep={name}: {error}') from error
    if len(set(values)) < len(values):
        raise InputError(f'--sweep={name} has {Counter(values).most_common(1)[0][0]} twice')


def read_shard(config: Any) -> tuple[int, int]:
    """(part, counted from 0; parts) of --shard."""
    if config.shard is None:
        return 0, 1
    part, _, parts = config.shard.partition('/')
    numbers = re.fullmatch(r'[0-9]{1,9}/[0-9]{1,9}', config.shard)
    if not (numbers and 1 <= int(part) <= int(parts)):
        raise InputError(f'--shard={config.shard} should be i/n, the i-th of n parts, like 1/4')
    if config.search:
        raise InputError('--shard cannot divide a search, in which each batch needs those before')
    return int(part) - 1, int(parts)


def settings_of(config: Any, axes: list[Grid | Drawn]) -> list[Settings]:
    """The swept settings of every trial: for each draw all combinations of the rest, each once.

    In a search the draw is any one point.
    """
    grids = [axis for axis in axes if isinstance(axis, Grid)]
    drawn = [axis for axis in axes if isinstance(axis, Drawn)]
    points: list[Settings] = [{}]
    if config.search:
        points = [{axis.name: axis.at(0.5) for axis in drawn}]
    elif drawn:
        points = list(draws(drawn, config.trials, config.sweep_seed))
    every = [point | grid for point in points for grid in product(grids)]
    ordered = [{axis.name: trial[axis.name] for axis in axes} for trial in every]
    return list({tuple(trial.values()): trial for trial in ordered}.values())


def make_groups(
    task: Task,
    config: Any,
    planned: list[Planned],
    names: list[str],
    most: list[int],
    part: int,
    parts: int,
) -> tuple[list[Group], Metrics, bool]:
    """The trials of this part by static configuration, their metrics, and whether all validate.

    most: how many trials are on each rung, at most. Raises InputError for settings that do not fit
    the data.
    """
    kinds: dict[Any, list[Planned]] = {}
    for trial in planned:
        static = trial.config.reduced(lambda spec: spec.kind is not Kind.DYNAMIC)
        kinds.setdefault((static, jax.tree.structure(trial.config.hyper)), []).append(trial)
    groups: list[Group] = []
    validated, dealt = True, 0
    for members in kinds.values():
        mine = members[(part - dealt) % parts :: parts]
        first = members[0].config
        with machine.precision(first):
            plan = make_plan(task, first)
            validated &= plan.held_out is not None and first.eval_split == 'validation'
            numbers, at_once = [trial.number for trial in mine], len(mine)
            if config.search:
                begin, end = dealt * config.trials, (dealt + len(members)) * config.trials
                numbers = list(range(begin, end))
                at_once = len(members) * min(POINTS, config.trials)
            dealt += len(members)
            if mine:
                static = {name: getattr(first, name) for name in static_names(config, names)}
                label = trials.label(static, static)
                rungs, devices = make_rungs(plan, at_once, len(numbers), most, config)
                groups.append(
                    Group(label=label, trials=mine, numbers=numbers, rungs=rungs, devices=devices)
                )
    if (config.search or config.rungs > 1) and not validated:
        words = f'--{"search" if config.search else "rungs"} ranks by the validation split'
        raise InputError(f'{words}: it needs --validation above 0 and --eval_split=validation')
    return groups, plan.metrics, validated


def make_rungs(
    plan: Plan, at_once: int, trials: int, most: list[int], config: Any
) -> tuple[list[Rung], int]:
    """The rungs of a group, `most` of whose trials are on each, and how many devices train them.

    Where fewer are left, fewer lanes train, on as many devices as on the first rung. A device
    keeps two: XLA compiles the loop over a single lane as no loop, which changes the last bits.
    """
    lanes, memory = fit_lanes(plan, at_once, config)
    devices = lane_mesh(lanes, machine.devices(config)).size
    ends = rung_steps(config.rungs, config.eta, plan.steps, plan.every)
    rungs = [Rung(ends[0], trials, lanes, memory)]
    for stop, number in zip(ends[1:], most[1:], strict=True):
        number = min(trials, number)
        batches = -(-number // lanes)
        fewer = min(lanes, max(2, -(-number // (batches * devices))) * devices)
        rungs.append(Rung(stop, number, fewer, memory * fewer // lanes))
    return rungs, devices


def fit_lanes(plan: Plan, trials: int, config: Any) -> tuple[int, int]:
    """(lanes that train at once, bytes that they take together) for so many trials."""
    devices = machine.devices(config)
    each, hyper, data = each_on(devices[0]), plan.config.hyper, plan.data
    loss = plan.task.loss(plan.config)(hyper)
    run, train_split = plan.make_run(), data.train
    own, shared = lane_bytes(run, plan.model, loss, hyper, train_split, plan.batches, each)
    sharing = len(devices) if devices[0].platform == 'cpu' else 1
    used = size((train_split, plan.held_out, data.test)) + shared
    free = MEMORY * device_memory(devices[0]) / sharing - used
    most = config.max_lanes or len(devices) * max(1, int(free // own))
    lanes = lanes_per_batch(trials, most, len(devices))
    return lanes, lanes * own + min(lanes, len(devices)) * shared


def is_dynamic(config: Config, name: str) -> bool:
    spec = specs(type(config)).get(name)
    return spec is not None and spec.kind is Kind.DYNAMIC


def static_names(config: Config, names: list[str]) -> list[str]:
    return [name for name in names if not is_dynamic(config, name) and hasattr(config, name)]


def how_drawn(config: Any) -> dict[str, Any]:
    """How the trials are drawn, for sweep.json."""
    library = config.search and f'{config.search} of Optuna {search.optuna().__version__}'
    drawn = {'draws': config.trials, 'sweep_seed': config.sweep_seed, 'search': library}
    halving = {'rungs': config.rungs, 'eta': config.eta}
    return drawn | (halving if config.rungs > 1 else {})


def title(task: Task, config: Any, names: list[str]) -> str:
    """The dataset or task that all trials share, else the experiment."""
    common = (
        getattr(config, n) for n in ('dataset', 'task') if n not in names and hasattr(config, n)
    )
    return next(common, task.name)
