"""Augmentation of a batch of images with one object each."""

import tensorflow as tf

from tfeff.data.augment.annotated_image import annotated
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.boxes import augment as augment_with_boxes
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.images import resizing


def augment(
    images: tf.Tensor, boxes_rel_yxyx: tf.Tensor, size: tuple[int, int], augmentation: BoxAugmentation, draws: Draws
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes a batch to the network's resolution, then augments each image with its box.

    If an image would lose its object (less than `augmentation.min_share` of it is left), it stays unaugmented.

    Args:
        images: uint8 [n, height, width, channels], height and width known.
        boxes_rel_yxyx: float32 [n, 4], relative to height and width.
        size: (height, width) of the result.
        augmentation: the settings, without Mosaic, which yields several objects per image.
        draws: the examples.

    Returns:
        float32 [n, *size, channels] in [0, 255], and float32 [n, 4] relative to height and width.
    """
    images = resizing.resize(images, size)
    if not augmentation.any:
        return images, boxes_rel_yxyx
    sides = tf.constant([*size, *size], tf.float32)

    def one(example: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        image, box, index, repeat = example
        original = annotated(image, box[tf.newaxis] * sides, tf.zeros(1, tf.int32))
        example_draws = Draws(draws.seed, draws.epoch, index[tf.newaxis], repeat[tf.newaxis])
        varied = augment_with_boxes(lambda _: original, 1, size, augmentation, example_draws)
        kept = tf.shape(varied.boxes_yxyx)[0] > 0
        boxes = tf.concat([varied.boxes_yxyx, original.boxes_yxyx], axis=0)
        return tf.where(kept, varied.image, original.image), boxes[0] / sides

    signature = tf.TensorSpec(images.shape[1:], tf.float32), tf.TensorSpec((4,), tf.float32)
    examples = images, boxes_rel_yxyx, draws.index, draws.repeat
    varied, boxes = tf.map_fn(one, examples, fn_output_signature=signature)
    return varied, boxes
