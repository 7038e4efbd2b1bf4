"""A sweep on a cluster: its workers, submitted through submitit, and what they have done so far.

A worker is the sweep's own command with --shard=any/n, see `turns`: it needs neither this process
nor any other one.
"""

import contextlib
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import jax
from rich.progress import MofNCompleteColumn

from experiments.runner import cli, console, machine
from experiments.runner.fields import specs
from experiments.runner.groups import Group, groups_table
from experiments.runner.interrupts import Interrupts, watched_signals
from experiments.runner.progress import progress_bar
from experiments.runner.report import sweep_report
from experiments.runner.status import State, read_state
from experiments.runner.task import Task
from experiments.runner.training import Training
from experiments.runner.worker import Worker
from rnnlab.errors import InputError
from rnnlab.results import claims, runs, trials
from rnnlab.results.records import Json

if TYPE_CHECKING:
    from submitit import Job

OURS = ('cluster', 'workers', 'slurm_partition', 'slurm_time', 'slurm_gpus', 'slurm')
SUBMITTED = '_submitted.pkl'  # ends the names of submitit's files of jobs
LOOK = 2.0  # seconds between two looks at the folder
ASK = 15.0  # seconds between two questions to Slurm
YEARS = 10 * 365 * 24 * 60  # minutes


def check(config: Training) -> None:
    """Raises InputError for a cluster that is not there."""
    told = f'--cluster={config.cluster}'
    submitit()
    if config.cluster == 'slurm' and not shutil.which('sbatch'):
        words = f'{told} needs sbatch, which is not on this machine'
        raise InputError(f'{words}; submit from a node of the cluster, or take --cluster=local')
    platform = jax.devices()[0].platform
    if config.cluster == 'local' and platform != 'cpu':
        words = f'{told} divides the cores of a CPU'
        raise InputError(f'{words}; leave it out: one process trains on every {platform}')
    for option in config.slurm:
        if not option.partition('=')[0].strip('- '):
            raise InputError(f'--slurm={option} should be NAME=VALUE, an option of sbatch')


def submitit() -> ModuleType:
    try:
        import submitit
    except ImportError as error:
        raise InputError('--cluster needs submitit: pip install submitit') from error
    return submitit


def train(task: Task, config: Training, groups: list[Group], folder: Path) -> None:
    """Submits the workers of a sweep, waits for its end, and reports.

    The workers do not depend on it: Ctrl-C leaves those of Slurm, and stops those on this machine.
    """
    logs = folder / runs.WORKERS
    before = working(config, logs) or []
    jobs = submit(
        config, command(task, config, folder), folder, (config.workers or 1) - len(before)
    )
    number = f'{len(before) + len(jobs)} workers'
    if before:
        words = f'{len(before)} workers of an earlier command still run or are in the queue'
        console.say(f'{folder}: {words}; {len(jobs)} more are submitted')
    else:
        console.say(f'{folder}: {number} are submitted; what they print is in {logs}')
    console.console.print(f'\n{groups_table(groups)}\n')
    with watched_signals() as interrupts:
        now = wait(config, jobs, folder, interrupts)
    advice = f'resume with the same command and --out={folder} --resume'
    if interrupts and config.cluster == 'local':
        for job in jobs:
            job.cancel(check=False)
        for worker in before:
            if is_worker(worker, logs):
                os.kill(int(worker), signal.SIGINT)
        console.say(f'{number} are stopped; {advice}')
    elif interrupts:
        words = f'{number} keep training; ./launch.sh status --out={folder} says how far they are'
        console.say(f'{words}, scancel {" ".join(arrays(logs))} stops them')
    if interrupts:
        raise SystemExit(128 + interrupts[0])
    if config.cluster == 'local':
        for job in jobs:
            job.wait()
    if now is None or not now.done:
        left = 'no trial is finished' if now is None else f'{now.left} trials are left'
        raise InputError(
            f'{number} have ended, and {left} ({claims.last_line(newest_log(logs))}); {advice}'
        )
    sweep_report(folder)


def command(task: Task, config: Training, folder: Path) -> list[str]:
    """The command of a worker: this one's, as its configuration says it."""
    flags = {name: getattr(config, name) for name in specs(type(config)) if name in config.given}
    flags |= {name: getattr(jax.config, name) for name in config.given if name.startswith('jax_')}
    if config.cluster == 'local' and config.devices == 'auto':
        flags['devices'] = max(1, machine.CORES // (config.workers or 1))
    flags |= {'out': folder.resolve(), 'shard': f'any/{config.workers}'}
    own = {name: value for name, value in flags.items() if name not in (*OURS, 'resume')}
    return [sys.executable, '-m', f'experiments.{task.module}', *cli.words(own)]


def submit(config: Training, command: list[str], folder: Path, number: int) -> list['Job']:
    """The jobs of so many workers.

    submitit gives each a file in the sweep's folder, which holds the command; nothing from outside
    is read that way.
    """
    if number < 1:
        return []
    library, logs, new = submitit(), folder / runs.WORKERS, not folder.exists()
    logs.mkdir(parents=True, exist_ok=True)
    worker = Worker(command, logs.resolve(), (folder / trials.WAVES).resolve())
    if config.cluster == 'local':
        executor = library.LocalExecutor(logs)
        executor.update_parameters(timeout_min=YEARS)
    else:
        executor = library.SlurmExecutor(logs, max_num_timeout=YEARS)
        executor.update_parameters(**slurm_parameters(config))
    try:
        # submitit prints what sbatch says before it raises the same
        with outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):
            return executor.submit_array([worker] * number)
    except library.core.utils.FailedJobError as error:
        if new:
            shutil.rmtree(folder)
        words = ' '.join(line.removeprefix('sbatch: ') for line in str(error).splitlines())
        raise InputError(f'--cluster=slurm: sbatch says: {words}') from error


@contextlib.contextmanager
def outside_of_jobs() -> Iterator[None]:
    """Inside, the environment says nothing of a job of Slurm that started this process."""
    where = {name: os.environ[name] for name in os.environ if name == 'SLURM_CONF'}
    with submitit().helpers.clean_env():
        os.environ.update(where)
        yield


def slurm_parameters(config: Training) -> Json:
    options = dict(option.lstrip('-').partition('=')[::2] for option in config.slurm)
    parameters: Json = {
        'job_name': 'rnnlab',
        'time': config.slurm_time,
        'array_parallelism': config.workers,
        'stderr_to_stdout': True,
        'additional_parameters': {name: value or True for name, value in options.items()},
    }
    if config.slurm_partition:
        parameters['partition'] = config.slurm_partition
    if config.slurm_gpus:
        parameters['gpus_per_node'] = config.slurm_gpus
    if cores := options.get('cpus-per-task'):  # which srun no longer takes from sbatch
        parameters['srun_args'] = [f'--cpus-per-task={cores}']
    return parameters


def wait(config: Training, jobs: list['Job'], folder: Path, interrupts: Interrupts) -> State | None:
    """The state of the sweep once it is done, all workers have ended or a signal came."""
    asked, shown, ended, now = -math.inf, '', False, None
    logs, own = folder / runs.WORKERS, jobs if config.cluster == 'local' else []
    with progress_bar(MofNCompleteColumn(), config.progress) as bar:
        row = bar.add_task('waiting for the workers', total=None, left='')
        while True:
            began = time.perf_counter()
            if began - asked > ASK:
                asked = began
                ended = working(config, logs) == [] and all(job.done() for job in own)
            if (folder / trials.SWEEP).exists():
                now = read_state(folder)
                done = now.trials - now.left
                bar.update(row, completed=done, total=now.trials, description=words(now))
                if bar.disable and config.progress != 'none' and words(now) != shown:
                    shown = words(now)
                    console.say(shown, indent=2)
            if interrupts or ended or (now and now.done):
                return now
            time.sleep(max(LOOK, 10 * (time.perf_counter() - began)))


def words(now: State) -> str:
    """The state of a sweep in a line."""
    counts = now.counts(now.rungs[-1])
    rung = f'rung {now.rungs[-1]}: ' * (now.rungs != [1])
    numbers = (f'{counts[name]} {name}' for name in ('done', 'claimed', 'stale', 'failed'))
    return f'{rung}{", ".join(numbers)} of {now.trials} trials'


def working(config: Training, logs: Path) -> list[str] | None:
    """The workers that run or are in the queue, whichever command submitted them, by their jobs.

    On this machine a job is a process. None where Slurm does not answer.
    """
    if config.cluster == 'local':
        return [process for process in submitted(logs) if is_worker(process, logs)]
    if not (known := arrays(logs)):
        return []
    ask = ['squeue', '--noheader', '--array', '--format=%i', f'--jobs={",".join(known)}']
    try:  # squeue knows the jobs also where Slurm keeps no accounts
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return None
    unknown = 'Invalid job id' in answer.stderr
    return [] if unknown else answer.stdout.split() if answer.returncode == 0 else None


def submitted(logs: Path) -> list[str]:
    """The jobs of all workers that were ever submitted, which submitit made a file for."""
    return sorted(path.name.removesuffix(SUBMITTED) for path in logs.glob(f'*{SUBMITTED}'))


def arrays(logs: Path) -> list[str]:
    """The job arrays of Slurm that all workers belong to."""
    return list(dict.fromkeys(job.partition('_')[0] for job in submitted(logs)))


def is_worker(process: str, logs: Path) -> bool:
    """Whether a process of this machine is a worker that writes there."""
    try:
        return os.fsencode(logs.absolute()) in Path(f'/proc/{process}/cmdline').read_bytes()
    except OSError:
        return False


def newest_log(logs: Path) -> Path | None:
    there = [path for path in logs.glob('*.log') if path.stat().st_size]
    return max(there, key=lambda path: path.stat().st_mtime, default=None)
