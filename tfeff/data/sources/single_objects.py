"""A data set with boxes as images of one object each: what localisation learns on."""

import hashlib

import numpy as np
import tensorflow as tf

from tfeff.boxes import area, relative_from_yxyx
from tfeff.data.annotations import AnnotatedSource
from tfeff.data.dataset import Source
from tfeff.data.images import decoding, graph_decoding
from tfeff.errors import UserError


def load(images: AnnotatedSource, *, channels: int = 3) -> Source:
    """Every image with its object: label and box.

    Of several objects the largest is taken, the first where they are equal. Objects marked difficult or crowd do not
    count. Images without an object are left out. The source's `notes` say how many images either concerns.

    Args:
        images: with objects.
        channels: 3 for RGB, 1 for gray.

    Raises:
        UserError: no image has an object, or one cannot be read.
    """
    kept, labels, boxes, sizes = list[int](), list[int](), list[np.ndarray](), list[tuple[int, int]]()
    made = hashlib.blake2b(bytes([channels]), digest_size=16)
    several = 0
    for index, objects in enumerate(images.objects):
        plain = np.flatnonzero(~(objects.difficult | objects.crowd))
        if not len(plain):
            continue
        several += len(plain) > 1
        largest = plain[area(objects.boxes_yxyx[plain]).argmax()]
        encoded = images.encoded(index)
        size = decoding.encoded_size(encoded, images.ids[index])
        kept.append(index)
        labels.append(int(objects.labels[largest]))
        boxes.append(relative_from_yxyx(objects.boxes_yxyx[largest], size))
        sizes.append(size)
        made.update(images.ids[index].encode(errors="surrogateescape"))
        made.update(hashlib.blake2b(encoded, digest_size=16).digest())
    if not kept:
        raise UserError(f"{images.name}: none of its {len(images)} images has an object to localise")
    corners = np.clip(np.stack(boxes), 0.0, 1.0).astype(np.float32)
    made.update(corners.tobytes())

    def encoded_file(position: np.ndarray) -> bytes:
        return images.encoded(kept[int(position)])

    def read(position: tf.Tensor) -> tf.Tensor:
        return graph_decoding.decode(tf.numpy_function(encoded_file, [position], tf.string), channels)

    return Source(
        name=f"objects:{images.name}",
        class_names=images.class_names,
        labels=np.array(labels, np.int32),
        ids=[images.ids[index] for index in kept],
        channels=channels,
        read=read,
        fingerprint=made.hexdigest(),
        size=sizes[0] if len(set(sizes)) == 1 else None,
        boxes_rel_yxyx=corners,
        notes=_notes(images, len(images) - len(kept), several),
    )


def _notes(images: AnnotatedSource, empty: int, several: int) -> tuple[str, ...]:
    notes = []
    if empty:
        notes.append(f"{images.name}: left out {empty} of {len(images)} images, which have no object")
    if several:
        notes.append(f"{images.name}: {several} of {len(images)} images have several objects; the largest is taken")
    if images.report.counts:
        notes.append(f"{images.name}: annotations mended or left out:\n{images.report.text()}")
    return tuple(notes)
