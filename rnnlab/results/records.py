"""What the files of runs and sweeps hold: evaluations, summaries, trials, and their JSON.

JSON is flat, so that a row of metrics.jsonl is a row of a data frame: the accuracy of the
validation split is its field 'validation_accuracy'. Only this module knows such names.

Each `from_json` raises InputError, which says what is wrong, for what no `to_json` writes.
"""

import dataclasses
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple, get_args

from rnnlab.errors import InputError
from rnnlab.results.statistics import Sample, sampling_error
from rnnlab.results.typed import Json, check, field, fields
from rnnlab.training.losses import Loss, Metric

EVALUATED = ('validation', 'test')
SPLITS = ('train', *EVALUATED)
GRADIENT = 'gradient_'  # begins the fields of --log_gradients: 'gradient_layer_1.h'

Kind = Literal['best', 'last', 'test']
Status = Literal['finished', 'chance', 'diverged', 'failed']  # how a trial ended
FINISHED, CHANCE, DIVERGED, FAILED = get_args(Status)
Value = bool | int | float | str | None  # of a setting
Settings = dict[str, Value]
Place = tuple[int, int]  # a rung, and the number of a trial on it
Values = Mapping[str, float | None]  # by the name of the metric; None: not finite


class Metrics(NamedTuple):
    """The metrics of a run, and the one that selects its best parameters and ranks trials."""

    every: tuple[Metric, ...]
    selection: Metric

    @classmethod
    def of(cls, loss: Loss, selection: str) -> 'Metrics':
        return cls(tuple(loss.metrics), next(m for m in loss.metrics if m.name == selection))

    def to_json(self) -> Json:
        every = [metric._asdict() for metric in self.every]
        return {'metrics': every, 'selection_metric': self.selection.name}

    @classmethod
    def from_json(cls, record: Json) -> 'Metrics':
        every = [
            Metric(**fields(own, Metric, Metric._fields)) for own in field(record, 'metrics', list)
        ]
        name = field(record, 'selection_metric', str)
        if name not in (metric.name for metric in every):
            raise InputError(f'selection_metric is {name!r}, none of its metrics')
        return cls(tuple(every), next(metric for metric in every if metric.name == name))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One evaluation: a row of metrics.jsonl. Values are means over targets, by split."""

    step: int
    epoch: float
    splits: Mapping[str, Values]
    grad_norm: float | None  # mean over the steps since the row before, before clipping
    seconds: float
    gradients: Mapping[str, list[float | None]] | None = None  # norms by time step, see GRADIENT

    def value(self, split: str, metric: Metric) -> float | None:
        return self.splits.get(split, {}).get(metric.name)

    def to_json(self) -> Json:
        train = {'train': self.splits['train']}
        others = {name: values for name, values in self.splits.items() if name != 'train'}
        record: Json = {'step': self.step, 'epoch': self.epoch} | flat(train)
        record |= {'grad_norm': self.grad_norm} | flat(others) | {'seconds': self.seconds}
        return record | {GRADIENT + name: norms for name, norms in (self.gradients or {}).items()}

    @classmethod
    def from_json(cls, record: Json, metrics: Metrics) -> 'Row':
        names = ('step', 'epoch', 'grad_norm', 'seconds')
        own, splits = fields(record, cls, names), nested(record, metrics)
        if 'train' not in splits:
            raise InputError(f'train_{metrics.selection.name} is missing')
        gradients = {
            name.removeprefix(GRADIENT): check(values, list[float | None], name)
            for name, values in record.items()
            if name.startswith(GRADIENT)
        }
        return cls(splits=splits, gradients=gradients or None, **own)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The result of a run."""

    best: float | None  # of the selection metric on the validation split, over all evaluations
    last: Mapping[str, Values]  # by split, at the last evaluation
    test: Values  # of the parameters that were kept
    tests: Mapping[int, Values] = dataclasses.field(default_factory=dict)  # the same, by length
    examples: Mapping[str, int]  # by split, of its evaluations
    kept_step: int
    stopped_at: int | None = None  # the step; None: it was trained to the end
    baseline: float | None  # loss of the memoryless baseline
    parameters: int
    steps: int
    seconds: float

    @property
    def end(self) -> int:
        """The last step that was trained."""
        return self.steps if self.stopped_at is None else self.stopped_at

    def to_json(self, metrics: Metrics) -> Json:
        record = {} if self.best is None else {best_field(metrics): self.best}
        record |= flat(self.last) | flat({'test': self.test})
        record |= flat({f'test_{length}': values for length, values in self.tests.items()})
        record |= {f'{split}_examples': number for split, number in self.examples.items()}
        record |= {'kept_step': self.kept_step}
        record |= {} if self.stopped_at is None else {'stopped_at': self.stopped_at}
        record |= {} if self.baseline is None else {'baseline': self.baseline}
        return record | {name: getattr(self, name) for name in ('parameters', 'steps', 'seconds')}

    @classmethod
    def from_json(cls, record: Json, metrics: Metrics) -> 'Summary':
        own = fields(record, cls, ('kept_step', 'parameters', 'steps', 'seconds'))
        last = nested(record, metrics)
        counts = {split: f'{split}_examples' for split in EVALUATED}
        there = [s for s, name in counts.items() if s in last or name in record]
        examples = {split: field(record, counts[split], int) for split in there}
        if min(examples.values(), default=0) < 0:
            raise InputError(f'{examples} are no numbers of examples')
        return cls(
            best=value_of(record, best_field(metrics), metrics.selection),
            test=last.pop('test', {}),
            tests=by_length(record, metrics),
            last=last,
            examples=examples,
            stopped_at=check(record.get('stopped_at'), int | None, 'stopped_at'),
            baseline=check(record.get('baseline'), float | None, 'baseline'),
            **own,
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a sweep."""

    number: int
    settings: Settings  # the swept ones
    status: Status
    summary: Summary
    rung: int | None = None  # the last one that it reached, from 1; None in a sweep without them
    copied_from: int | None = None  # another trial, whose state it continued from on that rung
    error: str | None = None  # why it failed

    @property
    def reached(self) -> int:
        return self.rung or 1

    @property
    def lost(self) -> bool:
        """Whether it diverged or failed, so that no result of it counts."""
        return self.status in (DIVERGED, FAILED)

    @property
    def source(self) -> Place:
        """Where its state was at the end of the rung before."""
        return self.reached - 1, self.number if self.copied_from is None else self.copied_from

    def to_json(self, metrics: Metrics) -> Json:
        head = {'trial': self.number, 'settings': self.settings, 'status': self.status}
        head |= {} if self.rung is None else {'rung': self.rung}
        head |= {} if self.copied_from is None else {'copied_from': self.copied_from}
        head |= {} if self.error is None else {'error': self.error}
        return head | self.summary.to_json(metrics)

    @classmethod
    def from_json(cls, record: Json, metrics: Metrics) -> 'Trial':
        number, own = field(record, 'trial', int), fields(record, cls, ('settings', 'status'))
        own |= {n: check(record.get(n), int | None, n) for n in ('rung', 'copied_from')}
        own['error'] = check(record.get('error'), str | None, 'error')
        return cls(number=number, summary=Summary.from_json(record, metrics), **own)


class Outcome(NamedTuple):
    """One number of a summary: the selection metric, of 'best', 'last' (validation) or 'test'."""

    kind: Kind
    metric: Metric

    @property
    def words(self) -> str:
        split = {'best': 'best validation', 'last': 'validation', 'test': 'test'}[self.kind]
        return f'{split} {self.metric.name}'

    @property
    def heading(self) -> str:
        return {'best': 'validation: best', 'last': 'last', 'test': 'test'}[self.kind]

    def of(self, summary: Summary) -> float | None:
        if self.kind == 'best':
            return summary.best
        values = summary.test if self.kind == 'test' else summary.last.get('validation', {})
        return values.get(self.metric.name)

    def sample(self, summaries: Mapping[Hashable, Summary]) -> Sample:
        """The values by seed; only those of accuracies have an error, from their examples."""
        values = {seed: value for seed, s in summaries.items() if (value := self.of(s)) is not None}
        if not values or not self.metric.is_fraction:
            return Sample(values, 0.0)
        split = 'test' if self.kind == 'test' else 'validation'
        examples = min(summaries[seed].examples[split] for seed in values)
        return Sample(values, sampling_error(fmean(values.values()), examples))

    def score(self, value: float) -> float:
        """The value, or its negative: greater is better."""
        return self.metric.score(value)


def points(rows: Iterable[Row], x: str, split: str, metric: Metric) -> list[tuple[float, float]]:
    """(x, value) of the rows that have a finite value; x: 'step' or 'epoch'."""
    values = ((getattr(row, x), row.value(split, metric)) for row in rows)
    return [(at, value) for at, value in values if value is not None]


def outcomes(metric: Metric) -> tuple[Outcome, ...]:
    return tuple(Outcome(kind, metric) for kind in ('best', 'last', 'test'))


def best_field(metrics: Metrics) -> str:
    return f'best_validation_{metrics.selection.name}'


def flat(splits: Mapping[str, Values]) -> Json:
    return {f'{split}_{name}': v for split, values in splits.items() for name, v in values.items()}


def nested(record: Json, metrics: Metrics) -> dict[str, Values]:
    """The values by split, for the splits that a flat record has."""
    splits: dict[str, Values] = {}
    for split in SPLITS:
        values = {
            metric.name: value_of(record, f'{split}_{metric.name}', metric)
            for metric in metrics.every
            if f'{split}_{metric.name}' in record
        }
        if values:
            splits[split] = values
    return splits


def by_length(record: Json, metrics: Metrics) -> dict[int, dict[str, float | None]]:
    """The values of the further test splits that a flat record has."""
    tests: dict[int, dict[str, float | None]] = {}
    for metric in metrics.every:
        for name in record:
            if match := re.fullmatch(f'test_([0-9]+)_{metric.name}', name):
                own = tests.setdefault(int(match[1]), {})
                own[metric.name] = value_of(record, name, metric)
    return tests


def value_of(record: Json, name: str, metric: Metric) -> float | None:
    """A value of a metric in a record; InputError for one that it cannot have."""
    value = check(record.get(name), float | None, name)
    if value is not None and metric.is_fraction and not 0 <= value <= 1:
        raise InputError(f'{name} is {value}, no fraction')
    return value
