"""scikit-learn's 1,797 scans of handwritten digits, 8 x 8 pixels of 17 greys; no download.

Source: UCI Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998.
"""

import importlib.util
from pathlib import Path

import numpy as np

from rnnlab.data.cache import Arrays, cached
from rnnlab.data.dataset import Images
from rnnlab.errors import InputError


def load(data_dir: str | Path | None = None) -> Images:
    """1,433 training and 364 test images; `data_dir` is not read.

    Every fifth image of each digit is a test image. The others are in one fixed random order, and
    the last tenth of them validates. Raises InputError without scikit-learn.
    """
    package = importlib.util.find_spec('sklearn')  # found, not imported: that takes a second
    if package is None or package.origin is None:
        raise InputError('the digits come with scikit-learn: pip install scikit-learn')
    scans = cached('digits', Path(package.origin).parent, decode)
    images, labels = scans['images'], scans['labels']
    test = np.sort(np.concatenate([np.flatnonzero(labels == digit)[::5] for digit in range(10)]))
    train = np.random.RandomState(0).permutation(np.setdiff1d(np.arange(len(labels)), test))
    return Images(
        train=images[train],
        train_labels=labels[train],
        test=images[test],
        test_labels=labels[test],
        brightest=16,
        held_out=len(train) // 10,
    )


def decode() -> Arrays:
    from sklearn.datasets import load_digits

    scans = load_digits()
    return {'images': scans.images.astype(np.uint8), 'labels': scans.target.astype(np.int32)}
