"""An image and its objects as tensors: what augmentation for detection takes and gives."""

from typing import NamedTuple

import tensorflow as tf

_LEAST_SIDE = 1.0  # pixels; of what is thinner there is nothing to see


class AnnotatedImage(NamedTuple):
    """One image with n objects.

    Attributes:
        image: float32 [height, width, channels], in [0, 255].
        boxes_yxyx: float32 [n, 4], pixels of this image.
        labels: int32 [n].
        difficult: bool [n].
        crowd: bool [n].
        visible: float32 [n]; how much of its area each box has kept, in (0, 1], since the image was read.
    """

    image: tf.Tensor
    boxes_yxyx: tf.Tensor
    labels: tf.Tensor
    difficult: tf.Tensor
    crowd: tf.Tensor
    visible: tf.Tensor


def annotated(
    image: tf.Tensor,
    boxes_yxyx: tf.Tensor,
    labels: tf.Tensor,
    difficult: tf.Tensor | None = None,
    crowd: tf.Tensor | None = None,
) -> AnnotatedImage:
    """An image as it was read: every object wholly visible; flags are False where none are given."""
    none = tf.zeros_like(labels, tf.bool)
    return AnnotatedImage(
        image=tf.cast(image, tf.float32),
        boxes_yxyx=tf.reshape(tf.cast(boxes_yxyx, tf.float32), (-1, 4)),
        labels=tf.cast(labels, tf.int32),
        difficult=none if difficult is None else difficult,
        crowd=none if crowd is None else crowd,
        visible=tf.ones_like(labels, tf.float32),
    )


def clipped(image: AnnotatedImage, window_yxyx: tf.Tensor, min_share: float) -> AnnotatedImage:
    """The objects as far as they lie in a window; those of which too little is left are dropped.

    Args:
        image: Boxes may reach beyond the image.
        window_yxyx: float32 [4], in the image's pixels.
        min_share: Least `visible` of what is kept.
    """
    boxes = image.boxes_yxyx
    inside = tf.clip_by_value(boxes, tf.tile(window_yxyx[:2], [2]), tf.tile(window_yxyx[2:], [2]))
    sides = inside[:, 2:] - inside[:, :2]
    visible = image.visible * tf.math.divide_no_nan(_area(inside), _area(boxes))
    # A box that nothing was cut off has a share of exactly 1, so that a least share of 1 keeps whole objects.
    kept = (visible >= min_share) & tf.reduce_all(sides >= _LEAST_SIDE, axis=-1)
    return AnnotatedImage(
        image=image.image,
        boxes_yxyx=tf.boolean_mask(inside, kept),
        labels=tf.boolean_mask(image.labels, kept),
        difficult=tf.boolean_mask(image.difficult, kept),
        crowd=tf.boolean_mask(image.crowd, kept),
        visible=tf.boolean_mask(visible, kept),
    )


def _area(boxes_yxyx: tf.Tensor) -> tf.Tensor:
    return (boxes_yxyx[:, 2] - boxes_yxyx[:, 0]) * (boxes_yxyx[:, 3] - boxes_yxyx[:, 1])
