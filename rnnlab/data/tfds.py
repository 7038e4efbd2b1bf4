"""TFDS folders, prepared and read without TensorFlow: what the datasets of TFDS share."""

import contextlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.errors import InputError, first_line

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder


def tfds_folder(data_dir: str | Path | None) -> Path:
    """`data_dir`, else TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(data_dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser()


def archives_folder(data_dir: Path) -> Path:
    """The folder for archives downloaded by hand."""
    return data_dir / 'downloads' / 'manual'


def prepared(folder: Path) -> bool:
    return (folder / 'dataset_info.json').exists()


def read(folder: Path, counts: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    """The examples of each split of a prepared folder.

    Raises InputError if they are damaged or not as many as `counts` says.
    """
    import tensorflow_datasets as tfds

    damaged = f'{folder} is damaged, delete it to prepare it again'
    try:
        found = json.loads((folder / 'dataset_info.json').read_text()).get('fileFormat', 'tfrecord')
    except (ValueError, AttributeError) as error:
        raise InputError(f'{damaged}: {error}') from error
    if found != 'array_record':
        raise InputError(
            f'{folder} holds {found} files, which only TensorFlow reads; '
            f'name another `data_dir` to prepare it there'
        )
    examples = {}
    for split, count in counts.items():
        try:
            source = tfds.builder_from_directory(folder).as_data_source(split=split)
            examples[split] = source.__getitems__(range(len(source)))
        except Exception as error:  # array_record and Pillow raise many kinds on damaged bytes
            raise InputError(f'{damaged}: {first_line(error)}') from error
        if len(examples[split]) != count:
            raise InputError(f'{damaged}: {len(examples[split])} examples in {split}, not {count}')
    return examples


def prepare(
    builder: Callable[[Path], 'DatasetBuilder'],
    folder: Path,
    data_dir: Path,
    *,
    url: str | None,
    archives: str,
) -> None:
    """Prepares the folder with `builder`, a TFDS builder that does without TensorFlow.

    url: the first file to download; None if all archives are on disk.
    archives: for messages, the archives that could be put into archives_folder.
    """
    import tensorflow_datasets as tfds

    manual, name = archives_folder(data_dir), folder.relative_to(data_dir)
    if url is not None and not reachable(url):
        raise InputError(
            f'{name} is not in {data_dir} and {url.split("/")[2]} cannot be reached: '
            f'copy a folder {name} prepared by TFDS (array_record) to {data_dir}, '
            f'or put {archives} into {manual}'
        )
    config = tfds.download.DownloadConfig(manual_dir=manual)
    try:
        builder(data_dir).download_and_prepare(download_config=config)
    except (OSError, tfds.download.DownloadError, tfds.download.NonMatchingChecksumError) as error:
        message = f'{name} could not be prepared in {data_dir}: {first_line(error)}'
        raise InputError(message) from error


def reachable(url: str, seconds: float = 5.0) -> bool:
    """Whether the server answers in time; in a thread, as looking up a name has no time limit."""
    import requests

    answered = []

    def ask() -> None:
        with contextlib.suppress(requests.RequestException):
            answered.append(requests.head(url, timeout=seconds).ok)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered == [True]
