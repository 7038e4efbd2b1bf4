"""A review's words, coloured by how much the logit moves at each."""

from itertools import zip_longest
from pathlib import Path

import jax
import numpy as np
from rich.text import Text

from experiments.runner.console import console, drawing, say
from experiments.runner.task import Plan
from rnnlab.cells.base import Params
from rnnlab.data import Split, imdb, text
from rnnlab.errors import InputError
from rnnlab.results import page, plots
from rnnlab.results.page import text as text_of_page
from rnnlab.results.tables import new_table, render

SHOWN = 8  # words of the table


def encoded(plan: Plan, review: str) -> Split:
    """A review as the net reads it, [1, T]; InputError for one without a known word."""
    config, vocabulary = plan.config, plan.data.vocabulary
    size = text.vocabulary_size(vocabulary)
    ragged = text.encode([review], vocabulary)
    ids, _ = text.pad_sequences(ragged, size, config.max_length, config.pad, config.truncate)
    if not np.any(ids >= text.FIRST):
        raise InputError('--example has no word of the vocabulary')
    return Split(ids, None)  # type: ignore[arg-type]


def show(plan: Plan, params: Params, one: Split, name: str, out: Path, html: bool = False) -> None:
    """Prints and draws the words of a review by what they do to the logit of `positive`.

    html: also writes a page of them.
    """
    logits = logits_by_step(plan, params, np.asarray(one.inputs[0]))
    moves = np.diff(logits, prepend=0.0)
    words = [word_of(plan, token) for token in np.asarray(one.inputs[0])]
    kept = [at for at, token in enumerate(one.inputs[0]) if token > text.START]
    chosen, strength = [words[at] for at in kept], moves[kept]
    limit = float(np.quantile(np.abs(strength), 0.98)) or 1.0
    before = logits[kept[0] - 1] if kept[0] else 0.0
    ends = f'{before:+.2f} before the first word, {logits[-1]:+.2f} at the end'
    say(f'logit of positive: {ends}')
    line = Text()
    for word, move in zip(chosen, strength, strict=True):
        red, green, blue = plots.shade(move / limit)
        ink = 'black' if red + green + blue > 380 else 'white'
        line.append(word, style=f'{ink} on rgb({red},{green},{blue})').append(' ')
    console.print()
    console.print(line, soft_wrap=False)
    table = new_table('raises it most', 'by', 'lowers it most', 'by ', right=('by', 'by '))
    order = np.argsort(strength)
    up = [(chosen[at], f'{strength[at]:+.2f}') for at in order[::-1] if strength[at] > 0]
    down = [(chosen[at], f'{strength[at]:+.2f}') for at in order if strength[at] < 0]
    for high, low in zip_longest(up[:SHOWN], down[:SHOWN], fillvalue=('', '')):
        table.add_row(*high, *low)
    console.print(f'\n{render(table)}\n')
    what = 'the given text'
    if one.labels is not None:
        what = f'review {name}, labelled {imdb.CLASSES[int(one.labels[0])]}'
    title = f'{what}: logit of positive {logits[-1]:+.2f}, moved by each word'
    path = out / f'words_{name}.png'
    with drawing(path):
        plots.words(chosen, strength, limit, path, title)
        console.print(f'drawn: {path}')
    if html:
        path = path.with_suffix('.html')
        write_page(path, title, f'logit of positive: {ends}', chosen, strength, limit)
        console.print(f'written: {path}')


def write_page(
    path: Path, title: str, lead: str, words: list[str], moves: np.ndarray, limit: float
) -> None:
    """Writes the coloured words, and what each does, as a separate page."""
    colours = 'Red words, underlined, raise the logit; blue ones, dotted, lower it.'
    rows = [(word, f'{move:+.3f}') for word, move in zip(words, moves, strict=True)]
    numbers = text_of_page.table('Words', ['word', 'moves it by'], rows, ['moves it by'])
    coloured = text_of_page.coloured(words, moves.tolist(), limit)
    parts = text_of_page.paragraph(colours), coloured, text_of_page.folded('the numbers', numbers)
    page.write(path, title, lead, [page.Section('Words', parts)])


def logits_by_step(plan: Plan, params: Params, ids: np.ndarray) -> np.ndarray:
    """The logit of `positive` after each of the ids [T], as if the review ended there."""
    apply = jax.jit(plan.model.apply)
    rows = np.broadcast_to(ids, (len(ids), len(ids)))
    return np.asarray(apply(params, rows, np.arange(1, len(ids) + 1, dtype=np.int32)))[:, 1]


def word_of(plan: Plan, token: int) -> str:
    vocabulary = plan.data.vocabulary
    if token < text.FIRST:
        return '[...]'  # unknown
    if vocabulary is None:
        return chr(token - text.FIRST) if 32 <= token - text.FIRST < 127 else '.'
    return vocabulary[token - text.FIRST]
