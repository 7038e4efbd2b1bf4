"""A sweep: what its axes make of the flags, as trials in groups of one structure, and the waves that train them."""

import json
import math
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
from absl import flags

from experiments.display import console, groups_table, settings_table, sweep_progress, sweep_report
from experiments.experiment import Experiment, make_hyper, new_folder, plan, watch_signals
from experiments.flags import FLAGS, assigned, config, devices, sweepable
from experiments.wave import Trial, make_lanes, train_wave
from rnnlab import runs, search, trials
from rnnlab.axes import Drawn, Grid, Settings, draws, parse, product
from rnnlab.errors import InputError
from rnnlab.optim import Hyper
from rnnlab.sweep import device_memory, lane_bytes, lanes_per_wave, size

DYNAMIC = {'seed', *Hyper._fields}  # arrays of a program; another value of any other flag makes another program
POINTS = 8  # that a search tries at once, where --max_lanes does not say
MEMORY = 0.5  # the share of it that lanes may fill


class Group(NamedTuple):
    """Trials of one structure, which one program trains."""

    label: str
    first: int  # number of the first trial
    trials: list[Trial]  # in a search those of one point, whose drawn settings are open
    lanes: int  # that train at once
    lane_bytes: int
    steps: int  # of each trial

    @property
    def numbers(self) -> range | list[int]:
        """Of all its trials."""
        if FLAGS.search:
            return range(self.first, self.first + len(self.trials) * FLAGS.trials)
        return [trial.number for trial in self.trials]

    @property
    def total(self) -> int:
        return len(self.numbers)


def sweep(experiment: Experiment) -> None:
    """Trains every trial as the run that its flags alone would give, and writes the sweep's folder.

    Raises InputError for what the user can mend, before anything compiles.
    """
    axes, (part, parts) = read_axes(), read_shard()
    everything = [make_trial(experiment, number, settings) for number, settings in enumerate(settings_of(axes))]
    total = len(everything) * (FLAGS.trials if FLAGS.search else 1)
    names = list(dict.fromkeys([*(axis.name for axis in axes), *differing(everything)]))
    groups = make_groups(experiment, everything, names, slice(part, None, parts))
    if FLAGS.dry_run:
        show_plan(groups, axes, names)
        return

    if FLAGS.out is None and (FLAGS.shard or FLAGS.resume):
        raise InputError(f'--{"shard" if FLAGS.shard else "resume"} goes with --out, the folder of the sweep')
    folder = Path(FLAGS.out or new_folder(experiment.name))
    record = {'sweep': FLAGS.sweep, 'draws': FLAGS.trials, 'sweep_seed': FLAGS.sweep_seed, 'search': FLAGS.search}
    record |= {'trials': total, 'names': names, 'structure': [name for name in names if name not in DYNAMIC]}
    record |= {name: value for name, value in everything[0].config.items() if name not in names} | {'devices': len(devices())}
    runs.check_folder(folder, record, None if FLAGS.shard else FLAGS.resume, trials.SWEEP)
    runs.write_json(folder / trials.SWEEP, record)
    console.print(f'{folder}: {sum(group.total for group in groups)} trials on {len(devices())} {record["platform"]} device(s)')
    console.print(f'\n{groups_table(groups)}\n')

    finished = {trial['trial']: trial for trial in trials.read_waves(folder)[0]}
    asked = watch_signals()
    with sweep_progress(groups, finished) as show:
        for group in groups:
            with assigned(group.trials[0].flags):
                experiment.settle()
                train_group(experiment, group, axes, names, folder, finished, asked, show)
            if asked:
                break
    ended = len(trials.read_waves(folder)[0])  # other parts may have ended too
    if asked and ended < total:
        console.print(f'stopped with {ended} of {total} trials finished; the same command with --out={folder} --resume goes on')
        raise SystemExit(128 + asked[0])
    if ended < total:
        console.print(f'this part is done; {ended} of {total} trials are. The last part merges; so does ./launch.sh report --out={folder}')
        return
    sweep_report(folder)


def train_group(
    experiment: Experiment,
    group: Group,
    axes: list[Grid | Drawn],
    names: list[str],
    folder: Path,
    finished: dict[int, dict],
    asked: list[int],
    show: Callable,
) -> None:
    """Trains what is not `finished` of a group, wave by wave, and adds it there, until a signal `asked` to stop."""
    lanes = None
    for wave in waves(experiment, group, axes, finished):
        lanes = lanes or make_lanes(plan(experiment), group.lanes)
        try:
            results = train_wave(lanes, wave, names, folder, asked, partial(show, group, wave))
        except jax.errors.JaxRuntimeError as error:
            if 'RESOURCE_EXHAUSTED' not in str(error):
                raise
            words = f'{group.lanes} lanes take more memory than there is; --max_lanes=N trains fewer at once'
            raise InputError(f'{words}, and --resume goes on with --out={folder}') from error
        finished |= {trial['trial']: trial for trial in results}
        if not FLAGS.shard:
            trials.merge(folder)
        if asked:
            return


def waves(experiment: Experiment, group: Group, axes: list[Grid | Drawn], finished: dict[int, dict]) -> Iterator[list[Trial]]:
    """The trials of a group that are not finished, those of one wave at a time; results must be in `finished` before the next."""
    if FLAGS.search:
        yield from searched(experiment, group, [axis for axis in axes if isinstance(axis, Drawn)], finished)
        return
    yield from unfinished(group.trials, group.lanes, finished)


def unfinished(members: list[Trial], lanes: int, finished: dict[int, dict]) -> Iterator[list[Trial]]:
    """What is not finished of each wave."""
    for begin in range(0, len(members), lanes):
        if wave := [trial for trial in members[begin : begin + lanes] if trial.number not in finished]:
            yield wave


def searched(experiment: Experiment, group: Group, drawn: list[Drawn], finished: dict[int, dict]) -> Iterator[list[Trial]]:
    """Waves of points that what was finished before makes promising; a point is judged by the mean over its trials."""
    told: list[tuple[Settings, float]] = []
    replicates = len(group.trials)
    while len(told) < FLAGS.trials:
        points = search.ask(drawn, told, min(max(1, group.lanes // replicates), FLAGS.trials - len(told)), FLAGS.sweep_seed)
        first = group.first + len(told) * replicates
        numbers = [range(first + n * replicates, first + (n + 1) * replicates) for n in range(len(points))]
        wave = [
            make_trial(experiment, number, trial.flags | point)
            for point, of_point in zip(points, numbers, strict=True)
            for number, trial in zip(of_point, group.trials, strict=True)
        ]
        yield from unfinished(wave, group.lanes, finished)
        for point, of_point in zip(points, numbers, strict=True):
            results = trials.Setting(point, [finished[number] for number in of_point])
            told.append((point, results.score('best_validation_accuracy')))


def read_axes() -> list[Grid | Drawn]:
    """The axes of --sweep; InputError for one that cannot be."""
    known = sweepable()
    whole = [name for name, flag in known.items() if isinstance(flag.parser, flags.IntegerParser)]
    axes = [parse(spec, whole) for spec in FLAGS.sweep]
    seen: set[str] = set()
    for axis in axes:
        if axis.name not in known:
            near = get_close_matches(axis.name, known, 1)
            hint = 'is no setting of the training' if axis.name in FLAGS else 'is no flag' + (f'; did you mean {near[0]}?' if near else '')
            raise InputError(f'--sweep={axis.name}: {axis.name} {hint}')
        if axis.name in seen:
            raise InputError(f'--sweep has {axis.name} twice; write all its values into one')
        seen.add(axis.name)
        try:
            values = [known[axis.name].parser.parse(value) for value in axis.values]
        except (ValueError, TypeError) as error:
            raise InputError(f'--sweep={axis.name}: {error}') from error
        if len(set(values)) < len(values):
            raise InputError(f'--sweep={axis.name} has {next(value for value in values if values.count(value) > 1)} twice')
    drawn = {axis.name: axis for axis in axes if isinstance(axis, Drawn)}
    if drawn and not FLAGS.trials:
        raise InputError(f'--sweep={next(iter(drawn))}~ is drawn from; say how often by --trials=N')
    if not drawn and (FLAGS.trials or FLAGS.search):
        raise InputError(f'--{"search" if FLAGS.search else "trials"} goes with an axis to draw from, like --sweep="lr~log(1e-4,1e-1)"')
    if FLAGS.search and (fixed := [name for name in drawn if name not in DYNAMIC]):
        raise InputError(f'--search={FLAGS.search} draws within one structure, and {fixed[0]} makes others; write --sweep={fixed[0]}=...')
    if FLAGS.search:
        search.optuna()
        for name, axis in drawn.items():
            for value in axis.ends:  # a later wave may come upon them
                with assigned({name: value}):
                    pass
    count = math.prod(len(axis.values) for axis in axes if isinstance(axis, Grid)) * (FLAGS.trials or 1)
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


def settings_of(axes: list[Grid | Drawn]) -> Iterator[Settings]:
    """The swept flags of every trial: for each draw all combinations of the rest. In a search the draw is any one point."""
    grids, drawn = [axis for axis in axes if isinstance(axis, Grid)], [axis for axis in axes if isinstance(axis, Drawn)]
    if FLAGS.search:
        points: list[Settings] = [{axis.name: axis.at(0.5) for axis in drawn}]
    else:
        points = list(draws(drawn, FLAGS.trials, FLAGS.sweep_seed)) if drawn else [{}]
    for point in points:
        for combination in product(grids):
            yield {axis.name: (point | combination)[axis.name] for axis in axes}


def make_trial(experiment: Experiment, number: int, settings: Settings) -> Trial:
    """The trial with these flags; InputError (or absl's) for flags that a run alone would refuse."""
    with assigned(settings):
        experiment.settle()
        return Trial(number, settings, config(experiment.name) | {'devices': 1}, make_hyper())


def differing(members: list[Trial]) -> list[str]:
    """The settings that are not the same in all trials."""
    return [name for name, value in members[0].config.items() if any(trial.config[name] != value for trial in members)]


def make_groups(experiment: Experiment, everything: list[Trial], names: list[str], shard: slice) -> list[Group]:
    """The trials of this part by structure; InputError for flags that do not fit the data."""
    structures: dict[tuple, list[Trial]] = {}
    for trial in everything:
        static = json.dumps({name: value for name, value in trial.config.items() if name not in DYNAMIC})
        structures.setdefault((static, jax.tree.structure(trial.hyper)), []).append(trial)
    groups: list[Group] = []
    for members in structures.values():
        with assigned(members[0].flags):
            experiment.settle()
            todo = plan(experiment)
            if FLAGS.search and (todo.held_out is None or FLAGS.eval_split != 'validation'):
                raise InputError('--search goes by validation: it needs --validation above 0 and --eval_split=validation')
            needed = lane_bytes(todo.make_run(), todo.model, todo.hyper, todo.data.train, FLAGS.batch_size, todo.buckets)
            most = max_lanes(needed, size((todo.data.train, todo.held_out, todo.data.test)))
        label = ' '.join(f'{name}={members[0].config[name]}' for name in names if name not in DYNAMIC)
        first = groups[-1].first + groups[-1].total if groups else 0
        at_once = members[shard]
        if FLAGS.search:  # a wave is whole points, as many as fit
            points = most // len(members) if FLAGS.max_lanes else POINTS
            at_once = members * max(1, points)
        if at_once:
            groups.append(Group(label, first, members[shard], lanes_per_wave(len(at_once), most, len(devices())), needed, todo.steps))
    return groups


def max_lanes(needed: int, data: int) -> int:
    """How many lanes of so many bytes may train at once, beside the data on every device."""
    if FLAGS.max_lanes:
        return FLAGS.max_lanes
    sharing = len(devices()) if devices()[0].platform == 'cpu' else 1
    free = MEMORY * device_memory(devices()[0]) / sharing - data
    return len(devices()) * max(1, int(free // needed))


def show_plan(groups: list[Group], axes: list[Grid | Drawn], names: list[str]) -> None:
    """What --dry_run prints."""
    drawn = [axis.name for axis in axes if isinstance(axis, Drawn)] if FLAGS.search else []
    console.print(settings_table([trial for group in groups for trial in group.trials], names, drawn))
    console.print(f'\n{groups_table(groups)}')
