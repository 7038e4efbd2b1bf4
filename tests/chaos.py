"""Faults on a Slurm cluster of two nodes on this machine, while workers train a sweep.

python -m tests.chaos --faults=36

Its trials.csv must be that of one process, seconds aside. A sweep that ends before the last fault
is followed by another one. Needs root, munge and Slurm (on Debian: apt install slurm-wlm munge);
without them, or where they do not start within a minute, it says so and ends.
"""

import argparse
import csv
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from experiments.runner.status import read_state
from rnnlab.errors import InputError
from rnnlab.results import claims
from rnnlab.results.claims import Claim
from rnnlab.results.trials import wave_path

ROOT = Path(__file__).parent.parent
PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'srun', 'scontrol')
NODES = tuple(f'chaos{os.getpid()}{side}' for side in 'ab')  # no other program has such processes
PATIENCE = 60  # seconds until the cluster must be there
WORKERS = 4
# A cell without a native engine, which the node whose disk is full could not build.
SWEEP = ['--dataset=digits', '--cell=mgu', '--hidden_size=16', '--batch_size=32', '--devices=1']
SWEEP += ['--steps=6000', '--eval_every=500', '--checkpoint_every=0.5', '--keep=best']
SWEEP += ['--sweep=lr=log(1e-4,1e-1,6)', '--sweep=seed=0..3', '--max_lanes=2']
QUICK = """
import sys
if 'experiments.mnist' in sys.orig_argv:
    from rnnlab.results import claims
    claims.BEAT = 0.5
"""
CONF = """
ClusterName=chaos
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge
SlurmUser=root
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/prolog
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=8
KillWait=3
MinJobAge=30
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1000
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1000
PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP
"""
# The second node's own disk is always full: its compiled programs, its temporary files.
PROLOG = """#!/bin/sh
[ "$SLURMD_NODENAME" = {node} ] || exit 0
echo export XDG_CACHE_HOME={full}
echo export TMPDIR={full}
"""


class Cluster:
    """The daemons of Slurm on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.daemons = folder, dict[str, subprocess.Popen]()
        for name in ('state', *(f'spool.{node}' for node in NODES), 'quick'):
            (folder / name).mkdir()
        (folder / 'quick' / 'sitecustomize.py').write_text(QUICK)
        host = socket.gethostname().partition('.')[0]
        text = CONF.format(host=host, folder=folder, nodes=NODES, ports=free_ports(3))
        (folder / 'slurm.conf').write_text(text)
        prolog = folder / 'prolog'
        full = tmpfs(folder / 'full', '64k')
        fill(folder / 'full')
        room = folder / 'full' if full else '/dev/full'
        prolog.write_text(PROLOG.format(node=NODES[1], full=room))
        prolog.chmod(0o755)
        key = folder / 'key'
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        os.environ['SLURM_CONF'] = str(folder / 'slurm.conf')
        names = {name: f'{folder}/munge.{name}' for name in ('pid', 'log', 'seed')}
        options = [f'--{name}-file={path}' for name, path in names.items()]
        self.until = time.monotonic() + PATIENCE
        self.start('munged', '--foreground', '--force', f'--socket={folder}/munge',
                   f'--key-file={key}', *options)  # fmt: skip
        while self.hopeful() and not (folder / 'munge').exists():
            time.sleep(0.2)
        self.start('slurmctld', '-D')
        for node in NODES:
            self.start_node(node)

    def ready(self) -> bool:
        """Whether both nodes take jobs, at the latest after a minute."""
        while self.hopeful():
            if run('sinfo', '--noheader', '--Node', '--format=%t').split() == ['idle'] * 2:
                return True
            time.sleep(0.5)
        return False

    def hopeful(self) -> bool:
        """Whether all that has been started runs, and there is time left for the rest."""
        running = all(process.poll() is None for process in self.daemons.values())
        return running and time.monotonic() < self.until

    def start(self, name: str, *flags: str) -> subprocess.Popen:
        log = (self.folder / f'{name}.out').open('a')
        command = [program(name), *flags]
        # Not in our group, whose signals would end what must stop the others.
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.daemons[' '.join([name, *flags[-1:]])] = process
        return process

    def start_node(self, node: str) -> None:
        self.start('slurmd', '-D', '-N', node)

    def kill_node(self, node: str) -> None:
        self.daemons[f'slurmd {node}'].kill()
        self.daemons[f'slurmd {node}'].wait()

    def stop(self) -> None:
        if all(process.poll() is None for process in self.daemons.values()):
            run('scancel', '--user=root')
            time.sleep(5)
        for process in reversed(self.daemons.values()):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()
        ours = [f'SLURM_CONF={self.folder}/slurm.conf', *(f'SLURMD_NODENAME={n}' for n in NODES)]
        for one in [one for own in ours for one in processes_with(own)]:
            kill(one, signal.SIGKILL)
        for name in ('full', 'disk'):
            run('umount', '--lazy', str(self.folder / name))


def program(name: str) -> str:
    return shutil.which(name, path=f'{os.environ["PATH"]}:/usr/sbin:/sbin') or ''


def run(*command: str) -> str:
    """What a command prints; nothing where it takes too long."""
    with suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    return ''


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def kill(process: int, number: int) -> bool:
    """Sends a signal to a process, if it is there."""
    with suppress(ProcessLookupError):
        os.kill(process, number)
        return True
    return False


def tmpfs(folder: Path, size: str) -> bool:
    """Makes a folder a file system of that size, where one can be mounted."""
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)]
    return not subprocess.run(mount, capture_output=True).returncode


def fill(folder: Path) -> Path:
    """A file that takes all the room of such a folder."""
    filler = folder / 'filler'
    if folder.is_mount():
        with suppress(OSError), filler.open('wb', buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
    return filler


class Chaos:
    """Sweeps, one after the other, whose workers suffer faults."""

    def __init__(self, cluster: Cluster, draw: random.Random) -> None:
        self.cluster, self.draw = cluster, draw
        self.done: Counter[str] = Counter()
        self.kinds: deque[Callable[[], bool]] = deque([
            self.kill_worker, self.age_claim, self.full_disk, self.kill_submitter,
            self.kill_node, self.pause_twice, self.requeue, self.full_disks, self.stop_worker,
            self.time_limit, self.kill_worker, self.kill_supervisor,
        ])  # fmt: skip

    def sweep(self, folder: Path, faults: int) -> None:
        """A sweep, with faults of all kinds in turn until there were so many."""
        self.folder = folder
        self.submit()
        while not self.ended():
            if self.done.total() < faults:
                self.fault()
            if self.submitter.poll() is not None and not self.ended():
                self.submit()
            time.sleep(self.draw.uniform(0.5, 1.5))
        while self.submitter.wait():  # it was killed, or had no room to write
            self.submit()
        run('scancel', '--user=root')

    def fault(self) -> None:
        """Brings about the next kind; where that can not be now, it comes after another one."""
        kind = self.kinds.popleft()
        if kind():
            self.done[kind.__name__] += 1
            say(f'{self.done.total()} {kind.__name__}')
            self.kinds.append(kind)
        else:
            self.kinds.insert(1, kind)

    def ended(self) -> bool:
        with suppress(InputError):
            return read_state(self.folder).done
        return False

    def submit(self) -> None:
        resume = ['--resume'] if (self.folder / 'sweep.json').exists() else []
        cluster = ['--cluster=slurm', f'--workers={WORKERS}', '--slurm_time=10']
        log = (self.cluster.folder / 'submitter.log').open('a')
        flags = [*SWEEP, *cluster, f'--out={self.folder}', *resume]
        self.submitter = subprocess.Popen(mnist(*flags), cwd=ROOT, stdout=log, stderr=log)

    def victim(self) -> Claim | None:
        """A claim whose process lives, on a batch on which not too many have died."""
        last = [every[-1] for every in claims.read(self.folder).values()]
        alive = [claim for claim in last if claim.attempt < 3 and process_of(claim)]
        return self.draw.choice(alive) if alive else None

    def signal(self, number: int) -> bool:
        """Sends a signal to the process that trains some batch."""
        claim = self.victim()
        return claim is not None and kill(process_of(claim), number)

    def kill_worker(self) -> bool:
        return self.signal(signal.SIGKILL)

    def stop_worker(self) -> bool:
        return self.signal(signal.SIGTERM)

    def kill_supervisor(self) -> bool:
        """Kills what submitit started, whose child trains on alone."""
        name, every = 'submitit.core._submit', [one for node in NODES for one in processes_on(node)]
        found = [one for one in every if name in told(Path(f'/proc/{one}'), 'cmdline')]
        return bool(found) and kill(self.draw.choice(found), signal.SIGKILL)

    def kill_node(self) -> bool:
        """Kills a slurmd for longer than Slurm waits: its tasks live on, and are queued again."""
        node = self.draw.choice(NODES)
        self.cluster.kill_node(node)
        time.sleep(12)
        self.cluster.start_node(node)
        return True

    def kill_submitter(self) -> bool:
        self.submitter.kill()
        self.submitter.wait()
        self.submit()
        return True

    def age_claim(self) -> bool:
        """Makes a claim stale that is none."""
        if claim := self.victim():
            with suppress(FileNotFoundError):
                os.utime(claim.path, (0, 0))
                return True
        return False

    def pause_twice(self) -> bool:
        """Two processes on a batch pause until a third one has it, then all continue."""
        paused: list[int] = []
        claim = self.victim()
        while claim and len(paused) < 2:
            process = process_of(claim)
            if not (process and kill(process, signal.SIGSTOP)):
                break
            paused.append(process)
            claim = self.successor(claim)
        for process in paused:
            kill(process, signal.SIGCONT)
        return claim is not None and len(paused) == 2

    def successor(self, claim: Claim) -> Claim | None:
        """The next claim on the same batch, if there is one within two minutes.

        Workers take batches that nobody has begun first.
        """
        until, batch = time.monotonic() + 120, claim.path.stem
        while time.monotonic() < until and not wave_path(self.folder, int(batch)).exists():
            every = claims.read(self.folder).get(batch, [])
            if every and every[-1].attempt > claim.attempt:
                return every[-1]
            time.sleep(0.1)
        return None

    def requeue(self) -> bool:
        """Sends a job to the queue again, as Slurm does with one that makes room for another."""
        jobs = run('squeue', '--noheader', '--array', '--states=RUNNING', '--format=%i').split()
        if jobs:
            run('scontrol', 'requeue', self.draw.choice(jobs))
        return bool(jobs)

    def time_limit(self) -> bool:
        """Sends the signal that comes before the time limit."""
        jobs = run('squeue', '--noheader', '--array', '--states=RUNNING', '--format=%i').split()
        if jobs:
            run('scancel', '--signal=USR2', self.draw.choice(jobs))
        return bool(jobs)

    def full_disk(self) -> bool:
        """For some seconds no file grows that the second node writes, the sweep's included."""
        found = processes_on(NODES[1])
        limit(found, 0)
        time.sleep(4)
        limit(found, resource.RLIM_INFINITY)
        limit(processes_on(NODES[1]), resource.RLIM_INFINITY)  # begun meanwhile
        return bool(found)

    def full_disks(self) -> bool:
        """For some seconds the file system of the sweep's folder has no room, on both nodes."""
        filler = fill(self.folder.parent)
        if not filler.exists():
            return False
        time.sleep(4)
        filler.unlink()
        return True


def processes_with(own: str) -> list[int]:
    """The processes of Python whose environment has an entry."""
    processes = [path for path in Path('/proc').glob('[0-9]*') if own in told(path, 'environ')]
    found = []
    for path in processes:
        with suppress(OSError):
            if 'python' in (path / 'exe').readlink().name:
                found.append(int(path.name))
    return found


def processes_on(node: str) -> list[int]:
    """The processes of workers on a node."""
    return processes_with(f'SLURMD_NODENAME={node}')


def told(process: Path, file: str) -> list[str]:
    """The parts of a file of /proc about a process."""
    with suppress(OSError):
        return os.fsdecode((process / file).read_bytes()).split('\0')
    return []


def limit(processes: list[int], size: int) -> None:
    """Lets no file of processes grow beyond a size: as on a full disk, their writes fail."""
    for process in processes:
        with suppress(ProcessLookupError):
            resource.prlimit(process, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def process_of(claim: Claim) -> int:
    """The process of a claim on this machine, 0 if it has ended."""
    process = claim.record['process'] if claim.record else 0
    return process if process and Path(f'/proc/{process}').exists() else 0


def mnist(*flags: str) -> list[str]:
    return [sys.executable, '-m', 'experiments.mnist', *flags]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / 'trials.csv').open() as file:
        return [{n: v for n, v in row.items() if n != 'seconds'} for row in csv.DictReader(file)]


def say(words: str) -> None:
    print(f'{time.strftime("%H:%M:%S")} {words}', flush=True)


def main(faults: int, seed: int) -> int:
    missing = [*['root'] * (os.geteuid() != 0), *(name for name in PROGRAMS if not program(name))]
    if missing:
        print(f'skipped: there is no {missing[0]}')
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so stop the cluster
    with tempfile.TemporaryDirectory(prefix='chaos', ignore_cleanup_errors=True) as name:
        folder, tables = Path(name), list[list[dict[str, str]]]()
        cluster = Cluster(folder)
        os.environ['PYTHONPATH'] = f'{folder / "quick"}:{ROOT}'
        try:
            if not cluster.ready():
                words = claims.last_line(folder / 'slurmctld.out')
                print(f'skipped: Slurm does not start here; {words}')
                return 0
            tmpfs(folder / 'disk', '256m')
            with (folder / 'alone.log').open('w') as log:
                command = mnist(*SWEEP, f'--out={folder / "alone"}')
                alone = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            chaos = Chaos(cluster, random.Random(seed))
            while chaos.done.total() < faults:
                sweep = folder / 'disk' / f'sweep{len(tables)}'
                chaos.sweep(sweep, faults)
                tables.append(table(sweep))
                say('a sweep has ended')
            if alone.wait():
                raise SystemExit((folder / 'alone.log').read_text())
            theirs = table(folder / 'alone')
        finally:
            cluster.stop()
    for ours in tables:
        for own, other in zip(ours, theirs, strict=True):
            if own != other:
                say(f'{own}\nand alone\n{other}')
    equal = sum(ours == theirs for ours in tables)
    say(f'{chaos.done.total()} faults in {len(tables)} sweeps: {dict(chaos.done)}')
    say(f'trials.csv is that of one process in {equal} of {len(tables)}')
    return int(equal < len(tables))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    for flag, default in (('faults', 36), ('seed', 0)):
        parser.add_argument(f'--{flag}', type=int, default=default)
    sys.exit(main(**vars(parser.parse_args())))
