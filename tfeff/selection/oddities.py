"""Oddities of a run's images, found before it trains: copies in other parts or with different labels, black images."""

from collections.abc import Mapping

import tensorflow as tf

from tfeff.data.dataset import Dataset, evenly_spaced
from tfeff.data.images.decoding import DARK, DARK_ADVICE
from tfeff.data.names import listed

_SAMPLED = 64
"""Images that are decoded to see how bright they are."""


def notes(train: Dataset, others: Mapping[str, Dataset]) -> tuple[str, ...]:
    """Returns what the user should know, one line each.

    Args:
        train: the images to train on, or their tiles.
        others: the images to validate and to test on, by role.
    """
    train, others = train.uncut, {role: images.uncut for role, images in others.items()}
    known = _Known(train)
    return (*_contradictions(train, known), *_copies(train, others, known), *_darkness(train))


class _Known:
    """The training images by the bytes of their files. Files are read only if their length and their end are equal."""

    def __init__(self, train: Dataset) -> None:
        self._train, self._digests = train, dict[bytes, dict[bytes, list[int]]]()
        self.places = dict[bytes, list[int]]()
        for index in range(len(train)):
            outline = _outline(train, index)
            if outline is not None:
                self.places.setdefault(outline, []).append(index)

    def alike(self, outline: bytes) -> dict[bytes, list[int]]:
        """Returns digest -> training images, among those of an outline."""
        if outline not in self._digests:
            found = self._digests[outline] = dict[bytes, list[int]]()
            for place in self.places.get(outline, ()):
                found.setdefault(_digest(self._train, place), []).append(place)
            found.pop(b"", None)
        return self._digests[outline]


def _contradictions(train: Dataset, known: _Known) -> list[str]:
    """Returns the training images with equal bytes and different labels."""
    if not train.has_labels or train.cropped is not None:
        return []
    pairs, count = list[str](), 0
    for outline, places in known.places.items():
        if len(set(train.labels[places].tolist())) < 2:
            continue
        for same in known.alike(outline).values():
            other = next((place for place in same if train.labels[place] != train.labels[same[0]]), None)
            if other is not None:
                count += len(same)
                pairs.append(" and ".join(f"{train.ids[each]} ({_label(train, each)})" for each in (same[0], other)))
    if not pairs:
        return []
    return [
        f"{count:,} training images have different labels, but are the same byte by byte: {listed(pairs)}; keep each "
        "image under one label"
    ]


def _copies(train: Dataset, others: Mapping[str, Dataset], known: _Known) -> list[str]:
    """Finds the images that have the bytes of a training image."""
    found = list[str]()
    for role, images in others.items():
        pairs, differing = list[str](), 0
        for index, name in enumerate(images.ids):
            outline = _outline(images, index) if known.places else None
            alike = {} if outline is None else known.alike(outline)
            same = alike.get(_digest(images, index), ()) if alike else ()
            if same:
                pairs.append(f"{name} = {train.ids[same[0]]}")
                if train.has_labels and images.has_labels:
                    differing += _label(images, index) not in {_label(train, place) for place in same}
        if pairs:
            labels = f", {differing:,} of them with another label" if differing else ""
            found.append(
                f"{len(pairs):,} of {len(images):,} {role} images are copies of training images, byte by byte{labels} "
                f"({listed(pairs)}); remove them from either: results on known images say nothing about new ones"
            )
    return found


def _label(images: Dataset, index: int) -> str:
    return images.class_names[images.labels[index]]


def _outline(images: Dataset, index: int) -> bytes | None:
    try:
        return images.images.outline(index)
    except OSError:  # it has been deleted since it was decoded; whatever reads it next says so
        return None


def _digest(images: Dataset, index: int) -> bytes:
    try:
        return images.images.digest(index)
    except OSError:
        return b""


def _darkness(train: Dataset) -> list[str]:
    """Returns whether all of some evenly spaced images are nearly black."""
    brightest = None
    for index in evenly_spaced(len(train), _SAMPLED).tolist():
        try:
            image = train.read(tf.constant(index, tf.int64))
        except (OSError, tf.errors.OpError):  # as in `_outline`
            continue
        brightest = max(brightest or 0, int(tf.reduce_max(image)))
        if brightest >= DARK:
            return []
    if brightest is None:
        return []
    return [
        f"{train.name}: images are nearly black: the brightest of their pixels is {brightest} of 255; {DARK_ADVICE}"
    ]
