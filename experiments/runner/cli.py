"""The command line: flags made from a configuration, one-line errors, kept programs."""

import contextlib
import os
import re
import shlex
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import jax
from absl import app, flags, logging

from experiments.runner import processes
from experiments.runner.fields import (
    C,
    Config,
    Value,
    check_text,
    local_path,
    open_values,
    parsed,
    shown,
    specs,
    types_of,
)
from experiments.runner.machine import CORES, devices_noted, keep_memory
from experiments.runner.training import Training
from rnnlab.data.cache import cache_folder, processor, trim
from rnnlab.errors import InputError, first_line
from rnnlab.results.characters import never_fail

FLAGS = flags.FLAGS
REPEATED = 'sweep'  # may be given several times


def run(config: type[C], main: Callable[..., None], takes_arguments: bool = False) -> None:
    """Parses the command line and calls main(config), or main(config, arguments)."""
    never_fail(sys.stdout)
    parsed: list[tuple[C, list[str]]] = []

    def parse_flags(argv: list[str]) -> list[str]:
        with one_line_errors():
            parsed.append(parse(config, argv, takes_arguments))
        return argv

    def call(argv: list[str]) -> None:
        logging.set_verbosity(logging.ERROR)
        with one_line_errors():
            given, rest = parsed[0]
            keep_memory()
            claim_cores(given)
            if not getattr(given, 'compile_for', None):  # whose programs cannot be read back
                keep_programs()
            main(given, rest) if takes_arguments else main(given)

    app.run(call, flags_parser=parse_flags)


def parse(config: type[C], argv: list[str], takes_arguments: bool = False) -> tuple[C, list[str]]:
    """The configuration that the flags give, and the arguments that are no flags.

    The flags are there only meanwhile, so that one process can run several experiments.
    """
    if 'jax_enable_x64' not in FLAGS:
        jax.config.config_with_absl()
    define(config)
    try:
        _, *rest = FLAGS(argv)
        if rest and not takes_arguments:
            raise InputError(f'unexpected {rest[0]!r}: flags begin with --')
        return read(config), [local_path(path, path) for path in rest]
    except (flags.Error, ValueError) as error:  # the latter for --noNAME=VALUE
        raise InputError(str(error).removeprefix('ERROR:: ')) from error
    finally:
        for name in specs(config):
            delattr(FLAGS, name)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Bad input ends in one line on standard error and exit code 1."""
    try:
        yield
    except InputError as error:
        fail(str(error))
    except MemoryError as error:
        fail(f'this takes more memory than there is: {first_line(error)}')
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        fail(f'this takes more memory than there is: {first_line(error)}; choose smaller sizes')
    except BrokenPipeError:  # whoever reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        fail(f'{error.filename}: {error.strerror}' if error.filename else str(error))
    except (RuntimeError, AssertionError):
        if has_devices():
            raise
        platform = jax.config.jax_platforms  # type: ignore[attr-defined]
        fail(f'JAX finds no device of the platform {platform}')
    except KeyboardInterrupt:
        fail('interrupted', code=130)


def has_devices() -> bool:
    try:
        return bool(jax.devices())
    except (RuntimeError, AssertionError):  # the latter for a platform whose plugin is missing
        return False


def define(config: type[Config]) -> None:
    """Defines a flag for each field. Their text is parsed when the configuration is made."""
    main = sys.argv[0]  # absl's name of the module whose flags --help shows
    open_defaults = open_values(config)
    defaults: dict[str, Any] = {f.name: f.default for f in fields(config)}
    for name, spec in specs(config).items():
        default = open_defaults.get(name, defaults[name])
        text = spec.help
        if spec.choices:
            text += f' One of {", ".join(spec.choices)}.'
        if default not in (None, (), False):
            text += f' Default: {shown(default)}.'
        options: dict[str, Any] = {'module_name': main, 'flag_values': FLAGS}
        if types_of(config)[name] is bool:
            flags.DEFINE_boolean(name, None, text, **options)
        elif name == REPEATED:
            flags.DEFINE_multi_string(name, None, text, **options)
        else:
            flags.DEFINE_string(name, None, text, **options)


def read(config: type[C]) -> C:
    """The configuration of the flags that are given; InputError for impossible values."""
    values: dict[str, Value] = {}
    for name in specs(config):
        value = FLAGS[name].value
        if name == REPEATED and value is not None:
            check_text(f'--{name}', ' '.join(value))
            values[name] = tuple(value)
        elif value is not None:
            values[name] = parsed(config, name, value) if isinstance(value, str) else value
    of_jax = (name for name in FLAGS if name.startswith('jax_') and FLAGS[name].present)
    return config(given=frozenset([*values, *of_jax]), **values)


def command(experiment: str, config: Config) -> str:
    """The command whose flags give this configuration, with JAX's own flags that were given."""
    flags = {name: getattr(config, name) for name in config.changed(*specs(type(config)))}
    flags |= {n: getattr(jax.config, n) for n in sorted(config.given) if n.startswith('jax_')}
    return shlex.join(['./launch.sh', experiment, *words(flags)])


def words(flags: Mapping[str, Any]) -> list[str]:
    """Flags as they are written, numbers with all digits."""
    once = {name: ','.join(v) if isinstance(v, tuple) else v for name, v in flags.items()}
    once.pop(REPEATED, None)
    repeated = (f'--{REPEATED}={value}' for value in flags.get(REPEATED, ()))
    return [*(f'--{name}={value}' for name, value in once.items()), *repeated]


def claim_cores(config: Config) -> None:
    """Makes CPU devices, as many as the flags say or there are cores, before JAX's first call.

    JAX's own flag takes precedence. Without it more devices than cores are refused where they are
    used.
    """
    number = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    if number != -1 and number < 1:
        raise InputError(f'--jax_num_cpu_devices={number} must be at least 1')
    if number == -1 and hasattr(config, 'devices'):
        asked, sharing, noted = config.devices, 1, 0
        if isinstance(config, Training):  # each process has its part of the devices
            sharing, noted = processes.number(config), devices_noted(config) or 0
        number = min(-(-int(asked) // sharing), CORES) if asked != 'auto' else 0
        number = number or -(-noted // sharing) or CORES
        jax.config.update('jax_num_cpu_devices', number)
    # On JAX 0.10, as many CPU devices as threads of the pool can wait for each other for ever.
    os.environ.setdefault('PJRT_NPROC', str(max(os.cpu_count() or 1, number + 1)))


def keep_programs() -> None:
    """Compiled programs are kept for the next process, unless JAX's own flags say otherwise.

    A program is compiled for the instructions of one processor: each kind has its own folder.
    """
    configured = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if configured or not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return
    trim(cache_folder())
    folder = cache_folder() / 'programs' / f'{zlib.crc32(processor().encode()):08x}'
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)


def fail(message: str, code: int = 1) -> None:
    flagged = re.sub(r'`(\w+(?:=[^`]*)?)`', r'--\1', message)  # `name=value` of the library
    print('error: ' + ' '.join(flagged.split()), file=sys.stderr)
    sys.exit(code)
