"""Class activation maps: where in an image a network sees the class that it predicts."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff.networks.heads import CLASSIFIER, POOL
from tfeff.reporting.class_activation import heat_overlay
from tfeff.reports.evaluator import Picture


def explained(
    network: keras.Model, images: npt.NDArray[np.float32], classes: npt.ArrayLike, lines: Sequence[Sequence[str]]
) -> list[Picture]:
    """Returns images beside themselves under their Grad-CAM; none if the network has no global pooling.

    Args:
        network: returns logits [n, classes].
        images: float [n, height, width, channels] in [0, 255], as the network takes them.
        classes: int [n], the class to explain for each image.
        lines: the caption of each image.
    """
    if not len(images) or POOL not in {layer.name for layer in network.layers}:
        return []
    pixels = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    pictures = []
    for image, heat, caption in zip(pixels, grad_cam(network, images, classes), lines, strict=True):
        gap = np.full((image.shape[0], max(1, image.shape[1] // 50), 3), 255, np.uint8)
        color = np.broadcast_to(image, (*image.shape[:2], 3))
        pictures.append(Picture(np.concatenate([color, gap, heat_overlay(image, heat)], axis=1), caption))
    return pictures


def grad_cam(
    network: keras.Model, images: npt.ArrayLike, classes: npt.ArrayLike, *, layer: str | None = None
) -> npt.NDArray[np.float32]:
    """Computes Grad-CAM: feature maps weighted by the spatial means of the class score's gradients; at least 0.

    Args:
        network: returns logits [n, classes].
        images: float [n, height, width, channels], as the network takes them.
        classes: int [n], the class to explain for each image.
        layer: name of the layer whose output [n, h, w, k] is weighted; default the one before global pooling.

    Returns:
        float32 [n, h, w], >= 0.
    """
    target = network.get_layer(POOL).input if layer is None else network.get_layer(layer).output
    both = keras.Model(network.input, [target, network.output])
    batch = tf.convert_to_tensor(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(batch)  # the weights may be frozen
        features, logits = both(batch, training=False)
        # Images do not interact at inference, so the sum has the gradients of each image's own score.
        score = tf.reduce_sum(tf.gather(logits, tf.constant(classes, tf.int64), batch_dims=1))
    weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)).numpy().astype(np.float32)


def cam(network: keras.Model, images: npt.ArrayLike, classes: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Computes CAM: the last feature maps weighted by the classifier's weights; negative is evidence against the class.

    Its spatial mean plus the classifier's bias is the class's logit. Some networks normalize the pooled features
    (ConvNeXt) or have a hidden layer (MobileNetV3). Then the features of each cell are treated in the same way, and the
    logit is only approximately that sum.

    Args:
        network: ends with global average pooling and one dense layer, with or without layers between them.
        images: float [n, height, width, channels], as the network takes them.
        classes: int [n], the class to explain for each image.

    Returns:
        float32 [n, h, w].
    """
    features = keras.Model(network.input, network.get_layer(POOL).input)
    maps = keras.ops.convert_to_numpy(features(tf.convert_to_tensor(images, tf.float32), training=False))
    pooled, classifier = network.get_layer(POOL).output, network.get_layer(CLASSIFIER)
    if classifier.input is not pooled:
        cells = keras.Model(pooled, classifier.input)(maps.reshape(-1, maps.shape[-1]), training=False)
        maps = keras.ops.convert_to_numpy(cells).reshape(*maps.shape[:3], -1)
    kernel = keras.ops.convert_to_numpy(classifier.kernel)
    return np.einsum("nhwk,kn->nhw", maps, kernel[:, np.asarray(classes)]).astype(np.float32)
