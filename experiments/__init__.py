"""What can be launched, as python -m experiments.mnist."""

import sys

from experiments.runner.interrupts import end_at_once

if sys.argv[0] == '-m':  # so it is while python -m imports the package, before all that takes long
    end_at_once()
