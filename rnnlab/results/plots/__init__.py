"""Pictures of runs, cells, sweeps and the benchmark; matplotlib is imported when one is drawn."""

from rnnlab.results.plots.benchmark import bench, length
from rnnlab.results.plots.capabilities import capabilities
from rnnlab.results.plots.cell import gates, gradients, reach
from rnnlab.results.plots.forecast import Line, Panel, forecast
from rnnlab.results.plots.inside import exponents, points, shade, words
from rnnlab.results.plots.population import sweep_population
from rnnlab.results.plots.run import COLOURS, compare, curves
from rnnlab.results.plots.style import CYCLE
from rnnlab.results.plots.sweep import sweep_axes, sweep_curves, sweep_map

__all__ = [
    'COLOURS', 'CYCLE', 'Line', 'Panel', 'bench', 'capabilities', 'compare', 'curves', 'exponents',
    'forecast', 'gates', 'gradients', 'length', 'points', 'reach', 'shade', 'sweep_axes',
    'sweep_curves', 'sweep_map', 'sweep_population', 'words',
]  # fmt: skip
