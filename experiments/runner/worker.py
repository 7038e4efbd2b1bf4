"""A worker of a sweep, as submitit starts it: it runs the sweep's command, and again if that dies.

This imports nothing that takes long: the command does.
"""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

LIVES = 4  # of the command without a new result: three deaths make a batch failed, the next says so
PAUSE = 1.0  # seconds between two lives
STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)  # exit codes after a signal to stop


class Worker:
    """Runs a command until it ends well or is told to stop."""

    def __init__(self, command: list[str], logs: Path, results: Path) -> None:
        self.command, self.logs, self.results = command, logs, results
        self.process: subprocess.Popen | None = None

    def __call__(self) -> None:
        lives, before = 0, -1
        while lives < LIVES:
            code = self.live()
            if code == 0 or code in STOPPED:
                return
            now = len([*self.results.glob('*.json')])
            lives, before = 1 if now > before else lives + 1, now
            time.sleep(PAUSE)
        raise SystemExit(f'the command has died {LIVES} times; its logs are in {self.logs}')

    def live(self) -> int:
        """Runs the command once, with a separate log, and returns its exit code."""
        import submitit

        job, number = submitit.JobEnvironment().job_id, 1
        while (log := self.logs / f'{job}.{number}.log').exists():
            number += 1
        with log.open('x') as file:
            # Slurm sends the signals before the time limit to all processes: this one answers them.
            mine = {signal.SIGUSR1, signal.SIGUSR2}
            signal.pthread_sigmask(signal.SIG_BLOCK, mine)
            self.process = subprocess.Popen(self.command, stdout=file, stderr=file)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, mine)
            try:
                return self.process.wait()
            except KeyboardInterrupt:
                self.process.terminate()
                return self.process.wait()

    def checkpoint(self) -> 'DelayedSubmission':
        """What submitit is to start again, after the command has saved what it trained.

        It is called where a signal interrupts `live`.
        """
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.terminate()
            with suppress(ChildProcessError):  # not wait: that is what has been interrupted
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Worker(self.command, self.logs, self.results))
