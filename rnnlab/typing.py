"""Types in public signatures; their shapes are checked at run time in the tests alone."""

import numpy as np
from jax import Array

Arrays = Array | np.ndarray  # what a user may pass
Rate = float | Array  # a number, or that of a lane
