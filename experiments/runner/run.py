"""A run alone: its folder, its progress, and what is shown at its end."""

import datetime
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from experiments.runner import cli, compile_for, console, lane_results, loop, machine, processes
from experiments.runner.config import Layers
from experiments.runner.interrupts import undisturbed, watched_signals
from experiments.runner.logs import Logs
from experiments.runner.program import program_alone
from experiments.runner.progress import run_progress, say_compiling
from experiments.runner.task import Plan, Task, forget, make_plan, resolve, settings
from rnnlab.analysis.describe import describe
from rnnlab.errors import InputError
from rnnlab.results import plots, runs, tensorboard, trials
from rnnlab.results.lock import locked
from rnnlab.results.records import Json, Row, Summary, outcomes
from rnnlab.results.typed import field
from rnnlab.training import checkpoint, lanes


def train(task: Task, config: Layers) -> Path | None:
    """Trains as the configuration says, and returns the run's folder; with compile_for neither.

    Raises InputError for bad input, before anything compiles; and when a loss is not finite.
    """
    if config.force and not (config.resume and config.devices != 'auto'):
        raise InputError('--force goes with --resume and --devices=N')
    forget()
    command = cli.command(task.name, config)
    with processes.joined(config):
        config = resolve(task, config)
        with machine.precision(config):
            if not config.compile_for:
                return run(task, config, command)
            compile_for.alone(make_plan(task, config))
    return None


def run(task: Task, config: Layers, command: str) -> Path:
    """Trains as a resolved configuration says, and returns the run's folder."""
    folder, record = Path(config.out or new_folder(task, config)), settings(task, config)
    if config.force:  # the record stays what the run began with
        record['devices'] = machine.devices_noted(config)
    if processes.first():
        runs.check_folder(folder, record, config.resume)
    plan = make_plan(task, config)
    mesh = plan.mesh(machine.devices(config), machine.shared(config))
    processes.check_same(record)
    if processes.first():
        write(plan, mesh, folder, record, command)
    else:
        follow(plan, mesh)
    return folder


def write(plan: Plan, mesh: Mesh | None, folder: Path, record: Json, command: str) -> None:
    """Trains, tests, shows and writes: what the first process does."""
    config, number = plan.config, mesh.size if mesh else 1
    with locked(folder):
        before = runs.check_folder(folder, record, config.resume)  # others may have been here
        if before is None:
            runs.write_json(folder / runs.ENVIRONMENT, machine.environment(command))
        files = runs.settings_files(record | {'devices': record['devices'] or number}, plan.data)
        console.say(f'{folder} on {number} {record["platform"]} device(s)')
        if config.parameters:
            console.say(f'--parameters={config.parameters}: hidden_size={config.hidden_size}')
        console.console.print(f'\n{describe(plan.model)}\n')
        progress, rows, logs = advance(plan, mesh, folder, files, before)
        summary = finish(progress, rows, folder)
        logs.end([summary])
        console.console.print(f'\n{console.summary_table(summary, plan.metrics)}')
        if summary.tests:
            console.console.print(f'\n{console.tests_table(summary)}')
        plan.task.finish(plan, lanes.lane(progress.params(), 0), folder)


def follow(plan: Plan, mesh: Mesh | None) -> None:
    """Computes what `write` does: what the other processes do."""
    config = plan.config
    progress = loop.begin(program_alone(plan, mesh), [config.hyper], [config.seed], np.uint32(0))
    with watched_signals() as interrupts:
        loop.share(progress)
        for _ in loop.train(progress, None, interrupts):
            pass
    processes.wait()
    if not progress.ended:
        raise SystemExit(128 + interrupts[0])
    lane_results.tested(progress)


def new_folder(task: Task, config: Layers) -> str:
    if config.resume:
        raise InputError('--resume goes with --out, the folder of the run to resume')
    return f'runs/{task.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}'


def advance(
    plan: Plan, mesh: Mesh | None, folder: Path, files: Json, before: Json | None
) -> tuple[loop.Progress, list[Row], Logs]:
    """Trains to the last step, from the checkpoint if there is one, and writes metrics.jsonl.

    files: the settings by their files; before: the settings of the run that is resumed.
    """
    config = plan.config
    say_compiling(config.progress)
    program = program_alone(plan, mesh)
    progress = loop.begin(program, [config.hyper], [config.seed], runs.fingerprint(files))
    if before is None:
        runs.write_settings(folder, files)
    with (
        checkpoint.open_checkpoints(folder / runs.CHECKPOINT) as checkpoints,
        watched_signals() as interrupts,
    ):
        restored = loop.restore(progress, checkpoints)
        rows = lane_results.rows(progress, 0)
        if before is not None:
            check_resumed(progress, rows, folder, before, restored)
            runs.write_settings(folder, files)
            where = f'resumes at step {progress.step}'
            console.say(where if restored else 'no checkpoint was saved: begins at step 0')
        if not progress.ended:
            (folder / runs.SUMMARY).unlink(missing_ok=True)  # of a run that is made longer
        runs.write_lines(folder / runs.METRICS, (row.to_json() for row in rows))
        logs = Logs(progress, [folder / tensorboard.FOLDER], [config])
        loop.share(progress)
        with run_progress(plan.steps, progress.step, config.progress) as show:
            for _ in loop.train(progress, checkpoints, interrupts):
                new = lane_results.rows(progress, 0, begin=len(rows))
                for row in new:
                    runs.append_row(folder, row)
                rows += new
                logs.append(progress)
                means = {name: float(v[0]) for name, v in progress.state.totals.means().items()}
                show(progress.step, means, new[-1] if new else None)
        with undisturbed():
            loop.save(progress, checkpoints)
            checkpoints.wait_until_finished()
    if not progress.state.finite[0]:
        what = f'the loss or gradient of step {int(progress.state.taken[0]) + 1}'
        raise not_finite(what, config, folder)
    processes.wait()
    if not progress.ended:
        words = f'stopped at step {progress.step} of {plan.steps}'
        console.say(f'{words}; resume with the same command and --out={folder} --resume')
        raise SystemExit(128 + interrupts[0])
    return progress, rows, logs


def check_resumed(
    progress: loop.Progress, rows: list[Row], folder: Path, before: Json, restored: bool
) -> None:
    """Raises InputError unless the files of a run continue from its checkpoint."""
    plan = progress.program.plan
    if not restored and (folder / runs.SUMMARY).exists():
        words = f'{folder} holds a finished run, and its checkpoint is gone'
        raise InputError(f'{words}; put it back, or train again in a new folder')
    there = runs.read_rows(folder, plan.metrics)
    if restored and there[: len(rows)] != rows[: len(there)]:
        words = f'{folder / runs.METRICS} has other rows than the checkpoint beside it'
        raise InputError(f'{words}: one of them is not of this run')
    with runs.located(str(folder / runs.CONFIG)):
        epochs, steps = field(before, 'epochs', int), field(before, 'steps', int | None)
    end = steps or epochs * plan.batches.steps
    if end > plan.steps:
        words = f'{folder} holds a run of {end} steps, more than the {plan.steps} of this one'
        raise InputError(f'{words}; a run can only be made longer')
    if end == plan.steps:
        return
    if trials.trial_of(folder) is not None:
        words = f'{folder} is the best run of a sweep'
        raise InputError(f'{words}; make a copy of it longer')
    if progress.best and progress.best.step[0] == end and end % plan.every:
        words = f'the best parameters of {folder} are from its end, step {end}'
        why = f'which a run of {plan.steps} steps does not evaluate'
        raise InputError(f'{words}, {why}: train anew in another --out')


def finish(progress: loop.Progress, rows: list[Row], folder: Path) -> Summary:
    """Tests the parameters that are kept, writes the summary and draws the curves."""
    plan = progress.program.plan
    (tested,) = lane_results.tested(progress)
    if not tested.finite:
        raise not_finite('the test loss', plan.config, folder)
    summary = lane_results.summarise(progress, 0, rows, tested)
    if summary.stopped_at is not None:
        words = f'--patience={plan.config.patience}: stopped at step {summary.stopped_at}'
        console.say(f'{words} of {plan.steps}')
    number = trials.trial_of(folder)  # the best run of a sweep has one
    record = {} if number is None else {'trial': number}
    runs.write_summary(folder, record | summary.to_json(plan.metrics))
    path, words = folder / runs.CURVES, title(plan, summary)
    with console.drawing(path):
        plots.curves(rows, plan.metrics, path, words, summary.baseline)
    if plan.config.log_gradients:
        with console.drawing(folder / runs.GRADIENTS):
            plots.gradients({'': rows}, folder / runs.GRADIENTS, words)
    return summary


def title(plan: Plan, summary: Summary) -> str:
    """What was trained, and how well it did."""
    config = plan.config
    net = f'{config.cell}, {config.hidden_size} units' if config.cell else 'no recurrence'
    best, _, test = outcomes(plan.metrics.selection)
    outcome = best if test.of(summary) is None else test
    value = format(outcome.of(summary) or 0.0, '.2%' if outcome.metric.is_fraction else '.4g')
    return f'{plan.task.name}: {net}, {outcome.words} {value} at step {summary.kept_step:,}'


def not_finite(what: str, config: Layers, folder: Path) -> InputError:
    words = f'{what} is not finite, with --lr={config.lr:g} and --clip={config.clip:g}'
    advice = f'try a lower one of them in a new folder; {folder} keeps the state before'
    return InputError(f'{words}: {advice}')
