"""Data that comes with the installation: scikit-learn's handwritten digits."""

import numpy as np
import tensorflow as tf

from tfeff.data import splits
from tfeff.data.source import Source

NAMES = ("digits",)
SPLITS = ("train", "test")
_TEST_FRACTION = 0.2
_SPLIT_SEED = 0  # Part of the data set's definition: results compare only on the same split.


def digits(split: str, channels: int) -> Source:
    """The 1,797 handwritten digits of the UCI repository, 8x8 gray (Alpaydin and Kaynak 1998).

    Their 17 levels (0..16) are spread over 0..255. The split is stratified and always the same: 1,438 images to train
    on and 359 to test on.

    Args:
        split: `train` or `test`.
        channels: 1, or 3 to repeat the gray channel.
    """
    from sklearn.datasets import load_digits  # Slow to import.

    bunch = load_digits()
    parts = splits.holdout(bunch.target, _TEST_FRACTION, _SPLIT_SEED)
    positions = parts.train if split == "train" else parts.validation
    levels = np.rint(bunch.images[positions] * (255 / 16)).astype(np.uint8)
    with tf.device("CPU:0"):
        images = tf.constant(np.repeat(levels[..., None], channels, axis=-1))
    return Source(
        name=f"embedded:digits/{split}",
        class_names=tuple(str(digit) for digit in bunch.target_names),
        labels=bunch.target[positions],
        ids=[f"{split}[{i}]" for i in range(len(positions))],
        channels=channels,
        read=lambda i: images[i],
        fingerprint=f"digits/{split}/1",
        size=(8, 8),
    )
