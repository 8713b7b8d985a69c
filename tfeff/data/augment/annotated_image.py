"""An image with its boxes as tensors: the unit that augmentation with boxes works on."""

from collections.abc import Callable
from typing import NamedTuple, Self

import tensorflow as tf

_MIN_SIDE = 1.0  # pixels; a thinner object counts as invisible


class AnnotatedImage(NamedTuple):
    """One image with n objects and m extra boxes.

    Attributes:
        image: float32 [height, width, channels], in [0, 255].
        boxes_yxyx: float32 [n, 4], pixels of this image.
        labels: int32 [n].
        difficult: bool [n].
        crowd: bool [n].
        visible: float32 [n], the share of its original area that each box has kept, in (0, 1].
        extra_boxes_yxyx: float32 [m, 4], boxes without labels, such as proposals, best first.
    """

    image: tf.Tensor
    boxes_yxyx: tf.Tensor
    labels: tf.Tensor
    difficult: tf.Tensor
    crowd: tf.Tensor
    visible: tf.Tensor
    extra_boxes_yxyx: tf.Tensor

    def moved(self, image: tf.Tensor, move: Callable[[tf.Tensor], tf.Tensor]) -> Self:
        """Replaces the pixels and moves all boxes by one function: float32 [k, 4] -> float32 [k, 4]."""
        return self._replace(
            image=image, boxes_yxyx=move(self.boxes_yxyx), extra_boxes_yxyx=move(self.extra_boxes_yxyx)
        )


def annotated(
    image: tf.Tensor,
    boxes_yxyx: tf.Tensor,
    labels: tf.Tensor,
    difficult: tf.Tensor | None = None,
    crowd: tf.Tensor | None = None,
    extra_boxes_yxyx: tf.Tensor | None = None,
) -> AnnotatedImage:
    """Returns an image as read: objects are fully visible. Flags default to False, extra boxes to none."""
    unset = tf.zeros_like(labels, tf.bool)
    return AnnotatedImage(
        image=tf.cast(image, tf.float32),
        boxes_yxyx=tf.reshape(tf.cast(boxes_yxyx, tf.float32), (-1, 4)),
        labels=tf.cast(labels, tf.int32),
        difficult=unset if difficult is None else difficult,
        crowd=unset if crowd is None else crowd,
        visible=tf.ones_like(labels, tf.float32),
        extra_boxes_yxyx=tf.zeros((0, 4)) if extra_boxes_yxyx is None else extra_boxes_yxyx,
    )


def clipped(image: AnnotatedImage, window_yxyx: tf.Tensor, min_share: float) -> AnnotatedImage:
    """Clips boxes to a window and drops objects whose visible share is too small.

    An extra box is dropped only if nothing is left of it.

    Args:
        image: boxes may reach beyond the image.
        window_yxyx: float32 [4], in the image's pixels.
        min_share: objects with a lower `visible` are dropped.
    """
    boxes = image.boxes_yxyx
    inside = _clip(boxes, window_yxyx)
    sides = inside[:, 2:] - inside[:, :2]
    visible = image.visible * tf.math.divide_no_nan(_area(inside), _area(boxes))
    # The ratio of an uncut box is exactly 1, so that a min_share of 1 keeps whole objects.
    kept = tf.where((visible >= min_share) & tf.reduce_all(sides >= _MIN_SIDE, axis=-1))[:, 0]
    extra = _clip(image.extra_boxes_yxyx, window_yxyx)
    return AnnotatedImage(
        image=image.image,
        boxes_yxyx=tf.gather(inside, kept),
        labels=tf.gather(image.labels, kept),
        difficult=tf.gather(image.difficult, kept),
        crowd=tf.gather(image.crowd, kept),
        visible=tf.gather(visible, kept),
        extra_boxes_yxyx=tf.boolean_mask(extra, tf.reduce_all(extra[:, 2:] > extra[:, :2], axis=-1)),
    )


def _clip(boxes_yxyx: tf.Tensor, window_yxyx: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(boxes_yxyx, tf.tile(window_yxyx[:2], [2]), tf.tile(window_yxyx[2:], [2]))


def _area(boxes_yxyx: tf.Tensor) -> tf.Tensor:
    return (boxes_yxyx[:, 2] - boxes_yxyx[:, 0]) * (boxes_yxyx[:, 3] - boxes_yxyx[:, 1])
