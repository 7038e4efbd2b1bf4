"""Datasets.

IMAGES: name -> loader, (data_dir=None) -> Images. TASKS: name -> maker, (length) -> Task.
rnnlab.data.imdb.load gives Texts.
"""

from rnnlab.data import digits, mnist
from rnnlab.data.dataset import VIEWS, Dataset, Images, Split, image_sequences
from rnnlab.data.tasks import LENGTHS, TASKS, Task, memory_sequences, of_lengths
from rnnlab.data.text import PADS, Ragged, Texts, text_sequences

IMAGES = {'digits': digits.load, 'mnist': mnist.load}

__all__ = [
    'IMAGES', 'LENGTHS', 'PADS', 'TASKS', 'VIEWS', 'Dataset', 'Images', 'Ragged', 'Split', 'Task',
    'Texts', 'image_sequences', 'memory_sequences', 'of_lengths', 'text_sequences',
]  # fmt: skip
