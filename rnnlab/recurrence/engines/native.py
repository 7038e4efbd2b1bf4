"""The engine for CPUs that runs Elman cells, LSTMs and GRUs over whole sequences in C++.

One call computes the values and one the gradient. native.cc is compiled at first use by the
machine's C++ compiler, for its processor, and kept in the cache. What it does not take (other
float types than float32 and float64, bfloat16 products, zoneout) the engine `gated` computes.
Reverse mode only.
"""

import ctypes
import hashlib
import os
import shlex
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from rnnlab.cells.base import Carry
from rnnlab.data.cache import cache_folder, processor
from rnnlab.errors import InputError
from rnnlab.precision import reduced
from rnnlab.recurrence.engines.gated import gated
from rnnlab.recurrence.masking import Constants, Inputs, LastOutput, Masked, Output, choose

SOURCE = Path(__file__).with_name('native.cc')
KERNELS = 'elman_tanh', 'elman_relu', 'lstm', 'gru'  # by their number in native.cc
REALS = {'float32': 'float', 'float64': 'double'}  # a library each
OPTIONS = '-O3', '-march=native', '-std=c++17', '-shared', '-fPIC', '-pthread'


class Kept(NamedTuple):
    """What the gradient needs, and whether it needs that of x: () or None."""

    floats: 'Floats'
    flags: 'Flags'
    ys: Array
    gates: Array
    cs: Array
    asks_x: tuple[()] | None


class Floats(NamedTuple):
    """The arguments of native.cc that have a gradient; an empty array for one that is not there."""

    x: Array  # [T, B, D]
    kernel: Array  # [D, N], or [D + H, N] with the recurrent one below
    recurrent_kernel: Array  # [H, N]
    bias: Array  # [N]
    recurrent_bias: Array  # [N], of a GRU
    h: Array  # [B, H], the initial carry
    c: Array
    h_reset: Array  # [B, H], the carry at a reset
    c_reset: Array
    mask: Array  # [B, H], recurrent dropout


class Flags(NamedTuple):
    """The bool arguments; an empty array for one that is not there."""

    valid: Array  # [T, B]
    reset: Array  # [T, B]
    boundary: Array  # [T]


class Options(NamedTuple):
    """What another program is compiled for."""

    kernel: int
    reverse: bool
    outputs: bool  # whether the outputs of all steps are wanted


def native(
    cell: Masked, constants: Constants, carry: Carry, inputs: Inputs, reverse: bool
) -> tuple[Carry, Output]:
    """(carry, ys [T, *batch, H]) of a Masked cell over Inputs."""
    params, mask = constants
    if not takes(cell, constants, carry, inputs):
        prepared = cell.cell.form.prepare(params, inputs.x.shape[-1])
        return gated(cell, (prepared, mask), carry, inputs, reverse)
    before, y = carry if isinstance(cell, LastOutput) else (carry, None)
    time_steps, *batch, _ = inputs.x.shape
    hidden, dtype = before.h.shape[-1], inputs.x.dtype

    def rows(array: Array | None, leading: int = 0) -> Array:
        """The array with one batch axis."""
        if array is None:
            return jnp.zeros(0, dtype)
        lead, *rest = array.shape[:leading], *array.shape[leading + len(batch) :]
        return array.reshape(*lead, -1, *rest)

    initial = cell.cell.carry(params, tuple(batch)) if inputs.reset is not None else None
    if mask is not None:
        mask = jnp.broadcast_to(mask, before.h.shape)
    bias, recurrent_bias = params['bias'], rows(None)
    if 'recurrent_kernel' in params:  # a GRU
        recurrent_bias = params['recurrent_bias']
    elif 'recurrent_bias' in params:
        bias = bias + params['recurrent_bias']
    h, c, h_reset, c_reset = (
        rows(getattr(carry, name, None)) for carry in (before, initial) for name in 'hc'
    )
    floats = Floats(
        x=rows(inputs.x, 1),
        kernel=params['kernel'],
        recurrent_kernel=params.get('recurrent_kernel', rows(None)),
        bias=bias,
        recurrent_bias=recurrent_bias,
        h=h,
        c=c,
        h_reset=h_reset,
        c_reset=c_reset,
        mask=rows(mask),
    )
    nothing = jnp.zeros(0, bool)
    valid, reset = (nothing if f is None else rows(f, 1) for f in (inputs.valid, inputs.reset))
    boundary = nothing if inputs.boundary is None else inputs.boundary
    options = Options(KERNELS.index(cell.cell.form.native), reverse, y is None)
    ys, h, c = sequence(options, floats, Flags(valid, reset, boundary))
    after = before._replace(
        **{n: v.reshape(*batch, hidden) for n, v in (('h', h), ('c', c)) if v.size}
    )
    if y is None:
        return after, ys.reshape(time_steps, *batch, hidden)
    ever = None if inputs.valid is None else inputs.valid.any(axis=0)
    return (after, choose(ever, after.h, y)), ()


def takes(cell: Masked, constants: Constants, carry: Carry, inputs: Inputs) -> bool:
    """Whether native.cc computes this: the cell, the types, the masks."""
    if cell.cell.form.native is None or inputs.zoneout is not None or reduced():
        return False
    types = {leaf.dtype.name for leaf in jax.tree.leaves((constants, carry, inputs.x))}
    one = len(types) == 1 and types <= REALS.keys()
    return one and inputs.x.size > 0 and kernels(*types) is not None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def sequence(options: Options, floats: Floats, flags: Flags) -> tuple[Array, Array, Array]:
    """(ys [T, B, H] or [0], h [B, H], c [B, H] or [0])."""
    ys, h, c, _, _ = values(options, floats, flags, options.outputs, False)
    return ys, h, c


def values(
    options: Options, floats: Floats, flags: Flags, outputs: bool, keep: bool
) -> Sequence[Array]:
    """(ys, h, c, gates, cs), the last two for the gradient."""
    time_steps, batch, _ = floats.x.shape
    hidden = floats.h.shape[-1]
    gates, memory = widths(options.kernel, hidden, floats.x.dtype.name)
    shapes = [
        (time_steps, batch, hidden) if outputs else (0,),
        floats.h.shape,
        floats.c.shape,
        (time_steps, batch, gates) if keep else (0,),
        (time_steps, batch, memory) if keep else (0,),
    ]
    return call('forward', options, shapes, *floats, *flags[:2])


def forward(
    options: Options, floats: Floats, flags: Flags
) -> tuple[tuple[Array, Array, Array], Kept]:
    asks_x = () if floats.x.perturbed else None  # type: ignore[attr-defined]
    floats, flags = jax.tree.map(lambda leaf: leaf.value, (floats, flags), is_leaf=is_primal)
    ys, h, c, gates, cs = values(options, floats, flags, True, True)
    shown = ys if options.outputs else jnp.zeros(0, ys.dtype)
    return (shown, h, c), Kept(floats, flags, ys, gates, cs, asks_x)


def is_primal(leaf: object) -> bool:
    return isinstance(leaf, CustomVJPPrimal)


def backward(
    options: Options, kept: Kept, gradient: tuple[Array | SymbolicZero, ...]
) -> tuple[Floats, None]:
    floats, flags = kept.floats, kept.flags
    d_ys, d_h, d_c = (
        jnp.zeros(shape, floats.x.dtype) if isinstance(d, SymbolicZero) else d
        for d, shape in zip(gradient, [(0,), floats.h.shape, floats.c.shape], strict=True)
    )
    of_x = (0,) if kept.asks_x is None else floats.x.shape
    shapes = [of_x, *(leaf.shape for leaf in floats[1:])]
    saved = kept.ys, kept.gates, kept.cs, d_ys, d_h, d_c
    d_x, *rest = call('backward', options, shapes, *floats, *flags, *saved)
    return Floats(jnp.zeros_like(floats.x) if kept.asks_x is None else d_x, *rest), None


sequence.defvjp(forward, backward, symbolic_zeros=True)


def call(
    name: str, options: Options, shapes: Sequence[tuple[int, ...]], *arguments: Array
) -> Sequence[Array]:
    """A function of native.cc, on one thread where several devices compute at once, else on all."""
    dtype = arguments[0].dtype
    threads = 1 if jax.sharding.get_abstract_mesh().manual_axes else 0
    attributes = {'cell': np.int32(options.kernel), 'threads': np.int32(threads)}

    run = jax.ffi.ffi_call(
        f'rnnlab_{name}_{dtype.name}',
        [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes],
        vmap_method='sequential',
    )
    once = jax.custom_jvp(lambda *inputs: run(*inputs, reverse=options.reverse, **attributes))
    once.defjvp(refuse)
    return once(*arguments)


def refuse(*_: object) -> NoReturn:
    raise InputError("engine 'native' has first derivatives alone; `engine=gated` has others")


def widths(kernel: int, hidden: int, dtype: str) -> tuple[int, int]:
    """The widths of the gates and of the memory c that a step keeps, each padded; 0 for none."""
    out = (ctypes.c_int64 * 2)()
    compiled = kernels(dtype)
    assert compiled
    compiled.rnnlab_widths(kernel, ctypes.c_int64(hidden), out)
    return out[0], out[1]


@cache
def kernels(dtype: str) -> ctypes.CDLL | None:
    """native.cc compiled and registered with JAX; None, and one warning, where that fails."""
    try:
        compiled = ctypes.CDLL(str(build(REALS[dtype])))
        for name in ('forward', 'backward'):
            handler = jax.ffi.pycapsule(getattr(compiled, f'rnnlab_{name}'))
            jax.ffi.register_ffi_target(f'rnnlab_{name}_{dtype}', handler, platform='cpu')
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        reason = str(getattr(error, 'stderr', '') or error).strip().splitlines()[:1]
        warnings.warn(f'no native engine, gated serves: {"".join(reason)}', stacklevel=2)
        return None
    return compiled


def build(real: str) -> Path:
    """The compiled library of this source, type, compiler, processor and JAX, from the cache if
    there."""
    compiler = shlex.split(os.environ.get('CXX') or 'c++')
    options = *OPTIONS, f'-DREAL={real}', f'-I{jax.ffi.include_dir()}'
    command = [*compiler, *options, str(SOURCE)]
    version = subprocess.run([*compiler, '--version'], capture_output=True, text=True, check=True)
    parts = SOURCE.read_text(), version.stdout, repr(command), jax.lib.__version__, processor()
    key = hashlib.sha256('\0'.join(parts).encode()).hexdigest()[:16]
    path = cache_folder() / 'native' / f'{key}.so'
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix='.part', delete=False) as new:
            pass
        try:
            subprocess.run([*command, '-o', new.name], capture_output=True, text=True, check=True)
            os.replace(new.name, path)  # two processes that compile at once leave the same file
        finally:
            Path(new.name).unlink(missing_ok=True)
    return path
