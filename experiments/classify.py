"""Your own labelled sequences, of any length and width, from arrays or a table.

python -m experiments.classify --npz=waves.npz --out=runs/waves
python -m experiments.classify --csv=walks.csv --id=walk --label=who --bidirectional --pool=mean
python -m experiments.classify --predict=new.npz --out=runs/waves      (a line for each sequence)
"""

import csv
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

import experiments.runner.cli
from experiments.runner import model
from experiments.runner.cli import FLAGS
from experiments.runner.console import console, figure
from experiments.runner.restore import recall_run, restore_params
from experiments.runner.run import train
from experiments.runner.sweep import sweep
from experiments.runner.task import (
    Experiment,
    Plan,
    checksum,
    examples_in_order,
    make_hyper,
    shares,
    shuffled_examples,
)
from rnnlab.data import Dataset, Split
from rnnlab.data.labelled import Labelled, labelled_sequences, standardised
from rnnlab.data.sequences import read_npz, read_rows
from rnnlab.errors import InputError
from rnnlab.models import Model, classifier
from rnnlab.results import runs
from rnnlab.results.tables import new_table, render
from rnnlab.training.batches import Batches
from rnnlab.training.optim import Hyper

experiments.runner.cli.labelled()
experiments.runner.cli.classifier()
experiments.runner.cli.training()
flags.DEFINE_string(
    'predict',
    None,
    'File of sequences, as --npz or --csv has them but for labels, to be named by the run in --out.',
)
flags.register_validator('predict', lambda path: path != '', 'is empty; name a file')
experiments.runner.cli.set_defaults(
    {'hidden_size': 64, 'batch_size': 32, 'epochs': 30, 'keep': 'best'}
)
flags.adopt_module_key_flags(experiments.runner.cli)

PREDICTIONS = 'predictions.csv'
CHUNK = 500  # sequences that are judged at once
MANY = 20  # labels that a table has room for


def main() -> None:
    if FLAGS.predict is not None:
        predict()
    else:
        experiment = Experiment(
            'classify',
            settle,
            load,
            build,
            batches=batches,
            rounds=rounds,
            finish=show_labels,
            source=source,
        )
        (sweep if FLAGS.sweep else train)(experiment)


def settle() -> None:
    model.check()
    if (FLAGS.npz is None) == (FLAGS.csv is None):
        raise InputError(
            'classify takes --npz=FILE or --csv=FILE, one of them: the labelled sequences'
        )
    for name in ('id', 'label', 'inputs'):
        if FLAGS[name].present and not FLAGS.csv:
            raise InputError(f'--{name} goes with --csv=FILE, whose columns have names')


def source() -> dict[str, Any]:
    return {'file_crc32': checksum(FLAGS.npz or FLAGS.csv)}


def load() -> Dataset:
    return prepared().dataset


def prepared() -> Labelled:
    return prepare(FLAGS.npz, FLAGS.csv, FLAGS.id, FLAGS.label, tuple(FLAGS.inputs or ()), shares())


@lru_cache(maxsize=1)  # the groups of a sweep share it
def prepare(
    npz: str | None,
    table: str | None,
    name: str,
    label: str,
    inputs: tuple[str, ...],
    split: tuple[float, ...],
) -> Labelled:
    whole, test = (read_rows(table, name, label, inputs), None) if table else read_npz(npz or '')
    return labelled_sequences(whole, test, split=split)


def build(data: Dataset, hyper: Hyper) -> Model:
    return network(data.train.inputs.shape[-1], data.outputs, hyper)


def network(inputs: int, classes: int, hyper: Hyper) -> Model:
    return classifier(model.layers(hyper), inputs=inputs, classes=classes, **model.readout(hyper))


def batches(data: Split) -> Batches:
    return shuffled_examples(data, FLAGS.buckets)


def rounds(data: Split, size: int, whole: bool) -> Batches:
    return examples_in_order(data, size, whole, FLAGS.buckets)


def show_labels(plan: Plan, params: Any, folder: Path) -> None:
    """What the net names the test part's sequences, beside always naming the most frequent label."""
    test, names = plan.data.test, plan.data.classes
    assert test
    assert names
    labels, likely = (
        np.asarray(test.labels),
        probabilities(plan.model, params, test.inputs, test.lengths),
    )
    often = int(np.bincount(plan.data.train.labels).argmax())
    named = confusion(labels, likely.argmax(axis=-1), len(names))
    same = confusion(labels, np.full_like(labels, often), len(names))
    table = new_table(
        f'{len(labels)} test sequences',
        'accuracy',
        'balanced accuracy',
        right=('accuracy', 'balanced accuracy'),
    )
    for title, counts in (
        ('net', named),
        (f'always {names[often]}, the most frequent label', same),
    ):
        table.add_row(
            title, figure(np.trace(counts) / len(labels)), figure(np.nanmean(recall(counts)))
        )
    console.print(f'\n{render(table)}\n\n{labels_table(names, named)}')

    with (folder / PREDICTIONS).open('w', newline='') as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(['sequence', 'label', 'predicted', 'probability'])
        for name, label, own in zip(prepared().test_names, labels, likely, strict=True):
            rows.writerow([name, names[label], names[own.argmax()], f'{own.max():.4f}'])
    console.print(f'\n{folder / PREDICTIONS} has every test sequence')


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """[K, K]: how many of each class, by row, are taken for which, by column."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def recall(counts: np.ndarray) -> np.ndarray:
    """The share of each class that is named right; NaN for one that is not there."""
    there = counts.sum(axis=1)
    return np.where(there > 0, np.diag(counts) / np.maximum(there, 1), np.nan)


def labels_table(names: tuple[int | str, ...], counts: np.ndarray) -> str:
    """A row for each label: how many of it are named what, and its recall. Of many labels those of the lowest recall, and no names."""
    shown = recall(counts)
    few = len(names) <= MANY
    headings = ['named', *map(str, names)] if few else ['sequences']
    table = new_table('label', *headings, 'recall', right=(*headings[few:], 'recall'))
    for at in range(len(names)) if few else np.argsort(shown)[:MANY]:
        figures = ['', *map(str, counts[at])] if few else [str(counts[at].sum())]
        table.add_row(str(names[at]), *figures, figure(shown[at]))
    return render(table)


def probabilities(net: Model, params: Any, inputs: Any, lengths: Any) -> np.ndarray:
    """Of each class, for sequences [N, T, D]: [N, K]."""
    apply, size = jax.jit(net.apply), min(CHUNK, len(inputs))
    made = []
    for begin in range(0, len(inputs), size):
        rows = np.arange(begin, begin + size) % len(inputs)  # the last chunk is filled up
        made.append(
            jax.nn.softmax(apply(params, inputs[rows], None if lengths is None else lengths[rows]))
        )
    return np.concatenate(made)[: len(inputs)]


def predict() -> None:
    """Prints the probability of the likeliest label, and the label, for each sequence."""
    folder = recall_run(
        'classify', '--predict=FILE', but='id' if FLAGS['id'].present else None
    )  # another table may call it otherwise
    path = FLAGS.predict
    names, standard = (
        runs.read_json(folder / runs.LABELS, list),
        runs.read_json(folder / runs.STANDARD),
    )
    net = network(len(standard), len(names), make_hyper())
    params = restore_params(folder, jax.eval_shape(net.init, jax.random.key(0)))
    sequences = (
        read_npz(path, labelled=False)[0]
        if path.endswith('.npz')
        else read_rows(path, FLAGS.id, None, tuple(standard))
    )
    if len(sequences.columns) != len(standard):
        raise InputError(
            f'{path} has {len(sequences.columns)} numbers a step, and the run in {folder} reads {", ".join(standard)}'
        )
    for own in probabilities(net, params, *standardised(sequences, standard)):
        print(f'{own.max():.4f} {names[own.argmax()]}')


if __name__ == '__main__':
    experiments.runner.cli.run(main)
