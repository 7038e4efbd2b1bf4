"""Models: an embedding or a dense map, recurrent layers, and a dense readout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Key, Shaped

from rnnlab.cells.base import Arrays, Carry, Params, Rate, biased
from rnnlab.cells.params import check, named_leaves, optional
from rnnlab.errors import InputError, fraction, known, positive
from rnnlab.initializers import Initializer, initializer
from rnnlab.precision import product
from rnnlab.recurrence import POOLS, Block, Layer, dropout_mask
from rnnlab.recurrence.blocks import Moments, at_end, batch_moments, counted
from rnnlab.recurrence.dropout import fold
from rnnlab.recurrence.masking import within, zeroed
from rnnlab.recurrence.pools import Lengths

BLOCK = 3  # what a layer's keys are folded with for its block; the layer takes 0 to 2
# inputs [B, T, D] -> (what the layers read, a function of the readout's outputs)
Transform = Callable[[Array], tuple[Array, Callable[[Array], Array]]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A network as made by `network` or `classifier`, with their arguments as fields."""

    layers: dict[str, Layer]  # by the name of their params
    features: int  # D of the inputs, with a vocabulary that of the embedding
    outputs: int
    vocabulary: int | None
    dense: int | None
    scale: float
    pool: str | None
    dropout: Rate | None
    initializer: Initializer
    block: Block | None = None  # around each layer
    two_classes: bool = False  # the readout has the logit of the second, that of the first is 0
    transform: Transform | None = None  # of whole sequences; their outputs are transformed back

    @property
    def inputs(self) -> int:
        """D of the first recurrent layer."""
        return self.dense or self.features

    def init(self, key: Array, dtype: DTypeLike = float) -> dict[str, Params]:
        """params, a dict by layer."""
        embedding_key, readout_key, *keys = jax.random.split(key, len(self.layers) + 2)
        dense, width = partial(init_dense, self.initializer, dtype), self.features
        params: dict[str, Params] = {}
        if self.vocabulary is not None:
            table = self.initializer.embedding(embedding_key, self.vocabulary, width, dtype)
            params['embedding'] = {'table': table}
        if self.dense is not None:
            params['dense'] = dense(jax.random.fold_in(embedding_key, 0), width, self.dense)
            width = self.dense
        for layer_key, (name, layer) in zip(keys, self.layers.items(), strict=True):
            if self.block is not None:
                layer_key, block_key = jax.random.split(layer_key)
            params[name] = layer.init(layer_key, width, dtype)
            outputs = output_size(layer, params[name], width)
            if self.block is None:
                width = outputs
            else:
                own, statistics = beside(name)
                params[own] = self.block.init(block_key, width, outputs, self.initializer, dtype)
                if of_batch := self.block.init_statistics(width, dtype):
                    params[statistics] = of_batch
        if self.pool == 'attention':
            attention_key, query_key = jax.random.split(jax.random.fold_in(readout_key, 0))
            params['attention'] = dense(attention_key, width, width)
            params['attention']['query'] = dense(query_key, width, 1)['kernel'][:, 0]
        params['readout'] = dense(readout_key, width, self.outputs)
        return params

    @cached_property
    def shapes(self) -> Params:
        """params as shapes and types."""
        return jax.eval_shape(lambda: self.init(jax.random.key(0)))

    def carry(self, params: Params, batch: int) -> Carry:
        """The initial carry."""
        check_params(self, params)
        return {name: layer.carry(params[name], (batch,)) for name, layer in self.layers.items()}

    def run(
        self,
        params: Params,
        inputs: Shaped[Arrays, 'B T *D'],
        lengths: Lengths = None,
        keys: Key[Array, ' B'] | None = None,
        carry: Carry | None = None,
        perturbation: Carry | None = None,
    ) -> tuple[Carry, Float[Array, 'B *T K']]:
        """(carry, outputs [B, K] or [B, T, K]) for inputs [B, T, D], or ids int [B, T].

        With keys, one per sequence, dropout is on. A returned carry continues the sequences in the
        next call. A perturbation, a carry with a leading axis T, is unroll's of each layer.
        """
        return self.forward(params, inputs, lengths, keys, carry, perturbation)[:2]

    def forward(
        self,
        params: Params,
        inputs: Shaped[Arrays, 'B T *D'],
        lengths: Lengths = None,
        keys: Key[Array, ' B'] | None = None,
        carry: Carry | None = None,
        perturbation: Carry | None = None,
        *,
        present: Bool[Array, ' B'] | None = None,
        axis: str | None = None,
    ) -> tuple[Carry, Float[Array, 'B *T K'], Params]:
        """(carry, outputs, statistics): `run` for training.

        statistics: the running statistics of batch norms after this batch, params that replace
            those before; {} without batch norm, or without keys.
        present: the sequences that count in them; None: all do.
        axis: of the mesh whose devices share the batch.
        """
        check_params(self, params)
        if self.transform is not None:
            if carry is not None:
                raise InputError('a network with a transform reads whole sequences: no carry')
            inputs, back = self.transform(jnp.asarray(inputs, dtype_of(params)))
        xs, moments = embed(self, params, inputs), None
        if keys is not None:
            moments = partial(batch_moments, valid=counted(len(xs), lengths, present), axis=axis)
        after, ys, statistics = run_layers(
            self, params, xs, lengths, keys, carry, perturbation, moments
        )
        y = ys if self.pool is None else POOLS[self.pool](params.get(self.pool), ys, lengths)
        if keys is not None and self.dropout is not None:
            mask = dropout_mask(fold(keys, 0), self.dropout, y.shape[-1], y.dtype)
            y = y * (jnp.expand_dims(mask, 0) if self.pool is None else mask)
        outputs = affine(params['readout'], y)
        if self.two_classes:
            return after, jnp.pad(outputs, ((0, 0), (1, 0))), statistics
        outputs = jnp.moveaxis(outputs, 0, 1) if self.pool is None else outputs
        return after, outputs if self.transform is None else back(outputs), statistics

    def apply(
        self,
        params: Params,
        inputs: Shaped[Arrays, 'B T *D'],
        lengths: Lengths = None,
        keys: Key[Array, ' B'] | None = None,
    ) -> Float[Array, 'B *T K']:
        """The outputs for whole sequences, as `run` returns them."""
        return self.run(params, inputs, lengths, keys)[1]


def classifier(
    layers: Sequence[Layer],
    *,
    inputs: int,
    classes: int,
    vocabulary: int | None = None,
    dense: int | None = None,
    scale: float = 1.0,
    pool: str = 'last',
    dropout: Rate | None = None,
    init: str | Initializer = 'keras',
    block: Block | None = None,
) -> Model:
    """A model from a sequence to the logits [B, classes] of its class: a network with a pool.

    For two classes the readout has the logit of the second alone; the first one's is 0. For a
    readout of two logits, as other frameworks have it, use a network with outputs=2 and a pool.
    """
    positive('classes', classes)
    known('pool', pool, POOLS)
    if not layers and pool == 'last':
        raise InputError(
            "pool 'last' without a recurrent layer reads the last input alone; choose mean or max"
        )
    net = network(
        layers,
        inputs=inputs,
        outputs=1 if classes == 2 else classes,
        vocabulary=vocabulary,
        dense=dense,
        scale=scale,
        pool=pool,
        dropout=dropout,
        init=init,
        block=block,
    )
    return replace(net, two_classes=classes == 2)


def network(
    layers: Sequence[Layer],
    *,
    inputs: int,
    outputs: int,
    vocabulary: int | None = None,
    dense: int | None = None,
    scale: float = 1.0,
    pool: str | None = None,
    dropout: Rate | None = None,
    init: str | Initializer = 'keras',
    block: Block | None = None,
    transform: Transform | None = None,
) -> Model:
    """A model from a sequence to numbers or logits: [B, T, outputs], with a pool [B, outputs].

    Args:
        layers: recurrent layers, the lowest first; none is a bag of words, with pool mean or max.
        inputs: D, the features of one time step; with a vocabulary, those of the embedding. Inputs
            are cast to the type of the params.
        outputs: K.
        vocabulary: V, the number of ids; None takes inputs [B, T, D], or ids int [B, T] below D,
            which are read one-hot.
        dense: P, the outputs of a dense map of the inputs at each step, before the layers; None for
            no such map.
        scale: multiplies inputs [B, T, D], so that images can remain bytes in memory.
        pool: a name of POOLS, over the outputs of the highest layer; None reads out every step.
        dropout: the rate for the readout's inputs in training, the same mask at every step; None is
            off. Layers have their own.
        init: the initializer of embedding and dense maps; cells have their own.
        block: surrounds each layer as a pre-norm residual block (see Block), whose number of
            features is that of the lowest layer's inputs; None is the layers alone.
        transform: changes the inputs [B, T, D] of whole sequences and the outputs back.

    Raises:
        InputError: arguments out of range; its methods: params with other names or shapes than
            those of `init`, inputs of other shapes.
    """
    positive('inputs', inputs)
    positive('outputs', outputs)
    fraction('dropout', dropout)
    if pool is not None:
        known('pool', pool, POOLS)
    for layer in layers:
        if not isinstance(layer, Layer):
            raise InputError(
                'layers must be made by recurrent(cell) or bidirectional(cell, cell), '
                f'not {type(layer).__name__}'
            )
    return Model(
        layers={f'layer_{number}': layer for number, layer in enumerate(layers, 1)},
        features=inputs,
        outputs=outputs,
        vocabulary=vocabulary,
        dense=dense,
        scale=scale,
        pool=pool,
        dropout=dropout,
        initializer=initializer(init),
        block=block,
        transform=transform,
    )


def init_dense(
    initializer: Initializer, dtype: DTypeLike, key: Array, inputs: int, outputs: int
) -> dict[str, Array]:
    kernel, bias = initializer.dense(key, inputs, outputs, dtype)
    return {'kernel': kernel, 'bias': bias}


def embed(net: Model, params: Params, inputs: Arrays) -> Array:
    """The inputs of the first layer [T, B, D], from ids [B, T] or inputs [B, T, D]."""
    if net.vocabulary is not None:
        xs = params['embedding']['table'][jnp.moveaxis(inputs, 0, 1)]
    elif inputs.ndim == 2 and jnp.issubdtype(inputs.dtype, jnp.integer):
        xs = jax.nn.one_hot(jnp.moveaxis(inputs, 0, 1), net.features, dtype=dtype_of(params))
    elif inputs.ndim != 3 or inputs.shape[-1] != net.features:
        raise InputError(f'inputs must be [B, T, {net.features}], not {list(inputs.shape)}')
    else:
        xs = jnp.moveaxis(inputs, 0, 1).astype(dtype_of(params)) * net.scale
    return xs if net.dense is None else affine(params['dense'], xs)


def run_layers(
    net: Model,
    params: Params,
    xs: Array,
    lengths: Lengths,
    keys: Array | None,
    carry: Carry | None,
    perturbation: Carry | None,
    moments: Callable[[Array], Moments] | None,
) -> tuple[Carry, Array, Params]:
    """(carry by layer, outputs of the highest layer [T, B, H], with pool 'last' [B, H], statistics
    of `Model.forward`)."""
    after: dict[str, Carry] = {}
    statistics: Params = {}
    if net.block is not None and lengths is not None:  # else NaN in the padding reaches a gradient
        xs = zeroed(within(len(xs), lengths), xs)
    for number, (name, layer) in enumerate(net.layers.items(), 1):
        own, running = beside(name)
        read = xs
        if net.block is not None:
            before = params.get(running, {})
            read, new = net.block.normalized(params[own], before, xs, moments)
            if new is not before:
                statistics[running] = new
        own_keys = None if keys is None else fold(keys, number)
        last = net.pool == 'last' and number == len(net.layers)
        after[name], ys = layer.apply(
            params[name],
            read,
            None if carry is None else carry[name],
            lengths=lengths,
            last=last,
            keys=own_keys,
            perturbation=None if perturbation is None else perturbation[name],
        )
        if net.block is None:
            xs = ys
        else:
            block_keys = None if own_keys is None else fold(own_keys, BLOCK)
            skipped = at_end(xs, lengths) if last else xs
            xs = net.block.joined(params[own], skipped, ys, block_keys)
    return after, xs, statistics


def beside(layer: str) -> tuple[str, str]:
    """The names of the params of the block around a layer, and of its running statistics."""
    number = layer.removeprefix('layer_')
    return f'block_{number}', f'statistics_{number}'


def check_params(net: Model, params: Params) -> None:
    """Raises InputError for params with names or shapes that are not those of `net.init`."""
    readout = named_leaves(params).get('readout.kernel', ())
    if net.two_classes and np.shape(readout)[-1:] == (2,):
        raise InputError(
            'the readout of a classifier of two classes has one logit, not two: '
            'network(..., outputs=2) has two'
        )
    more = {
        f'{name}.{part}.{own}'
        for name, layer in net.layers.items()
        for part, cell in layer.cells.items()
        for own in optional(cell)
    }
    check(params, net.shapes, 'params are not those of this network', more)


def affine(params: Params, x: Array) -> Array:
    return biased(product(x, params['kernel']), params['bias'])


def output_size(layer: Layer, params: Params, inputs: int) -> int:
    """The number of outputs of a layer at each step, for its params and number of inputs."""
    xs = jax.ShapeDtypeStruct((1, 1, inputs), dtype_of(params))
    return jax.eval_shape(layer.apply, params, xs)[1].shape[-1]


def dtype_of(params: Params) -> np.dtype:
    return jax.tree.leaves(params)[0].dtype
