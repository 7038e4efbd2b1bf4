"""Laws of a run: how it is cut changes nothing, every example counts once, devices agree."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnlab.cells import CELLS
from rnnlab.data import Split
from rnnlab.errors import InputError
from rnnlab.models import classifier
from rnnlab.recurrence import recurrent
from rnnlab.training.batches import epoch_order, grouped, in_order, one_bucket, shuffled
from rnnlab.training.devices import batch_mesh, everywhere
from rnnlab.training.optim import Hyper, optimizer
from rnnlab.training.train import ORDER, as_arrays, fit, make_evaluate, make_run
from tests.conftest import close, same

N, T, D, K, BATCH, EVERY = 22, 4, 3, 5, 8, 5
HYPER = Hyper(lr=0.01, clip=1.0, dropout=0.3, recurrent_dropout=0.2)
KEY = jax.random.key(3)


def data(seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.standard_normal((N, T, D)), rng.integers(0, K, N), rng.integers(0, T + 1, N))


def model(name, hyper):
    """A cell of that name; 'dropout' is an LSTM with all of it."""
    options = {'forget_bias': hyper.forget_bias} if name == 'lstm' else {}
    rates = (
        {'dropout': hyper.dropout, 'recurrent_dropout': hyper.recurrent_dropout}
        if name == 'dropout'
        else {}
    )
    layer = recurrent(CELLS[name if name in CELLS else 'lstm'](6, **options), **rates)
    return classifier([layer], inputs=D, classes=K, dropout=rates.get('dropout'))


@cache
def run(name='lstm', devices=1, buckets=None):
    mesh = batch_mesh(BATCH) if devices > 1 else None
    assert (mesh.size if mesh else 1) == devices
    return make_run(
        partial(model, name),
        optimizer('adam'),
        shuffled(data(), BATCH, buckets or 1),
        every=EVERY,
        mesh=mesh,
    )


def after(chunks, hyper=HYPER, **options):
    state = run(**options).start(hyper, KEY)
    for steps in chunks:
        state = run(**options).advance(hyper, KEY, data(), state, steps)
    return state


@pytest.mark.parametrize(
    'options', [{}, {'name': 'dropout', 'buckets': 2}], ids=['plain', 'dropout and buckets']
)
def test_how_a_run_is_cut_changes_no_bit(options):
    whole = after([24], **options)
    assert int(whole.step) == 24
    for chunks in ([1] * 24, [8] * 3, [7, 7, 7, 3]):
        same(after(chunks, **options), whole)


@pytest.mark.parametrize('devices', [1, 2])
def test_the_host_has_no_part_in_the_steps(devices):
    mesh = batch_mesh(BATCH) if devices > 1 else None
    *given, steps = jax.device_put(
        (as_arrays(HYPER), KEY, data(), jnp.int32(3)), everywhere(mesh) if mesh else None
    )
    advance, state = run(devices=devices).advance, run(devices=devices).start(HYPER, KEY)
    program = advance.lower(*given, state, steps).compile().as_text()
    assert 'while' in program
    assert not re.search(r'infeed|outfeed|callback|is_host_transfer=true', program)
    state = advance(*given, state, steps)
    with jax.transfer_guard('disallow'):
        state = advance(*given, state, steps)
    assert int(state.step) == 6


def test_dropout_draws_anew_each_step():
    """Two steps on a batch of one example over and over are not the same step twice."""
    examples = jax.tree.map(lambda leaf: np.repeat(leaf[:1], BATCH, axis=0), data())
    examples.lengths[:] = T
    states = [run('dropout').start(HYPER, KEY)]
    for _ in range(2):
        states.append(
            run('dropout').advance(
                HYPER._replace(lr=0.0), KEY, examples, jax.tree.map(jnp.copy, states[-1]), 1
            )
        )
    close(states[1].params, states[0].params)
    losses = [float(state.totals.metrics['loss']) for state in states]
    assert len({losses[1] - losses[0], losses[2] - losses[1]}) == 2


def test_fit_stops_at_every_multiple_and_at_the_end():
    steps = []
    for state in fit(run(), HYPER, KEY, data(), run().start(HYPER, KEY), stop=12, every=EVERY):
        steps.append(int(state.step))
    assert steps[-1] == 12
    assert {5, 10} <= set(steps)
    same(state, after([12]))


@pytest.mark.parametrize('buckets', [None, 2])
def test_steps_are_optax_on_the_mean_of_each_batch(buckets):
    """The step written out with plain indexing and all time steps, over an epoch."""
    groups = grouped(data(), BATCH, buckets or 1)
    assert len(groups.time_steps) == (buckets or 1)
    tx, net, examples = optimizer('adam')(HYPER), model('lstm', HYPER), data()
    params = run().start(HYPER, KEY).params
    opt_state, losses = tx.init(params), []
    order = epoch_order(jax.random.fold_in(jax.random.fold_in(KEY, ORDER), 0), groups, BATCH)

    @jax.jit
    @jax.value_and_grad
    def loss(params, inputs, labels, lengths):
        log = jax.nn.log_softmax(net.apply(params, inputs, lengths))
        return -jnp.mean(log[jnp.arange(len(labels)), labels])

    for index in np.asarray(order)[groups.schedule]:
        index = index[index >= 0]
        value, grads = loss(params, *(part[index] for part in examples))
        losses.append(value * len(index))
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    state = after([3], buckets=buckets)
    close(state.params, params)
    assert state.totals.means()['loss'] == pytest.approx(float(sum(losses)) / N, rel=1e-12)
    assert int(state.totals.targets) == N


def test_label_smoothing_is_the_loss_against_smooth_labels():
    hyper, net = HYPER._replace(label_smoothing=0.3), model('lstm', HYPER)
    params, examples = run().start(hyper, KEY).params, data()
    labels = optax.smooth_labels(jax.nn.one_hot(examples.labels, K), 0.3)
    expected = optax.softmax_cross_entropy(
        net.apply(params, examples.inputs, examples.lengths), labels
    )
    state = run().advance(hyper._replace(lr=0.0), KEY, examples, run().start(hyper, KEY), 3)
    assert state.totals.means()['loss'] == pytest.approx(float(jnp.mean(expected)), rel=1e-12)


def test_totals_begin_anew_at_every_multiple():
    state = after([EVERY + 1])
    assert (int(state.totals.steps), int(state.totals.targets)) == (1, N - 2 * BATCH)


@pytest.mark.parametrize('name', ['lru', 'dropout'])
def test_devices_agree(name):
    buckets = 2 if name == 'dropout' else None
    close(
        after([6], name=name, devices=2, buckets=buckets).params,
        after([6], name=name, buckets=buckets).params,
    )


def test_a_step_that_is_not_finite_is_not_taken():
    broken = data()
    broken.inputs[7] = np.nan
    broken.lengths[7] = T
    order = epoch_order(
        jax.random.fold_in(jax.random.fold_in(KEY, ORDER), 0), one_bucket(N, T, BATCH), BATCH
    )
    at = int(np.argwhere(np.asarray(order) == 7)[0, 0])
    state = run().advance(HYPER, KEY, broken, run().start(HYPER, KEY), 24)
    assert (int(state.step), int(state.taken), bool(state.finite)) == (24, at, False)
    same(state.params, after([at] if at else []).params)


@pytest.mark.parametrize('devices', [1, 2])
def test_evaluation_counts_every_example_once(devices):
    net, examples = model('gru', HYPER), data()
    params = net.init(KEY)
    logits = np.asarray(net.apply(params, examples.inputs, examples.lengths))
    losses = np.asarray(
        optax.softmax_cross_entropy_with_integer_labels(
            jnp.asarray(logits), jnp.asarray(examples.labels)
        )
    )
    right = logits.argmax(axis=-1) == examples.labels
    mesh = batch_mesh(4) if devices > 1 else None
    evaluate = make_evaluate(net, in_order(examples, 4), mesh=mesh)
    for start, count in ((0, None), (0, 1), (0, 4), (3, 9), (20, 7)):
        taken = (start + np.arange(N if count is None else count)) % N
        expected = {'loss': losses[taken].mean(), 'accuracy': right[taken].mean()}
        assert evaluate(params, examples, start, count) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(InputError, match='23 of 22'):
        evaluate(params, examples, 0, 23)
    grouped = make_evaluate(net, in_order(examples, 4, 3), mesh=mesh)
    assert grouped(params, examples) == pytest.approx(
        {'loss': losses.mean(), 'accuracy': right.mean()}, rel=1e-12
    )
    with pytest.raises(InputError, match='not some'):
        grouped(params, examples, 0, 4)
