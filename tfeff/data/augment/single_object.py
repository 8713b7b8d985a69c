"""All variations of a batch of training images with one object each."""

import tensorflow as tf

from tfeff.data.augment.annotated_image import annotated
from tfeff.data.augment.box_policy import BoxAugmentation
from tfeff.data.augment.boxes import augment as augment_with_boxes
from tfeff.data.augment.counter_rng import Draws
from tfeff.data.images import resizing


def augment(
    images: tf.Tensor, boxes_rel_yxyx: tf.Tensor, size: tuple[int, int], augmentation: BoxAugmentation, draws: Draws
) -> tuple[tf.Tensor, tf.Tensor]:
    """Varies each image with its box by numbers of its own, at the network's resolution.

    An image whose object would get lost (less of it left than `augmentation.min_share`) comes as it is.

    Args:
        images: uint8 [n, height, width, channels], height and width known.
        boxes_rel_yxyx: float32 [n, 4], of the images' objects, in shares of their sides.
        size: (height, width) of what comes out.
        augmentation: What to vary. Mosaic, which makes images of several objects, is not for these.
        draws: The examples, for their random numbers.

    Returns:
        float32 [n, *size, channels] in [0, 255], and float32 [n, 4] in shares of the sides.
    """
    images = resizing.resize(images, size)
    if not augmentation.any:
        return images, boxes_rel_yxyx
    sides = tf.constant([*size, *size], tf.float32)

    def one(example: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        image, box, index, repeat = example
        plain = annotated(image, box[tf.newaxis] * sides, tf.zeros(1, tf.int32))
        own = Draws(draws.seed, draws.epoch, index[tf.newaxis], repeat[tf.newaxis])
        varied = augment_with_boxes(lambda _: plain, 1, size, augmentation, own)
        kept = tf.shape(varied.boxes_yxyx)[0] > 0
        boxes = tf.concat([varied.boxes_yxyx, plain.boxes_yxyx], axis=0)
        return tf.where(kept, varied.image, plain.image), boxes[0] / sides

    signature = tf.TensorSpec(images.shape[1:], tf.float32), tf.TensorSpec((4,), tf.float32)
    examples = images, boxes_rel_yxyx, draws.index, draws.repeat
    varied, boxes = tf.map_fn(one, examples, fn_output_signature=signature)
    return varied, boxes
