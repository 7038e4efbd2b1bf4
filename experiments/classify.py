"""Your own labelled sequences, of any length and width, from arrays or a table.

python -m experiments.classify --npz=waves.npz --out=runs/waves
python -m experiments.classify --csv=walks.csv --id=walk --label=who --bidirectional --pool=mean
python -m experiments.classify --predict=new.npz --out=runs/waves      (a line for each sequence)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

import experiments.runner.config as groups
from experiments.runner import cli, machine, model
from experiments.runner.console import console
from experiments.runner.fields import operational, static
from experiments.runner.restore import probabilities, recall, restore_params
from experiments.runner.sweep import launch
from experiments.runner.task import Plan, Task, checksum, fractions
from rnnlab.cells.base import Params
from rnnlab.data.labelled import Labelled, labelled_sequences, standardised
from rnnlab.data.sequences import read_npz, read_rows
from rnnlab.errors import InputError, listed
from rnnlab.models import Model, classifier
from rnnlab.results import runs
from rnnlab.results.characters import printable
from rnnlab.results.records import Json
from rnnlab.results.tables import new_table, number, render
from rnnlab.training.optim import Hyper

PREDICTIONS = 'predictions.csv'
MANY = 20  # labels that a table has room for


@dataclass(frozen=True, kw_only=True)
class Config(groups.Classifier, groups.Training):
    OPEN: ClassVar = {'hidden_size': 64, 'batch_size': 32, 'epochs': 30, 'keep': 'best'}

    npz: str | None = groups.path(
        'Labelled sequences as NumPy arrays: x, y, and lengths where these differ.'
    )
    csv: str | None = groups.path(
        'Labelled sequences as a table, .csv, .xlsx or .parquet: a row a time step, in order of '
        'time.'
    )
    id: str = static(
        'id', 'Column of --csv that says which sequence a row belongs to.',
        needs=('csv', ()), data=True,
    )  # fmt: skip
    label: str = static(
        'label', "Column of --csv with the sequence's label.", needs=('csv', ()), data=True
    )
    inputs: tuple[str, ...] = static(
        (), 'Columns of --csv to read; by default all others.', needs=('csv', ()), data=True
    )
    split: tuple[str, ...] = static(
        ('0.8', '0.1', '0.1'),
        'Fractions of each label for training, validation and test; of a file with its own test '
        'split the first two.',
        data=True,
    )
    buckets: int = static(1, 'Groups of sequences of similar length to batch; 1 is off.', low=1)
    predict: str | None = operational(
        None,
        'File of sequences, as --npz or --csv without labels, to classify by the run in --out.',
        path=True,
    )


def resolve(config: Config) -> Config:
    if (config.npz is None) == (config.csv is None):
        words = 'classify takes --npz=FILE or --csv=FILE, one of them'
        raise InputError(f'{words}: the labelled sequences')
    return config


def source(config: Config) -> Json:
    return {'file_crc32': checksum(config.npz or config.csv or '')}


def load(config: Config) -> Labelled:
    if config.csv:
        whole, test = read_rows(config.csv, config.id, config.label, config.inputs), None
    else:
        whole, test = read_npz(config.npz or '')
    return labelled_sequences(whole, test, split=fractions(config.split))


def network(config: Config, inputs: int, classes: int, hyper: Hyper) -> Model:
    return classifier(
        model.make_layers(config, hyper),
        inputs=inputs,
        classes=classes,
        pool=config.pool,
        **model.around(config, hyper),
    )


def show_labels(plan: Plan[Config], params: Params, folder: Path) -> None:
    """Prints how the test sequences are classified, and writes predictions.csv.

    Beside the model is a baseline that always predicts the most frequent label.
    """
    test, names = plan.data.test, plan.data.classes
    assert test
    assert names
    labels = np.asarray(test.labels)
    likely = probabilities(plan.model, params, test.inputs, test.lengths)
    frequent = int(np.bincount(plan.data.train.labels).argmax())
    counts = confusion(labels, likely.argmax(axis=-1), len(names))
    of_baseline = confusion(labels, np.full_like(labels, frequent), len(names))
    columns = 'accuracy', 'balanced accuracy'
    table = new_table(f'{len(labels)} test sequences', *columns, right=columns)
    baseline = f'always {names[frequent]}, the most frequent label'
    for title, c in (('net', counts), (baseline, of_baseline)):
        table.add_row(title, number(np.trace(c) / len(labels)), number(np.nanmean(recalls(c))))
    console.print(f'\n{render(table)}\n\n{labels_table(names, counts)}')

    rows = [('sequence', 'label', 'predicted', 'probability')] + [
        (name, names[label], names[own.argmax()], f'{own.max():.4f}')
        for name, label, own in zip(plan.loaded.test_names, labels, likely, strict=True)
    ]
    runs.write_table(folder / PREDICTIONS, rows)
    console.print(f'\n{folder / PREDICTIONS} has every test sequence')


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """[K, K]: how many examples of each class, by row, are predicted as which, by column."""
    pairs = labels * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def recalls(counts: np.ndarray) -> np.ndarray:
    """The recall of each class; NaN for one without examples."""
    examples = counts.sum(axis=1)
    return np.where(examples > 0, np.diag(counts) / np.maximum(examples, 1), np.nan)


def labels_table(names: tuple[int | str, ...], counts: np.ndarray) -> str:
    """A row for each label: its predictions and its recall.

    Of many labels those of the lowest recall, without predictions.
    """
    shown = recalls(counts)
    few = len(names) <= MANY
    headings = ['named', *map(str, names)] if few else ['sequences']
    table = new_table('label', *headings, 'recall', right=(*headings[few:], 'recall'))
    for at in range(len(names)) if few else np.argsort(shown)[:MANY]:
        cells = ['', *map(str, counts[at])] if few else [str(counts[at].sum())]
        table.add_row(str(names[at]), *cells, number(shown[at]))
    return render(table)


def predict(config: Config) -> None:
    """Prints the probability of the most probable label, and the label, for each sequence."""
    path, other = config.predict or '', ('id',) if 'id' in config.given else ()
    folder, config = recall('classify', config, '--predict=FILE', but=other)
    names = runs.read_json(folder / runs.LABELS, list[int | str])
    standard = runs.read_json(folder / runs.STANDARD, dict[str, runs.Moments])
    net = network(config, len(standard), len(names), config.hyper)
    params = restore_params(folder, jax.eval_shape(net.init, jax.random.key(0)))
    if path.endswith('.npz'):
        sequences, _ = read_npz(path, labelled=False)
    else:
        sequences = read_rows(path, config.id, None, tuple(standard))
    if len(sequences.columns) != len(standard):
        words = f'{path} has {len(sequences.columns)} numbers a step'
        raise InputError(f'{words}, and the run in {folder} reads {listed(standard)}')
    with machine.precision(config):
        rows = probabilities(net, params, *standardised(sequences, standard))
    for own in rows:
        print(f'{own.max():.4f} {printable(str(names[own.argmax()]))}')


TASK = Task(
    name='classify',
    load=load,
    dataset=lambda config, loaded: loaded.dataset,
    build=lambda config, data, hyper: network(
        config, data.train.inputs.shape[-1], data.outputs, hyper
    ),
    resolve=resolve,
    finish=show_labels,
    source=source,
)


def main(config: Config) -> None:
    if config.predict is not None:
        predict(config)
    else:
        launch(TASK, config)


if __name__ == '__main__':
    cli.run(Config, main)
