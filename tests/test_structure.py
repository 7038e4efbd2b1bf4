"""The house: imports run downwards only, and the library is light to import."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import jax
import pytest

import rnnlab
from rnnlab.cells import CELLS
from rnnlab.recurrence import engines

ROOT = Path(__file__).parent.parent

# Each room may import from those on lower floors, and from itself.
FLOORS = {
    'rnnlab.errors': 0,
    'rnnlab.precision': 1,
    'rnnlab.initializers': 1,
    'rnnlab.data': 1,
    'rnnlab.sweeps': 1,
    'rnnlab.cells': 2,
    'rnnlab.recurrence': 3,
    'rnnlab.linen': 4,
    'rnnlab.nnx': 5,
    'rnnlab.models': 4,
    'rnnlab.interop': 5,
    'rnnlab.training': 5,
    'rnnlab.results': 6,
    'rnnlab.analysis': 7,
    'rnnlab.testing': 8,
    'rnnlab': 9,
    'experiments': 10,
}


def room(module: str) -> str:
    """The entry of FLOORS for a module: its own or that of its package, of which each has one."""
    while module not in FLOORS:
        module = module.rpartition('.')[0]
        assert module != 'rnnlab', 'a new module of the library needs its floor here'
    return module


MODULES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for path in sorted([*ROOT.glob('rnnlab/**/*.py'), *ROOT.glob('experiments/**/*.py')])
}


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            inside = [f'{node.module}.{alias.name}' for alias in node.names]
            names = [name if name in MODULES else node.module for name in inside]
        yield from (name for name in names if name.split('.')[0] in ('rnnlab', 'experiments'))


@pytest.mark.parametrize(
    ('module', 'path'),
    list(MODULES.items()),
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_imports_run_downwards(module, path):
    here = room(module)
    for name in imports(path):
        assert room(name) == here or FLOORS[room(name)] < FLOORS[here], f'{module} imports {name}'


def test_no_imports_run_round():
    graph = {
        module: {name for name in imports(path) if name != module}
        for module, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_import_is_light():
    heavy = {
        'tensorflow_datasets',
        'tensorflow',
        'matplotlib',
        'orbax',
        'sklearn',
        'absl',
        'rich',
        'optax',
        'flax',
        'requests',
        'PIL',
    }
    code = 'import sys, jax; before = set(sys.modules); import rnnlab; '
    code += 'print(*{name.split(".")[0] for name in set(sys.modules) - before})'
    loaded = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not heavy & set(loaded)


def test_submodules_are_imported_at_their_first_use():
    code = 'import rnnlab; rnnlab.models.network; print(rnnlab.__version__, rnnlab.typo)'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert "module rnnlab has no attribute 'typo'" in result.stderr
    packages = {path.stem for path in ROOT.glob('rnnlab/*') if path.stem[0] not in '_R.'}
    assert packages - {*rnnlab.SUBMODULES} == {'cells', 'errors', 'precision', 'recurrence', 'py'}
    assert 'rnnlab.__version__' in (ROOT / 'pyproject.toml').read_text()


def test_flags_are_read_in_one_file():
    readers = [
        path.name for path in ROOT.glob('experiments/**/*.py') if 'FLAGS' in path.read_text()
    ]
    assert readers == ['cli.py']


def test_every_file_of_experiments_can_be_launched():
    files = {path for path in ROOT.glob('experiments/*.py') if path.name != '__init__.py'}
    assert [
        path.name for path in files if "if __name__ == '__main__'" not in path.read_text()
    ] == []


def test_the_top_of_the_library_has_few_names():
    assert len([p for p in ROOT.glob('rnnlab/*') if p.name != '__pycache__']) <= 18


def test_no_eval_and_no_pickle():
    for path in MODULES.values():
        names = {
            node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
        }
        assert not names & {'eval', 'exec'}
        assert 'pickle' not in path.read_text().replace('allow_pickle=False', '')


def test_the_table_of_cells_says_which_engine_serves_each_cell():
    rows = re.findall(
        r'^\| `(\w+)` \|.*\| ([^|]*) \| ([^|]*) \| `(\w+)` \| (yes|no) \|$',
        (ROOT / 'rnnlab' / 'cells' / 'README.md').read_text(),
        re.MULTILINE,
    )
    assert [name for name, *_ in rows] == [*CELLS]
    for name, gates, carry, engine, mask in rows:
        cell = CELLS[name](4)
        fields = jax.eval_shape(
            lambda cell=cell: cell.carry(cell.init(jax.random.key(0), 3), ())
        )._fields
        assert (carry, engine, mask == 'yes') == (
            ', '.join(fields),
            'native' if getattr(cell.form, 'native', None) else engines(cell)[0],
            cell.takes_mask,
        )
        assert name == 'rhn' or gates == (', '.join(cell.gates) or '-')
