"""Colours and the choice of scale that all pictures share."""

CYCLE = ('#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#bbbbbb')
SHADES = 'viridis'


def wide(values: list[float]) -> bool:
    """Whether a range is drawn on a logarithmic scale: positive, its ends a factor of 10 apart."""
    return min(values) > 0 and max(values) / min(values) >= 10
