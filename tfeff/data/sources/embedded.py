"""Data that comes with the installation: scikit-learn's handwritten digits, plain and in clutter."""

import numpy as np
import tensorflow as tf

from tfeff.data import folds
from tfeff.data.dataset import Source
from tfeff.data.sources import cluttered_digits

NAMES = ("digits", "cluttered_digits")
SPLITS = ("train", "test")
CANVASES = {"train": 4314, "test": 1077}
"""Cluttered canvases of each split: three a digit."""
_TEST_FRACTION = 0.2
_SPLIT_SEED = 0  # Part of the data sets' definition: results compare only on the same split.


def load(name: str, split: str, channels: int) -> Source:
    """The images of one split.

    - `digits`: the 1,797 handwritten digits of the UCI repository, 8x8 gray (Alpaydin and Kaynak 1998), their 17
      levels (0..16) spread over 0..255. The split is stratified and always the same: 1,438 to train on and 359 to test
      on.
    - `cluttered_digits`: `cluttered_digits` drawn of them, 32x32 gray: three canvases of each digit, those of a split
      from its own digits alone.

    Args:
        name: One of NAMES.
        split: `train` or `test`.
        channels: 1, or 3 to repeat the gray channel.
    """
    from sklearn.datasets import load_digits  # Slow to import.

    bunch = load_digits()
    parts = folds.holdout(bunch.target, _TEST_FRACTION, _SPLIT_SEED)
    positions = parts.train if split == "train" else parts.validation
    labels = bunch.target[positions]
    with tf.device("CPU:0"):
        if name == "digits":
            images = tf.constant(np.rint(bunch.images[positions, ..., None] * (255 / 16)), tf.uint8)
        else:
            levels = tf.constant(bunch.images[positions] / 16, tf.float32)
            images = cluttered_digits.draw(levels, CANVASES[split], part=SPLITS.index(split))
            labels = np.resize(labels, CANVASES[split])  # As often as need be, in the same order.
        images = tf.repeat(images, channels, axis=-1)
    return Source(
        name=f"embedded:{name}/{split}",
        class_names=tuple(str(digit) for digit in bunch.target_names),
        labels=labels,
        ids=[f"{split}[{i}]" for i in range(len(labels))],
        channels=channels,
        read=lambda i: images[i],
        fingerprint=f"{name}/{split}/1",
        size=(int(images.shape[1]), int(images.shape[2])),
    )
