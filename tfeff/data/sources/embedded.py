"""Labeled images that come with the installation: scikit-learn's handwritten digits, plain and in clutter."""

import numpy as np

from tfeff.data import folds
from tfeff.data.dataset import Dataset
from tfeff.data.images.storage import PixelArray
from tfeff.data.sources.source import Options, Source
from tfeff.data.splits import ALL
from tfeff.errors import UserError, nearest

NAMES = ("digits", "cluttered_digits")
CANVASES = {"train": 4314, "test": 1077}
"""Cluttered canvases of each split: three per digit."""
_TEST_FRACTION = 0.2
_SPLIT_SEED = 0  # Part of the datasets' definition: results compare only on the same split.


class Embedded(Source):
    """Handwritten digits.

    - `digits`: the 1,797 handwritten digits of the UCI repository, 8x8 gray (Alpaydin and Kaynak 1998), their 17
      levels (0..16) spread over 0..255. The split is stratified and fixed: 1,438 training and 359 test images.
    - `cluttered_digits`: canvases of 32x32 that `cluttered_digits.draw` makes of them, three per digit. No
      digit is used in two splits.

    Args:
        name: one of NAMES.
        options: `channels` applies.

    Raises:
        UserError: an unknown name.
    """

    def __init__(self, name: str, options: Options) -> None:
        if name not in NAMES:
            raise UserError(f'dataset "embedded:{name}": unknown name "{name}"; {nearest(name, NAMES)}')
        super().__init__(f"embedded:{name}", options)
        self._digits = name

    @property
    def splits(self) -> tuple[str, ...]:
        """`train` and `test`."""
        return tuple(CANVASES)

    def _load(self, split: str) -> Dataset:
        parts = [self._part(name) for name in (self.splits if split == ALL else (split,))]
        images = np.concatenate([images for images, _, _ in parts])
        return Dataset(
            name=f"{self.name}/{split}",
            class_names=tuple(str(digit) for digit in range(10)),
            ids=[each for _, _, ids in parts for each in ids],
            images=PixelArray(images, f"{self._digits}/{split}/1"),
            channels=self.options.channels,
            labels=np.concatenate([labels for _, labels, _ in parts]),
            sizes=np.tile(np.array(images.shape[1:3], np.int32), (len(images), 1)),
        )

    def _part(self, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Returns images uint8 [n, height, width, 1], labels and ids of one split."""
        from sklearn.datasets import load_digits  # takes a second to import

        bunch = load_digits()
        halves = folds.holdout(bunch.target, _TEST_FRACTION, _SPLIT_SEED)
        positions = halves.train if split == "train" else halves.validation
        labels = bunch.target[positions]
        if self._digits == "digits":
            images = np.rint(bunch.images[positions, ..., None] * (255 / 16)).astype(np.uint8)
        else:
            import tensorflow as tf

            from tfeff.data.sources import cluttered_digits

            with tf.device("CPU:0"):
                levels = tf.constant(bunch.images[positions] / 16, tf.float32)
                images = cluttered_digits.draw(levels, CANVASES[split], part=self.splits.index(split)).numpy()
            labels = np.resize(labels, CANVASES[split])  # repeats them in the same order
        return images, labels, [f"{split}[{number}]" for number in range(len(labels))]
