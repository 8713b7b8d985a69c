"""Crops of a data set with boxes as a labelled image set: its objects, and background as a class of its own.

What the backbone of a detector by regions learns on (Girshick et al., arXiv:1311.2524, section 2.3): besides each
object itself, boxes that overlap it well, and boxes that overlap none much.
"""

import functools
import hashlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfeff.boxes import iou
from tfeff.data.annotations import AnnotatedSource
from tfeff.data.dataset import Source
from tfeff.data.images import decoding, graph_decoding

BACKGROUND = "background"
"""The last class."""
COPIES = 3
"""Boxes about each object besides its own."""
LEAST_OVERLAP = 0.6
"""Intersection over union of such a box with its object, at least."""
BACKGROUNDS = 3
"""Boxes of background for each object of an image; an image without objects gets as many as one with one."""
MOST_OVERLAP = 0.3
"""Intersection over union of background with any object, at most."""
_LEAST_SIDE = 0.04
"""Of a box of background, as a share of the image's longest side."""
_ATTEMPTS = 50
_DECODED = 16
"""Images that wait decoded: crops of one image follow each other."""


def load(
    images: AnnotatedSource,
    *,
    channels: int = 3,
    context: float = 0.0,
    copies: int = COPIES,
    backgrounds: int = BACKGROUNDS,
    seed: int = 0,
) -> Source:
    """Crops of every image, one image after the other. Objects marked difficult or crowd are
    neither object nor background.

    Args:
        images: with objects.
        channels: 3 for RGB, 1 for gray.
        context: what is shown around a box on each side, a share of that side; outside of the image, its mean colour.
        copies: boxes about each object besides its own, drawn by the seed.
        backgrounds: boxes of background for each object; 0 leaves that class out.
        seed: of what is drawn; another image's objects change nothing of one's boxes.
    """
    owners, boxes, labels = list[int](), list[np.ndarray](), list[int]()
    for index, objects in enumerate(images.objects):
        size = decoding.encoded_size(images.encoded(index), images.ids[index])
        rng = np.random.Generator(np.random.Philox(key=[seed, index]))
        plain = ~(objects.difficult | objects.crowd)
        for box, label in zip(objects.boxes_yxyx[plain], objects.labels[plain], strict=True):
            around = [box, *_around(box, size, copies, rng)]
            boxes += around
            labels += [int(label)] * len(around)
            owners += [index] * len(around)
        elsewhere = list(_elsewhere(objects.boxes_yxyx, size, backgrounds * max(1, int(plain.sum())), rng))
        boxes += elsewhere
        labels += [len(images.class_names)] * len(elsewhere)
        owners += [index] * len(elsewhere)
    return cut_out(
        images,
        np.array(owners, np.int32),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int32),
        class_names=(*images.class_names, BACKGROUND) if backgrounds else images.class_names,
        channels=channels,
        context=context,
    )


def cut_out(
    images: AnnotatedSource,
    owners: np.ndarray,
    boxes_yxyx: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: tuple[str, ...],
    channels: int = 3,
    context: float = 0.0,
) -> Source:
    """Boxes of some images as a labelled image set, in their order.

    Args:
        images: what they are cut out of; best one after the other, since the last few wait decoded.
        owners: int [n], of which image each box is.
        boxes_yxyx: float32 [n, 4].
        labels: int [n].
        class_names: what the labels mean.
        channels: 3 for RGB, 1 for gray.
        context: what is shown around a box on each side, a share of that side; outside of the image, its mean colour.
    """
    corners = boxes_yxyx

    @functools.lru_cache(maxsize=_DECODED)
    def decoded(index: int) -> np.ndarray:
        return decoding.decode(images.encoded(index), images.ids[index])

    def cut(number: np.ndarray) -> np.ndarray:
        return _shown(decoded(owners[int(number)]), corners[int(number)], context)

    def read(number: tf.Tensor) -> tf.Tensor:
        pixels = tf.ensure_shape(tf.numpy_function(cut, [number], tf.uint8), (None, None, 3))
        return pixels if channels == 3 else graph_decoding.luma(pixels)

    return Source(
        name=f"crops:{images.name}",
        class_names=class_names,
        labels=labels,
        ids=[f"{images.ids[owner]} {_place(box)}" for owner, box in zip(owners, corners, strict=True)],
        channels=channels,
        read=read,
        fingerprint=_fingerprint(images, corners, (channels, context)),
    )


def _around(box: np.ndarray, size: tuple[int, int], count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Boxes that overlap one by LEAST_OVERLAP or more."""
    sides = np.tile(box[2:] - box[:2], 2)
    limits = np.array([*size, *size], np.float32)
    for _ in range(count):
        moved = box + sides * rng.uniform(-0.25, 0.25, (_ATTEMPTS, 4))
        moved = np.clip(moved, 0, limits).astype(np.float32)
        near = np.flatnonzero(iou(moved, box[None])[:, 0] >= LEAST_OVERLAP)
        yield moved[near[0]] if len(near) else box


def _elsewhere(
    objects: np.ndarray, size: tuple[int, int], count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Boxes that overlap no object by more than MOST_OVERLAP; fewer than `count` where there is no room."""
    drawn = np.zeros((count * _ATTEMPTS, 4))
    for axis in range(2):
        sides = np.minimum(max(size) * _LEAST_SIDE ** rng.uniform(0, 1, len(drawn)), size[axis])
        drawn[:, axis] = rng.uniform(0, 1, len(drawn)) * (size[axis] - sides)
        drawn[:, axis + 2] = drawn[:, axis] + sides
    best = iou(drawn, objects).max(axis=1, initial=0.0)
    yield from drawn[best <= MOST_OVERLAP][:count].astype(np.float32)


def _shown(pixels: np.ndarray, box: np.ndarray, context: float) -> np.ndarray:
    """A box and what is around it in whole pixels, at least one each way."""
    size = np.array(pixels.shape[:2])
    margin = context * (box[2:] - box[:2])
    low = np.minimum(np.floor(box[:2] - margin + 0.5), size - 1).astype(int)
    high = np.maximum(np.floor(box[2:] + margin + 0.5), low + 1).astype(int)
    (top, left), (bottom, right) = np.maximum(low, 0), np.minimum(high, size)
    inside = pixels[top:bottom, left:right]
    if (low >= 0).all() and (high <= size).all():
        return np.ascontiguousarray(inside)
    shown = np.empty((*(high - low), 3), np.uint8)
    shown[:] = np.rint(pixels.mean(axis=(0, 1)))
    shown[top - low[0] : bottom - low[0], left - low[1] : right - low[1]] = inside
    return shown


def _place(box: np.ndarray) -> str:
    return f"[{', '.join(f'{side:.0f}' for side in box)}]"


def _fingerprint(images: AnnotatedSource, boxes: np.ndarray, settings: tuple[float, ...]) -> str:
    made = hashlib.blake2b(boxes.tobytes() + repr(settings).encode(), digest_size=16)
    for index, name in enumerate(images.ids):
        made.update(name.encode(errors="surrogateescape"))
        made.update(hashlib.blake2b(images.encoded(index), digest_size=16).digest())
    return made.hexdigest()
