"""What is odd about the images of a run, cheaply found before it trains: known images in other parts, black images."""

from collections.abc import Mapping

import tensorflow as tf

from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.data.images.decoding import DARK, DARK_ADVICE
from tfeff.data.names import listed

_SAMPLED = 64
"""Images that are decoded to see how bright they are."""


def notes(train: Dataset, others: Mapping[str, Dataset]) -> tuple[str, ...]:
    """What the user should know, one line each.

    Args:
        train: the images to train on.
        others: those to validate and to test on, by role.
    """
    return (*_copies(train, others), *_darkness(train))


def _copies(train: Dataset, others: Mapping[str, Dataset]) -> list[str]:
    """Which images have the bytes of a training image. Files are read only if their length and their end are equal."""
    known, found = dict[bytes, list[int]](), list[str]()
    for index in range(len(train)):
        outline = _outline(train, index)
        if outline is not None:
            known.setdefault(outline, []).append(index)
    for role, images in others.items():
        pairs = list[str]()
        for index, name in enumerate(images.ids):
            outline = _outline(images, index) if known else None
            candidates = known.get(outline, []) if outline is not None else []
            digests = {train.images.digest(place): place for place in reversed(candidates)}
            if candidates and (place := digests.get(images.images.digest(index))) is not None:
                pairs.append(f"{name} = {train.ids[place]}")
        if pairs:
            found.append(
                f"{len(pairs):,} of {len(images):,} {role} images are copies of training images, byte by byte "
                f"({listed(pairs)}); remove them from either: results on known images say nothing about new ones"
            )
    return found


def _outline(images: Dataset, index: int) -> bytes | None:
    try:
        return images.images.outline(index)
    except OSError:  # it has been deleted since it was decoded; whatever reads it next says so
        return None


def _darkness(train: Dataset) -> list[str]:
    """Whether all of some evenly spaced images are nearly black."""
    brightest = 0
    for index in evenly_spaced(len(train), _SAMPLED).tolist():
        brightest = max(brightest, int(tf.reduce_max(train.read(tf.constant(index, tf.int64)))))
        if brightest >= DARK:
            return []
    return [
        f"{train.name}: images are nearly black: the brightest of their pixels is {brightest} of 255; {DARK_ADVICE}"
    ]
