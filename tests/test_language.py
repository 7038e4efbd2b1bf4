"""Texts as streams: each token is predicted once, and the carry passes from window to window."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlab.cells import gru, lstm
from rnnlab.data.language import TOKENIZERS, UNKNOWN, encode, language, padded_streams, read_text
from rnnlab.errors import InputError
from rnnlab.models import network
from rnnlab.recurrence import recurrent
from rnnlab.training.batches import in_order, streams
from rnnlab.training.devices import batch_mesh, everywhere
from rnnlab.training.lanes import lane, lane_mesh, over_lanes, stacked
from rnnlab.training.losses import cross_entropy
from rnnlab.training.optim import Hyper, optimizer
from rnnlab.training.train import make_evaluate, make_run
from tests.conftest import close, noisy, same

TEXT = ''.join(np.random.default_rng(0).choice(list('abcd e\n'), 600))
STREAMS, WINDOW = 4, 16
KEY, HYPER = jax.random.key(1), Hyper(lr=0.01, clip=1.0)
DATA = language(TEXT, tokens='characters', batch_size=STREAMS, window=WINDOW)


@given(st.text())
def test_tokens_together_are_the_text(text):
    for tokenize in TOKENIZERS.values():
        assert ''.join(tokenize(text)) == text


def test_words_have_the_space_before_them():
    found = TOKENIZERS['words']('To be, or\nnot  to')
    assert found == ['To', ' be', ',', ' or', '\n', 'not', ' ', ' to']


def test_streams_are_the_text_and_labels_one_ahead():
    data = DATA
    assert data.vocabulary == tuple(sorted(set(TEXT)))
    steps = data.train.inputs.shape[1]
    assert (steps % WINDOW, data.outputs) == (0, 7)

    def said(ids):
        return ''.join(data.vocabulary[number] for number in ids.ravel())

    assert said(data.train.inputs) == TEXT[: STREAMS * steps]
    assert said(data.train.labels) == TEXT[1 : STREAMS * steps + 1]
    assert len(TEXT) * 9 // 10 - STREAMS * steps <= STREAMS * WINDOW
    held_out = data.validation
    for part, expected in ((held_out.inputs, TEXT[540:-1]), (held_out.labels, TEXT[541:])):
        rows = zip(part, held_out.lengths, strict=True)
        assert ''.join(said(row[:length]) for row, length in rows) == expected
    counts = {token: TEXT[:540].count(token) + 1 for token in data.vocabulary}
    expected = np.mean([-np.log(counts[token] / sum(counts.values())) for token in TEXT[541:]])
    assert data.baseline == pytest.approx(expected, rel=1e-12)


@given(st.integers(2, 60), st.integers(1, 7), st.integers(1, 9))
def test_padded_streams_have_every_token_once(count, number, window):
    inputs, labels, lengths = padded_streams(np.arange(count), number, window)
    assert inputs.shape == labels.shape
    assert inputs.shape[1] % window == 0
    for part, first in ((inputs, 0), (labels, 1)):
        there = np.concatenate([row[:length] for row, length in zip(part, lengths, strict=True)])
        assert there.tolist() == list(range(first, count - 1 + first))


def test_rare_words_are_unknown():
    data = language('a a b b c ' * 30, tokens='words', batch_size=2, window=5, vocab_size=3)
    assert data.vocabulary == (UNKNOWN, ' a', ' b')
    assert encode([' a', 'zzz'], data.vocabulary).tolist() == [1, 0]
    moji = language(f'{UNKNOWN} a b ' * 90, tokens='words', batch_size=2, window=5, vocab_size=9)
    assert sorted(moji.vocabulary) == sorted({UNKNOWN, *moji.vocabulary})  # once
    with pytest.raises(InputError, match="'z' is not among"):
        encode('az', ('a', 'b'))


def model(hyper, cell=lstm):
    layers = [
        recurrent(cell(6), dropout=hyper.dropout, recurrent_dropout=hyper.recurrent_dropout),
        recurrent(gru(5)),
    ]
    return network(layers, inputs=3, outputs=7, vocabulary=7, dropout=hyper.dropout)


@cache
def run(devices=1):
    mesh = batch_mesh(STREAMS) if devices > 1 else None
    batches = streams(*DATA.train.inputs.shape, WINDOW)
    return make_run(model, optimizer('adam'), batches, every=5, mesh=mesh)


def after(chunks, hyper=HYPER, devices=1):
    own = run(devices)
    state = own.start(hyper, KEY)
    for steps in chunks:
        state = own.advance(hyper, KEY, DATA.train, state, steps)
    return state


def test_training_on_streams_is_truncated_backpropagation():
    """Written out: the carry passes between windows without gradient and is reset each epoch."""
    net, tx = model(HYPER), optimizer('adam')(HYPER)
    inputs, labels, _ = DATA.train
    params = run().start(HYPER, KEY).params
    opt_state, losses, carry = tx.init(params), [], None
    windows = inputs.shape[1] // WINDOW

    def loss(params, carry, x, y):
        carry, logits = net.run(params, x, carry=carry)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y)), carry

    @jax.jit
    def updated(params, opt_state, *window):
        (value, carry), grads = jax.value_and_grad(loss, has_aux=True)(params, *window)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, carry, value

    for step in range(windows + 2):
        at = step % windows * WINDOW
        carry = net.carry(params, STREAMS) if at == 0 else carry
        window = carry, inputs[:, at : at + WINDOW], labels[:, at : at + WINDOW]
        params, opt_state, carry, value = updated(params, opt_state, *window)
        losses.append(float(value))
    state = after([windows + 2])
    close(state.params, params)
    close(state.carry, carry)
    taken = len(losses) % 5 or 5
    assert state.totals.means()['loss'] == pytest.approx(np.mean(losses[-taken:]), rel=1e-12)


def test_chunks_change_no_bit_and_devices_agree():
    hyper = HYPER._replace(dropout=0.2, recurrent_dropout=0.1)
    whole = after([12], hyper)
    same(after([1, 4, 7], hyper), whole)
    both = after([5, 7], hyper, devices=2)
    close((both.params, both.carry), (whole.params, whole.carry))


def test_a_lane_on_streams_is_the_run_alone():
    hypers, keys = stacked([HYPER, HYPER._replace(lr=0.003)], [KEY, jax.random.key(5)])
    mesh = lane_mesh(2, jax.devices())
    lanes = over_lanes(run(), mesh)
    state = lanes.advance(
        hypers, keys, jax.device_put(DATA.train, everywhere(mesh)), lanes.start(hypers, keys), 9
    )
    close(lane(state, 0), jax.tree.map(np.asarray, after([9])), 1e-9)


@pytest.mark.parametrize('devices', [1, 2])
def test_evaluation_is_the_mean_over_all_tokens_of_long_streams(devices):
    """Window by window, without padding, gives the same as each stream whole."""
    net, held_out = model(HYPER), DATA.validation
    params = noisy(net.init(KEY))
    mesh = batch_mesh(STREAMS) if devices > 1 else None
    loss = cross_entropy(bits=True)
    metrics = make_evaluate(net, streams(*held_out.inputs.shape, WINDOW), loss=loss, mesh=mesh)(
        params, held_out
    )
    losses, right, apply = [], [], jax.jit(net.apply)
    for ids, labels, length in zip(*held_out, strict=True):
        logits = apply(params, ids[None, :length])[0]
        losses += (-jax.nn.log_softmax(logits)[np.arange(length), labels[:length]]).tolist()
        right += (np.asarray(logits).argmax(axis=-1) == labels[:length]).tolist()
    assert len(losses) == 59
    expected = {
        'loss': np.mean(losses),
        'accuracy': np.mean(right),
        'bits': np.mean(losses) / np.log(2),
    }
    assert metrics == pytest.approx(expected, rel=1e-12)
    assert make_evaluate(net, in_order(held_out, 3), loss=loss)(params, held_out) == pytest.approx(
        expected, rel=1e-12
    )


def test_one_token_at_a_time_in_chunks_and_in_one_scan_are_the_same():
    net = model(HYPER)
    params = noisy(net.init(KEY))
    ids = DATA.train.inputs[:, :24]
    initial = noisy(net.carry(params, STREAMS), 3)
    run = jax.jit(net.run)
    whole = run(params, ids, carry=initial)
    for sizes in ([1] * 24, [5, 10, 9]):
        carry, parts, at = initial, [], 0
        for size in sizes:
            carry, outputs = run(params, ids[:, at : at + size], carry=carry)
            parts.append(outputs)
            at += size
        close((carry, jnp.concatenate(parts, axis=1)), whole)


def test_a_text_file(tmp_path):
    path = tmp_path / 'text'
    path.write_text('\ufeffnaïve', encoding='utf-8')
    assert read_text(path) == 'naïve'
    assert 'def ' in read_text()
    for content, words in (
        (b'', 'is empty'),
        (b' \n', 'is empty'),
        (b'ok\xff', 'not UTF-8.*byte 2'),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_text(path)


@pytest.mark.parametrize(
    ('text', 'options', 'words'),
    [
        ('aaaa' * 100, {}, 'no two different characters'),
        ('ab' * 20, {}, 'has 40 characters.* needs 73'),
        (TEXT, {'tokens': 'runes'}, 'characters, words'),
        (TEXT, {'window': 0}, 'window'),
    ],
)
def test_texts_that_cannot_be_learned_are_refused(text, options, words):
    with pytest.raises(InputError, match=words):
        language(
            text, **{'tokens': 'characters', 'batch_size': STREAMS, 'window': WINDOW} | options
        )
