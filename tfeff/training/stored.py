"""Tensors that are computed once for all images, in some augmented variants of each, instead of in every step."""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff.data.images import pixels
from tfeff.data.input.batches import Batches
from tfeff.errors import UserError
from tfeff.models.fingerprint import fingerprint as of_network
from tfeff.tasks.task import Batch

LIMIT = 8 << 30
"""Bytes that may be stored."""
Arrays = dict[str, npt.NDArray[np.generic]]


class FeatureCache:
    """Features and targets of teachers that several runs in this process share, such as the trials of a sweep.

    Args:
        size: bytes to keep; what was least recently used is dropped.
    """

    def __init__(self, size: int = LIMIT) -> None:
        self._size = size
        self._stored: OrderedDict[str, Batch] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._stored

    def get(self, key: str, size: int, compute: Callable[[], Batch]) -> Batch:
        """Returns what is stored under a key, or what `compute` returns, which is then stored.

        Args:
            key: what the tensors depend on.
            size: their bytes, for which there is room before they are computed.
            compute: computes the tensors.
        """
        if key not in self._stored:
            while self._stored and sum(map(_bytes, self._stored.values())) + size > self._size:
                self._stored.popitem(last=False)
            self._stored[key] = compute()
        self._stored.move_to_end(key)
        return self._stored[key]


def fingerprint(networks: Sequence[keras.Model], batches: Batches, *others: object) -> str:
    """Returns everything that the tensors of all images depend on, as a hash.

    Args:
        networks: compute them, in inference mode.
        batches: the images, whose labels are stored with the tensors.
        others: what else they depend on, such as the augmentation.
    """
    dataset = batches.images.dataset
    parts = [
        [of_network(each) for each in networks],
        *others,
        batches.transform.form,
        dataset.fingerprint,
        dataset.ids,
        dataset.labels.tolist(),
        dataset.class_names,
        batches.images.form,
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def check_size(key: str, what: str, images: Mapping[str, tuple[int, int]], *, size: int, remedy: str = "") -> None:
    """Checks that the tensors of all images can be stored.

    Args:
        key: the config key that asks for variants.
        what: what is stored, in the plural.
        images: name of each dataset -> number of images, variants of each.
        size: bytes of one variant of an image.
        remedy: what else helps, besides fewer variants.

    Raises:
        UserError: they are larger than LIMIT.
    """
    total = size * sum(count * variants for count, variants in images.values())
    if total > LIMIT:
        listed = (f"{name} ({count:,} images, {variants} of each)" for name, (count, variants) in images.items())
        lower = "lower it" if any(variants > 1 for _, variants in images.values()) else "set it to none"
        raise UserError(
            f"config: {key}: {total / 2**30:.1f} GiB of {what} of {' and '.join(listed)} are more than "
            f"{LIMIT >> 30} GiB; {lower}{remedy}"
        )


def computed(
    batches: tf.data.Dataset, compute: Callable[[Batch], Mapping[str, tf.Tensor]], advance: Callable[[int], None]
) -> Iterator[Arrays]:
    """Yields what is computed of each batch, by name, [b, ...] each; with the rows of padding.

    Args:
        batches: batches with `weight`, which is 0 for padding.
        compute: a batch -> tensors [b, ...] by name.
        advance: called with the number of images of each batch, when they are done.
    """
    for batch in batches:
        yield {key: value.numpy() for key, value in compute(batch).items()}
        advance(int(np.count_nonzero(batch["weight"])))


def of_variants(variants: int, count: int, compute: Callable[[int], Iterable[Arrays]]) -> Arrays:
    """Returns the rows of all variants, one after the other: row v * count + i is that of variant v of image i.

    Args:
        variants: number of variants of each image.
        count: number of images.
        compute: variant -> its arrays by name, in parts with at least `count` rows in all.
    """
    arrays: Arrays = {}
    for variant in range(variants):
        start, end = variant * count, (variant + 1) * count
        for part in compute(variant):
            for key, value in part.items():
                if key not in arrays:
                    shape = variants * count, *value.shape[1:]
                    memory = pixels.allocate(math.prod(shape) * value.itemsize)
                    arrays[key] = memory.view(value.dtype).reshape(shape)
                rows = arrays[key][start:end]
                rows[: len(value)] = value[: len(rows)]
            start += len(next(iter(part.values())))
    return arrays


def tensors(arrays: Arrays) -> Batch:
    """Returns tensors that read the memory of the arrays, if `of_variants` made them, and otherwise copies."""
    return {key: pixels.shared(pixels.aligned(array)) for key, array in arrays.items()}


def _bytes(batch: Batch) -> int:
    return sum(int(np.prod(value.shape)) * value.dtype.size for value in batch.values())
