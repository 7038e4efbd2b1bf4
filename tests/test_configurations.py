"""Configurations: their flags and JSON, sizes by a budget, and values that are refused."""

import contextlib
import json
from functools import cache

import jax
import pytest

from experiments import classify, imdb, memory, mnist, series, text
from experiments.runner.cli import parse
from experiments.runner.fields import shown, specs, types_of
from experiments.runner.model import largest
from rnnlab.analysis.describe import count
from rnnlab.cells import CELLS
from rnnlab.errors import InputError
from rnnlab.models import network
from rnnlab.recurrence import recurrent
from tests.conftest import launch, refused

pytestmark = pytest.mark.usefixtures('shell')

CONFIGS = [module.Config for module in (classify, imdb, memory, mnist, series, text)]
VALUES = [
    True, False, 2, 3, 100, 0.5, 2.5, float('inf'), 'gru', 'x', '1', '1/2', 'host:1234',
    ('0.6', '0.2', '0.2'), ('a', 'b'), ('gru', 'lstm'),
]  # fmt: skip


@cache
def configurations(config):
    """The default configuration, and for every field others that differ in it."""
    every = [config()]
    for name, spec in specs(config).items():
        before = len(every)
        for value in [*VALUES, *(spec.choices or ())]:
            if type(value) is types_of(config)[name] and value != getattr(every[0], name):
                with contextlib.suppress(InputError):
                    every.append(config(**{name: value}))
        assert len(every) > before, f'no value of VALUES suits {name}'
    return every


@pytest.mark.slow
@pytest.mark.parametrize('config', CONFIGS, ids=lambda config: config.__module__)
def test_a_configuration_is_read_as_it_was_written(config):
    for one in configurations(config):
        written = json.loads(json.dumps(one.to_json()))
        again = config.from_json(written, 'here')
        assert again.to_json() == one.to_json()
        if config is series.Config:  # a net trained a row ahead can be asked for any horizon
            one = one.replace(horizon=one.trained_horizon)
        kept = {name: getattr(one, name) for name in written}
        assert {name: getattr(again, name) for name in written} == kept


@pytest.mark.slow
@pytest.mark.parametrize('config', CONFIGS, ids=lambda config: config.__module__)
def test_flags_made_from_a_configuration_give_it_back(config):
    for one in configurations(config):
        flags = [
            f'--{name}={shown(value)}'
            for name in one.changed(*specs(config))
            for value in (getattr(one, name) if name == 'sweep' else [getattr(one, name)])
        ]
        assert parse(config, ['name', *flags]) == (one, [])


BAD_FLAGS = [
    (['--cell=lstmm'], ["--cell: unknown cell 'lstmm'", 'elman, irnn, ', 'mymodule:mycell']),
    (['--cell=nowhere:mycell'], ["module 'nowhere'", 'cannot be imported', 'ModuleNotFoundError']),
    (['--cell=math:mycell'], ["'math' has no function 'mycell'"]),
    (['--cell=math:sqrt'], ['math:sqrt(128) must return a Cell']),
    (['--zoneout_cell=0.1', '--cell=gru'], ['--zoneout_cell', 'gru']),
    (['--merge=sum'], ['--merge goes with --bidirectional']),
    (['--dataset=cifar'], ['--dataset', 'digits, mnist']),
    (['--optimizer=lion'], ['--optimizer', 'adam, adamw, rmsprop, sgd']),
    (['--hiden_size=3'], ['hiden_size', 'hidden_size']),
    (['--hidden_size=0'], ['--hidden_size']),
    (['--hidden_size=many'], ['--hidden_size']),
    (['--lr=0'], ['--lr', 'above zero']),
    (['--lr=nan'], ['--lr', 'above zero']),
    (['--clip=-1'], ['--clip', 'inf is off']),
    (['--batch_size=2000'], ['--batch_size=2000', '1290']),
    (['--validation=1433'], ['validation=1433', '1433']),
    (['--momentum=0.9'], ['--momentum', '--optimizer=sgd']),
    (['--weight_decay=0.1'], ['--weight_decay', '--optimizer=adamw']),
    (['--optimizer=adamw', '--optimizer_constants=tf1'], ['TF1 has no adamw']),
    (['--cell=gru', '--forget_bias=1'], ['--forget_bias', 'gru']),
    (['--cell=lru', '--init_scale=2'], ['--init_scale', 'lru', 'has its own initializer']),
    (['--cell=mingru', '--recurrent_dropout=0.1'], ['--recurrent_dropout', 'mingru']),
    (['--precision=float16'], ['precision', 'bfloat16']),
    (['--eval_examples=144'], ['--eval_examples=144', '143']),
    (['--keep=best', '--validation=0'], ['--keep=best', '--validation']),
    (['--keep=best', '--eval_split=test'], ['--keep=best', '--eval_split']),
    (['--layers=0'], ['--layers=0', '--pool=mean']),
    (['--parameters=59'], ['--parameters=59', '--cell=lstm', 'a hidden size of 1 has 60']),
    (['--parameters=0'], ['--parameters']),
    (['--parameters=500', '--hidden_size=8'], ['--parameters', '--hidden_size']),
    (['--parameters=500', '--sweep=hidden_size=8,16'], ['--parameters', '--hidden_size']),
    (
        ['--parameters=500', '--layers=0', '--pool=mean'],
        ['--parameters has no use with --layers=0'],
    ),
    (['--sweep=parameters=500,59', '--dry_run'], ['--parameters=59', 'has 60']),
    (['--parameters=500', '--cell=gru', '--forget_bias=1'], ['--forget_bias', 'gru']),
    (['--dropout=1'], ['--dropout', 'below 1']),
    (['--vocab_size=100'], ['vocab_size']),
    (['--eval_next'], ['--eval_next', '--eval_examples']),
    (['--force', '--resume', '--out=nowhere'], ['--force', '--devices']),
    (['--force', '--sweep=seed=0,1'], ['--force', '--sweep']),
    (['--resume'], ['--resume', '--out']),
    (['--resume', '--out=nowhere'], ['nowhere', 'holds no run']),
    (['--flagfile=nowhere.flags'], ['nowhere.flags']),
    (['--jax_platforms=abacus'], ['abacus']),
    (['--jax_num_cpu_devices=-3'], ['--jax_num_cpu_devices=-3', 'at least 1']),
    (['--nobidirectional=3'], ['--nobidirectional=3']),
    (['--hidden_size=99999999999999'], ['--hidden_size=99999999999999', 'at most']),
    (['--checkpoint_every=nan'], ['--checkpoint_every=nan']),
    (['--devices=1000'], ['--devices=1000 is more than']),
    (['--devices=' + '9' * 5000], ['--devices=', 'a number']),
    (['--out='], ['--out= is empty']),
    (['--out=gs://bucket/run'], ['--out=gs://bucket/run', 'no path of this machine']),
    (['--out=~nobody-of-this-name/run'], ['no user nobody-of-this-name']),
    (['--out=a\udcff'], ['--out', 'not UTF-8']),
    (['--out=a\0b'], ['--out', 'NUL']),
    (['steps=3'], ['steps=3', '--']),
    (['--out=/dev/null/run'], ['/dev/null/run', 'Not a directory']),
    (['--out=/dev/null'], ['/dev/null', 'no run']),
    (
        ['--dataset=mnist', '--data_dir=nowhere'],
        ['mnist/3.0.1 is not in nowhere', 'downloads/manual'],
    ),
]


def test_bad_input_is_one_line(tmp_path):
    cases = [(['--dataset=digits', *flags], words) for flags, words in BAD_FLAGS]
    refused('mnist', cases, tmp_path)


@pytest.mark.parametrize(
    'parameters',
    [
        lambda size: size,
        lambda size: 7 * size + 3,
        lambda size: 3 * size + 4,
        lambda size: 4 * size * (size + 9) + 10,
        lambda size: size**3,
    ],
)
def test_a_budget_takes_the_largest_size_that_stays_within(parameters):
    for budget in range(1, 700):
        size = largest(parameters, budget)
        assert size == 0 or parameters(size) <= budget
        assert parameters(size + 1) > budget


@pytest.mark.parametrize('name', CELLS)
def test_more_size_is_more_parameters(name):
    """What the search for the size of a budget takes for granted."""
    models = [network([recurrent(CELLS[name](size))], inputs=3, outputs=2) for size in (1, 2, 3, 8)]
    counts = [count(jax.eval_shape(model.init, jax.random.key(0))) for model in models]
    assert counts == sorted(set(counts))


def test_help_lists_the_flags():
    out = launch('mnist', '--help').stdout
    assert [name for name in specs(mnist.Config) if name not in out] == []
