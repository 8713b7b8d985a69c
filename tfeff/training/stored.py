"""Tensors that are computed once for all images, in some augmented variants of each, instead of in every step."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

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
) -> Arrays:
    """Returns what is computed of each batch, by name, [n, ...] each; with the rows of padding.

    Args:
        batches: batches with `weight`, which is 0 for padding.
        compute: a batch -> tensors [b, ...] by name.
        advance: called with the number of images of each batch, when they are done.
    """
    found: dict[str, list[npt.NDArray[np.generic]]] = {}
    for batch in batches:
        for key, value in compute(batch).items():
            found.setdefault(key, []).append(value.numpy())
        advance(int(np.count_nonzero(batch["weight"])))
    return {key: np.concatenate(values) for key, values in found.items()}


def of_variants(variants: int, count: int, compute: Callable[[int], Arrays]) -> Batch:
    """Returns the tensors of all variants, one after the other: row v * count + i is that of variant v of image i.

    Args:
        variants: number of variants of each image.
        count: number of images.
        compute: variant -> its arrays by name, at least `count` rows each.
    """
    arrays: Arrays = {}
    for variant in range(variants):
        for key, value in compute(variant).items():
            if key not in arrays:
                arrays[key] = np.empty((variants * count, *value.shape[1:]), value.dtype)
            arrays[key][variant * count : (variant + 1) * count] = value[:count]
    with tf.device("CPU:0"):
        return {key: tf.constant(arrays.pop(key)) for key in list(arrays)}


def _bytes(batch: Batch) -> int:
    return sum(int(np.prod(value.shape)) * value.dtype.size for value in batch.values())
