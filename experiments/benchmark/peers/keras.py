"""The timed work in Keras on JAX: its model as a function, and `fit`."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import Array
from keras import layers

from experiments.benchmark.peers.functional import loss_and_norm, repeated
from experiments.benchmark.work import CLASSES, EPSILON, LR, Shape, Work, make_data, make_weights
from rnnlab.cells.base import Params
from rnnlab.data import Split
from rnnlab.interop import to_keras

RECURRENCES = {'elman': layers.SimpleRNN, 'lstm': layers.LSTM, 'gru': layers.GRU}
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def prepare(cell: str, shape: Shape, kind: str) -> Work:
    model, data = make_classifier(cell, shape), make_data(shape, kind)
    if kind in ('forward', 'gradient'):
        return functional(model, data, kind, shape.steps)
    model.compile(optimizer=keras.optimizers.Adam(LR, epsilon=EPSILON), loss=LOSS)
    inputs, labels = data.inputs, data.labels
    if kind == 'train_step':
        inputs, labels = (np.concatenate([array] * shape.steps) for array in (inputs, labels))
    shuffle = kind == 'epoch'

    def train() -> list[float]:
        history = model.fit(
            inputs, labels, batch_size=shape.batch, epochs=1, verbose=0, shuffle=shuffle
        )
        return history.history['loss']

    return train


def make_classifier(cell: str, shape: Shape) -> keras.Model:
    make, number = RECURRENCES[cell], shape.layers
    recurrences = [make(shape.hidden, return_sequences=True) for _ in range(number - 1)]
    if shape.vocabulary:
        first = keras.Input((shape.time_steps,), dtype='int32')
        embedding = [layers.Embedding(shape.vocabulary, shape.inputs)]
    else:
        first, embedding = keras.Input((shape.time_steps, shape.inputs)), []
    readout = layers.Dense(CLASSES)
    model = keras.Sequential([first, *embedding, *recurrences, make(shape.hidden), readout])
    for layer, arrays in zip(model.layers, to_keras(*make_weights(cell, shape)), strict=True):
        layer.set_weights(arrays)
    return model


def functional(model: keras.Model, data: Split, kind: str, steps: int) -> Work:
    """Steps without training, by Keras's stateless_call."""
    variables = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]
    names = [variable.path for variable in model.trainable_variables]
    inputs, labels = jax.device_put((data.inputs, data.labels))

    def logits(variables: Params, inputs: Array) -> Array:
        return model.stateless_call(variables, fixed, inputs)[0]

    def loss(variables: Params, inputs: Array, labels: Array) -> Array:
        return LOSS(labels, logits(variables, inputs))

    def numbers(results: tuple[Array, list[Array]]) -> list[Array]:
        return loss_and_norm((results[0], dict(zip(names, results[1], strict=True))))

    if kind == 'forward':
        return repeated(jax.jit(logits), (variables, inputs), steps, jnp.linalg.norm)
    gradient = jax.jit(jax.value_and_grad(loss))
    return repeated(gradient, (variables, inputs, labels), steps, numbers)
