"""Runs an experiment once for each list of flags on standard input, each in a fork, so that imports are paid for once.

python -m tests.cases mnist <<<'[["--lr=0"], ["--lr=nan"]]'      prints a list of [exit code, stdout, stderr]
"""

import importlib
import json
import os
import sys
import tempfile
import warnings

warnings.simplefilter('ignore')  # JAX warns of any fork; here it has no threads yet


def main() -> None:
    module, flags = (
        importlib.import_module(f'experiments.{sys.argv[1]}'),
        importlib.import_module('experiments.runner.cli'),
    )
    results = []
    for argv in json.load(sys.stdin):
        with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
            if (child := os.fork()) == 0:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.argv = [sys.argv[1], *argv]
                flags.run(module.main)
                sys.exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            for file in (out, err):
                file.seek(0)
            results.append([code, out.read(), err.read()])
    json.dump(results, sys.stdout)


if __name__ == '__main__':
    main()
