"""The film reviews as a user runs them: training, predicting, and errors for bad input."""

import json
import shutil

import numpy as np
import pytest

from tests.conftest import call, ran, refused, shared
from tests.folders import read

pytestmark = [pytest.mark.usefixtures('shell'), pytest.mark.slow]

TINY = [
    '--max_length=12', '--embedding=4', '--hidden_size=4', '--steps=12', '--eval_every=5',
    '--eval_examples=100',
]  # fmt: skip


def train(folder, *flags):
    ran(
        'imdb',
        *TINY,
        f'--data_dir={shared("tfds", "imdb_reviews").parent}',
        *flags,
        f'--out={folder}',
    )


@pytest.fixture(scope='module')
def run(shell, tmp_path_factory):
    """An LSTM on padding after the text, in buckets, with all kinds of dropout."""
    folder = tmp_path_factory.mktemp('runs') / 'lstm'
    dropout = ['--dropout=0.2', '--recurrent_dropout=0.2']
    train(folder, '--vocab_size=200', '--pad=post', '--buckets=3', '--pool=mean', *dropout)
    return folder


def test_a_run_keeps_its_vocabulary_and_the_best(run):
    words = read(run, 'vocabulary.json')
    assert (len(words), words[:3]) == (197, ['the', 'and', 'a'])
    summary = read(run, 'summary.json')
    assert summary['kept_step'] in (5, 10, 12)
    assert summary['best_validation_accuracy'] >= summary['validation_accuracy']
    assert summary['parameters'] == 200 * 4 + 8 * 16 + 16 + 4 + 1


def test_bytes_layers_and_directions_train_and_predict(tmp_path):
    folder = tmp_path / 'run'
    flags = ['--cell=gru', '--bidirectional', '--layers=2', '--pool=max', '--max_length=1']
    train(folder, '--tokens=bytes', *flags)
    assert not (folder / 'vocabulary.json').exists()
    assert np.isfinite(read(folder, 'summary.json')['test_loss'])
    assert len(ran('imdb', '--predict=A good film.', f'--out={folder}').splitlines()) == 1


def test_predicting_prints_a_probability_and_a_label_for_each_review(run):
    long = 'the film ' * 50_000
    reviews = ['A good film.', 'zxqv zxqw', long, 'A GOOD film', long[-100:]]
    code, out, err = call('imdb', '--predict=-', f'--out={run}', stdin='\n'.join(reviews) + '\n')
    note = 'note: line 2 of standard input has no word of the vocabulary\n'
    assert (code, err) == (0, note)
    lines = [line.split() for line in out.splitlines()]
    assert len(lines) == 5
    for probability, label in lines:
        assert 0.5 <= float(probability) <= 1
        assert label in ('positive', 'negative')
    assert lines[0] == lines[3]  # case and punctuation do not count
    assert lines[2] == lines[4]  # only the last words do
    assert ran('imdb', '--predict=A good film.', f'--out={run}').split() == lines[0]


@pytest.mark.parametrize(
    ('flags', 'stdin', 'words'),
    [
        (['--predict='], '', ['--predict is empty']),
        (['--predict=-'], '', ['standard input is empty']),
        (['--predict=-'], 'good\n \n', ['line 2 of standard input is empty']),
        (
            ['--predict=-'],
            'good\nbad \udcff\n',
            ['line 2 of standard input', 'not UTF-8', 'byte 4'],
        ),
        (['--predict=good', '--cell=gru'], '', ['--cell=lstm, not gru', 'leave --cell out']),
        (['--predict=good', '--vocab_size=300'], '', ['--vocab_size=200, not 300']),
    ],
)
def test_bad_reviews_are_one_line(run, flags, stdin, words):
    code, out, err = call('imdb', *flags, f'--out={run}', stdin=stdin)
    assert (code, out, err.count('\n'), err[:7]) == (1, '', 1, 'error: '), err
    assert [word for word in words if word not in err] == []


def truncate_one(run):
    """Damages one of the files of arrays; the others stay readable."""
    largest = max(
        (path for path in run.glob('checkpoint/*/default/**/*') if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    largest.write_bytes(largest.read_bytes()[:100])


def change(run, name, edit):
    path = run / name
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (
            lambda run: change(run, 'config.json', lambda c: c | {'cell': 'gru'}),
            'is of another model: layer_1 cell',
        ),
        (
            lambda run: change(run, 'vocabulary.json', lambda words: words[:50]),
            'is of another model: embedding table',
        ),
        (
            lambda run: change(run, 'vocabulary.json', dict.fromkeys),
            'vocabulary.json cannot be read: it should hold a list',
        ),
        (lambda run: (run / 'vocabulary.json').unlink(), 'there is no vocabulary.json'),
        (
            lambda run: change(run, 'config.json', lambda c: c | {'hidden_size': 'many'}),
            'hidden_size',
        ),
        (
            lambda run: change(run, 'config.json', lambda c: c | {'experiment': 'mnist'}),
            'holds a run of mnist',
        ),
        (
            lambda run: change(run, 'vocabulary.json', lambda words: words[::-1]),
            'belongs to another run',
        ),
        (lambda run: shutil.rmtree(run / 'checkpoint'), 'there is no checkpoint'),
        (lambda run: truncate_one(run), 'is damaged'),
        (lambda run: shutil.rmtree(run), 'there is no config.json'),
    ],
)
def test_a_run_that_does_not_fit_is_one_line(run, tmp_path, spoil, words):
    copy = tmp_path / 'run'
    shutil.copytree(run, copy)
    spoil(copy)
    code, out, err = call('imdb', '--predict=good', f'--out={copy}')
    assert (code, out, err.count('\n')) == (1, '', 1), err
    assert words in err


BAD_FLAGS = [
    (['--vocab_size=2'], ['--vocab_size=2', 'above 3']),
    (['--max_length=0'], ['--max_length']),
    (['--tokens=bytes', '--vocab_size=300'], ['--vocab_size=300 goes with --tokens=words']),
    (['--buckets=4'], ['--buckets=4 goes with --pad=post']),
    (
        ['--layers=0', '--pool=max', '--recurrent_dropout=0.1'],
        ['--recurrent_dropout has no use with --layers=0'],
    ),
    (
        ['--data_dir=nowhere'],
        ['imdb_reviews/plain_text/1.0.0 is not in nowhere', 'aclImdb_v1.tar.gz'],
    ),
    (['--predict=good'], ['--predict=TEXT goes with --out=DIR']),
]


def test_bad_flags_are_one_line(tmp_path):
    refused('imdb', BAD_FLAGS, tmp_path)
