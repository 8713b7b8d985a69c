"""Class activation maps: which parts of an image are evidence for a class.

Sources: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization" (arXiv:1512.04150), CAM: equation 2;
Selvaraju et al. 2017, "Grad-CAM" (arXiv:1610.02391): equations 1 and 2.
"""

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfeff.models.heads.classifier import CLASSIFIER, POOL


def grad_cam(
    network: keras.Model, images: npt.ArrayLike, classes: npt.ArrayLike, *, layer: str | None = None
) -> npt.NDArray[np.float32]:
    """Grad-CAM: feature maps weighted by the spatial means of the class score's gradients; negative values become 0.

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


def cam(
    network: keras.Model,
    images: npt.ArrayLike,
    classes: npt.ArrayLike,
) -> npt.NDArray[np.float32]:
    """CAM: the last feature maps weighted by the classifier's weights. Negative values are evidence against the class.

    Its spatial mean plus the classifier's bias is the class's logit.

    Args:
        network: ends with global average pooling and one dense layer.
        images: float [n, height, width, channels], as the network takes them.
        classes: int [n], the class to explain for each image.

    Returns:
        float32 [n, h, w].
    """
    features = keras.Model(network.input, network.get_layer(POOL).input)
    maps = keras.ops.convert_to_numpy(features(tf.convert_to_tensor(images, tf.float32), training=False))
    kernel = keras.ops.convert_to_numpy(network.get_layer(CLASSIFIER).kernel)
    return np.einsum("nhwk,kn->nhw", maps, kernel[:, np.asarray(classes)]).astype(np.float32)
