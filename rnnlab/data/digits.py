"""scikit-learn's 1,797 scans of handwritten digits, 8 by 8 with 17 greys: embedded there, so nothing is downloaded.

Source: UCI Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998.
"""

import importlib.util
from pathlib import Path

import numpy as np

from rnnlab.data.cache import cached
from rnnlab.data.dataset import Images


def load(data_dir=None) -> Images:
    """Every fifth scan of each digit is the test; the others stand in one fixed shuffled order, a tenth held out."""
    del data_dir  # nothing on disk
    package = importlib.util.find_spec('sklearn')
    assert package is not None  # rnnlab depends on it
    scans = cached(
        'digits', Path(str(package.origin)).parent, decode
    )  # importing it takes a second
    images, labels = scans['images'], scans['labels']
    test = np.sort(np.concatenate([np.flatnonzero(labels == digit)[::5] for digit in range(10)]))
    train = np.random.RandomState(0).permutation(np.setdiff1d(np.arange(len(labels)), test))
    return Images(
        images[train],
        labels[train],
        images[test],
        labels[test],
        brightest=16,
        held_out=len(train) // 10,
    )


def decode() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits

    scans = load_digits()
    return {'images': scans.images.astype(np.uint8), 'labels': scans.target.astype(np.int32)}
