"""Haiku: the params of VanillaRNN, LSTM, GRU, Linear and Embed."""

from collections.abc import Mapping
from typing import Any

from rnnlab.errors import InputError
from rnnlab.interop.tf1 import split
from rnnlab.interop.weights import Part, Sides, Weights, arrays, assembled, ordered, zeros


def from_haiku(
    params: Mapping[str, Mapping[str, Any]],
    names: str | tuple[str, str] | list[str | tuple[str, str]],
) -> Weights:
    """The modules of these names in a transformed function's params (arrays may be traced), as layers and params.

    A tuple of two names is (forward, backward). A Linear is the readout, or before the first layer the dense map; an Embed the
    embedding. VanillaRNN is an irnn and keeps both biases. The 1 that Haiku's LSTM adds to the forget gate at every step is
    added to the bias, and i, g, f, o become i, f, g, o. Its GRU is gru_chung, and its gates z, r, candidate become r, z, n.

    Raises InputError for a name that is none of these.
    """

    def one(name: str) -> Any:
        own = {
            key.removeprefix(name).removeprefix('/'): arrays(dict(part))
            for key, part in params.items()
            if f'{key}/'.startswith(f'{name}/')
        }
        if own.keys() == {'linear'}:
            return split('lstm', own['linear']['w'], own['linear']['b'], 'igfo', 1.0)
        if own.keys() == {'linear', 'linear_1'}:
            (kernel, bias), (recurrent_kernel, recurrent_bias) = (
                linear(own[part]) for part in ('linear', 'linear_1')
            )
            return Sides('irnn', kernel, recurrent_kernel, bias, recurrent_bias)
        if own.keys() == {''}:
            own = own['']
            if own.keys() == {'w_i', 'w_h', 'b'}:
                return Sides(
                    'gru_chung', *(ordered(own[key], 'zrn', 'rzn') for key in ('w_i', 'w_h', 'b'))
                )
            if own.keys() == {'embeddings'}:
                return {'table': own['embeddings']}
            if own.keys() in ({'w'}, {'w', 'b'}):
                return dict(zip(('kernel', 'bias'), linear(own), strict=True))
        raise InputError(
            f'{name!r} is no VanillaRNN, LSTM, GRU, Linear or Embed in these params; they have {", ".join(params)}'
        )

    def part(name: str | tuple[str, str]) -> Part:
        return (one(name[0]), one(name[1])) if isinstance(name, tuple) else one(name)

    return assembled([part(name) for name in (names if isinstance(names, list) else [names])])


def linear(own: Mapping[str, Any]) -> tuple[Any, Any]:
    return own['w'], own.get('b', zeros(own['w'], own['w'].shape[1]))
