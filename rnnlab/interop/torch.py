"""torch: nn.RNN, nn.LSTM, nn.GRU and their cells, nn.Linear, nn.Embedding."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rnnlab.cells.params import named_leaves
from rnnlab.errors import InputError, known
from rnnlab.interop.weights import (
    Array,
    Arrays,
    CellWeights,
    Params,
    Part,
    Weights,
    arrays,
    assembled,
    check_attributes,
    dense,
    directions,
    kind_by_shape,
    taken_apart,
)
from rnnlab.recurrence import Layer

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

KERNELS = ('weight_ih', 'weight_hh')
BIASES = ('bias_ih', 'bias_hh')
PROJECTION = 'weight_hr'
KINDS = ('elman', 'irnn', 'lstm', 'lstm_projected', 'gru')
LEFT_OUT = ('Dropout', 'Identity')
CLASSES = (
    'RNN', 'LSTM', 'GRU', 'RNNCell', 'LSTMCell', 'GRUCell', 'Linear', 'Embedding', *LEFT_OUT
)  # fmt: skip
NONLINEARITIES = {'tanh': 'elman', 'relu': 'irnn'}


def from_torch(
    source: object, *, prefix: str | Sequence[str] | None = None, nonlinearity: str = 'tanh'
) -> Weights:
    """torch modules as layers and params.

    source: one or a list, in the order in which data passes, of modules or their state_dicts (of
        tensors or arrays, traced ones too). An nn.RNN, nn.LSTM or nn.GRU is num_layers layers,
        an nn.RNNCell, nn.LSTMCell or nn.GRUCell one; proj_size makes it lstm_projected. An
        nn.Linear is the readout, or before the first layer the dense map; an nn.Embedding is the
        embedding, as is a state_dict of one weight whose columns are the next part's inputs.
        Dropout, between layers too, is left out.
    prefix: of one bigger module or state_dict, the names of its modules: prefix='lstm' takes
        lstm.weight_ih_l0 and so on; of several, in the order in which data passes.
    nonlinearity: tanh or relu, that of an nn.RNN given as a state_dict.

    Both biases are kept, zeros with bias=False; to_torch returns the same bits. Raises InputError
    for other modules, and for a prefix that no weight has.
    """
    known('nonlinearity', nonlinearity, NONLINEARITIES)
    if prefix is not None:
        names = [prefix] if isinstance(prefix, str) else prefix
        source = [selected(source, name) for name in names]
    parts: list[Part] = []
    unclear: Array = None  # the weight of a state_dict that has no other
    for module in source if isinstance(source, list) else [source]:
        kind = class_of(module)
        check_attributes(module, f'an nn.{kind}', {'max_norm': (None,)})
        recurrent_before = any(not isinstance(part, dict) for part in parts)
        elman = NONLINEARITIES[getattr(module, 'nonlinearity', nonlinearity)]
        if kind not in LEFT_OUT:
            own = module_parts(state_of(module), elman, recurrent_before or kind == 'Linear')
            if unclear is not None:
                parts[-1] = table_or_dense(unclear, own[0])
            lone = not kind and isinstance(own[0], dict)
            unclear = own[0].get('table') if lone else None  # type: ignore[union-attr]
            parts += own
    return assembled(parts)


def to_torch(layers: Sequence[Layer], params: Params) -> list[Arrays]:
    """The state_dict of each torch module, of arrays.

        module.load_state_dict({name: torch.tensor(array) for name, array in state.items()})

    The modules are nn.Embedding, nn.Linear, nn.RNN, nn.LSTM or nn.GRU, nn.Linear; layers of the
    same kind and size are one module with num_layers. A cell with one bias gets zeros as bias_hh.
    Raises InputError for a cell that torch does not have.
    """
    states: list[Arrays] = []
    parts = taken_apart(layers, params, 'torch', KINDS)
    for alike, group in itertools.groupby(parts, module_of):
        same = [*group]
        states += [recurrent_state(same)] if alike else map(linear_state, same)
    return states


def class_of(module: Any) -> str:
    """The name in CLASSES of a module's class, '' for a state_dict; InputError for others."""
    if not hasattr(module, 'state_dict'):
        return ''
    names = [base.__name__ for base in type(module).__mro__]
    if known_names := [name for name in names if name in CLASSES]:
        return known_names[0]
    inside = ', '.join(name for name, _ in module.named_children())
    more = f"; of its modules {inside} name those in order, as in prefix=['lstm', 'last']"
    raise InputError(
        f'an nn.{names[0]} is not supported, {", ".join(CLASSES)} are{more if inside else ""}'
    )


def table_or_dense(weight: Array, after: Part) -> Arrays:
    """The part of a state_dict with one weight, by the inputs D of the next part: an Embedding
    [V, D], or a Linear [D, inputs] without bias."""
    kernel = after['kernel'] if isinstance(after, dict) else directions(after)[0].kernel
    fits = [size == kernel.shape[0] for size in weight.shape]
    if all(fits):
        raise InputError(
            f'a state_dict with a weight {[*weight.shape]} alone is that of an nn.Embedding or of '
            'an nn.Linear without bias: give the module'
        )
    return dense(weight.T) if fits[0] else {'table': weight}


def module_parts(state: Arrays, elman: str, linear: bool) -> list[Part]:
    """The parts of a module's arrays; a lone weight is that of a Linear, or of an Embedding."""
    if state.keys() in ({'weight'}, {'weight', 'bias'}) and state['weight'].ndim == 2:
        if not linear and len(state) == 1:
            return [{'table': state['weight']}]
        return [dense(state['weight'].T, state.get('bias'))]
    suffixes = sorted(
        {name.removeprefix('weight_ih') for name in state if name.startswith('weight_ih')},
        key=order,
    )
    kernels, biases, projections = (
        {name + suffix for name in names for suffix in suffixes}
        for names in (KERNELS, BIASES, [PROJECTION])
    )
    if (
        not suffixes
        or state.keys() - biases not in (kernels, kernels | projections)
        or state.keys() & biases not in (set(), biases)
    ):
        names = ', '.join([*state][:4]) + (', ...' if len(state) > 4 else '')
        raise InputError(
            f'{names or "nothing"}: not the weights of one nn.RNN, LSTM, GRU, Linear or Embedding; '
            f"of a bigger module name its modules in order, as in prefix=['lstm', 'last']"
        )
    cells = [cell_of(state, suffix, elman) for suffix in suffixes]
    if any(suffix.endswith('_reverse') for suffix in suffixes):
        return [*zip(cells[::2], cells[1::2], strict=True)]
    return [*cells]


def order(suffix: str) -> tuple[int, bool]:
    """Sorts '_l10' after '_l9', and '_l10_reverse' after '_l10'."""
    return int(re.sub(r'\D', '', suffix) or 0), suffix.endswith('_reverse')


def cell_of(state: Arrays, suffix: str, elman: str) -> CellWeights:
    x, h = (
        dense(state[kernel + suffix].T, state.get(bias + suffix))
        for kernel, bias in zip(KERNELS, BIASES, strict=True)
    )
    extra = None
    if PROJECTION + suffix in state:
        kind, extra = 'lstm_projected', state[PROJECTION + suffix].T
    else:
        kind = kind_by_shape(h['kernel'], KERNELS[1] + suffix)
    return CellWeights(
        kind=elman if kind == 'elman' else kind,
        kernel=x['kernel'],
        recurrent_kernel=h['kernel'],
        bias=x['bias'],
        recurrent_bias=h['bias'],
        extra=extra,
    )


def module_of(part: Part) -> tuple | None:
    """A key that is equal for parts that can be layers of one module; None if not recurrent."""
    if isinstance(part, dict):
        return None
    cells = directions(part)
    alike = {(cell.kind, *cell.recurrent_kernel.shape) for cell in cells}
    if len(alike) > 1:
        raise InputError('torch has no bidirectional layer whose directions differ in kind or size')
    return len(cells), *alike


def recurrent_state(parts: Sequence[Any]) -> Arrays:
    """The state_dict of one recurrent module, its layers in order."""
    state: Arrays = {}
    for number, part in enumerate(parts):
        for cell, direction in zip(directions(part), ('', '_reverse'), strict=False):
            kernels = cell.kernel.T, cell.recurrent_kernel.T
            suffix = f'_l{number}{direction}'
            for name, array in zip(KERNELS + BIASES, kernels + cell.both_biases, strict=True):
                state[name + suffix] = array
            if cell.kind == 'lstm_projected':
                state[PROJECTION + suffix] = cell.extra.T
    return state


def linear_state(part: Any) -> Arrays:
    if 'table' in part:
        return {'weight': part['table']}
    return {'weight': part['kernel'].T, 'bias': part['bias']}


def state_of(source: object) -> Arrays:
    """The arrays of a module or state_dict by their names, those of nested dicts joined by '.'."""
    if hasattr(source, 'state_dict'):
        source = source.state_dict()
    if not isinstance(source, Mapping | tuple):
        raise InputError(f'from_torch takes modules and state_dicts, not {type(source).__name__}')
    leaves = named_leaves(dict(source) if isinstance(source, Mapping) else source)
    return arrays({name: array_of(leaf) for name, leaf in leaves.items()})


def array_of(tensor: 'Array | Tensor') -> Array:
    if not hasattr(tensor, 'detach'):
        return tensor
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == 'torch.bfloat16':  # numpy() does not know it
        return tensor.float().numpy().astype('bfloat16')
    return tensor.numpy()


def selected(source: object, prefix: str) -> 'Module | Arrays':
    """The module of that name, or the arrays under the prefix; InputError if there is none."""
    name = prefix.removesuffix('.')
    modules = dict(source.named_modules()) if hasattr(source, 'named_modules') else {}
    if name in modules:
        return modules[name]
    state = state_of(source)
    part = {
        own.removeprefix(f'{name}.'): leaf
        for own, leaf in state.items()
        if own.startswith(f'{name}.')
    }
    if not part:
        prefixes = sorted({own.rpartition('.')[0] for own in state})
        raise InputError(f'no weight has the prefix {prefix!r}; there are {", ".join(prefixes)}')
    return part
