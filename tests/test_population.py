"""Population based training: the worst copy the best, and nothing else changes."""

import csv
import json

import pytest

from experiments.runner import lanes, loop
from rnnlab.results import schedule, trials
from rnnlab.results.records import FINISHED, Trial
from rnnlab.results.trials import SweepRecord
from rnnlab.sweeps.axes import parse
from rnnlab.sweeps.population import copies, perturbed
from tests.conftest import call, ran, refused
from tests.folders import read, rows
from tests.interrupt import killed
from tests.records import summary
from tests.test_claims import merged
from tests.test_hyperband import OFTEN, RUN
from tests.test_rungs import by_trial
from tests.test_sweeps import table

AXES = ['--sweep=lr~log(1e-4,10)', '--sweep=clip~lin(0.5,5)', '--trials=8', '--max_lanes=8']
RUNGS = ['--search=pbt', '--rungs=3']
SEEDS, MEMBERS, ENDS = 2, 8, (10, 20, 40)

sweeps = pytest.mark.usefixtures('shell', 'traced_once')


def train(folder, *flags):
    return ran('memory', *RUN, *AXES, *flags, f'--out={folder}', x64=True)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, traced_once):
    """The population, what it printed, and the sweep of its members without it."""
    folder = tmp_path_factory.mktemp('population')
    printed = train(folder / 'pbt', *RUNGS)
    train(folder / 'plain')
    return folder / 'pbt', printed, folder / 'plain'


def rungs(folder):
    """The trials on each rung, by (rung, number)."""
    return trials.read_rungs(folder, SweepRecord.read(folder).metrics)[0]


@sweeps
@pytest.mark.slow
def test_a_member_that_copied_none_is_bit_for_bit_its_lane_of_the_plain_sweep(whole):
    folder, _, plain = whole
    every = rungs(folder)
    copied = {n for (_, n), trial in every.items() if trial.copied_from is not None}
    assert 0 < len(copied) < SEEDS * MEMBERS
    curves, others = by_trial(folder), by_trial(plain)
    for row, other in zip(table(folder), table(plain), strict=True):
        if (number := int(row['trial'])) not in copied:
            assert (row.pop('rung'), row.pop('copied_from')) == ('3', '')
            assert (row, curves.get(number)) == (other, others.get(number))


@sweeps
@pytest.mark.slow
def test_the_worst_quarter_of_each_population_copies_the_best(whole):
    folder, _, _ = whole
    every = rungs(folder)
    for rung in (2, 3):
        for seed in range(SEEDS):
            members = range(seed, SEEDS * MEMBERS, SEEDS)
            before = {n: every[rung - 1, n].summary.last.get('validation', {}) for n in members}
            losses = {n: values.get('loss') for n, values in before.items()}
            order = sorted(members, key=lambda n: float('inf') if losses[n] is None else losses[n])
            copied = {n: every[rung, n].copied_from for n in members}
            assert {n for n in members if copied[n] is not None} == {*order[-2:]}
            assert {copied[n] for n in order[-2:]} <= {*order[:2]}
            for n in members:
                now, then = every[rung, n].settings, every[every[rung, n].source].settings
                if copied[n] is None:
                    assert now == then
                    continue
                for name, low, high in (('lr', 1e-4, 10), ('clip', 0.5, 5)):
                    near = [min(max(then[name] * factor, low), high) for factor in (0.8, 1.2)]
                    assert now[name] in [pytest.approx(value, rel=1e-5) for value in near]


@sweeps
@pytest.mark.slow
def test_a_member_continues_from_the_state_that_it_copied(whole):
    folder, _, _ = whole
    metrics = SweepRecord.read(folder).metrics
    every, curves = trials.read_rungs(folder, metrics)
    for place, trial in every.items():
        if place[0] > 1:
            own, source = curves[place], curves[trial.source]
            assert [row.to_json() for row in own[: len(source)]] == [r.to_json() for r in source]


@sweeps
@pytest.mark.slow
def test_the_schedule_of_every_member_and_of_the_best_run_can_be_read(whole):
    folder, printed, _ = whole
    every = rungs(folder)
    with (folder / schedule.SCHEDULE).open() as file:
        lines = list(csv.DictReader(file))
    assert [(int(row['trial']), int(row['rung'])) for row in lines] == [
        (n, rung) for n in range(SEEDS * MEMBERS) for rung in (1, 2, 3)
    ]
    for row in lines:
        trial = every[int(row['rung']), int(row['trial'])]
        assert float(row['lr']) == trial.settings['lr']
        assert row['copied_from'] == ('' if trial.copied_from is None else str(trial.copied_from))
        assert int(row['until']) == ENDS[trial.rung - 1]
    assert 'schedule.csv has those of each rung' in printed
    config = read(folder / 'best', 'config.json')
    winner = every[3, read(folder / 'best', 'summary.json')['trial']]
    parts = schedule.lineage(winner, every)
    assert config['lr'] == winner.settings['lr']
    assert config['lineage'] == json.loads(json.dumps(parts))
    assert (parts[-1]['until'], parts[-1]['trial']) == (40, winner.number)


def test_the_lineage_of_a_copy_has_the_settings_of_those_that_it_copied():
    def trial(number, rung, lr, copied_from=None):
        own = {'settings': {'lr': lr}, 'status': FINISHED, 'summary': summary(0.5, 0.5)}
        return Trial(number=number, rung=rung, copied_from=copied_from, **own)

    made = [trial(0, 1, 1.0), trial(1, 1, 2.0), trial(0, 2, 1.0), trial(1, 2, 0.8, 0)]
    made += [trial(0, 3, 0.64, 1), trial(1, 3, 0.8)]
    every = {(each.rung, each.number): each for each in made}
    parts = schedule.lineage(every[3, 0], every)
    assert [(part['trial'], part['lr']) for part in parts] == [(0, 1.0), (1, 0.8), (0, 0.64)]
    assert len(schedule.lineage(every[2, 0], every)) == 1


MOMENTS = [
    (trials, 'write_wave', 0, True),  # in the first rung, which has two batches
    (lanes, 'gather', 1, False),  # in the second
    (loop, 'evaluate', 1, True),  # in the third
]


@sweeps
@pytest.mark.slow
def test_a_population_that_is_killed_again_and_again_ends_in_the_same_files(whole, tmp_path):
    folder, _, _ = whole
    for at in MOMENTS:
        resume = ['--resume'] if (tmp_path / 'cut').exists() else []
        assert killed(*at[:3], lambda r=resume: train(tmp_path / 'cut', *RUNGS, OFTEN, *r), at[3])
    train(tmp_path / 'cut', *RUNGS, '--resume')
    assert table(tmp_path / 'cut') == table(folder)
    assert by_trial(tmp_path / 'cut') == by_trial(folder)
    for name in (schedule.SCHEDULE, 'best/config.json'):
        assert (tmp_path / 'cut' / name).read_bytes() == (folder / name).read_bytes()


@sweeps
@pytest.mark.slow
def test_workers_end_in_the_files_of_one_process(whole, tmp_path, impatient):
    """One dies at the end of a batch, another one before it gathers the next rung's states."""
    folder, _, _ = whole
    for at in ((trials, 'write_wave', 1), (lanes, 'gather', 1)):
        assert killed(*at, lambda: train(tmp_path, *RUNGS, '--shard=any/2'))
    train(tmp_path, *RUNGS, '--shard=any/2')
    assert merged(tmp_path) == (table(folder), rows(folder))
    assert (tmp_path / schedule.SCHEDULE).read_bytes() == (folder / schedule.SCHEDULE).read_bytes()


@sweeps
@pytest.mark.slow
def test_one_rung_is_the_sweep_as_it_is(whole, tmp_path):
    _, _, plain = whole
    train(tmp_path / 'pbt', '--search=pbt')
    assert table(tmp_path / 'pbt') == table(plain)
    assert by_trial(tmp_path / 'pbt') == by_trial(plain)
    assert not (tmp_path / 'pbt' / schedule.SCHEDULE).exists()


def test_those_that_diverged_are_not_copied():
    order = [4, 2, 7, 0, 1, 3, 5, 6]
    assert copies(order, order, [], 0, 2).keys() == {5, 6}
    assert {*copies(order, order, [], 0, 2).values()} <= {4, 2}
    assert copies(order, [2], [], 0, 2) == {5: 2, 6: 2}
    assert copies(order, [], order, 0, 2) == {}
    assert copies(order, order[:4], [order[4], 6], 0, 2).keys() == {order[4], 5, 6}
    assert copies(order[:3], order, [], 0, 2) == {}


def test_perturbed_settings_stay_in_their_ranges():
    axes = [parse('lr~log(1e-4,1e-1)'), parse('dropout~lin(0,0.5)'), parse('clip~1,5,inf')]
    settings = {'lr': '0.1', 'dropout': '0.2', 'clip': 'inf'}
    made = [perturbed(axes, settings, 0, rung, member) for rung in (2, 3) for member in range(20)]
    assert {each['lr'] for each in made} == {'0.08', '0.1'}
    assert {each['dropout'] for each in made} == {'0.16', '0.24'}
    assert {each['clip'] for each in made} == {'1', '5', 'inf'}
    assert perturbed(axes, settings, 0, 2, 5) == made[5]
    assert perturbed(axes[1:], settings, 0, 2, 5).keys() == {'dropout', 'clip'}


LR = '--sweep=lr~log(1e-4,1)'
BAD = [
    (['--sweep=lr=0.1,0.2'], ['--search goes with an axis to draw from']),
    (['--sweep=cell~elman,gru', '--trials=8'], ['--search=pbt', 'cell', 'write --sweep=cell=']),
    (['--sweep=init_scale~lin(1,2)', '--trials=8'], ['after step 0', 'write --sweep=init_scale=']),
    ([LR, '--trials=3'], ['--search=pbt replaces a quarter', '4 or more', '--trials=3 makes 3']),
    ([LR, '--trials=8', '--rungs=5'], ['--rungs=5: the first rung ends at step 8 of 40', '10']),
    ([LR, '--trials=8', '--rungs=2', '--eta=2'], ['--eta=2 goes without --search=pbt']),
    ([LR, '--trials=8', '--patience=1'], ['--search=pbt goes without --patience']),
    ([LR, '--trials=8', '--shard=1/2', '--out=x'], ['without --shard']),
    ([LR, '--trials=8', '--sweep=lr2=1'], ['--sweep=lr2']),
]


@sweeps
def test_bad_populations_are_one_line(tmp_path):
    run = [*RUN, '--search=pbt']
    refused('memory', [([*run, *flags], words) for flags, words in BAD], tmp_path)


@sweeps
@pytest.mark.slow
def test_the_best_run_of_a_population_is_not_a_run_that_flags_alone_give(whole):
    folder, _, _ = whole
    config = read(folder / 'best', 'config.json')
    flags = [flag for flag in RUN if '--sweep' not in flag]
    own = [f'--{name}={config[name]}' for name in ('lr', 'clip', 'seed')]
    own += ['--devices=1', f'--out={folder / "best"}', '--resume']
    result = call('memory', *flags, *own, x64=True)
    assert result.code == 1
    assert 'holds a run with other settings (lineage: ' in result.err
