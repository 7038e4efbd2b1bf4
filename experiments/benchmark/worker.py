"""A library's process in the race: answers each line of JSON on standard input by one.

To {what, shape, cell}: prepares that work, does it once and gives its numbers, null if the library
lacks the cell. To "time": the seconds of a step (of an epoch) of the work.
"""

import json
import signal
import sys

from experiments.benchmark import peers
from experiments.benchmark.timing import warm_seconds
from experiments.benchmark.work import SHAPES
from experiments.runner.machine import keep_memory


def serve(name: str) -> None:
    prepare, work, times = peers.find(name), None, 1
    for line in sys.stdin:
        request = json.loads(line)
        answer: object = None
        if request != 'time':
            what, shape, cell = request['what'], SHAPES[request['shape']], request['cell']
            has_cell = name == peers.OURS or cell in peers.CELLS
            work = prepare(cell, shape, what) if has_cell else None
            times = 1 if what == 'epoch' else shape.steps
            answer = work and work()
        elif work:
            answer = warm_seconds(work) / times
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the race reports an interrupt
    keep_memory(arenas=0 if sys.argv[1].startswith('torch') else 1)  # with one torch is slower
    serve(sys.argv[1])
