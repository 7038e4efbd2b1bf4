"""The flags that decide what a run computes, in groups that the experiments choose from, and how a main is run.

A flag that one experiment alone needs, and no run notes, stands in its module.
"""

import contextlib
import math
import os
import platform
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging
from absl.testing import flagsaver

from rnnlab.cells import CELLS, find
from rnnlab.data import IMAGES, PADS, TASKS, VIEWS
from rnnlab.data.cache import cache_folder
from rnnlab.data.imdb import TOKENS
from rnnlab.data.language import TOKENIZERS
from rnnlab.data.text import FIRST
from rnnlab.errors import InputError, first_line
from rnnlab.initializers import PRESETS
from rnnlab.models import POOLS
from rnnlab.precision import BFLOAT16
from rnnlab.recurrence import MERGES
from rnnlab.results import runs
from rnnlab.sweeps.search import SAMPLERS
from rnnlab.training.optim import CONSTANTS, OPTIMIZERS, SCHEDULES

FLAGS = flags.FLAGS
INF = float('inf')


def images() -> None:
    flags.DEFINE_enum(
        'dataset',
        'mnist',
        sorted(IMAGES),
        'Images; digits have by default --batch_size=32 --epochs=30 --lr=5e-3.',
    )
    flags.DEFINE_enum(
        'view',
        'rows',
        list(VIEWS),
        'What a time step of an image is: a row, a pixel, or a pixel in one fixed order.',
    )


def texts() -> None:
    flags.DEFINE_enum('tokens', 'words', list(TOKENS), 'What a time step of a text is.')
    flags.DEFINE_integer(
        'vocab_size', 10_000, 'Ids of words, those of padding, start and unknown counted in.'
    )
    flags.DEFINE_integer(
        'max_length',
        500,
        'Time steps of a text, the start counted in; of a longer one the last.',
        lower_bound=1,
    )
    flags.DEFINE_enum(
        'pad', 'pre', list(PADS), 'Padding in front, read like a word, or behind, masked.'
    )
    flags.DEFINE_integer(
        'buckets',
        8,
        'Groups of texts of like length that batches are taken from, for --pad=post; 1 is off.',
        lower_bound=1,
    )
    flags.DEFINE_integer('embedding', 32, 'Features that a word is embedded in.', lower_bound=1)
    flags.register_validator(
        'vocab_size',
        lambda size: size > FIRST,
        f'must be above {FIRST}: padding, start, unknown, and words',
    )


def tasks() -> None:
    flags.DEFINE_enum('task', 'adding', list(TASKS), 'What is to be remembered.')
    flags.DEFINE_integer(
        'length',
        None,
        'Time steps; of copy the delay, 20 steps less. By default 200, copy 100, parity 40, recall 11.',
        lower_bound=1,
    )
    flags.DEFINE_integer(
        'validation', 2000, 'Sequences that validate, and as many others that test.', lower_bound=1
    )


def language() -> None:
    flags.DEFINE_string(
        'text',
        None,
        "File with the text, in UTF-8; by default the source of Python's standard library.",
    )
    flags.register_validator(
        'text', lambda path: path != '', 'is empty; name a file, or leave it out'
    )
    flags.DEFINE_enum('tokens', 'characters', list(TOKENIZERS), 'What a time step of the text is.')
    flags.DEFINE_integer(
        'vocab_size',
        10_000,
        'The most frequent words, one for all others counted in.',
        lower_bound=2,
    )
    flags.DEFINE_integer(
        'window',
        64,
        'Time steps of a batch: of each stream the next ones, and as far back go gradients.',
        lower_bound=1,
    )
    flags.DEFINE_integer('embedding', 64, 'Features that a token is embedded in.', lower_bound=1)


def series() -> None:
    flags.DEFINE_string(
        'csv',
        None,
        'Table of the series, .csv, .xlsx or .parquet, the oldest row first; by default one is generated.',
    )
    flags.register_validator(
        'csv', lambda path: path != '', 'is empty; name a file, or leave it out'
    )
    flags.DEFINE_list(
        'column', None, 'Columns to forecast, or all; by default the only one with numbers.'
    )
    flags.DEFINE_list('inputs', None, 'Columns that are read beside those, or all.')
    flags.DEFINE_list(
        'split',
        ['0.8', '0.1', '0.1'],
        'What trains, validates and tests, in this order: shares, or numbers of rows.',
    )
    flags.DEFINE_integer(
        'window',
        96,
        'Time steps of a training example, and rows that the linear baseline reads.',
        lower_bound=1,
    )
    flags.DEFINE_integer('stride', 1, 'Rows from one training example to the next.', lower_bound=1)
    flags.DEFINE_integer(
        'dense',
        None,
        'Values that a dense map makes of those of a time step, before the cells.',
        lower_bound=1,
    )


class CellParser(flags.ArgumentParser):
    """The name of a cell that there is."""

    def parse(self, argument: str) -> str:
        try:
            find(argument)
        except InputError as error:
            raise ValueError(str(error)) from error
        return argument


class CellsParser(flags.ListParser):
    """One or more of these, with commas between."""

    def parse(self, argument: str | list[str]) -> list[str]:
        names = super().parse(argument)
        if not names:
            raise ValueError('names no cell')
        return [CellParser().parse(name) for name in names]


def labelled() -> None:
    flags.DEFINE_string(
        'npz', None, 'Labelled sequences as arrays of NumPy: x, y, and lengths where these differ.'
    )
    flags.DEFINE_string(
        'csv',
        None,
        'Labelled sequences as a table, .csv, .xlsx or .parquet: a row a time step, in order of time.',
    )
    for name in ('npz', 'csv'):
        flags.register_validator(name, lambda path: path != '', 'is empty; name a file')
    flags.DEFINE_string('id', 'id', 'Column of --csv that says which sequence a row belongs to.')
    flags.DEFINE_string('label', 'label', "Column of --csv with the sequence's label.")
    flags.DEFINE_list('inputs', None, 'Columns of --csv that are read; by default all others.')
    split = 'Shares of each label that train, validate and test; of a file with a test part of its own the first two.'
    flags.DEFINE_list('split', ['0.8', '0.1', '0.1'], split)
    flags.DEFINE_integer(
        'buckets',
        1,
        'Groups of sequences of like length that batches are taken from; 1 is off.',
        lower_bound=1,
    )


def cell() -> None:
    flags.DEFINE(
        CellParser(),
        'cell',
        'lstm',
        'Recurrent cell: one of ' + ', '.join(CELLS) + '; or mymodule:mycell, of a file of yours.',
    )
    flags.DEFINE_integer(
        'hidden_size', 128, 'Units of a recurrent layer (of each direction).', lower_bound=1
    )
    flags.DEFINE_enum(
        'init',
        None,
        list(PRESETS),
        'How parameters start; by default keras, for irnn identity; some cells have their own.',
    )
    flags.DEFINE_float(
        'forget_bias',
        None,
        'What the forget gate starts with; by default as --init has it: 1, torch 0.',
    )
    flags.DEFINE_float(
        'chrono',
        None,
        'Longest memory, in steps, that the gates start with; by default no such start.',
    )
    flags.DEFINE_float(
        'init_scale', None, 'What the matrices of the recurrent layers start multiplied by.'
    )
    flags.register_validator(
        'forget_bias', lambda bias: bias is None or math.isfinite(bias), 'must be a finite number'
    )
    flags.register_validator(
        'chrono', lambda steps: steps is None or 2 <= steps < INF, 'must be 2 time steps or more'
    )
    flags.register_validator(
        'init_scale', lambda scale: scale is None or 0 < scale < INF, 'must be a number above zero'
    )


def layers() -> None:
    cell()
    budget = (
        'Choose the hidden size with which all parameters of the model come nearest below so many.'
    )
    flags.DEFINE_integer('parameters', None, budget, lower_bound=1, upper_bound=10**10)
    flags.DEFINE_integer(
        'layers',
        1,
        'Recurrent layers, one above the other; 0 with --pool=mean, max or attention: none.',
        lower_bound=0,
    )
    flags.DEFINE_integer(
        'bptt',
        None,
        'Steps that a gradient goes back at most; by default all that a sequence has.',
        lower_bound=1,
    )
    flags.DEFINE_integer(
        'remat',
        None,
        'Keep only every N-th carry for the gradient: less memory, the same result.',
        lower_bound=1,
    )
    flags.DEFINE_float(
        'dropout',
        None,
        "Share of each layer's and the readout's inputs left out in training, the same ones at every step.",
    )
    flags.DEFINE_float(
        'recurrent_dropout',
        None,
        'Share of the units left out of the recurrent products in training, likewise.',
    )
    flags.DEFINE_float(
        'zoneout',
        None,
        'Share of the units that keep their h at a step of training, others at every step.',
    )
    flags.DEFINE_float('zoneout_cell', None, "The same of an LSTM's c.")
    flags.DEFINE_boolean('trainable_carry', False, 'Learn the carry that a sequence starts from.')
    for name in ('dropout', 'recurrent_dropout', 'zoneout', 'zoneout_cell'):
        flags.register_validator(
            name, lambda rate: rate is None or 0 <= rate < 1, 'must be at least 0 and below 1'
        )


def classifier() -> None:
    layers()
    flags.DEFINE_boolean(
        'bidirectional', False, 'Run a second cell from the end of the sequence in each layer.'
    )
    flags.DEFINE_enum(
        'merge', 'concat', list(MERGES), 'What --bidirectional makes of the outputs of both.'
    )
    flags.DEFINE_enum(
        'pool', 'last', list(POOLS), "What of the highest layer's outputs is read out."
    )


def validation() -> None:
    flags.DEFINE_integer(
        'validation',
        None,
        'Training examples held out; by default 5000, of digits a tenth.',
        lower_bound=0,
    )


def data_dir() -> None:
    flags.DEFINE_string(
        'data_dir', None, 'TFDS folder; by default TFDS_DATA_DIR, else ~/tensorflow_datasets.'
    )


def seed() -> None:
    flags.DEFINE_integer(
        'seed',
        0,
        'Seed of the start, the order of examples and dropout.',
        lower_bound=0,
        upper_bound=2**31 - 1,
    )


def pictures() -> None:
    flags.DEFINE_string('out', '.', 'Folder of the pictures.')


def training() -> None:
    # steps
    flags.DEFINE_integer('batch_size', 128, 'Examples a step.', lower_bound=1)
    flags.DEFINE_integer('epochs', 5, 'Passes over the training part.', lower_bound=1)
    flags.DEFINE_integer('steps', None, 'Steps to train, whatever --epochs says.', lower_bound=1)
    flags.DEFINE_enum('optimizer', 'adam', list(OPTIMIZERS), 'Optimizer.')
    flags.DEFINE_enum(
        'optimizer_constants',
        'keras',
        list(CONSTANTS),
        'Whose decay rates, epsilon and form of the optimizer.',
    )
    flags.DEFINE_float('lr', 1e-3, 'Learning rate; with a schedule its greatest.')
    flags.DEFINE_enum(
        'schedule',
        'constant',
        list(SCHEDULES),
        'How the learning rate goes after --warmup: cosine and linear fall to 0.',
    )
    flags.DEFINE_integer(
        'warmup', 0, 'Steps in which the learning rate rises to --lr.', lower_bound=0
    )
    flags.DEFINE_float('clip', 1.0, 'Greatest global norm of the gradient; inf is off.')
    flags.DEFINE_float('momentum', 0.0, 'Momentum of sgd.')
    flags.DEFINE_float(
        'weight_decay',
        None,
        'Weight decay of adamw; by default that of its constants: keras 0.004, torch 0.01.',
        lower_bound=0,
    )
    flags.DEFINE_float(
        'beta1', None, 'Decay rate of the first moment of adam and adamw; by default 0.9.'
    )
    flags.DEFINE_float('beta2', None, 'Decay rate of the second one; by default 0.999.')
    flags.DEFINE_float(
        'label_smoothing',
        None,
        'Share of each label that is spread evenly over all classes in training.',
    )
    seed()
    for name in ('beta1', 'beta2', 'label_smoothing'):
        flags.register_validator(
            name, lambda share: share is None or 0 <= share < 1, 'must be at least 0 and below 1'
        )
    flags.register_validator('lr', lambda lr: 0 < lr < INF, 'must be a number above zero')
    flags.register_validator('clip', lambda clip: clip > 0, 'must be above zero; inf is off')
    flags.register_validator(
        'momentum', lambda momentum: 0 <= momentum < 1, 'must be at least 0 and below 1'
    )
    flags.register_validator(
        'weight_decay',
        lambda decay: decay is None or math.isfinite(decay),
        'must be a finite number',
    )

    # evaluation
    flags.DEFINE_integer(
        'eval_every', None, 'Steps between evaluations; by default an epoch.', lower_bound=1
    )
    flags.DEFINE_enum(
        'eval_split', 'validation', ['validation', 'test'], 'What is evaluated on the way.'
    )
    flags.DEFINE_integer(
        'eval_examples',
        None,
        'Examples of an evaluation on the way, the first ones; by default all.',
        lower_bound=1,
    )
    flags.DEFINE_boolean(
        'eval_next', False, 'Take the next --eval_examples each time, not the first ones.'
    )
    flags.DEFINE_enum(
        'keep',
        'last',
        ['last', 'best'],
        'Whose parameters are tested: the last, or those that validated best.',
    )

    # sweeps
    flags.DEFINE_multi_string(
        'sweep',
        [],
        "An axis: 'cell=gru,lstm', 'seed=0..4', 'lr=log(1e-4,1e-1,8)', 'clip=lin(0.5,2,4)', or drawn: 'lr~log(1e-4,1e-1)'.",
    )
    flags.DEFINE_integer(
        'trials',
        None,
        'How often the axes with ~ are drawn, or the trials of a search.',
        lower_bound=1,
    )
    flags.DEFINE_integer('sweep_seed', 0, 'Seed of what is drawn.', lower_bound=0)
    flags.DEFINE_enum(
        'search',
        None,
        list(SAMPLERS),
        'Choose the axes with ~ by what came out before, a wave of trials at a time.',
    )
    flags.DEFINE_boolean(
        'dry_run',
        False,
        'Print the trials of a sweep, its programs and their memory, and do nothing.',
    )
    flags.DEFINE_integer(
        'max_lanes',
        None,
        'Most trials that train at once; by default as many as half the memory holds.',
        lower_bound=1,
    )
    flags.DEFINE_integer('max_trials', 1000, 'Refuse a sweep of more trials.', lower_bound=1)
    flags.DEFINE_string(
        'shard',
        None,
        'i/n: of n processes that share a sweep and its folder, the part of the i-th, from 1.',
    )

    # the machine
    flags.DEFINE_enum(
        'precision',
        'float32',
        list(PRECISIONS),
        'Of what is multiplied in products of matrices; sums are in float32.',
    )
    flags.DEFINE_string(
        'devices',
        'auto',
        'How many devices; auto: all, on a CPU each core; a run that is resumed, as many as before.',
    )
    flags.register_validator(
        'devices',
        lambda number: number == 'auto' or (number.isdecimal() and int(number)),
        'must be auto or a number',
    )

    # the run's folder
    flags.DEFINE_string('out', None, "The run's folder; by default a new one under runs/.")
    flags.DEFINE_boolean('resume', False, 'Go on with the run in --out from its checkpoint.')
    flags.DEFINE_boolean(
        'force',
        False,
        'Resume though --devices are not as many as the run began with: its last bits will be others.',
    )
    flags.DEFINE_float(
        'checkpoint_every',
        30.0,
        'Seconds between checkpoints; one is also written at the end and on Ctrl-C.',
        lower_bound=0,
    )


jax.config.config_with_absl()

BY_THE_WAY = {  # these do not change what a run computes
    'jax_num_cpu_devices', 'jax_compilation_cache_dir', 'jax_enable_compilation_cache',
    'out', 'resume', 'force', 'data_dir', 'checkpoint_every', 'devices',
    'sweep', 'trials', 'sweep_seed', 'search', 'dry_run', 'max_lanes', 'max_trials', 'shard',
}  # fmt: skip
PRECISIONS = {'float32': None, 'bfloat16': BFLOAT16}
CORES = (
    len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
)  # those that are ours
NUMERICS = {  # these of JAX do, and the environment sets them too
    'jax_enable_x64', 'jax_default_matmul_precision', 'jax_default_prng_impl', 'jax_threefry_partitionable', 'jax_random_seed_offset',
}  # fmt: skip


def config(experiment: str, goal: str) -> dict[str, Any]:
    """All that decides what a run computes: its flags, JAX's that are given or matter, its version, and the devices, None while the
    run has not chosen them; and by which figure it is judged."""
    ours = {name: flag.value for name, flag in sweepable().items()}
    of_jax = {
        name: FLAGS[name].value
        for name in FLAGS
        if name in NUMERICS
        or (name.startswith('jax_') and FLAGS[name].present and name not in BY_THE_WAY)
    }
    machine = {
        'jax': jax.__version__,
        'platform': devices()[0].platform,
        'devices': devices_asked(),
    }
    settings = {'experiment': experiment, 'goal': goal, **ours, **of_jax, **machine}
    return {
        name: str(value) if value == INF else value for name, value in settings.items()
    }  # JSON has no infinity


def devices() -> list[Any]:
    """The devices to use: those that JAX has, or as many of them as were asked for."""
    try:
        there = jax.devices()
    except RuntimeError as error:
        raise InputError(f'JAX finds no device: {first_line(error)}') from error
    number = devices_asked() or len(there)
    if number > len(there):
        raise InputError(
            f'--devices={number} is more than the {len(there)} {there[0].platform} device(s) that JAX finds'
        )
    return there[:number]


def devices_asked() -> int | None:
    """How many devices --devices says; with auto, a run that is resumed has those that it began with, and others all."""
    if FLAGS.devices != 'auto':
        return int(FLAGS.devices)
    return devices_noted() if FLAGS.resume and not FLAGS.sweep else None


def devices_noted() -> int | None:
    """How many devices the run in --out began with."""
    try:
        noted = runs.read_json(Path(FLAGS.out or '') / runs.CONFIG).get('devices')
    except InputError:
        return None
    return noted if isinstance(noted, int) and noted > 0 else None


def claim_cores() -> None:
    """Makes CPU devices, as many as were asked for or there are cores, unless JAX's own flag does. This must precede JAX's first call."""
    number = FLAGS.jax_num_cpu_devices
    if number < 1 and 'devices' in FLAGS:
        number = devices_asked() or CORES
        jax.config.update('jax_num_cpu_devices', number)
    # On JAX 0.10, as many CPU devices as threads of the pool can wait for each other for ever.
    os.environ.setdefault('PJRT_NPROC', str(max(os.cpu_count() or 1, number + 1)))


def keep_programs() -> None:
    """Compiled programs are kept for the next process, unless JAX's own flags say where or that they are not. A program is made for
    the instructions of one processor: each kind has a folder of its own."""
    if FLAGS.jax_compilation_cache_dir or not FLAGS.jax_enable_compilation_cache:
        return
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    kind = [line for line in lines if line.startswith(('model name', 'flags', 'Features'))] or lines
    folder = (
        cache_folder()
        / 'programs'
        / f'{platform.machine()}-{zlib.crc32(repr(sorted(set(kind))).encode()):08x}'
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)


def set_precision() -> None:
    """Makes JAX multiply as --precision says, which is float32 unless JAX's own flag has another."""
    if 'precision' in FLAGS:
        if PRECISIONS[FLAGS.precision] and FLAGS['jax_default_matmul_precision'].present:
            raise InputError(
                f'--precision={FLAGS.precision} and --jax_default_matmul_precision say the same thing: leave one out'
            )
        jax.config.update(
            'jax_default_matmul_precision',
            PRECISIONS[FLAGS.precision] or FLAGS.jax_default_matmul_precision,
        )


def sweepable() -> dict[str, Any]:
    """The flags that decide what a run computes, by name."""
    return {
        flag.name: flag
        for flag in FLAGS.flags_by_module_dict()[__name__]
        if flag.name not in BY_THE_WAY
    }


@contextlib.contextmanager
def assigned(settings: dict[str, str]) -> Iterator[None]:
    """The flags as they would be with these on the command line too."""
    try:
        with flagsaver.flagsaver():
            for name, text in settings.items():
                FLAGS[name].parse(text)
            FLAGS.validate_all_flags()
            set_precision()
            yield
    finally:
        set_precision()


def set_defaults(defaults: dict[str, Any]) -> None:
    """Gives flags that the command line leaves open the values of this experiment or dataset."""
    for name, value in defaults.items():
        if not FLAGS[name].present:
            FLAGS.set_default(name, value)


def recall(settings: dict[str, Any], where: str) -> None:
    """Gives the flags the values that `config` noted; InputError for one that the command line has otherwise."""
    for flag in sweepable().values():
        if flag.name in settings:
            before, now = settings[flag.name], flag.value
            given = flag.present
            try:
                flag.value = None if before is None else flag.parser.parse(before)
            except (ValueError, TypeError) as error:
                raise InputError(
                    f'{where} notes {flag.name}={before!r}, which cannot be: {first_line(error)}'
                ) from error
            if given and now != flag.value:
                raise InputError(
                    f'{where} was made with --{flag.name}={before}, not {now}; leave --{flag.name} out'
                )
    set_precision()


def run(main: Callable[..., None], takes_arguments: bool = False) -> None:
    """Parses the command line and calls main, with what is no flag where it takes that; what the user can mend ends in one
    line and exit code 1."""

    def parse(argv):
        try:
            rest = FLAGS(argv)
        except flags.Error as error:
            fail(str(error).removeprefix('ERROR:: '))
        if rest[1:] and not takes_arguments:
            fail(f'unexpected {rest[1]!r}: flags begin with --')
        return rest

    def call(argv):
        logging.set_verbosity(logging.ERROR)
        claim_cores()
        keep_programs()
        try:
            set_precision()
            main(argv[1:]) if takes_arguments else main()
        except (InputError, flags.Error) as error:
            fail(str(error))
        except MemoryError as error:
            fail(f'this takes more memory than there is: {first_line(error)}')
        except BrokenPipeError:  # whoever reads what is printed has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            fail(f'{error.filename}: {error.strerror}' if error.filename else str(error))
        except KeyboardInterrupt:
            fail('interrupted', code=130)

    app.run(call, flags_parser=parse)


def fail(message: str, code: int = 1) -> None:
    flagged = re.sub(r'`(\w+(?:=[^`]*)?)`', r'--\1', message)  # `name=value` of the library
    print('error: ' + ' '.join(flagged.split()), file=sys.stderr)
    sys.exit(code)
