"""Datasets. DATASETS maps a name to what loads it: (data_dir=None) -> Images."""

from rnnlab.data.dataset import VIEWS, Dataset, Images, Split, image_sequences
from rnnlab.data.digits import digits
from rnnlab.data.mnist import mnist

DATASETS = {'digits': digits, 'mnist': mnist}

__all__ = ['DATASETS', 'VIEWS', 'Dataset', 'Images', 'Split', 'digits', 'image_sequences', 'mnist']
