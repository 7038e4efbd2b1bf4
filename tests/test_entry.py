"""How an experiment's process begins and ends: Ctrl-C, closed outputs, devices, kept programs."""

import pytest

from .conftest import ROOT, launch

SMALL = ['--dataset=digits', '--steps=2', '--hidden_size=4', '--out=run']
CTRL_C = 'import signal\nsignal.raise_signal(signal.SIGINT)\n'
SWALLOWED = """
class Callback:
    def __del__(self):
        import signal
        signal.raise_signal(signal.SIGINT)

Callback()
from rnnlab.cells.lstm import lstm as mycell
"""


@pytest.mark.parametrize(
    ('module', 'text'),
    [('jax', CTRL_C), ('mymodule', SWALLOWED)],
    ids=['in an import', 'where Python swallows exceptions'],
)
def test_an_early_interrupt_ends_the_process(module, text, tmp_path, monkeypatch):
    (tmp_path / f'{module}.py').write_text(text)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    result = launch('mnist', *SMALL, '--cell=mymodule:mycell', cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (130, '', 'error: interrupted\n')
    assert not (tmp_path / 'run').exists()
