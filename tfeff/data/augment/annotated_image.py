"""An image with its boxes as tensors: the unit that augmentation with boxes works on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import tensorflow as tf

from tfeff.data.augment.policy import MIN_SIDE


class AnnotatedImage(NamedTuple):
    """One image with n objects and m extra boxes.

    Attributes:
        image: float32 [height, width, channels], in [0, 255].
        covered: bool [height, width, 1], False for padding.
        boxes_yxyx: float32 [n, 4], pixels of this image.
        labels: int32 [n].
        difficult: bool [n], also of objects of which augmentation leaves too little to learn.
        crowd: bool [n].
        visible: float32 [n], the share of its original area that each box has kept, in (0, 1].
        extra_boxes_yxyx: float32 [m, 4], boxes without labels, such as proposals, best first.
    """

    image: tf.Tensor
    covered: tf.Tensor
    boxes_yxyx: tf.Tensor
    labels: tf.Tensor
    difficult: tf.Tensor
    crowd: tf.Tensor
    visible: tf.Tensor
    extra_boxes_yxyx: tf.Tensor

    def moved(self, image: tf.Tensor, covered: tf.Tensor, move: Callable[[tf.Tensor], tf.Tensor]) -> Self:
        """Replaces the pixels and moves all boxes by one function: float32 [k, 4] -> float32 [k, 4]."""
        boxes, extra = move(self.boxes_yxyx), move(self.extra_boxes_yxyx)
        return self._replace(image=image, covered=covered, boxes_yxyx=boxes, extra_boxes_yxyx=extra)


def annotated(
    image: tf.Tensor,
    boxes_yxyx: tf.Tensor,
    labels: tf.Tensor,
    difficult: tf.Tensor | None = None,
    crowd: tf.Tensor | None = None,
    extra_boxes_yxyx: tf.Tensor | None = None,
) -> AnnotatedImage:
    """Returns an image as read, without padding, all objects visible. Flags default to False, extra boxes to none."""
    unset = tf.zeros_like(labels, tf.bool)
    pixels = tf.cast(image, tf.float32)
    return AnnotatedImage(
        image=pixels,
        covered=tf.ones_like(pixels[..., :1], tf.bool),
        boxes_yxyx=tf.reshape(tf.cast(boxes_yxyx, tf.float32), (-1, 4)),
        labels=tf.cast(labels, tf.int32),
        difficult=unset if difficult is None else difficult,
        crowd=unset if crowd is None else crowd,
        visible=tf.ones_like(labels, tf.float32),
        extra_boxes_yxyx=tf.zeros((0, 4)) if extra_boxes_yxyx is None else extra_boxes_yxyx,
    )


def joined(pixels: tf.Tensor, covered: tf.Tensor, images: Sequence[AnnotatedImage]) -> AnnotatedImage:
    """Returns the objects of several images in one. Extra boxes are interleaved, so that the best come first.

    Args:
        pixels: float32 [height, width, channels].
        covered: bool [height, width, 1].
        images: their boxes are in pixels of the result.
    """
    _, _, *parts = zip(*images, strict=True)
    together = AnnotatedImage(pixels, covered, *(tf.concat(part, axis=0) for part in parts))
    ranks = tf.concat([tf.range(tf.shape(image.extra_boxes_yxyx)[0]) for image in images], axis=0)
    interleaved = tf.gather(together.extra_boxes_yxyx, tf.argsort(ranks, stable=True))
    return together._replace(extra_boxes_yxyx=interleaved)


def visible_part(image: AnnotatedImage, shown: tf.Tensor, min_share: float) -> AnnotatedImage:
    """Shrinks boxes to what a mask shows of them, and drops those of which too little is left; see `_left`.

    Args:
        image: boxes lie inside the image.
        shown: bool [height, width], the pixels that are visible.
        min_share: objects with a lower `visible` become difficult.
    """
    boxes, share = _shown(image.boxes_yxyx, shown)
    visible = image.visible * share
    extra, left = _shown(image.extra_boxes_yxyx, shown)
    shrunk = image._replace(boxes_yxyx=boxes, visible=visible, extra_boxes_yxyx=extra)
    return _selected(shrunk, _left(shrunk, min_share), left > 0, min_share)


WHOLE = 1 - 1e-3
"""The visible share from which an object is whole: boxes at the border leave the window by rounding errors, in a large
image by some 1e-4 pixels."""


def clipped(image: AnnotatedImage, window_yxyx: tf.Tensor, min_share: float) -> AnnotatedImage:
    """Clips boxes to a window and drops those of which too little is left; see `_left`.

    Args:
        image: boxes may reach beyond the image.
        window_yxyx: float32 [4], in the image's pixels.
        min_share: objects with a lower `visible` become difficult.
    """
    boxes = image.boxes_yxyx
    inside = _clip(boxes, window_yxyx)
    share = tf.math.divide_no_nan(_area(inside), _area(boxes))
    # The share of a whole object is exactly 1, so that a min_share of 1 keeps it.
    visible = image.visible * tf.where(share >= WHOLE, 1.0, share)
    extra = _clip(image.extra_boxes_yxyx, window_yxyx)
    inner = image._replace(boxes_yxyx=inside, visible=visible, extra_boxes_yxyx=extra)
    has_extra = tf.reduce_all(extra[:, 2:] > extra[:, :2], axis=-1)
    return _selected(inner, _left(inner, min_share), has_extra, min_share)


def faded(image: AnnotatedImage, share: tf.Tensor, min_share: float) -> AnnotatedImage:
    """Returns the objects of an image that is blended into another one.

    Args:
        image: the image, whose pixels are left as they are.
        share: float32 scalar, of the image in the blend.
        min_share: objects with a lower `visible` become difficult, and all extra boxes are dropped if the share is
            lower.
    """
    extra = tf.fill(tf.shape(image.extra_boxes_yxyx)[:1], share >= min_share)
    seen = image._replace(visible=image.visible * share)
    return _selected(seen, tf.ones_like(seen.difficult), extra, min_share)


def _selected(image: AnnotatedImage, objects: tf.Tensor, extra: tf.Tensor, min_share: float) -> AnnotatedImage:
    """Returns some of the objects, bool [n], and of the extra boxes, bool [m].

    Those of which less than `min_share` is left become difficult: the network cannot learn them, but what is visible of
    them is no background.
    """
    kept = tf.where(objects)[:, 0]
    return AnnotatedImage(
        image=image.image,
        covered=image.covered,
        boxes_yxyx=tf.gather(image.boxes_yxyx, kept),
        labels=tf.gather(image.labels, kept),
        difficult=tf.gather(image.difficult | (image.visible < min_share), kept),
        crowd=tf.gather(image.crowd, kept),
        visible=tf.gather(image.visible, kept),
        extra_boxes_yxyx=tf.boolean_mask(image.extra_boxes_yxyx, extra),
    )


def _clip(boxes_yxyx: tf.Tensor, window_yxyx: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(boxes_yxyx, tf.tile(window_yxyx[:2], [2]), tf.tile(window_yxyx[2:], [2]))


def _area(boxes_yxyx: tf.Tensor) -> tf.Tensor:
    return (boxes_yxyx[:, 2] - boxes_yxyx[:, 0]) * (boxes_yxyx[:, 3] - boxes_yxyx[:, 1])


def _left(image: AnnotatedImage, min_share: float) -> tf.Tensor:
    """Returns which objects are left: bool [n].

    Objects to learn have sides of at least MIN_SIDE. Of ignored ones any area counts, since it is no background.
    """
    boxes = image.boxes_yxyx
    wide = tf.reduce_all(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE, axis=-1)
    ignored = image.difficult | image.crowd | (image.visible < min_share)
    return wide | (ignored & (_area(boxes) > 0))


def _shown(boxes_yxyx: tf.Tensor, shown: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the boxes around the pixels of each box that a mask shows, and their share of its pixels, float32 [n]."""
    first, end = tf.cast(tf.floor(boxes_yxyx[:, :2]), tf.int32), tf.cast(tf.math.ceil(boxes_yxyx[:, 2:]), tf.int32)
    edges, count = [], tf.zeros_like(boxes_yxyx[:, 0])
    for axis in range(2):
        across = 1 - axis
        lines = tf.cast(tf.transpose(shown) if axis else shown, tf.float32)  # [length, width across]
        sums = tf.pad(tf.cumsum(lines, axis=1), [[0, 0], [1, 0]])
        inside = tf.gather(sums, end[:, across], axis=1) - tf.gather(sums, first[:, across], axis=1)  # [length, n]
        line = tf.range(tf.shape(inside)[0])[:, tf.newaxis]
        inside = tf.where((line >= first[:, axis]) & (line < end[:, axis]), inside, 0.0)
        count, position = tf.reduce_sum(inside, axis=0), tf.cast(line, tf.float32)
        start = tf.reduce_min(tf.where(inside > 0, position, float("inf")), axis=0)
        stop = tf.reduce_max(tf.where(inside > 0, position + 1.0, 0.0), axis=0)
        edges.append((tf.maximum(start, boxes_yxyx[:, axis]), tf.minimum(stop, boxes_yxyx[:, axis + 2])))
    (top, bottom), (left, right) = edges
    pixels = tf.cast(tf.reduce_prod(end - first, axis=1), tf.float32)
    empty = (count == 0)[:, tf.newaxis]
    boxes = tf.where(empty, 0.0, tf.stack([top, left, bottom, right], axis=1))
    return boxes, tf.math.divide_no_nan(count, pixels)
