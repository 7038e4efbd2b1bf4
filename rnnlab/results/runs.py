"""The folder of a run: its settings, metrics, summary, curves, checkpoint, and what new data are read by."""

import json
import os
import uuid
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.errors import InputError

CONFIG, METRICS, SUMMARY, CURVES, CHECKPOINT = (
    'config.json',
    'metrics.jsonl',
    'summary.json',
    'curves.png',
    'checkpoint',
)
VOCABULARY, LABELS, STANDARD = (
    'vocabulary.json',
    'labels.json',
    'standard.json',
)  # what a Dataset has of these


def check_folder(
    folder: Path, config: dict[str, Any], resume: bool | None, name: str = CONFIG
) -> None:
    """InputError unless the folder can take this run: free, or with `resume` holding the very same one; None: either.

    `name` is the file that the settings are noted in; a sweep has one of its own.
    """
    path, kind = folder / name, 'run' if name == CONFIG else 'sweep'
    if not path.exists():
        if resume:
            raise InputError(
                f'{folder} holds no {kind} to resume; leave --resume out to start one there'
            )
        # A file of that name may be about to be there, or a writer of it was killed.
        if folder.exists() and (
            not folder.is_dir()
            or not all(other.name.startswith(name) for other in folder.iterdir())
        ):
            raise InputError(f'{folder} holds something that is no {kind}; name a new folder')
        return
    if resume is False:
        raise InputError(
            f'{folder} holds a {kind} already; go on with it by --resume, or name a new folder'
        )
    before = read_json(path)
    now = json.loads(json.dumps(config))
    different = [
        f'{key}={before.get(key)} there, {now.get(key)} now'
        for key in now | before
        if before.get(key) != now.get(key)
    ]
    if different:
        words = '; '.join(different[:3]) + (
            f'; and {len(different) - 3} more' if len(different) > 3 else ''
        )
        raise InputError(
            f'the {kind} in {folder} was started otherwise ({words}); resume it as it was, or name a new folder'
        )


def differing(configs: list[dict[str, Any]]) -> list[str]:
    """The settings that all have, but not all alike."""
    names = [name for name in configs[0] if all(name in config for config in configs)]
    return [name for name in names if any(config[name] != configs[0][name] for config in configs)]


def read_json(path: Path, kind: type = dict) -> Any:
    """What write_json wrote, a dict or a list; InputError where that cannot be read."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(
            f'there is no {path.name} in {path.parent}; name the folder that has it'
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f'{path} cannot be read: {error}') from error
    if not isinstance(value, kind):
        raise InputError(f'{path} cannot be read: it holds no {kind.__name__}')
    return value


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + '\n')


def write_text(path: Path, text: str) -> None:
    """Whole or not at all: a reader never sees half a file, nor do two writers of it meet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f'{path.name}.{uuid.uuid4().hex}.part')
    beside.write_text(text)
    os.replace(beside, path)


def note(folder: Path, config: dict[str, Any], data: Any) -> None:
    """Writes the settings of a run, and of its Dataset what new data are read by."""
    write_json(folder / CONFIG, config)
    for name, value in {
        VOCABULARY: data.vocabulary,
        LABELS: data.classes,
        STANDARD: data.standard,
    }.items():
        if value:
            write_json(folder / name, value)


def fingerprint(folder: Path) -> np.uint32:
    """A checksum of what `note` wrote: what a checkpoint must have been made with."""
    parts = [
        (folder / name).read_bytes()
        for name in (CONFIG, VOCABULARY, LABELS, STANDARD)
        if (folder / name).exists()
    ]
    return np.uint32(zlib.crc32(b''.join(parts)))


def check_fingerprint(folder: Path, saved: np.uint32) -> None:
    if saved != fingerprint(folder):
        raise InputError(
            f'the checkpoint in {folder} belongs to another run: it was not made with the settings and names there'
        )


def append_row(folder: Path, row: dict[str, Any]) -> None:
    with (folder / METRICS).open('a') as file:
        file.write(json.dumps(row) + '\n')


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a last one that a killed run left half written is dropped."""
    path, rows = folder / METRICS, []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def rewind(folder: Path, step: int) -> list[dict[str, Any]]:
    """Drops the rows after `step`, which a resumed run will write again; the result is what is left."""
    rows = [row for row in read_rows(folder) if row['step'] <= step]
    write_text(folder / METRICS, ''.join(json.dumps(row) + '\n' for row in rows))
    return rows
