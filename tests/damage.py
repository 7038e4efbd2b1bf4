"""Damages files of runs and sweeps at random, and counts what the commands then make of them.

python -m tests.damage [--seed=0] [--times=100] [--flips=40]

First single bits of a checkpoint are flipped, each followed by its restoration. Then files of runs
and sweeps, finished or stopped, are cut short, removed, changed in one bit or exchanged for others,
each followed by --resume, report, compare or --predict. What ends must be what it would have been
without the damage, times aside, or say what is missing; all else must be one line of error that
leaves what was there. Anything else is shown, and makes the exit code 1.
"""

import argparse
import contextlib
import hashlib
import json
import random
import re
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from experiments.runner import loop
from rnnlab.errors import InputError
from rnnlab.training.checkpoint import open_checkpoints, restore
from tests.conftest import call, same

FLAGS = [
    '--hidden_size=12',
    '--batch_size=8',
    '--steps=6',
    '--eval_every=2',
    '--checkpoint_every=0',
]
AXES = ['--sweep=lr=0.1,0.05', '--sweep=seed=0,1', '--max_lanes=2']
RESULTS = {'config.json', 'labels.json', 'standard.json', 'metrics.jsonl', 'summary.json'}
RESULTS |= {'sweep.json', 'trials.csv', 'predictions.csv'}
SOUND, REFUSED, SAID = 'as before', 'refused in one line', 'said to be missing'
FAULTS = TRACEBACK, SILENT, LINES, LOST = (
    'tracebacks', 'silent differences', 'refusals of other than one line', 'refusals with a loss',
)  # fmt: skip


class Case(NamedTuple):
    """A folder that is damaged, and the command that meets the damage."""

    folder: str
    argv: tuple[str, ...]


def cases(root: Path) -> list[Case]:
    """Makes the folders in root. Each command runs in the folder root/work, a copy."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    arrays = {'x': rng.normal(y[:, None, None], 1, (60, 4, 2)), 'y': np.array(['no', 'yes'])[y]}
    np.savez(root / 'data.npz', **arrays)
    np.savez(root / 'new.npz', x=arrays['x'][:5])
    npz = f'--npz={root / "data.npz"}'
    train = 'classify', npz, *FLAGS
    other, out = root / 'other', f'--out={root / "work"}'
    for argv in (
        [*train, '--lr=0.1', f'--out={root / "run"}'],
        [*train, '--lr=0.02', f'--out={other}'],
        [*train, *AXES, f'--out={root / "sweep"}'],
        [*train, *AXES, '--clip=0.1', f'--out={root / "other sweep"}'],
    ):
        code, _, err = call(*argv)
        assert code == 0, err
    stopped(2, [*train, '--lr=0.1', f'--out={root / "stopped run"}'])
    stopped(5, [*train, *AXES, f'--out={root / "stopped sweep"}'])
    run, sweep = [(*train, '--lr=0.1', out, '--resume'), (*train, *AXES, out, '--resume')]
    return [
        Case('run', run),
        Case('run', ('compare', str(root / 'work'), str(other), f'--out={root}')),
        Case('run', ('classify', f'--predict={root / "new.npz"}', out)),
        Case('stopped run', run),
        Case('sweep', sweep),
        Case('sweep', ('report', out)),
        Case('sweep', ('compare', str(root / 'work' / 'best'), str(other), f'--out={root}')),
        Case('sweep', ('classify', f'--predict={root / "new.npz"}', f'{out}/best')),
        Case('stopped sweep', sweep),
        Case('stopped sweep', ('report', out)),
    ]


def stopped(evaluations: int, argv: list[str]) -> None:
    """A training that ends at an evaluation, as by a second Ctrl-C."""
    done = []

    def evaluate(progress: loop.Progress, unchanged: Callable = loop.evaluate) -> None:
        unchanged(progress)
        done.append(progress.step)
        if len(done) == evaluations:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, 'evaluate', evaluate)
        assert call(*argv).code == 130


def damage(folder: Path, sources: list[Path], draw: random.Random) -> str:
    """Damages one file or folder in `folder`; what it did, in words."""
    paths = sorted(path for path in folder.rglob('*') if path.suffix != '.png')
    files = [path for path in paths if path.is_file()]
    near = [path for path in files if len(path.relative_to(folder).parts) < 3 and path.suffix]
    arrays = [path for path in files if path.parent.name == 'd' and 'ocdbt' not in str(path)]
    kind = draw.choice(['cut', 'remove', 'flip', 'exchange'])
    anything = {'remove': paths, 'exchange': near}.get(kind, files)
    path = draw.choice(draw.choice([anything, near, arrays]))
    name = path.relative_to(folder)
    if kind == 'remove':
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif kind == 'exchange':
        alike = [other for other in sources if other.suffix == path.suffix]
        same_name = [other for other in alike if other.name == path.name]
        other = draw.choice(same_name if same_name and draw.random() < 0.7 else alike)
        shutil.copy(other, path)
        return f'{kind} {name} for {other}'
    elif kind == 'flip':
        flip(path, draw)
    else:
        path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])
    return f'{kind} {name}'


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def results(folder: Path) -> dict[str, str]:
    """What a training or a report has written, times aside."""

    def timeless(part: dict) -> dict:
        return {name: part[name] for name in part if name != 'seconds'}

    found = {}
    for path in sorted(path for path in folder.iterdir() if path.name in RESULTS):
        text = path.read_text()
        if path.suffix == '.csv':
            text = re.sub(r',[^,\n]*$', '', text, flags=re.M) if 'seconds' in text else text
        else:
            lines = text.splitlines() if path.suffix == '.jsonl' else [text]
            text = json.dumps([json.loads(line, object_hook=timeless) for line in lines])
        found[path.name] = text
    return found


def kept(folder: Path) -> set[tuple[Path, bytes]]:
    """What a refusal must leave: all but the state of a batch, which may have ended meanwhile."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    batches = [path for path in files if re.search(r'/waves/[^/]*/|/claims/', str(path))]
    return {(path, path.read_bytes()) for path in {*files} - {*batches}}


def outcome(argv: tuple[str, ...], work: Path, out: str) -> tuple[dict[str, str], list[str]]:
    """The results of a command that has ended well, and the words of what it printed."""
    if '--resume' in argv:
        return results(work), []
    if argv[0] == 'compare':  # but for the seconds in its last column
        out = re.sub(r'[\d.]+ *$', '', out, flags=re.M)
        picture = (work.parent / 'compare.png').read_bytes()
        return {'compare.png': hashlib.sha256(picture).hexdigest()}, out.split()
    return results(work) if argv[0] == 'report' else {}, out.split()


def judge(argv: tuple[str, ...], work: Path, expected: tuple[dict, list[str]]) -> tuple[str, str]:
    """How a command on the damaged folder `work` ended, and what it said."""
    before = kept(work)
    try:
        code, out, err = call(*argv)
    except BaseException:
        return TRACEBACK, traceback.format_exc()
    if code:
        if err.count('\n') != 1 or not err.startswith('error: '):
            return LINES, err
        return (REFUSED if before <= kept(work) else LOST), err
    if err:
        return LINES, err
    there, words = outcome(argv, work, out)
    if (there, words) == expected:
        return SOUND, ''
    fewer = re.search(r'(\d+) of (\d+) trials', out)
    if argv[0] == 'report' and fewer and fewer[1] != fewer[2]:
        return SAID, fewer[0]
    pairs = zip(words, expected[1], strict=False)
    if len(words) == len(expected[1]) and all(a in (b, '-') for a, b in pairs):
        return SAID, '-'
    names = [name for name in there | expected[0] if there.get(name) != expected[0].get(name)]
    return SILENT, f'{names}: {out}'


def flip_bits(folder: Path, times: int, draw: random.Random, work: Path) -> Counter:
    """Restores checkpoints with one bit flipped."""
    with open_checkpoints(folder) as checkpoints:
        expected = restore(checkpoints)
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    counts: Counter = Counter()
    for _ in range(times):
        shutil.copytree(folder, work)
        (path,) = draw.choices(files, [file.stat().st_size for file in files])
        flip(work / path.relative_to(folder), draw)
        try:
            with open_checkpoints(work) as checkpoints:
                same(restore(checkpoints), expected)
            counts[SOUND] += 1
        except InputError as error:
            counts[LINES if '\n' in str(error) else REFUSED] += 1
        except AssertionError:
            counts[SILENT] += 1
        except Exception:
            counts[TRACEBACK] += 1
        shutil.rmtree(work)
    return counts


@contextlib.contextmanager
def kept_programs(folder: Path) -> Iterator[None]:
    """Inside, what has been compiled once is not compiled again."""
    names = 'jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs'
    before = [getattr(jax.config, name) for name in names]
    for values in ((str(folder), 0), before):
        for name, value in zip(names, values, strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is not before:
            yield


def main(seed: int, times: int, flips: int, show: Callable[[str], None] = print) -> int:
    """The number of faults."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, kept_programs(Path(name) / 'programs'):
        root, work = Path(name).resolve(), Path(name).resolve() / 'work'
        every = cases(root)
        sources = [p for p in sorted(root.glob('*/**/*')) if p.is_file() and p.suffix != '.png']
        counts = flip_bits(root / 'run' / 'checkpoint', flips, draw, work)
        show(f'{flips} bits of a checkpoint: {dict(counts)}')
        faults = sum(counts[fault] for fault in FAULTS)
        expected: dict[Case, tuple] = {}
        counts = Counter()
        for number in range(times):
            case = every[number % len(every)]
            if '--resume' in case.argv:  # ends as what never stopped
                expected[case] = results(root / case.folder.removeprefix('stopped ')), []
            if case not in expected:
                shutil.copytree(root / case.folder, work)
                code, out, err = call(*case.argv)
                assert (code, err) == (0, ''), err
                expected[case] = outcome(case.argv, work, out)
                shutil.rmtree(work)
            shutil.copytree(root / case.folder, work)
            what = damage(work, sources, draw)
            verdict, words = judge(case.argv, work, expected[case])
            shutil.rmtree(work)
            counts[verdict] += 1
            if verdict in FAULTS:
                faults += 1
                show(f'{verdict}: {case.folder}, {what}, {" ".join(case.argv)}\n{words}')
        show(f'{times} damaged folders: {dict(counts)}')
    return faults


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    for flag, default in (('seed', 0), ('times', 100), ('flips', 40)):
        parser.add_argument(f'--{flag}', type=int, default=default)
    sys.exit(main(**vars(parser.parse_args())) > 0)
