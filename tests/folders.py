"""The folders of small runs, for tests."""

import json

import orbax.checkpoint as ocp

SMALL = ['--dataset=digits', '--hidden_size=16', '--batch_size=64', '--validation=200']


def final(folder, name='params'):
    """A part of the TrainState in the checkpoint, or 'best', as NumPy arrays."""
    with ocp.CheckpointManager(folder.resolve() / 'checkpoint') as manager:
        tree = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore())
        return tree['best'] if name == 'best' else tree['state'][name]


def rows(folder):
    """The rows of metrics.jsonl without their seconds."""
    records = map(json.loads, (folder / 'metrics.jsonl').read_text().splitlines())
    return [{key: value for key, value in row.items() if key != 'seconds'} for row in records]


def read(folder, name):
    return json.loads((folder / name).read_text())
