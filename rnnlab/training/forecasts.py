"""What a network for series reads and predicts: differences, normalised windows, horizons.

Letters in shapes: B sequences, T time steps, N rows, C columns, K predicted columns, Q quantiles,
O origins. The forecast from origin o is of the rows o, o + 1, ..., and reads the rows before o.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rnnlab.cells.base import Params
from rnnlab.models import Model
from rnnlab.training import generate

QUANTILES = (0.05, 0.5, 0.95)  # the ends of a band that 90 % should be in, and the median
CHUNK = 500  # windows that are read at once

Forecast = Callable[[np.ndarray, int], np.ndarray]  # (origins [O], horizon) -> [O, horizon, K]


@dataclass(frozen=True, eq=False, kw_only=True)
class Form:
    """How the outputs of a network are forecasts of the rows after each step.

    targets: K, the first columns are predicted.
    horizon: rows that are predicted at once; None: one, and further ones from its own outputs.
    quantiles: Q, None for a single value.
    step_sizes: [C], where the network reads and predicts differences, their sizes. A forecast of
        several rows is of their differences from the last known one.
    revin: reversible instance normalisation (Kim et al. 2022): each sequence is read with mean 0
        and standard deviation 1 over its time steps, and the forecast after its last step gets
        both back. Their learned scale and shift of each column are left out: the maps of the first
        layer and the readout have them.
    """

    targets: int
    horizon: int | None = None
    quantiles: int | None = None
    step_sizes: np.ndarray | None = None
    revin: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """[horizon, Q, K] without those that are None."""
        return tuple(n for n in (self.horizon, self.quantiles, self.targets) if n is not None)

    @property
    def outputs(self) -> int:
        """How many outputs the readout has."""
        return math.prod(self.shape)

    @property
    def plain(self) -> bool:
        """Whether the outputs of the network are the next row as they are."""
        return not (self.horizon or self.quantiles or self.revin) and self.step_sizes is None

    def transform(self, inputs: Array) -> tuple[Array, Callable[[Array], Array]]:
        """The Transform of a network: inputs [B, T, C], outputs [B, T, *shape].

        With revin, for a network with pool 'last', they are [B, *shape].
        """
        xs, targets = inputs, self.targets
        if self.revin:
            mean, std = instance_moments(inputs)
            xs = (inputs - mean) / std
        known = xs[:, -1, :targets] if self.revin else xs[..., :targets]
        if self.step_sizes is not None:
            sizes = jnp.asarray(self.step_sizes, inputs.dtype).reshape(1, 1, -1)
            xs = differences(xs, 1) / sizes

        def back(outputs: Array) -> Array:
            lead = outputs.shape[:-1]
            ys = outputs.reshape(*lead, -1, targets)  # a row for each step ahead and quantile
            if self.step_sizes is not None:
                of_targets = sizes[..., :targets].reshape((1,) * (ys.ndim - 1) + (-1,))
                ys = ys * of_targets + jnp.expand_dims(known, -2)
            if self.revin:
                ys = ys * std[..., :targets] + mean[..., :targets]
            return ys.reshape(*lead, *self.shape)

        return xs, back


def instance_moments(inputs: Array) -> tuple[Array, Array]:
    """(mean, standard deviation) [B, 1, C] over time of [B, T, C]; 1 where a column is constant."""
    mean, std = jnp.mean(inputs, axis=1, keepdims=True), jnp.std(inputs, axis=1, keepdims=True)
    return mean, jnp.where(std > 0, std, jnp.ones_like(std))


def differences(rows: Array, axis: int) -> Array:
    """The differences of successive rows, of the first one 0."""
    return jnp.diff(rows, axis=axis, prepend=jnp.take(rows, np.array([0]), axis=axis))


def forecaster(
    model: Model, form: Form, params: Params, rows: np.ndarray, window: int
) -> tuple[int, Forecast]:
    """(the first origin, the forecasts of a network from rows [N, C]).

    It reads them from the first one on; with revin the `window` rows before each origin. With
    quantiles the forecasts are [O, horizon, Q, K].
    """
    rows = rows.astype(jax.tree.leaves(params)[0].dtype)
    if form.horizon is None:
        return 1, free_running(model, form, params, rows)
    if form.revin:
        first, made = window, by_windows(model, params, rows, window)
    else:
        first, made = 1, np.asarray(jax.jit(model.apply)(params, rows[None]))[0]
    return first, lambda origins, horizon: made[origins - first, :horizon]


def by_windows(model: Model, params: Params, rows: np.ndarray, window: int) -> np.ndarray:
    """The outputs [N - window + 1, ...] of a network for all windows of the rows."""
    windows = np.lib.stride_tricks.sliding_window_view(rows, window, axis=0).swapaxes(1, 2)
    apply, size, parts = jax.jit(model.apply), min(CHUNK, len(windows)), []
    for begin in range(0, len(windows), size):
        of_chunk = np.arange(begin, begin + size) % len(windows)  # the last chunk is filled up
        parts.append(np.asarray(apply(params, windows[of_chunk])))
    return np.concatenate(parts)[: len(windows)]


def free_running(model: Model, form: Form, params: Params, rows: np.ndarray) -> Forecast:
    """The forecasts of a network that predicts one row and continues with its own outputs."""
    plain, inputs = replace(model, transform=None), rows
    sizes = form.step_sizes
    if sizes is not None:
        inputs = (np.diff(rows, axis=0, prepend=rows[:1]) / sizes).astype(rows.dtype)
    carries, outputs = jax.jit(partial(generate.read, plain))(params, inputs[None])

    def forecast(origins: np.ndarray, horizon: int) -> np.ndarray:
        if horizon == 1:
            made = np.asarray(outputs)[0, origins - 1][:, None]
        else:
            carry = jax.tree.map(lambda leaf: leaf[origins - 1, 0], carries)
            continued = jax.jit(partial(generate.forecast, plain, horizon=horizon))
            made = np.asarray(continued(params, carry, inputs[origins - 1]))
        if sizes is not None:
            made = made.reshape(*made.shape[:2], -1, form.targets) * sizes[: form.targets]
            made = rows[origins - 1, None, None, : form.targets] + np.cumsum(made, axis=1)
        return made.reshape(*made.shape[:2], *form.shape)

    return forecast
