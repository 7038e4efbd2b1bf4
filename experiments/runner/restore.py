"""What a run left behind, to be used again: its flags and its parameters."""

from pathlib import Path
from typing import Any

import experiments.runner.cli
from experiments.runner.cli import FLAGS
from rnnlab.errors import InputError
from rnnlab.results import runs
from rnnlab.training import checkpoint


def recall_run(experiment: str, flag: str, but: str | None = None) -> Path:
    """The folder of --out, with the flags, `but` for one, set as its run had them; InputError where it is none of that experiment."""
    if not FLAGS.out:
        raise InputError(f'{flag} goes with --out=DIR, the folder of a run that has been trained')
    for name in ('sweep', 'resume'):
        if FLAGS[name].present:
            raise InputError(f'{flag} goes without --{name}: it trains nothing')
    folder = Path(FLAGS.out)
    settings = runs.read_json(folder / runs.CONFIG)
    if settings.get('experiment') != experiment:
        raise InputError(
            f'{folder} holds a run of {settings.get("experiment")}, not of {experiment}'
        )
    settings.pop(but, None)
    experiments.runner.cli.recall(settings, f'the run in {folder}')
    return folder


def restore_params(folder: Path, like: Any) -> Any:
    """The parameters in the run's checkpoint, those of its best evaluation where there was one; `like` has their shapes."""
    where = folder / runs.CHECKPOINT
    saved = None
    if where.is_dir():
        with checkpoint.open_checkpoints(where) as checkpoints:
            saved = checkpoint.restore(checkpoints)
    if saved is None:
        raise InputError(f'there is no checkpoint in {folder} yet; train first')
    evaluated = 'best' in saved and saved['best']['step'] > 0
    params = saved['best']['params'] if evaluated else saved['state']['params']
    checkpoint.check_shapes(params, like, where)
    runs.check_fingerprint(folder, saved['fingerprint'])
    return params
