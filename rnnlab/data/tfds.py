"""What TFDS prepared, read and prepared without TensorFlow: the parts that its datasets here share."""

import contextlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnlab.errors import InputError, first_line


def tfds_folder(data_dir: str | Path | None) -> Path:
    """The folder named, else TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(data_dir or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser()


def prepared(folder: Path) -> bool:
    return (folder / 'dataset_info.json').exists()


def read(folder: Path, counts: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    """The examples of each split of a prepared folder; InputError where they are damaged or not as many as `counts` says."""
    import tensorflow_datasets as tfds

    damaged = f'{folder} is damaged, delete it to prepare it anew'
    try:
        found = json.loads((folder / 'dataset_info.json').read_text()).get('fileFormat', 'tfrecord')
    except (ValueError, AttributeError) as error:
        raise InputError(f'{damaged}: {error}') from error
    if found != 'array_record':
        raise InputError(
            f'{folder} holds {found} files, which only TensorFlow reads; name another data_dir to prepare it there'
        )
    examples = {}
    for split, count in counts.items():
        try:
            source = tfds.builder_from_directory(folder).as_data_source(split=split)
            examples[split] = source.__getitems__(range(len(source)))
        except Exception as error:  # whatever array_record and Pillow raise on damaged bytes
            raise InputError(f'{damaged}: {first_line(error)}') from error
        if len(examples[split]) != count:
            raise InputError(f'{damaged}: {len(examples[split])} examples in {split}, not {count}')
    return examples


def archives_folder(data_dir: Path) -> Path:
    """Where archives that were fetched by hand are looked for."""
    return data_dir / 'downloads' / 'manual'


def prepare(
    builder: Callable[[Path], Any], folder: Path, data_dir: Path, *, url: str | None, archives: str
) -> None:
    """Makes the prepared folder with the builder, a stock one of TFDS without its use of TensorFlow.

    url is what has to be fetched first, None where all archives are on disk; `archives` says which ones could be put there.
    """
    import tensorflow_datasets as tfds

    manual, name = archives_folder(data_dir), folder.relative_to(data_dir)
    if url is not None and not reachable(url):
        raise InputError(
            f'{name} is not in {data_dir} and {url.split("/")[2]} cannot be reached: copy a folder {name} that TFDS prepared '
            f'(array_record) to {data_dir}, or put {archives} into {manual}'
        )
    try:
        builder(data_dir).download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=manual)
        )
    except (OSError, tfds.download.DownloadError, tfds.download.NonMatchingChecksumError) as error:
        raise InputError(
            f'{name} could not be prepared in {data_dir}: {first_line(error)}'
        ) from error


def reachable(url: str, seconds: float = 5.0) -> bool:
    """Whether the address answers in time; in a thread, since looking up a name has no time limit of its own."""
    import requests

    answered = []

    def ask():
        with contextlib.suppress(requests.RequestException):
            answered.append(requests.head(url, timeout=seconds).ok)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered == [True]
