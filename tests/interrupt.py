"""A training that ends in the middle, as one that is killed."""

import pytest


class Killed(BaseException):
    """Nothing in the code under test knows it."""


def killed(module, name, at, run, after=False):
    """Calls run() and ends it at the `at`-th call of a function, before or after that call.

    Returns whether there was such a call.
    """
    function, calls = getattr(module, name), []

    def patched(*args, **options):
        calls.append(1)
        if len(calls) > at and not after:
            raise Killed
        result = function(*args, **options)
        if len(calls) > at:
            raise Killed
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, patched)
        try:
            run()
        except Killed:
            return True
    return False
