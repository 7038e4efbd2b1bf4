"""A sweep: axes make trials, trials of one static configuration a group, and lanes train them."""

import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import jax

from experiments.runner import cli, cluster, compile_for, console, machine, processes, run
from experiments.runner.axes import is_dynamic, read_axes, settings_of
from experiments.runner.config import Layers
from experiments.runner.groups import Group, groups_table, make_groups, plan_trial
from experiments.runner.interrupts import watched_signals
from experiments.runner.lanes import Sweep, train_rounds
from experiments.runner.progress import sweep_progress
from experiments.runner.report import sweep_report
from experiments.runner.rounds import rounds
from experiments.runner.task import Task, forget, settings
from experiments.runner.turns import turns
from rnnlab.errors import InputError
from rnnlab.results import claims, runs, trials
from rnnlab.results.lock import locked
from rnnlab.results.records import Json, Outcome
from rnnlab.results.trials import SweepRecord
from rnnlab.sweeps import search
from rnnlab.sweeps.axes import Drawn, Grid

ANY = 'any'  # part of a sweep: whichever batch is free


def launch(task: Task, config: Layers) -> None:
    """Trains a run, or with --sweep a sweep."""
    (sweep if config.sweep else run.train)(task, config)


def sweep(task: Task, config: Layers) -> Path | None:
    """Trains every trial as the run that its settings alone would give, in the sweep's folder.

    Raises InputError for bad input, before anything compiles.
    """
    if jax.config.jax_default_prng_impl != 'threefry2x32':  # type: ignore[attr-defined]
        words = '--sweep needs --jax_default_prng_impl=threefry2x32'
        raise InputError(f'{words}: with others a lane is not the run that its seed gives alone')
    processes.place(config)
    if config.force:
        words = '--force goes without --sweep'
        raise InputError(f'{words}: a sweep is resumed on as many devices as it began with')
    check_rungs(config)
    if config.shard and config.out is None:
        raise InputError('--shard goes with --out, the folder that all parts share')
    forget()
    axes, (part, parts) = read_axes(config), read_shard(config)
    planned = [plan_trial(task, config, n, s) for n, s in enumerate(settings_of(config, axes))]
    everything = [settings(task, trial.config) for trial in planned]
    names = list(dict.fromkeys([*(axis.name for axis in axes), *runs.differing(everything)]))
    groups, metrics, validated = make_groups(task, config, planned, names, part, parts)
    number = len(planned) * (config.draws if config.asks else 1)
    if parts > number:
        flag = f'workers={parts}' if config.cluster else f'shard={config.shard}'
        raise InputError(f'--{flag}: more parts than the {number} trials')
    first = planned[0].config
    if first.parameters and 'hidden_size' not in names:
        console.say(f'--parameters={first.parameters}: hidden_size={first.hidden_size}')
    if config.dry_run:
        open_names = [a.name for a in axes if isinstance(a, Drawn)] if config.asks else []
        shown = [(t.number, everything[t.number]) for group in groups for t in group.trials]
        table = console.settings_table(shown, names, open_names)
        console.console.print(f'{table}\n\n{groups_table(groups)}')
        return None
    if config.compile_for:
        compile_for.sweep(task, config, groups)
        return None

    folder = Path(config.out or run.new_folder(task, config))
    record = SweepRecord(
        metrics=metrics,
        ranked_by=Outcome('best' if validated else 'test', metrics.selection),
        sweep=list(config.sweep),
        names=names,
        static=[name for name in names if not is_dynamic(config, name)],
        trials=number,
        title=title(task, first, names),
    )
    devices = machine.devices(config)
    everywhere = record.to_json() | how_drawn(config) | {'parts': parts}
    everywhere |= {name: v for name, v in everything[0].items() if name not in names}
    everywhere |= {'devices': len(devices)}
    if part is None:  # then all processes have to agree on the batches
        everywhere |= {'lanes': [[rung.lanes for rung in group.rungs] for group in groups]}
    resume = None if config.shard else config.resume
    if config.cluster:
        cluster.check(config)
        before = runs.read_json(path) if (path := folder / trials.SWEEP).exists() else {}
        theirs = {name: before[name] for name in ('platform', 'devices', 'lanes') if name in before}
        runs.check_folder(folder, everywhere | theirs, resume, trials.SWEEP)
        cluster.train(task, config, groups, folder)
        return folder
    runs.check_folder(folder, everywhere, resume, trials.SWEEP)
    alone = nullcontext() if part is None else locked(folder, f'-{part + 1}-of-{parts}')
    with alone:
        with locked(folder, wait=True):  # all parts make the folder
            if runs.check_folder(folder, everywhere, resume, trials.SWEEP) is None:
                environment = machine.environment(cli.command(task.module, config))
                runs.write_json(folder / runs.ENVIRONMENT, environment)
            runs.write_json(folder / trials.SWEEP, everywhere)
            for room in (trials.WAVES, claims.CLAIMS):
                (folder / room).mkdir(exist_ok=True)
        number = sum(len(group.numbers) for group in groups)
        where = f'{len(devices)} {everywhere["platform"]} device(s)'
        console.say(f'{folder}: {number} trials on {where}')
        console.console.print(f'\n{groups_table(groups)}\n')
        train(task, config, groups, axes, folder, record, part is not None)
    return folder


def train(
    task: Task,
    config: Layers,
    groups: list[Group],
    axes: list[Grid | Drawn],
    folder: Path,
    record: SweepRecord,
    alone: bool,
) -> None:
    """Trains all rounds, and reports; on a signal leaves what is there."""
    trials.read_finished(folder, record.metrics)  # says what is damaged or gone
    with watched_signals() as interrupts:
        shared = Sweep(folder, record, {}, interrupts, alone, set())
        shared.refresh()
        with sweep_progress(groups, shared.finished, record.ranked_by, config.progress) as shown:
            every = turns(task, rounds(task, config, groups, axes, shared), shared)
            train_rounds(task, config, every, shared, shown)
    ended = len(trials.read_waves(folder, record.metrics)[0])  # other parts may have ended too
    if ended == record.trials and not interrupts:
        shutil.rmtree(folder / claims.CLAIMS, ignore_errors=True)
        if alone:
            sweep_report(folder)
        else:
            console.say(f'all {ended} trials are done; ./launch.sh report --out={folder}')
    elif interrupts:
        words = f'stopped with {ended} of {record.trials} trials finished'
        console.say(f'{words}; resume with the same command and --out={folder} --resume')
        raise SystemExit(128 + interrupts[0])
    else:
        words = f'this part is done; {ended} of {record.trials} trials are'
        console.say(f'{words}. The last part merges; so does ./launch.sh report --out={folder}')


def check_rungs(config: Layers) -> None:
    """Raises InputError for what does not go with rungs."""
    words = f'--rungs={config.rungs}' if config.rungs > 1 else f'--search={config.search}'
    if config.search == 'pbt' and config.changed('eta'):
        raise InputError(f'--eta={config.eta} goes without --search=pbt, whose rungs are equal')
    if config.rungs == 1 and config.search != 'pbt':
        return
    if config.shard and not config.shard.startswith(ANY):
        why = 'each rung compares all trials'
        raise InputError(f'{words} goes without --shard={config.shard}: {why}; see --shard=any/n')
    if config.search == 'tpe':
        raise InputError(f'{words} goes without --search=tpe; take --search=hyperband')
    axes = [axis.partition('=')[0].strip() for axis in config.sweep]
    if config.patience or 'patience' in axes:
        raise InputError(f'{words} goes without --patience: a rung compares all at one step')


def read_shard(config: Layers) -> tuple[int | None, int]:
    """(part, counted from 0; parts) of --shard; None: any batch."""
    if config.cluster:
        told = f'--cluster={config.cluster}'
        if config.shard:
            raise InputError(f'{told} goes without --shard: it gives each worker its own')
        if not config.workers:
            raise InputError(f'{told} goes with --workers=N, the number of processes to start')
        return None, config.workers
    if config.shard is None:
        return 0, 1
    part, _, parts = config.shard.partition('/')
    numbers = re.fullmatch(rf'([0-9]{{1,9}}|{ANY})/[0-9]{{1,9}}', config.shard)
    if not (numbers and int(parts) and (part == ANY or 1 <= int(part) <= int(parts))):
        words = 'should be i/n, the i-th of n parts, like 1/4, or any/n'
        raise InputError(f'--shard={config.shard} {words}')
    if part == ANY:
        return None, int(parts)
    if config.search:
        words = f'--shard={config.shard} cannot divide a search'
        raise InputError(f'{words}, in which each batch needs those before; --shard=any/n can')
    return int(part) - 1, int(parts)


def how_drawn(config: Layers) -> Json:
    """How the trials are drawn, for sweep.json."""
    chosen = f'{config.search} of Optuna {search.optuna().__version__}' if config.asks else None
    how = chosen or config.search
    drawn = {'draws': config.trials, 'sweep_seed': config.sweep_seed, 'search': how}
    halving = {'rungs': config.rungs, 'eta': config.eta}
    return drawn | (halving if config.rungs > 1 else {})


def title(task: Task, config: Layers, names: list[str]) -> str:
    """The dataset or task that all trials share, else the experiment."""
    common = (
        getattr(config, n) for n in ('dataset', 'task') if n not in names and hasattr(config, n)
    )
    return next(common, task.name)
