"""The log of a run that TensorBoard shows: its settings, the rows of metrics.jsonl, its results.

It is one event file, made by tensorboardX (an optional extra). Numbers are 32-bit floats in it, NaN
where they are not finite. The norms of --log_gradients are histograms, whose bins are time steps.
"""

import math
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rnnlab.errors import InputError
from rnnlab.results import runs
from rnnlab.results.records import Json, Row, Summary

FOLDER = 'tensorboard'  # in that of a run; in that of a sweep it has a folder for each trial
EVENTS = 'events.out.tfevents'  # begins the name of an event file


def check_installed() -> None:
    """Raises InputError where tensorboardX is missing."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise InputError('a log for TensorBoard needs it: pip install tensorboardX') from error


def begin(folder: Path, settings: Json, rows: Sequence[Row]) -> Path:
    """Begins the log of a run anew, with its rows so far, and returns its event file.

    A TensorBoard that watches the folder forgets what it has read of an earlier one.
    """
    from tensorboardX.summary import hparams

    plain = {n: ','.join(v) if isinstance(v, list) else v for n, v in settings.items()}
    began = time.time() - (rows[-1].seconds if rows else 0.0)
    _, start, _ = hparams(plain, {})
    records = [
        record(began, file_version='brain.Event:2'),
        record(began, session_log={'status': 'START'}),
        record(began, summary=start),
        *(row_record(began + row.seconds, row) for row in rows),
    ]
    path = folder / f'{EVENTS}.{time.time_ns()}'  # TensorBoard reads them in the order of names
    runs.write_bytes(path, b''.join(records))
    for other in logs(folder):
        if other != path:
            other.unlink()
    return path


def logs(folder: Path) -> list[Path]:
    """The event files in a folder."""
    return [*folder.glob(f'{EVENTS}.*')]


def append(path: Path, row: Row) -> None:
    """Appends a row to an event file; not where another process has begun the log anew."""
    if path.exists():
        runs.append_bytes(path, row_record(time.time(), row))


def end(path: Path, summary: Summary) -> None:
    """Appends the results of a run to its event file, and that it has ended."""
    from tensorboardX.summary import hparams

    now, (_, _, ended) = time.time(), hparams({}, {})
    results = record(now, summary.kept_step, summary={'value': scalars(results_of(summary))})
    if path.exists():
        runs.append_bytes(path, results + record(now, summary=ended))


def values_of(row: Row) -> dict[str, float | None]:
    """The numbers of a row by their tags, such as 'validation/accuracy'."""
    values = {f'{split}/{name}': v for split, own in row.splits.items() for name, v in own.items()}
    return values | {name: getattr(row, name) for name in ('epoch', 'grad_norm', 'seconds')}


def series_of(row: Row) -> dict[str, list[float | None]]:
    """The norms by time step of --log_gradients, by their tags."""
    return {f'gradient/{name}': norms for name, norms in (row.gradients or {}).items()}


def results_of(summary: Summary) -> dict[str, float | None]:
    """The best value of the selection metric, and the metrics of the tests, by their tags."""
    best = {} if summary.best is None else {'summary/best': summary.best}
    tests = {'test': summary.test} | {f'test_{n}': own for n, own in summary.tests.items()}
    return best | {f'summary/{t}_{name}': v for t, own in tests.items() for name, v in own.items()}


def row_record(at: float, row: Row) -> bytes:
    histograms = [{'tag': tag, 'histo': histogram(own)} for tag, own in series_of(row).items()]
    return record(at, row.step, summary={'value': scalars(values_of(row)) + histograms})


def scalars(values: Mapping[str, float | None]) -> list[Json]:
    return [{'tag': tag, 'simple_value': number(value)} for tag, value in values.items()]


def histogram(series: Sequence[float | None]) -> Json:
    """A histogram whose bin from t to t + 1 is as high as the value of time step t."""
    heights = [*map(number, series)]
    ends = {'min': 0, 'max': len(heights), 'bucket_limit': range(1, len(heights) + 1)}
    sums = {'num': sum(heights), 'sum': sum(heights), 'sum_squares': sum(h * h for h in heights)}
    return ends | sums | {'bucket': heights}


def number(value: float | None) -> float:
    return math.nan if value is None else value


def record(at: float, step: int = 0, **content: object) -> bytes:
    """An event at a time, as a record of an event file."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    data = Event(wall_time=at, step=step, **content).SerializeToString()
    parts = struct.pack('<Q', len(data)), data
    return b''.join(part + struct.pack('<I', masked_crc32c(part)) for part in parts)
