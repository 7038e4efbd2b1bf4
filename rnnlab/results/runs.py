"""The folder of a run: settings, metrics, summary, checkpoint, and what encodes new data."""

import contextlib
import csv
import io
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from rnnlab.data import Dataset
from rnnlab.errors import InputError
from rnnlab.results.lock import LOCK, PART
from rnnlab.results.records import Json, Metrics, Row, Summary
from rnnlab.results.typed import fits, named

CONFIG, METRICS, SUMMARY = 'config.json', 'metrics.jsonl', 'summary.json'
ENVIRONMENT = 'environment.json'  # the command, versions and machine that began it
CURVES, GRADIENTS, CHECKPOINT = 'curves.png', 'gradients.png', 'checkpoint'
VOCABULARY, LABELS, STANDARD = 'vocabulary.json', 'labels.json', 'standard.json'
WORKERS = 'workers'  # the folder of those that train a sweep on a cluster: job files and logs
CHECKSUM = 'checksum'  # a field of files that are checked
LENGTH = ('epochs', 'steps')  # the settings that say how long a run is


class Moments(TypedDict):
    """What standardises an input, in standard.json."""

    mean: float
    std: float


class Environment(TypedDict):
    """What began a run or sweep, in environment.json."""

    command: str
    versions: dict[str, str]
    machine: dict[str, str | int]


def check_folder(
    folder: Path, settings: Json, resume: bool | None, name: str = CONFIG
) -> Json | None:
    """The settings of the run or sweep in a folder, None where it is free.

    `name` is the file of the settings. Raises InputError unless the folder is free, or with
    `resume` holds the same run, which may be longer now; None: either.
    """
    path, kind = folder / name, 'run' if name == CONFIG else 'sweep'
    if not path.exists():
        if resume:
            words = f'{folder} holds no {kind} to resume'
            raise InputError(f'{words}; leave out --resume to start one there')
        if not free(folder, name):
            raise InputError(f'{folder} holds something that is no {kind}; name a new folder')
        return None
    if resume is False:
        words = f'{folder} holds a {kind} already'
        raise InputError(f'{words}; resume it with --resume, or name a new folder')
    before, now = read_json(path), json.loads(json.dumps(settings))
    different = [key for key in now | before if before.get(key) != now.get(key)]
    longer = {*different} <= {*LENGTH}
    if different and not (longer and name == CONFIG and extensible(before)):
        words = ', '.join(
            f'{key}: {before.get(key)} there, {now.get(key)} here' for key in different[:3]
        )
        words += f' and {len(different) - 3} more' if len(different) > 3 else ''
        advice = 'resume with its settings, or choose another --out'
        if longer:
            extended = 'a run alone with --schedule=constant'
            advice = f'only {extended} can be made longer: train anew, in another --out'
        raise InputError(f'{folder} holds a {kind} with other settings ({words}); {advice}')
    return before


def extensible(settings: Json) -> bool:
    """Whether no step of a run depends on how many there are."""
    return settings.get('schedule') == 'constant'


def free(folder: Path, name: str) -> bool:
    """Whether nothing is there but what a writer of the file `name` is about to finish, or left."""
    if not folder.exists():
        return True
    ours = (name, LOCK, ENVIRONMENT, WORKERS)
    return folder.is_dir() and all(other.name.startswith(ours) for other in folder.iterdir())


def differing(configs: list[Json]) -> list[str]:
    """The settings that all have, but not all alike."""
    names = [name for name in configs[0] if all(name in config for config in configs)]
    return [name for name in names if any(config[name] != configs[0][name] for config in configs)]


def read_json(path: Path, kind: object = dict) -> Any:
    """What write_json wrote, of a type of `rnnlab.results.typed`; InputError for what is not."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        words = f'there is no {path.name} in {path.parent}'
        raise InputError(f'{words}; name the folder that has it') from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f'{path} cannot be read: {error}') from error
    if not fits(value, kind):
        raise InputError(f'{path} cannot be read: it should hold {named(kind)}')
    return value


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Inside, an InputError says where."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{where}: {error}') from error


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2) + '\n')


def write_text(path: Path, text: str, once: bool = False) -> None:
    write_bytes(path, text.encode(), once)


def write_bytes(path: Path, data: bytes, once: bool = False) -> None:
    """Writes them whole or not at all, whatever else reads or writes the file.

    once: of several processes that write the file, the first one decides its content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f'{path.name}.{uuid.uuid4().hex}{PART}')
    with writing(path):
        try:
            beside.write_bytes(data)
            if once:
                link(beside, path)
            else:
                os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def copy_folder(source: Path, target: Path) -> None:
    """Copies it whole or not at all, while no other process does."""
    beside = target.with_name(f'{target.name}.{uuid.uuid4().hex}{PART}')
    try:
        shutil.copytree(source, beside)
    except shutil.Error as error:  # a list of files, their copies and reasons
        shutil.rmtree(beside, ignore_errors=True)
        reason = error.args[0][0][2].partition(': ')[0]
        raise InputError(f'{target} cannot be written: {reason}') from None
    move_folder(beside, target)


def move_folder(source: Path, target: Path) -> None:
    """Moves it in place of another. If a process does the same at once, one of the two stays."""
    shutil.rmtree(target, ignore_errors=True)
    try:
        source.rename(target)
    except OSError:
        if not target.exists():
            raise


def link(source: Path, target: Path) -> None:
    """Names a file also as another path, unless one is there."""
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError:  # this file system has no links
        if not target.exists():
            os.replace(source, target)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside, an OSError names the file: one of a full disk does not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_table(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Writes a CSV file."""
    out = io.StringIO()
    csv.writer(out, lineterminator='\n').writerows(rows)
    write_text(path, out.getvalue())


def settings_files(settings: Json, data: Dataset) -> Json:
    """By the names of their files, a run's settings and what encodes new data as its dataset is."""
    encoding = {VOCABULARY: data.vocabulary, LABELS: data.classes, STANDARD: data.standard}
    return {CONFIG: settings} | {name: value for name, value in encoding.items() if value}


def write_settings(folder: Path, files: Json) -> None:
    for name, value in files.items():
        write_json(folder / name, value)


def fingerprint(files: Json) -> np.uint32:
    """A checksum of the settings that a checkpoint must have been made with.

    It leaves out the length of a run that can be made longer.
    """
    settings = files[CONFIG]
    if extensible(settings):
        settings = {name: value for name, value in settings.items() if name not in LENGTH}
    return np.uint32(zlib.crc32(json.dumps(files | {CONFIG: settings}).encode()))


def read_fingerprint(folder: Path) -> np.uint32:
    paths = [folder / name for name in (CONFIG, VOCABULARY, LABELS, STANDARD)]
    return fingerprint({p.name: read_json(p, dict | list) for p in paths if p.exists()})


def check_fingerprint(folder: Path, saved: np.uint32) -> None:
    if saved != read_fingerprint(folder):
        words = 'it was made with other settings or names than those there'
        raise InputError(f'the checkpoint in {folder} belongs to another run: {words}')


def write_lines(path: Path, records: Iterable[Json]) -> None:
    write_text(path, ''.join(json.dumps(record) + '\n' for record in records))


def append_row(folder: Path, row: Row) -> None:
    append_bytes(folder / METRICS, json.dumps(row.to_json()).encode() + b'\n')


def append_bytes(path: Path, data: bytes) -> None:
    with writing(path), path.open('ab') as file:
        file.write(data)


def read_rows(folder: Path, metrics: Metrics) -> list[Row]:
    """The rows of metrics.jsonl, without a last line that a killed run left half written.

    Raises InputError, which names the line, for any other damage.
    """
    path, rows = folder / METRICS, list[Row]()
    *lines, last = path.read_bytes().split(b'\n') if path.exists() else [b'']
    with contextlib.suppress(InputError):
        parsed(last)
        lines.append(last)  # a whole one
    for number, line in enumerate(lines, 1):
        with located(f'{path} is damaged in line {number}'):
            row = Row.from_json(parsed(line), metrics)
            if rows and row.step <= rows[-1].step:
                raise InputError(f'step {row.step} is not after step {rows[-1].step}')
        rows.append(row)
    return rows


def parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f'it is no JSON, {error}') from error


def write_summary(folder: Path, record: Json) -> None:
    """Writes summary.json, with a checksum of it and of the files that are there already."""
    write_json(folder / SUMMARY, record | {CHECKSUM: run_checksum(folder, json.dumps(record))})


def read_summary(folder: Path, metrics: Metrics) -> Summary:
    """The content of summary.json; InputError where it or a file beside it is damaged."""
    path = folder / SUMMARY
    record = read_json(path)
    if CHECKSUM in record and record[CHECKSUM] != run_checksum(folder, path.read_text()):
        words = f'{CONFIG}, {METRICS} and {SUMMARY} in {folder} do not belong together'
        raise InputError(
            f'{words}, or one is damaged; without the last two a resumption writes them again'
        )
    with located(f'{path} is not the summary of a run'):
        return Summary.from_json(record, metrics)


def run_checksum(folder: Path, summary: str) -> str | None:
    path = folder / METRICS
    try:
        lines = path.read_text().splitlines() if path.exists() else []
        return checksum(str(read_fingerprint(folder)), summary, *lines)
    except (ValueError, RecursionError):  # damaged so that it cannot be read
        return None


def checksum(*texts: str) -> str:
    """Of JSON texts, but for the times in them, which differ between equal runs."""

    def timeless(part: Json) -> Json:
        return {name: part[name] for name in part if name not in ('seconds', CHECKSUM)}

    values = [json.loads(text, object_hook=timeless) for text in texts]
    return f'{zlib.crc32(json.dumps(values).encode()):08x}'
