"""scikit-learn's 1,797 scans of handwritten digits, 8 by 8 with 17 greys: embedded there, so nothing is downloaded.

Source: UCI Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998.
"""

import numpy as np

from rnnlab.data.dataset import Images


def load(data_dir=None) -> Images:
    """Every fifth scan of each digit is the test; the others stand in one fixed shuffled order, a tenth held out."""
    del data_dir  # nothing on disk
    from sklearn.datasets import load_digits

    scans = load_digits()
    images, labels = scans.images.astype(np.uint8), scans.target.astype(np.int32)
    test = np.sort(np.concatenate([np.flatnonzero(labels == digit)[::5] for digit in range(10)]))
    train = np.random.RandomState(0).permutation(np.setdiff1d(np.arange(len(labels)), test))
    return Images(images[train], labels[train], images[test], labels[test], brightest=16, held_out=len(train) // 10)
