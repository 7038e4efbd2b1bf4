"""The gradient of the loss with respect to every carry, and its log while training."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnlab.cells import CELLS, Linear, lstm, stack
from rnnlab.data import TASKS
from rnnlab.models import network
from rnnlab.recurrence import bidirectional, recurrent, unroll
from rnnlab.training.batches import Batch, generated
from rnnlab.training.gradients import make_gradient_norms
from rnnlab.training.losses import squared_error
from rnnlab.training.optim import Hyper
from rnnlab.training.train import batch_keys
from tests.conftest import call, close, noisy

T, B, D, H = 3, 2, 2, 3


def read(cell, params, before, after, x, y):
    """The output as a function of the new carry, where it is h or read from it; else as it is."""
    if isinstance(cell.form, Linear):
        return cell.form.read(params, after.h, x)
    return after.h if y is before.h else y


@pytest.mark.parametrize('name', CELLS)
def test_the_gradient_of_every_carry_is_that_taken_one_step_at_a_time(name):
    cell = CELLS[name](H)
    params = noisy(cell.init(jax.random.key(0), D))
    xs = noisy(jnp.zeros((T, B, D)), 1, 1.0)
    initial = cell.carry(params, (B,))
    weights = noisy(jnp.zeros((T, B, unroll(cell, params, xs)[1].shape[-1])), 2, 1.0)

    def total(perturbation):
        return jnp.sum(weights * unroll(cell, params, xs, perturbation=perturbation)[1].real)

    def rest(at, carry):
        """The loss from the carry after step `at` on, that of the step's own output included."""
        before, y = initial, None
        for x in xs[: at + 1]:
            before, y = cell.step(params, before, x)
        loss = jnp.sum(weights[at] * read(cell, params, before, carry, xs[at], y).real)
        for x, weight in zip(xs[at + 1 :], weights[at + 1 :], strict=True):
            carry, y = cell.step(params, carry, x)
            loss = loss + jnp.sum(weight * y.real)
        return loss

    @jax.jit
    def both():
        zeros = jax.tree.map(lambda leaf: jnp.zeros((T, *leaf.shape), leaf.dtype), initial)
        carry, one_by_one = initial, []
        for at, x in enumerate(xs):
            carry, _ = cell.step(params, carry, x)
            one_by_one.append(jax.grad(partial(rest, at))(carry))
        return jax.grad(total)(zeros), jax.tree.map(lambda *steps: jnp.stack(steps), *one_by_one)

    at_once, one_by_one = both()
    close(at_once, one_by_one)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(at_once)) > 0.01


def test_stacks_directions_lengths_and_parts_have_it_too():
    """Zeros change nothing; no gradient is in the padding; of a reverse cell it flows back."""
    xs, lengths = noisy(jnp.zeros((5, B, D)), 1, 1.0), jnp.array([5, 2])
    both = bidirectional(lstm(H), stack(lstm(H), lstm(H)))
    params = both.init(jax.random.key(0), D)
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros((5, *leaf.shape), leaf.dtype), both.carry(params, (B,))
    )

    def total(perturbation):
        options = {'lengths': lengths, 'last': True, 'perturbation': perturbation}
        return jnp.sum(both.apply(params, xs, **options)[1])

    close(total(zeros), jnp.sum(both.apply(params, xs, lengths=lengths, last=True)[1]))
    forward, (lower, upper) = jax.jit(jax.grad(total))(zeros)
    norms = [np.linalg.norm(part.h, axis=-1) for part in (forward, lower, upper)]
    for norm in norms:
        assert (norm[:, 0] > 0).all()
        assert (norm[:2, 1] > 0).all()
        assert not norm[2:, 1].any()
    assert norms[0][0, 0] < norms[0][-1, 0]
    assert norms[2][0, 0] > norms[2][-1, 0]
    parts = recurrent(lstm(H), remat=2)
    whole = recurrent(lstm(H))
    own = parts.init(jax.random.key(0), D)
    zeros = jax.tree.map(lambda leaf: jnp.zeros((5, *leaf.shape)), parts.carry(own, (B,)))
    gradients = [
        jax.jit(jax.grad(lambda p, layer=layer: jnp.sum(layer.apply(own, xs, perturbation=p)[1])))
        for layer in (parts, whole)
    ]
    close(gradients[0](zeros), gradients[1](zeros))


def test_the_norms_are_of_the_batch_that_the_step_trains_with():
    """At the last time step of the highest layer they follow from the readout alone."""
    task, key, step = TASKS['adding'](6), jax.random.key(3), jnp.int32(8)
    net = network([recurrent(lstm(H))] * 2, inputs=2, outputs=1, pool='last')
    params = noisy(net.init(jax.random.key(0)))
    batches = generated(task.sample, 4, 5)
    norms = make_gradient_norms(lambda hyper: net, lambda hyper: squared_error(), batches)
    found = jax.jit(norms)(Hyper(lr=0.1, clip=1.0), key, None, params, None, step)
    assert {name: leaf.shape for name, leaf in found.items()} == {
        f'layer_{layer}.{field}': (6,) for layer in (1, 2) for field in 'ch'
    }
    batch = Batch(jnp.arange(4), *batch_keys(key, step, 4))
    inputs, labels, _ = batches.takes[0](None, batch, jnp.int32(3))
    error = 2 / 4 * (net.apply(params, inputs) - labels)
    expected = np.linalg.norm(error @ params['readout']['kernel'].T)
    close(np.asarray(found['layer_2.h'][-1]), np.asarray(expected))
    close(np.asarray(found['layer_2.c'][-1]), np.zeros(()))


TINY = '--task=adding', '--length=8', '--hidden_size=4', '--steps=6', '--validation=20'


def rows(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


@pytest.mark.slow
def test_a_log_of_gradients_changes_no_number_and_a_lane_has_that_of_its_run(tmp_path):
    flags = *TINY, '--eval_every=3'
    for name, more in (('off', []), ('on', ['--log_gradients'])):
        code, _, err = call('memory', *flags, *more, f'--out={tmp_path / name}')
        assert code == 0, err
    off, on = (rows(tmp_path / name) for name in ('off', 'on'))
    names = [f'gradient_layer_1.{field}' for field in 'ch']
    assert len(on) == 2
    for without, row in zip(off, on, strict=True):
        norms = [row[name] for name in names]
        assert [len(part) for part in norms] == [8, 8]
        assert norms[1][-1] > 0
        of_gradients = dict(zip(names, norms, strict=True))
        assert {**row, 'seconds': 0} == {**without, **of_gradients, 'seconds': 0}
    sweep = call('memory', *flags, '--log_gradients', '--sweep=seed=0', f'--out={tmp_path / "s"}')
    assert sweep.code == 0, sweep.err
    lane = rows(tmp_path / 's' / 'best')
    for row, other in zip(on, lane, strict=True):
        close([row[name] for name in names], [other[name] for name in names], 1e-3)
    assert (tmp_path / 'on' / 'gradients.png').exists()
    code, _, err = call('memory', *flags, f'--out={tmp_path / "on"}', '--resume')
    assert (code, 'log_gradients' in err) == (1, True)
    code, _, err = call('memory', *flags, '--log_gradients', f'--out={tmp_path / "on"}', '--resume')
    assert code == 0, err
