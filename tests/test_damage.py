"""A short run of tests/damage.py."""

import pytest

from tests import damage


@pytest.mark.slow
def test_no_damage_goes_through_unsaid():
    said = []
    assert damage.main(seed=0, times=10, flips=5, show=said.append) == 0, said
