"""The folder of a run: settings, metrics, summary, checkpoint, and what encodes new data."""

import contextlib
import csv
import io
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.data import Dataset
from rnnlab.errors import InputError
from rnnlab.results.records import Json, Metrics, Row, Summary

CONFIG, METRICS, SUMMARY = 'config.json', 'metrics.jsonl', 'summary.json'
CURVES, CHECKPOINT = 'curves.png', 'checkpoint'
VOCABULARY, LABELS, STANDARD = 'vocabulary.json', 'labels.json', 'standard.json'
CHECKSUM = 'checksum'  # a field of files that are checked


def check_folder(folder: Path, settings: Json, resume: bool | None, name: str = CONFIG) -> None:
    """Raises InputError unless the folder can take a run or sweep with these settings.

    It must be free, or with `resume` hold the same one; None: either. `name` is the file of the
    settings.
    """
    path, kind = folder / name, 'run' if name == CONFIG else 'sweep'
    if not path.exists():
        if resume:
            words = f'{folder} holds no {kind} to resume'
            raise InputError(f'{words}; leave out --resume to start one there')
        if not free(folder, name):
            raise InputError(f'{folder} holds something that is no {kind}; name a new folder')
        return
    if resume is False:
        words = f'{folder} holds a {kind} already'
        raise InputError(f'{words}; resume it with --resume, or name a new folder')
    before, now = read_json(path), json.loads(json.dumps(settings))
    different = [key for key in now | before if before.get(key) != now.get(key)]
    if different:
        words = ', '.join(
            f'{key}: {before.get(key)} there, {now.get(key)} here' for key in different[:3]
        )
        words += f' and {len(different) - 3} more' if len(different) > 3 else ''
        advice = 'resume with its settings, or choose another --out'
        raise InputError(f'{folder} holds a {kind} with other settings ({words}); {advice}')


def free(folder: Path, name: str) -> bool:
    """Whether nothing is there but what a writer of the file `name` is about to finish, or left."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(other.name.startswith(name) for other in folder.iterdir())


def differing(configs: list[dict[str, Any]]) -> list[str]:
    """The settings that all have, but not all alike."""
    names = [name for name in configs[0] if all(name in config for config in configs)]
    return [name for name in names if any(config[name] != configs[0][name] for config in configs)]


def read_json(path: Path, kind: type = dict) -> Any:
    """What write_json wrote, a dict or a list; InputError where that cannot be read."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        words = f'there is no {path.name} in {path.parent}'
        raise InputError(f'{words}; name the folder that has it') from error
    except (OSError, ValueError) as error:
        raise InputError(f'{path} cannot be read: {error}') from error
    if not isinstance(value, kind):
        raise InputError(f'{path} cannot be read: it holds no {kind.__name__}')
    return value


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + '\n')


def write_text(path: Path, text: str) -> None:
    """Writes it whole or not at all, whatever else reads or writes the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f'{path.name}.{uuid.uuid4().hex}.part')
    with writing(path):
        try:
            beside.write_text(text)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside, an OSError names the file: one of a full disk does not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_table(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Writes a CSV file."""
    out = io.StringIO()
    csv.writer(out, lineterminator='\n').writerows(rows)
    write_text(path, out.getvalue())


def write_settings(folder: Path, settings: Json, data: Dataset) -> None:
    """Writes the settings of a run, and what of its dataset is needed to encode new data."""
    write_json(folder / CONFIG, settings)
    encoding = {VOCABULARY: data.vocabulary, LABELS: data.classes, STANDARD: data.standard}
    for name, value in encoding.items():
        if value:
            write_json(folder / name, value)


def fingerprint(folder: Path) -> np.uint32:
    """A checksum of what `write_settings` wrote, which a checkpoint must have been made with."""
    paths = [folder / name for name in (CONFIG, VOCABULARY, LABELS, STANDARD)]
    return np.uint32(zlib.crc32(b''.join(path.read_bytes() for path in paths if path.exists())))


def check_fingerprint(folder: Path, saved: np.uint32) -> None:
    if saved != fingerprint(folder):
        words = 'it was made with other settings or names than those there'
        raise InputError(f'the checkpoint in {folder} belongs to another run: {words}')


def write_lines(path: Path, records: Iterable[Any]) -> None:
    write_text(path, ''.join(json.dumps(record) + '\n' for record in records))


def append_row(folder: Path, row: Row) -> None:
    path = folder / METRICS
    with writing(path), path.open('a') as file:
        file.write(json.dumps(row.to_json()) + '\n')


def read_rows(folder: Path, metrics: Metrics) -> list[Row]:
    """The rows of metrics.jsonl, up to one that a killed run left half written."""
    path, rows = folder / METRICS, []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(Row.from_json(json.loads(line), metrics))
        except (ValueError, KeyError):
            break
    return rows


def write_summary(folder: Path, record: Json) -> None:
    """Writes summary.json, with a checksum of it and of the files that are there already."""
    write_json(folder / SUMMARY, record | {CHECKSUM: run_checksum(folder, json.dumps(record))})


def read_summary(folder: Path, metrics: Metrics) -> Summary:
    """The content of summary.json; InputError where it or a file beside it is damaged."""
    path = folder / SUMMARY
    record = read_json(path)
    if CHECKSUM in record and record[CHECKSUM] != run_checksum(folder, path.read_text()):
        words = f'{CONFIG}, {METRICS} and {SUMMARY} in {folder} do not belong together'
        raise InputError(f'{words}, or one is damaged; resume the run to write them again')
    try:
        return Summary.from_json(record, metrics)
    except (KeyError, TypeError) as error:
        raise InputError(f'{path} is not the summary of a run') from error


def run_checksum(folder: Path, summary: str) -> str | None:
    path = folder / METRICS
    try:
        lines = path.read_text().splitlines() if path.exists() else []
        return checksum(str(fingerprint(folder)), summary, *lines)
    except ValueError:  # damaged so that it cannot be read
        return None


def checksum(*texts: str) -> str:
    """Of JSON texts, but for the times in them, which differ between equal runs."""

    def timeless(part: Json) -> Json:
        return {name: part[name] for name in part if name not in ('seconds', CHECKSUM)}

    values = [json.loads(text, object_hook=timeless) for text in texts]
    return f'{zlib.crc32(json.dumps(values).encode()):08x}'
