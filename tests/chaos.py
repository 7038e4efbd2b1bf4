"""Faults on a Slurm cluster of two nodes on this machine, while workers train a sweep.

python -m tests.chaos --faults=36

Its trials.csv must be that of one process, seconds aside. Needs root, munge and Slurm (on Debian:
apt install slurm-wlm munge); without them it says so and ends.
"""

import argparse
import csv
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rnnlab.results import claims
from rnnlab.results.claims import Claim

ROOT = Path(__file__).parent.parent
PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'srun', 'scontrol')
NODES = ('node1', 'node2')
WORKERS = 4
# A cell without a native engine, which the node whose disk is full could not build.
SWEEP = ['--dataset=digits', '--cell=mgu', '--hidden_size=16', '--batch_size=32', '--devices=1']
SWEEP += ['--eval_every=500', '--checkpoint_every=0.5', '--keep=best']
SWEEP += ['--sweep=lr=log(1e-4,1e-1,12)', '--sweep=seed=0..3', '--max_lanes=2']
STEPS = 1000  # of a training for each fault and some more, so that it lasts until the last one
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
SlurmctldPort=17010
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
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17011 CPUs=2 RealMemory=1000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17012 CPUs=2 RealMemory=1000
PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP
"""
# The second node's own disk is always full: its compiled programs, its temporary files.
PROLOG = """#!/bin/sh
[ "$SLURMD_NODENAME" = node2 ] || exit 0
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
        host = subprocess.run(['hostname', '-s'], capture_output=True, text=True).stdout.strip()
        (folder / 'slurm.conf').write_text(CONF.format(host=host, folder=folder))
        prolog = folder / 'prolog'
        full = tmpfs(folder / 'full', '64k')
        fill(folder / 'full')
        prolog.write_text(PROLOG.format(full=folder / 'full' if full else '/dev/full'))
        prolog.chmod(0o755)
        key = folder / 'key'
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        os.environ['SLURM_CONF'] = str(folder / 'slurm.conf')
        names = {name: f'{folder}/munge.{name}' for name in ('pid', 'log', 'seed')}
        options = [f'--{name}-file={path}' for name, path in names.items()]
        self.start('munged', '--foreground', '--force', f'--socket={folder}/munge',
                   f'--key-file={key}', *options)  # fmt: skip
        time.sleep(1)
        self.start('slurmctld', '-D')
        for node in NODES:
            self.start_node(node)

    def ready(self) -> bool:
        """Whether both nodes take jobs, at the latest after some seconds."""
        for _ in range(40):
            if run('sinfo', '--noheader', '--Node', '--format=%t').split() == ['idle'] * 2:
                return True
            time.sleep(0.5)
        return False

    def start(self, name: str, *flags: str) -> subprocess.Popen:
        log = (self.folder / f'{name}.out').open('a')
        process = subprocess.Popen([program(name), *flags], stdout=log, stderr=log)
        self.daemons[' '.join([name, *flags[-1:]])] = process
        return process

    def start_node(self, node: str) -> None:
        self.start('slurmd', '-D', '-N', node)

    def kill_node(self, node: str) -> None:
        self.daemons[f'slurmd {node}'].kill()
        self.daemons[f'slurmd {node}'].wait()

    def stop(self) -> None:
        run('scancel', '--user=root')
        time.sleep(5)
        for process in reversed(self.daemons.values()):
            process.terminate()
            process.wait()
        for process in [one for node in NODES for one in processes_on(node)]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for name in ('full', 'disk'):
            run('umount', str(self.folder / name))


def program(name: str) -> str:
    return shutil.which(name, path=f'{os.environ["PATH"]}:/usr/sbin:/sbin') or ''


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


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
    """A sweep whose workers suffer faults."""

    def __init__(
        self, cluster: Cluster, folder: Path, sweep: list[str], draw: random.Random
    ) -> None:
        self.cluster, self.folder, self.sweep, self.draw = cluster, folder, sweep, draw
        self.done: Counter[str] = Counter()
        self.submit()

    def submit(self) -> None:
        resume = ['--resume'] if (self.folder / 'sweep.json').exists() else []
        cluster = ['--cluster=slurm', f'--workers={WORKERS}', '--slurm_time=10']
        log = (self.cluster.folder / 'submitter.log').open('a')
        flags = [*self.sweep, *cluster, f'--out={self.folder}', *resume]
        self.submitter = subprocess.Popen(mnist(*flags), cwd=ROOT, stdout=log, stderr=log)

    def victim(self) -> Claim | None:
        """A claim whose process lives, on a batch on which not too many have died."""
        last = [every[-1] for every in claims.read(self.folder).values()]
        alive = [claim for claim in last if claim.attempt < 3 and process_of(claim)]
        return self.draw.choice(alive) if alive else None

    def signal(self, number: int) -> bool:
        """Sends a signal to the process that trains some batch."""
        if claim := self.victim():
            with suppress(ProcessLookupError):
                os.kill(process_of(claim), number)
                return True
        return False

    def kill_worker(self) -> bool:
        return self.signal(signal.SIGKILL)

    def stop_worker(self) -> bool:
        return self.signal(signal.SIGTERM)

    def kill_supervisor(self) -> bool:
        """Kills what submitit started, whose child trains on alone."""
        found = run('pgrep', '-f', 'submitit.core._submit').split()
        if found:
            os.kill(int(self.draw.choice(found)), signal.SIGKILL)
        return bool(found)

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
            if not process:
                break
            os.kill(process, signal.SIGSTOP)
            paused.append(process)
            claim = self.successor(claim)
        for process in paused:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        return len(paused) == 2

    def successor(self, claim: Claim) -> Claim | None:
        """The next claim on the same batch, if there is one within some seconds."""
        for _ in range(40):
            time.sleep(0.5)
            every = claims.read(self.folder).get(claim.path.stem, [])
            if every and every[-1].attempt > claim.attempt:
                return every[-1]
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

    def wave(self, number: int) -> None:
        """Brings about so many faults, all kinds in turn, and keeps workers coming."""
        kinds: list[Callable[[], bool]] = [
            self.kill_worker, self.age_claim, self.full_disk, self.kill_submitter, self.requeue,
            self.full_disks, self.pause_twice, self.kill_node, self.stop_worker, self.kill_worker,
            self.time_limit, self.kill_supervisor,
        ]  # fmt: skip
        at = 0
        while sum(self.done.values()) < number and not self.ended():
            kind = kinds[at % len(kinds)]
            at += 1
            if kind():
                self.done[kind.__name__] += 1
                say(f'{sum(self.done.values())} {kind.__name__}')
            self.keep_on()
            time.sleep(self.draw.uniform(0.5, 1.5))

    def ended(self) -> bool:
        return (self.folder / 'sweep.json').exists() and not (self.folder / 'claims').exists()

    def keep_on(self) -> None:
        if self.submitter.poll() is not None and not self.ended():
            self.submit()

    def finish(self) -> None:
        while not self.ended():
            self.keep_on()
            time.sleep(1)
        self.submitter.wait()


def processes_on(node: str) -> list[int]:
    """The processes of workers on a node."""
    found, own = [], f'SLURMD_NODENAME={node}'.encode()
    for path in Path('/proc').glob('[0-9]*'):
        with suppress(OSError):
            there = (path / 'environ').read_bytes().split(b'\0')
            if own in there and 'python' in (path / 'exe').readlink().name:
                found.append(int(path.name))
    return found


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
    with tempfile.TemporaryDirectory(prefix='chaos') as name:
        folder = Path(name)
        cluster, sweep = Cluster(folder), [*SWEEP, f'--steps={STEPS * (faults + 6)}']
        os.environ['PYTHONPATH'] = f'{folder / "quick"}:{ROOT}'
        try:
            if not cluster.ready():
                print(f'skipped: Slurm does not start here; {run("sinfo")}')
                return 0
            tmpfs(folder / 'disk', '256m')
            subprocess.run(mnist(*sweep, f'--out={folder / "alone"}'), cwd=ROOT, check=True,
                           capture_output=True)  # fmt: skip
            say('one process is done')
            chaos = Chaos(cluster, folder / 'disk' / 'sweep', sweep, random.Random(seed))
            chaos.wave(faults)
            chaos.finish()
            ours, theirs = table(folder / 'disk' / 'sweep'), table(folder / 'alone')
        finally:
            cluster.stop()
    for own, other in zip(ours, theirs, strict=True):
        if own != other:
            say(f'{own}\nand alone\n{other}')
    say(f'{sum(chaos.done.values())} faults: {dict(chaos.done)}')
    say(f'trials.csv is {"that" if ours == theirs else "not that"} of one process')
    return 0 if ours == theirs and sum(chaos.done.values()) >= faults else 1


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    for flag, default in (('faults', 36), ('seed', 0)):
        parser.add_argument(f'--{flag}', type=int, default=default)
    sys.exit(main(**vars(parser.parse_args())))
