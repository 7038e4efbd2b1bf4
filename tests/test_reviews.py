"""The film reviews as whole processes: training, judging from a checkpoint, and what is said of bad input."""

import json
import shutil

import numpy as np
import pytest

from tests.conftest import launch, refused, shared

pytestmark = [pytest.mark.usefixtures('shell'), pytest.mark.slow]

TINY = [
    '--max_length=12',
    '--embedding=4',
    '--hidden_size=4',
    '--steps=12',
    '--eval_every=5',
    '--eval_examples=100',
]


def train(folder, *flags):
    result = launch(
        'imdb',
        *TINY,
        f'--data_dir={shared("tfds", "imdb_reviews").parent}',
        *flags,
        f'--out={folder}',
    )
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """An LSTM on padding behind, in buckets, with all of dropout."""
    folder = tmp_path_factory.mktemp('runs') / 'lstm'
    train(
        folder,
        '--vocab_size=200',
        '--pad=post',
        '--dropout=0.2',
        '--recurrent_dropout=0.2',
        '--buckets=3',
        '--pool=mean',
    )
    return folder


def judge(run, *flags, stdin=''):
    return launch('imdb', *flags, f'--out={run}', stdin=stdin)


def test_a_run_keeps_its_vocabulary_and_the_best(run):
    words = json.loads((run / 'vocabulary.json').read_text())
    assert (len(words), words[:3]) == (197, ['the', 'and', 'a'])
    summary = json.loads((run / 'summary.json').read_text())
    assert summary['kept_step'] in (5, 10, 12)
    assert summary['best_validation_accuracy'] >= summary['validation_accuracy']
    assert summary['parameters'] == 200 * 4 + 8 * 16 + 16 + 4 + 1


def test_bytes_layers_and_directions_train_and_judge(tmp_path):
    train(
        tmp_path / 'run',
        '--tokens=bytes',
        '--cell=gru',
        '--bidirectional',
        '--layers=2',
        '--pool=max',
    )
    assert not (tmp_path / 'run' / 'vocabulary.json').exists()
    result = judge(tmp_path / 'run', '--predict=A good film.')
    assert (result.returncode, len(result.stdout.splitlines())) == (0, 1), result.stderr


def test_judging_prints_a_probability_and_a_label_for_each_review(run):
    long = 'the film ' * 50_000
    reviews = ['A good film.', 'zxqv zxqw', long, 'A GOOD film', long[-100:]]
    result = judge(run, '--predict=-', stdin='\n'.join(reviews) + '\n')
    assert result.returncode == 0, result.stderr
    assert result.stderr == 'note: line 2 of standard input has no word of the vocabulary\n'
    lines = [line.split() for line in result.stdout.splitlines()]
    assert len(lines) == 5
    assert all(
        0.5 <= float(probability) <= 1 and label in ('positive', 'negative')
        for probability, label in lines
    )
    assert (lines[0], lines[2]) == (
        lines[3],
        lines[4],
    )  # case and punctuation do not count, and only the last words do
    alone = judge(run, '--predict=A good film.')
    assert alone.stdout.split() == lines[0]


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
    result = judge(run, *flags, stdin=stdin)
    assert (result.returncode, result.stdout, result.stderr.count('\n')) == (1, '', 1), (
        result.stderr
    )
    assert result.stderr.startswith('error: ')
    for word in words:
        assert word in result.stderr


def truncate_one(run):
    """Damages one of the files that hold arrays, while the others can still be read."""
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
            'vocabulary.json cannot be read: it holds no list',
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
    result = judge(copy, '--predict=good')
    assert (result.returncode, result.stdout, result.stderr.count('\n')) == (1, '', 1), (
        result.stderr
    )
    assert words in result.stderr


BAD_FLAGS = [
    (['--vocab_size=2'], ['--vocab_size=2', 'above 3']),
    (['--max_length=0'], ['--max_length']),
    (['--tokens=bytes', '--vocab_size=300'], ['--vocab_size goes with --tokens=words']),
    (['--buckets=4'], ['--buckets goes with --pad=post']),
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


def test_a_text_may_be_one_word(tmp_path):
    train(tmp_path / 'run', '--max_length=1')
    assert np.isfinite(json.loads((tmp_path / 'run' / 'summary.json').read_text())['test_loss'])
