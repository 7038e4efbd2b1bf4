"""Forecasts of all rows of a horizon, of quantiles, differences and normalised windows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_pinball_loss

from experiments.forecasts import errors
from experiments.forecasts.methods import NET, Method, memoryless_loss
from rnnlab.cells import gru
from rnnlab.data.series import Series, examples, forecasting
from rnnlab.errors import InputError
from rnnlab.models import network
from rnnlab.recurrence import recurrent
from rnnlab.training import generate
from rnnlab.training.batches import in_order
from rnnlab.training.forecasts import QUANTILES, Form, differences, forecaster
from rnnlab.training.losses import absolute_error, over_horizon, pinball, squared_error
from rnnlab.training.train import make_evaluate
from tests.conftest import close, noisy

RNG = np.random.default_rng(0)
ROWS, WINDOW, HORIZON = 40, 6, 3
VALUES = 5 + np.cumsum(RNG.normal(0, 2, (ROWS, 3)), axis=0)  # two of them are forecast
PART = forecasting(Series(VALUES, ('a', 'b', 'c')), 2, (24, 8, 8))
ENDS = np.array([7, 20, 40])
FORMS = {
    'direct': {'horizon': HORIZON},
    'quantiles': {'horizon': HORIZON, 'quantiles': 3},
    'a row': {'quantiles': 3},
    'a difference': {'step_sizes': np.array([0.5, 2, 1])},
    'differences': {'horizon': HORIZON, 'step_sizes': np.array([0.5, 2, 1])},
    'revin': {'horizon': HORIZON, 'revin': True},
    'all': {'horizon': HORIZON, 'step_sizes': np.ones(3), 'revin': True, 'quantiles': 3},
}
forms = pytest.mark.parametrize('name', FORMS)


def made(name, targets=2):
    form = Form(targets=targets, **FORMS.get(name, {}))
    net = network(
        [recurrent(gru(4))],
        inputs=3,
        outputs=form.outputs,
        pool='last' if form.revin else None,
        transform=None if form.plain else form.transform,
    )
    return form, net, noisy(net.init(jax.random.key(0)))


def forecast(name, rows, origins, horizon):
    form, net, params = made(name)
    first, of = forecaster(net, form, params, rows, WINDOW)
    assert first == (WINDOW if form.revin else 1)
    return of(origins, horizon)


def horizon_of(name):
    return FORMS[name].get('horizon') or 1


@forms
def test_no_forecast_sees_what_comes_after(name):
    rows, origins, horizon = PART.standard, np.array([20]), horizon_of(name)
    changed = rows.copy()
    changed[20:] = 9
    assert np.array_equal(*(forecast(name, r, origins, horizon) for r in (rows, changed)))
    changed[19] = 9
    assert not np.allclose(*(forecast(name, r, origins, horizon) for r in (rows, changed)))


@forms
def test_a_forecast_is_that_of_the_rows_before_it_alone(name):
    """One origin after the other against the outputs for all of them."""
    form, net, params = made(name)
    horizon, rows = horizon_of(name), PART.standard
    together = forecast(name, rows, ENDS, horizon)
    shape = (*((horizon,) if form.horizon is None else ()), *form.shape)
    for origin, own in zip(ENDS, together, strict=True):
        read = rows[origin - WINDOW : origin] if form.revin else rows[:origin]
        outputs = jax.jit(net.apply)(params, read[None])[0]
        close(own, np.asarray(outputs if form.revin else outputs[-1]).reshape(shape))


def test_the_only_row_of_a_direct_forecast_is_the_next_one():
    """The same parameters, loss and gradient as a net that predicts one row."""
    data = examples([PART], window=WINDOW, stride=3)
    plain, form = made('')[1], Form(targets=2, horizon=1)
    direct = network([recurrent(gru(4))], inputs=3, outputs=form.outputs, transform=form.transform)
    params = noisy(plain.init(jax.random.key(0)))
    inputs, labels = jnp.asarray(data.train.inputs), jnp.asarray(data.train.labels)
    mask = jnp.ones(labels.shape[:2], bool)

    def value(model, loss, params):
        return loss.sums(model.apply(params, inputs), labels, mask)[0]['loss']

    pairs = (plain, squared_error()), (direct, over_horizon(squared_error(), 1))
    one, other = (jax.jit(jax.value_and_grad(partial(value, *pair)))(params) for pair in pairs)
    close(one, other)


def test_differences_and_their_sums_are_the_rows():
    rows = jnp.asarray(PART.standard)
    close(rows[:1] + jnp.cumsum(differences(rows, 0), axis=0), rows)


@pytest.mark.parametrize('name', ['a difference', 'differences', 'all'])
def test_right_differences_are_a_right_forecast(name):
    """What the readout has to give, worked out from the rows that follow."""
    form, *_ = made(name)
    rows, horizon = PART.standard, horizon_of(name)
    inputs = rows[None, 10:16]
    xs, back = form.transform(jnp.asarray(inputs))
    truth = rows[16 : 16 + horizon, :2]
    scaled = inputs[0]
    if form.revin:
        scaled, truth = ((r - rows[10:16].mean(0)[: r.shape[1]]) for r in (inputs[0], truth))
        scaled, truth = ((r / rows[10:16].std(0)[: r.shape[1]]) for r in (scaled, truth))
    close(xs[0, 1:], np.diff(scaled, axis=0) / form.step_sizes)
    changes = (truth - scaled[-1, :2]) / form.step_sizes[:2]
    outputs = jnp.asarray(np.repeat(changes[:, None], form.quantiles or 1, axis=1).reshape(1, -1))
    if not form.revin:
        outputs = jnp.zeros((1, 6, form.outputs)).at[0, -1].set(outputs[0])
    found = back(outputs)[0] if form.revin else back(outputs)[0, -1]
    expected = rows[16 : 16 + horizon, None, :2]
    close(
        np.broadcast_to(np.asarray(found).reshape(horizon, -1, 2), (horizon, 3, 2)),
        np.broadcast_to(expected, (horizon, 3, 2)),
    )


def test_a_net_of_differences_continues_with_its_own():
    form, net, params = made('a difference', targets=3)
    plain = made('', targets=3)[1]
    rows = jnp.asarray(PART.standard)
    first, of = forecaster(net, form, params, PART.standard, WINDOW)
    own = of(np.array([20]), 4)[0]
    known, last = np.asarray(differences(rows, 0))[:20] / form.step_sizes, PART.standard[19]
    for row in own:
        change = np.asarray(jax.jit(plain.apply)(params, known[None]))[0, -1]
        known = np.concatenate([known, change[None]])
        last = last + change * form.step_sizes
        close(row, last)
    assert first == 1


@pytest.mark.parametrize('name', ['revin', 'all'])
def test_revin_moves_and_scales_a_forecast_as_its_window(name):
    """Each column by its own shift and scale, which may be any but 0; constant ones stay finite."""
    scale, shift = np.array([3.0, 0.01, 7]), np.array([-5.0, 100, 0.1])
    rows = PART.standard
    one, other = (forecast(name, r, ENDS, HORIZON) for r in (rows, rows * scale + shift))
    close(other, one * scale[:2] + shift[:2], 1e-9)
    flat = np.where(np.arange(3) == 1, 4.0, rows)
    assert np.isfinite(forecast(name, flat, ENDS, HORIZON)).all()


def test_the_pinball_loss_is_that_of_sklearn():
    outputs, labels = RNG.standard_normal((4, 5, 3, 2)), RNG.standard_normal((4, 5, 2))
    expected = [
        mean_pinball_loss(labels.ravel(), outputs[:, :, at].ravel(), alpha=quantile)
        for at, quantile in enumerate(QUANTILES)
    ]
    loss, mask = pinball(QUANTILES), jnp.ones((4, 5), bool)
    values, count = loss.sums(jnp.asarray(outputs), jnp.asarray(labels), mask)
    assert int(count) == labels.size
    assert float(values['loss']) / labels.size == pytest.approx(np.mean(expected), rel=1e-12)
    assert float(values['mae']) == pytest.approx(np.abs(outputs[:, :, 1] - labels).sum())
    inside = (outputs[:, :, 0] <= labels) & (labels <= outputs[:, :, 2])
    assert int(values['coverage']) == inside.sum()
    masked = np.where(RNG.random(labels.shape) < 0.5, labels, np.nan)
    some, count = loss.sums(jnp.asarray(outputs), jnp.asarray(masked), mask)
    kept = ~np.isnan(masked)
    assert (int(count), int(some['coverage'])) == (kept.sum(), inside[kept].sum())
    with pytest.raises(InputError, match=r'labels should be \[4, 5, 2\]'):
        loss.sums(jnp.asarray(outputs), jnp.asarray(labels[:, 1:]), mask)


def test_a_step_counts_where_all_rows_of_its_horizon_have_labels():
    outputs, rows = RNG.standard_normal((1, 5, 3, 2)), RNG.standard_normal((1, 7, 2))
    rows[0, 4, 1] = np.nan  # in the rows after steps 2 to 4
    loss = over_horizon(absolute_error(), 3)
    values, count = loss.sums(jnp.asarray(outputs), jnp.asarray(rows), jnp.ones((1, 5), bool))
    expected = [np.abs(outputs[0, step] - rows[0, step : step + 3]).sum() for step in (0, 1)]
    assert (int(count), float(values['loss'])) == (12, pytest.approx(sum(expected)))
    with pytest.raises(InputError, match='labels should be 7 rows, 3 after each step, not 6'):
        loss.sums(jnp.asarray(outputs), jnp.asarray(rows[:, 1:]), jnp.ones((1, 5), bool))


@pytest.mark.parametrize('name', ['direct', 'quantiles', 'differences', 'revin', 'all'])
def test_the_loss_of_a_split_is_the_error_of_its_forecasts(name):
    form, net, params = made(name)
    data = examples([PART], window=WINDOW, stride=1, horizon=HORIZON, windowed=form.revin)
    loss = pinball(QUANTILES) if form.quantiles else squared_error()
    loss = loss if form.revin else over_horizon(loss, HORIZON)
    measured = make_evaluate(net, in_order(data.test, 2), loss=loss)(params, data.test)
    _, of = forecaster(net, form, params, PART.standard, WINDOW)

    def in_units(origins, horizon):
        return PART.in_units(of(origins, horizon))

    origins = [PART.origins(2, HORIZON)]
    found, _ = errors.compared([PART], {NET: Method([in_units])}, origins, HORIZON)
    own = found[NET][errors.STANDARD]
    if form.quantiles:
        expected = {'mae': own['MAE'], 'coverage': own['coverage']}
        assert {kind: measured[kind] for kind in expected} == pytest.approx(expected)
    else:
        assert measured == pytest.approx({'loss': own['MSE'], 'mae': own['MAE']})


def test_errors_and_coverage_of_a_hand_made_forecast():
    part = forecasting(Series(np.arange(10.0)[:, None] ** 2, ('x',)), 1, (5, 2, 3))
    bands = [[[60, 64, 70], [80, 82, 83]], [[82, 83, 84], [90, 97, 100]]]  # of 49, 64 and 64, 81
    made = np.array(bands, float)[..., None]
    made[0] -= 15
    own = errors.errors_of([part], [made], [np.array([7, 8])])
    assert own['x'] == {
        'MAE': pytest.approx((0 + 3 + 19 + 16) / 4),
        'RMSE': pytest.approx(((0 + 9 + 361 + 256) / 4) ** 0.5),
        'coverage': 0.25,
    }
    assert own[errors.STANDARD]['MSE'] == pytest.approx((626 / 4) / np.var([0, 1, 4, 9, 16]))
    twice = errors.errors_of([part, part], [made, made], [np.array([7, 8])] * 2)
    assert twice == {name: pytest.approx(values) for name, values in own.items()}


def test_a_backtest_is_the_forecasts_from_its_origins():
    truth = PART.known
    ways = {
        NET: Method([lambda origins, horizon: np.zeros((len(origins), horizon, 2))]),
        'short': Method([lambda origins, horizon: np.zeros((1, 1, 2))], most=1),
    }
    tested = errors.backtest([PART], ways, 3, HORIZON)
    assert [origin for _, origin in tested] == [32, 34, 37]  # the last forecast ends with the part
    for (_, origin), found in tested.items():
        rows = truth[origin : origin + HORIZON]
        assert [*found] == [NET]
        assert found[NET]['a']['MAE'] == pytest.approx(np.abs(rows[:, 0]).mean())
    table = errors.backtest_table(tested)
    assert all(word in table for word in ('32', '37', 'mean', 'standard deviation'))


@pytest.mark.parametrize('loss', ['mse', 'mae', 'quantile'])
def test_the_memoryless_loss_is_that_of_constants(loss):
    rows = PART.standard[:, :2]
    labels = np.stack([rows[24 + o : 24 + o + HORIZON] for o in range(8 - HORIZON + 1)])
    train = rows[:24]
    if loss == 'quantile':
        expected = np.mean(
            [
                mean_pinball_loss(
                    labels[..., at].ravel(),
                    np.full(labels[..., at].size, np.quantile(train[:, at], quantile)),
                    alpha=quantile,
                )
                for at in (0, 1)
                for quantile in QUANTILES
            ]
        )
    else:
        error = labels - (np.median(train, axis=0) if loss == 'mae' else 0)
        expected = np.mean(np.abs(error) if loss == 'mae' else error**2)
    assert memoryless_loss([PART], loss, HORIZON) == pytest.approx(expected)


def test_a_transform_reads_whole_sequences():
    _, net, params = made('direct')
    with pytest.raises(InputError, match='reads whole sequences'):
        jax.eval_shape(lambda: generate.read(net, params, jnp.zeros((1, 4, 3))))
