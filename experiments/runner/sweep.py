"""A sweep: what its axes make of the flags, as trials in groups of one structure, and the waves that train them."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
from absl import flags

from experiments.runner.budget import settle
from experiments.runner.cli import FLAGS, assigned, devices, sweepable
from experiments.runner.console import (
    console,
    groups_table,
    settings_table,
    sweep_progress,
    sweep_report,
)
from experiments.runner.lanes import Member, Sweep, make_lanes, train_wave
from experiments.runner.task import DYNAMIC, Experiment, make_hyper, new_folder, plan, watch_signals
from rnnlab.errors import InputError
from rnnlab.results import runs, trials
from rnnlab.sweeps import search
from rnnlab.sweeps.axes import Drawn, Grid, Settings, draws, parse, product
from rnnlab.training.lanes import device_memory, each_on, lane_bytes, lanes_per_wave, size

POINTS = 8  # that a search tries at once, where --max_lanes does not say
MEMORY = 0.5  # the share of it that lanes may fill


class Group(NamedTuple):
    """Trials of one structure, which one program trains."""

    label: str
    members: list[Member]  # in a search those of one point, whose drawn settings are open
    numbers: list[int]  # of all its trials
    steps: int  # of each trial
    lanes: int  # that train at once
    wave_bytes: int


def sweep(experiment: Experiment) -> None:
    """Trains every trial as the run that its flags alone would give, and writes the sweep's folder.

    Raises InputError for what the user can mend, before anything compiles.
    """
    if FLAGS.jax_default_prng_impl != 'threefry2x32':
        raise InputError(
            '--sweep needs --jax_default_prng_impl=threefry2x32: with others a lane is not the run that its seed gives alone'
        )
    if FLAGS.force:
        raise InputError(
            '--force goes without --sweep: a sweep is resumed on as many devices as it began with'
        )
    if FLAGS.shard and FLAGS.out is None:
        raise InputError('--shard goes with --out, the folder that all parts share')
    axes, shard = read_axes(), read_shard()
    everything = [
        make_member(experiment, number, settings)
        for number, settings in enumerate(settings_of(axes))
    ]
    names = list(
        dict.fromkeys(
            [
                *(axis.name for axis in axes),
                *runs.differing([member.config for member in everything]),
            ]
        )
    )
    groups, metric = make_groups(experiment, everything, names, *shard)
    total = len(everything) * (FLAGS.trials if FLAGS.search else 1)
    if (config := everything[0].config)['parameters'] and 'hidden_size' not in names:
        console.print(f'--parameters={config["parameters"]}: hidden_size={config["hidden_size"]}\n')
    if FLAGS.dry_run:
        drawn = [axis.name for axis in axes if isinstance(axis, Drawn)] if FLAGS.search else []
        console.print(
            f'{settings_table([member for group in groups for member in group.members], names, drawn)}\n\n{groups_table(groups)}'
        )
        return

    folder = Path(FLAGS.out or new_folder(experiment.name))
    record = {'sweep': FLAGS.sweep, 'draws': FLAGS.trials, 'sweep_seed': FLAGS.sweep_seed}
    record |= {
        'search': FLAGS.search and f'{FLAGS.search} of Optuna {search.optuna().__version__}',
        'trials': total,
        'metric': metric,
    }
    record |= {
        'parts': shard[1],
        'names': names,
        'structure': [name for name in names if name not in DYNAMIC],
    }
    record |= {name: value for name, value in everything[0].config.items() if name not in names} | {
        'devices': len(devices())
    }
    runs.check_folder(folder, record, None if FLAGS.shard else FLAGS.resume, trials.SWEEP)
    runs.write_json(folder / trials.SWEEP, record)
    console.print(
        f'{folder}: {sum(len(group.numbers) for group in groups)} trials on {len(devices())} {record["platform"]} device(s)'
    )
    console.print(f'\n{groups_table(groups)}\n')

    finished = {trial['trial']: trial for trial in trials.read_waves(folder)[0]}
    shared = Sweep(folder, names, metric, finished, watch_signals())
    with sweep_progress(groups, shared) as show:
        for group in groups:
            with assigned(group.members[0].flags):
                settle(experiment)
                train_group(experiment, group, axes, shared, show)
            if shared.asked:
                break
    ended = len(trials.read_waves(folder)[0])  # other parts may have ended too
    if shared.asked and ended < total:
        console.print(
            f'stopped with {ended} of {total} trials finished; the same command with --out={folder} --resume goes on'
        )
        raise SystemExit(128 + shared.asked[0])
    if ended < total:
        console.print(
            f'this part is done; {ended} of {total} trials are. The last part merges; so does ./launch.sh report --out={folder}'
        )
        return
    sweep_report(folder)


def train_group(
    experiment: Experiment, group: Group, axes: list[Grid | Drawn], sweep: Sweep, show: Callable
) -> None:
    """Trains what is not finished of a group, wave by wave, until a signal asks to stop."""
    lanes = None
    for wave in (
        searched(experiment, group, axes, sweep)
        if FLAGS.search
        else unfinished(group.members, group.lanes, sweep)
    ):
        try:
            lanes = lanes or make_lanes(plan(experiment), group.lanes, experiment.goal)
            train_wave(lanes, wave, sweep, partial(show, group, wave))
        except jax.errors.JaxRuntimeError as error:
            if 'RESOURCE_EXHAUSTED' not in str(error):
                raise
            words = f'{group.lanes} lanes take more memory than there is; --max_lanes=N trains fewer at once'
            raise InputError(f'{words}, and --resume goes on with --out={sweep.folder}') from error
        if not FLAGS.shard:
            trials.merge(sweep.folder, sweep.metric)
        if sweep.asked:
            return


def unfinished(members: list[Member], lanes: int, sweep: Sweep) -> Iterator[list[Member]]:
    """What is not finished of each wave."""
    for begin in range(0, len(members), lanes):
        if wave := [
            member
            for member in members[begin : begin + lanes]
            if member.number not in sweep.finished
        ]:
            yield wave


def searched(
    experiment: Experiment, group: Group, axes: list[Grid | Drawn], sweep: Sweep
) -> Iterator[list[Member]]:
    """Waves of the points that those before make promising; a point is judged by the mean over its trials.

    A search that is resumed asks for the finished points once more, and gets the same ones.
    """
    drawn, each = [axis for axis in axes if isinstance(axis, Drawn)], len(group.members)
    told: list[tuple[Settings, float]] = []
    while len(told) < FLAGS.trials:
        points = search.ask(drawn, told, min(POINTS, FLAGS.trials - len(told)), FLAGS.sweep_seed)
        numbers = [
            group.numbers[each * at : each * (at + 1)]
            for at in range(len(told), len(told) + len(points))
        ]
        members = [
            make_member(experiment, number, member.flags | point)
            for point, own in zip(points, numbers, strict=True)
            for number, member in zip(own, group.members, strict=True)
        ]
        yield from unfinished(members, group.lanes, sweep)
        judged = [
            trials.Setting(point, [sweep.finished[number] for number in own])
            for point, own in zip(points, numbers, strict=True)
        ]
        told += [(setting.settings, setting.score(sweep.metric)) for setting in judged]


def read_axes() -> list[Grid | Drawn]:
    """The axes of --sweep; InputError for one that cannot be."""
    known = sweepable()
    whole = [name for name, flag in known.items() if isinstance(flag.parser, flags.IntegerParser)]
    try:
        axes = [parse(spec, whole) for spec in FLAGS.sweep]
    except InputError as error:
        raise InputError(f'--sweep: {error}') from error
    seen: set[str] = set()
    for axis in axes:
        if axis.name not in known:
            near = get_close_matches(axis.name, known, 1)
            hint = (
                'is no setting of the training'
                if axis.name in FLAGS
                else 'is no flag' + (f'; did you mean {near[0]}?' if near else '')
            )
            raise InputError(f'--sweep={axis.name}: {axis.name} {hint}')
        if axis.name in seen:
            raise InputError(f'--sweep has {axis.name} twice; write all its values into one')
        seen.add(axis.name)
        if isinstance(known[axis.name].parser, flags.ListParser):
            raise InputError(f'--sweep={axis.name}: --{axis.name} is a list, which cannot be swept')
        values = []
        for value in axis.values:
            try:
                values.append(known[axis.name].parser.parse(value))
            except (ValueError, TypeError) as error:
                raise InputError(
                    f'--sweep={axis.name} has {value!r}: {" ".join(map(str, error.args))}'
                ) from error
        if len(set(values)) < len(values):
            raise InputError(
                f'--sweep={axis.name} has {Counter(values).most_common(1)[0][0]} twice'
            )
    drawn = {axis.name: axis for axis in axes if isinstance(axis, Drawn)}
    if drawn and not FLAGS.trials:
        raise InputError(f'--sweep={next(iter(drawn))}~ is drawn from; say how often by --trials=N')
    if not drawn and (FLAGS.trials or FLAGS.search):
        raise InputError(
            f'--{"search" if FLAGS.search else "trials"} goes with an axis to draw from, like --sweep="lr~log(1e-4,1e-1)"'
        )
    if FLAGS.search and (fixed := [name for name in drawn if name not in DYNAMIC]):
        raise InputError(
            f'--search={FLAGS.search} draws within one structure, and {fixed[0]} makes others; write --sweep={fixed[0]}=...'
        )
    if FLAGS.search:
        search.optuna()
        for name, axis in drawn.items():
            for value in axis.ends:  # a later wave may come upon them
                with assigned({name: value}):
                    pass
    count = math.prod(len(axis.values) for axis in axes if isinstance(axis, Grid)) * (
        FLAGS.trials or 1
    )
    if count > FLAGS.max_trials:
        raise InputError(f'these are {count} trials, more than --max_trials={FLAGS.max_trials}')
    return axes


def read_shard() -> tuple[int, int]:
    """(part, counted from 0; parts) of --shard."""
    if FLAGS.shard is None:
        return 0, 1
    part, _, parts = FLAGS.shard.partition('/')
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise InputError(f'--shard={FLAGS.shard} should be i/n, the i-th of n parts, like 1/4')
    if FLAGS.search:
        raise InputError('--shard cannot divide a search, in which each wave needs those before')
    return int(part) - 1, int(parts)


def settings_of(axes: list[Grid | Drawn]) -> list[Settings]:
    """The swept flags of every trial: for each draw all combinations of the rest, each once. In a search the draw is any one point."""
    grids, drawn = (
        [axis for axis in axes if isinstance(axis, Grid)],
        [axis for axis in axes if isinstance(axis, Drawn)],
    )
    if FLAGS.search:
        points: list[Settings] = [{axis.name: axis.at(0.5) for axis in drawn}]
    else:
        points = list(draws(drawn, FLAGS.trials, FLAGS.sweep_seed)) if drawn else [{}]
    every = (
        {axis.name: (point | grid)[axis.name] for axis in axes}
        for point in points
        for grid in product(grids)
    )
    return list({tuple(settings.values()): settings for settings in every}.values())


def make_member(experiment: Experiment, number: int, settings: Settings) -> Member:
    """The trial with these flags; InputError (or absl's) for flags that a run alone would refuse."""
    with assigned(settings):
        settle(experiment)
        return Member(number, settings, experiment.settings() | {'devices': 1}, make_hyper())


def make_groups(
    experiment: Experiment, everything: list[Member], names: list[str], part: int, parts: int
) -> tuple[list[Group], str]:
    """The trials of this part by structure, and what trials are ranked by; InputError for flags that do not fit the data."""
    structures: dict[tuple, list[Member]] = {}
    for member in everything:
        static = json.dumps(
            {name: value for name, value in member.config.items() if name not in DYNAMIC}
        )
        structures.setdefault((static, jax.tree.structure(member.hyper)), []).append(member)
    groups: list[Group] = []
    validated, dealt, device = True, 0, devices()[0]
    for members in structures.values():
        with assigned(members[0].flags):
            settle(experiment)
            todo = plan(experiment)
            validated &= todo.held_out is not None and FLAGS.eval_split == 'validation'
            run, hyper, data = todo.make_run(), todo.hyper, todo.data
            own, shared = lane_bytes(
                run, todo.model, todo.loss(hyper), hyper, data.train, todo.batches, each_on(device)
            )
        mine = members[(part - dealt) % parts :: parts]
        if FLAGS.search:
            numbers = list(range(dealt * FLAGS.trials, (dealt + len(members)) * FLAGS.trials))
            at_once = len(members) * min(POINTS, FLAGS.trials)
        else:
            numbers, at_once = [member.number for member in mine], len(mine)
        dealt += len(members)
        if mine:
            sharing = len(devices()) if device.platform == 'cpu' else 1
            free = (
                MEMORY * device_memory(device) / sharing
                - size((data.train, todo.held_out, data.test))
                - shared
            )
            most = FLAGS.max_lanes or len(devices()) * max(1, int(free // own))
            lanes = lanes_per_wave(at_once, most, len(devices()))
            label = trials.label(members[0].config, [name for name in names if name not in DYNAMIC])
            groups.append(
                Group(
                    label,
                    mine,
                    numbers,
                    todo.steps,
                    lanes,
                    lanes * own + min(lanes, len(devices())) * shared,
                )
            )
    if FLAGS.search and not validated:
        raise InputError(
            '--search goes by validation: it needs --validation above 0 and --eval_split=validation'
        )
    return groups, f'best_validation_{experiment.goal}' if validated else f'test_{experiment.goal}'
