"""Datasets. DATASETS maps a name to what loads it: (data_dir=None) -> Images."""

from rnnlab.data import digits, mnist
from rnnlab.data.dataset import VIEWS, Dataset, Images, Split, image_sequences

DATASETS = {'digits': digits.load, 'mnist': mnist.load}

__all__ = ['DATASETS', 'VIEWS', 'Dataset', 'Images', 'Split', 'image_sequences']
