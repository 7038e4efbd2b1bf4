"""Haiku: the params of VanillaRNN, LSTM, GRU, Linear and Embed."""

from collections.abc import Mapping, Sequence
from typing import Any

from rnnlab.errors import InputError
from rnnlab.interop.weights import (
    GATES,
    Array,
    Arrays,
    CellWeights,
    Params,
    Part,
    Weights,
    arrays,
    assembled,
    dense,
    directions,
    from_joint,
    ordered,
    parts_of,
    taken_apart,
    to_joint,
)
from rnnlab.recurrence import Layer

KINDS = ('irnn', 'lstm', 'gru_chung')
LSTM, GRU = 'igfo', 'zrn'  # order of Haiku's gates
FORGET_BIAS = 1.0  # that Haiku's LSTM adds at every step

Name = str | tuple[str, str]  # the latter of a bidirectional layer
Names = Name | Sequence[Name]


def from_haiku(params: Mapping[str, Mapping[str, Array]], names: Names) -> Weights:
    """Modules of a transformed function, by their names in its params, as layers and params.

    params: arrays, traced ones too.
    names: a list in the order in which data passes; a tuple is (forward, backward). A Linear is
        the readout, or before the first layer the dense map; an Embed is the embedding.

    A VanillaRNN is an irnn, with both biases; an LSTM's forget bias, which Haiku adds at every
    step, is added to the bias; a GRU is a gru_chung. Raises InputError for other names.
    """

    def part(name: str) -> Part:
        own = {
            key.removeprefix(name).removeprefix('/'): dict(module)
            for key, module in params.items()
            if f'{key}/'.startswith(f'{name}/')
        }
        made = part_of(arrays(own))
        if made is None:
            raise InputError(
                f'{name!r} is no VanillaRNN, LSTM, GRU, Linear or Embed in these params; '
                f'they have {", ".join(params)}'
            )
        return made

    return assembled(parts_of(names, part))


def to_haiku(layers: Sequence[Layer], params: Params, names: Names) -> dict[str, Arrays]:
    """The params of a transformed function with modules of these names, as from_haiku takes them.

    An irnn with one bias gets zeros as the second; an LSTM with two biases gets their sum, without
    the forget bias that Haiku adds. Raises InputError for a cell that Haiku does not have, and for
    another number of names than there are modules.
    """
    parts = taken_apart(layers, params, 'Haiku', KINDS)
    listed: Sequence[Any] = names if isinstance(names, list) else [names]
    if len(listed) != len(parts):
        raise InputError(f'the network has {len(parts)} modules, and there are {len(listed)} names')
    made = {}
    for name, part in zip(listed, parts, strict=True):
        each: Sequence[Arrays | CellWeights] = (
            [part] if isinstance(part, dict) else directions(part)
        )
        for own, one in zip([name] if isinstance(name, str) else name, each, strict=True):
            for suffix, module in modules_of(one).items():
                made[f'{own}/{suffix}'.removesuffix('/')] = module
    return made


def part_of(modules: dict[str, Arrays]) -> Part | None:
    """The part of a module's arrays by the names of its submodules ('': its own)."""
    if modules.keys() == {'linear'}:
        w, b = (modules['linear'][name] for name in 'wb')
        return from_joint('lstm', w, b, order=LSTM, added=FORGET_BIAS)
    if modules.keys() == {'linear', 'linear_1'}:
        x, h = (dense(module['w'], module.get('b')) for module in modules.values())
        return CellWeights(
            kind='irnn',
            kernel=x['kernel'],
            recurrent_kernel=h['kernel'],
            bias=x['bias'],
            recurrent_bias=h['bias'],
        )
    own = modules.get('', {})
    if own.keys() == {'w_i', 'w_h', 'b'}:
        kernel, recurrent_kernel, bias = (
            ordered(own[name], GRU, GATES['gru_chung']) for name in ('w_i', 'w_h', 'b')
        )
        return CellWeights(
            kind='gru_chung', kernel=kernel, recurrent_kernel=recurrent_kernel, bias=bias
        )
    if own.keys() == {'embeddings'}:
        return {'table': own['embeddings']}
    return dense(own['w'], own.get('b')) if own.keys() in ({'w'}, {'w', 'b'}) else None


def modules_of(part: Arrays | CellWeights) -> dict[str, Arrays]:
    """The arrays that part_of takes."""
    if isinstance(part, dict):
        if 'table' in part:
            return {'': {'embeddings': part['table']}}
        return {'': {'w': part['kernel'], 'b': part['bias']}}
    if part.kind == 'lstm':
        w, b = to_joint(part, order=LSTM, added=FORGET_BIAS)
        return {'linear': {'w': w, 'b': b}}
    if part.kind == 'irnn':
        kernels = part.kernel, part.recurrent_kernel
        modules = zip(('linear', 'linear_1'), kernels, part.both_biases, strict=True)
        return {name: {'w': w, 'b': b} for name, w, b in modules}
    own = {'w_i': part.kernel, 'w_h': part.recurrent_kernel, 'b': part.bias}
    return {'': {name: ordered(array, GATES['gru_chung'], GRU) for name, array in own.items()}}
