"""torch: nn.RNN, nn.LSTM, nn.GRU and their cells, nn.Linear, nn.Embedding."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rnnlab.errors import InputError, known
from rnnlab.interop.files import named_leaves
from rnnlab.interop.weights import (
    Part,
    Sides,
    Weights,
    arrays,
    assembled,
    taken_apart,
    told_by_shape,
    zeros,
)
from rnnlab.recurrence import Layer

NAMES = ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')
PROJECTION = 'weight_hr'
KINDS = ('elman', 'irnn', 'lstm', 'lstm_projected', 'gru')
NONLINEARITIES = {'tanh': 'elman', 'relu': 'irnn'}


def from_torch(
    source: Any, *, prefix: str | Sequence[str] | None = None, nonlinearity: str = 'tanh'
) -> Weights:
    """Modules, or state_dicts with their names and shapes (of tensors or arrays, traced ones too), as layers and params.

    An nn.RNN, nn.LSTM or nn.GRU becomes num_layers layers, bidirectional ones where it is; nn.RNNCell, nn.LSTMCell and
    nn.GRUCell one, with proj_size lstm_projected ones; an nn.Linear the readout, or before the first layer the dense map; an
    nn.Embedding the embedding.

    Kernels are transposed and those of Elman cells and LSTMs joined to one of [x, h]; gates have the same order. Both biases
    are kept, as `bias` and `recurrent_bias`, zeros with bias=False; so to_torch gives back the same bits. Dropout, between
    layers too, is left out.

    Args:
        source: one or a list, in the order in which data passes.
        prefix: takes of one bigger module or state_dict what is named so: prefix='lstm' takes lstm.weight_ih_l0 and so on; of
            several, one part after the other.
        nonlinearity: tanh or relu, what an nn.RNN of which only the state_dict is given applies.

    Raises InputError for modules that are none of these, and a prefix that nothing has.
    """
    known('nonlinearity', nonlinearity, NONLINEARITIES)
    if prefix is not None:
        state = state_of(source)
        source = [
            selected(state, name) for name in ([prefix] if isinstance(prefix, str) else prefix)
        ]
    parts: list[Part] = []
    for module in source if isinstance(source, list) else [source]:
        recurrent_before = any(not isinstance(part, dict) for part in parts)
        if getattr(module, 'max_norm', None) is not None:
            raise InputError(
                f'an nn.Embedding with max_norm={module.max_norm} is not what is computed here; without it it is taken'
            )
        if type(module).__name__ == 'Dropout':
            continue
        linear = recurrent_before or type(module).__name__ == 'Linear'
        parts += parts_of(
            state_of(module), NONLINEARITIES[getattr(module, 'nonlinearity', nonlinearity)], linear
        )
    return assembled(parts)


def to_torch(layers: Sequence[Layer], params: dict[str, Any]) -> list[dict[str, Any]]:
    """The state_dict of each torch module, arrays: of an nn.Embedding, an nn.Linear, an nn.RNN, nn.LSTM or nn.GRU, an nn.Linear.

    Layers of one kind and size one above the other are one module with as many num_layers. A bias that params have alone is
    torch's bias_ih, with zeros as bias_hh. To load one:

        module.load_state_dict({name: torch.tensor(array) for name, array in state.items()})

    Raises InputError for a cell that torch does not have.
    """
    states = []
    for alike, group in itertools.groupby(taken_apart(layers, params, 'torch', KINDS), module_of):
        parts = [*group]
        states += [recurrent_state(parts)] if alike else [linear_state(part) for part in parts]
    return states


def parts_of(state: dict[str, Any], elman: str, linear: bool) -> list[Part]:
    """What one module's arrays are; a lone weight is that of a Linear or of an Embedding."""
    if state.keys() in ({'weight'}, {'weight', 'bias'}) and state['weight'].ndim == 2:
        if not linear and len(state) == 1:
            return [{'table': state['weight']}]
        return [
            {
                'kernel': state['weight'].T,
                'bias': state.get('bias', zeros(state['weight'], len(state['weight']))),
            }
        ]
    suffixes = sorted(
        {name.removeprefix('weight_ih') for name in state if name.startswith('weight_ih')},
        key=place,
    )
    kernels, biases, projections = (
        {name + suffix for name in names for suffix in suffixes}
        for names in (NAMES[:2], NAMES[2:], [PROJECTION])
    )
    if (
        not suffixes
        or state.keys() - biases not in (kernels, kernels | projections)
        or state.keys() & biases not in (set(), biases)
    ):
        raise unknown(state)
    sides = [sides_of(state, suffix, elman) for suffix in suffixes]
    if any(suffix.endswith('_reverse') for suffix in suffixes):
        return [*zip(sides[::2], sides[1::2], strict=True)]
    return [*sides]


def place(suffix: str) -> tuple[int, bool]:
    """'_l10_reverse' comes behind '_l10', and that behind '_l9'."""
    return int(re.sub(r'\D', '', suffix) or 0), suffix.endswith('_reverse')


def sides_of(state: dict[str, Any], suffix: str, elman: str) -> Sides:
    kernel, recurrent_kernel = (state[name + suffix].T for name in NAMES[:2])
    bias, recurrent_bias = (
        state.get(name + suffix, zeros(kernel, kernel.shape[1])) for name in NAMES[2:]
    )
    if PROJECTION + suffix in state:
        return Sides(
            'lstm_projected',
            kernel,
            recurrent_kernel,
            bias,
            recurrent_bias,
            state[PROJECTION + suffix].T,
        )
    kind = told_by_shape(recurrent_kernel, 'weight_hh' + suffix)
    return Sides(elman if kind == 'elman' else kind, kernel, recurrent_kernel, bias, recurrent_bias)


def module_of(part: Part) -> tuple | None:
    """Which parts can be layers of one torch module; None for what is not recurrent."""
    if isinstance(part, dict):
        return None
    both = (part,) if isinstance(part, Sides) else part
    alike = {(sides.kind, *sides.recurrent_kernel.shape) for sides in both}
    if len(alike) > 1:
        raise InputError('torch has no bidirectional layer whose directions differ in kind or size')
    return len(both), *alike


def recurrent_state(parts: list[Any]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for number, part in enumerate(parts):
        for sides, direction in zip(
            (part,) if isinstance(part, Sides) else part, ('', '_reverse'), strict=False
        ):
            recurrent_bias = (
                zeros(sides.bias, len(sides.bias))
                if sides.recurrent_bias is None
                else sides.recurrent_bias
            )
            values = sides.kernel.T, sides.recurrent_kernel.T, sides.bias, recurrent_bias
            state |= {
                f'{name}_l{number}{direction}': value
                for name, value in zip(NAMES, values, strict=True)
            }
            if sides.kind == 'lstm_projected':
                state[f'{PROJECTION}_l{number}{direction}'] = sides.more.T
    return state


def linear_state(part: Any) -> dict[str, Any]:
    return (
        {'weight': part['table']}
        if 'table' in part
        else {'weight': part['kernel'].T, 'bias': part['bias']}
    )


def state_of(source: Any) -> dict[str, Any]:
    """The arrays of a module or state_dict by their names, of nested dicts joined with points."""
    if hasattr(source, 'state_dict'):
        source = source.state_dict()
    if not isinstance(source, Mapping | tuple):
        raise InputError(f'from_torch takes modules and state_dicts, not {type(source).__name__}')
    leaves = named_leaves(dict(source) if isinstance(source, Mapping) else source)
    return arrays({name: array_of(leaf) for name, leaf in leaves.items()})


def array_of(tensor: Any) -> Any:
    if not hasattr(tensor, 'detach'):
        return tensor
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == 'torch.bfloat16':  # NumPy's own types lack it
        return tensor.float().numpy().astype('bfloat16')
    return tensor.numpy()


def selected(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    start = prefix.removesuffix('.') + '.'
    part = {
        name.removeprefix(start): leaf for name, leaf in state.items() if name.startswith(start)
    }
    if not part:
        raise InputError(
            f'no weight has the prefix {prefix!r}; there are {", ".join(sorted({name.rpartition(".")[0] for name in state}))}'
        )
    return part


def unknown(state: dict[str, Any]) -> InputError:
    names = ', '.join([*state][:4]) + (', ...' if len(state) > 4 else '')
    parts = "of a bigger module name its parts in order, as in prefix=['lstm', 'last']"
    return InputError(
        f'{names or "nothing"}: not the weights of one nn.RNN, LSTM, GRU, Linear or Embedding; {parts}'
    )
