"""Class activation maps of several models for the same examples, as a figure."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from matplotlib.figure import Figure

from tfeff.analysis.comparison.insight import Insight
from tfeff.analysis.comparison.run import ClassifierRun
from tfeff.data.input.cache import ImageCache
from tfeff.networks.heads import CLASSIFIER, POOL
from tfeff.reporting.class_activation import Explanation, class_activation_figure

MAPS = {"Grad-CAM": False, "CAM": True}
"""Names of the maps -> whether they are signed."""
CAPTION = (
    "Evidence for the predicted class. Each image is shown as the model sees it, with its prediction "
    "(green: correct). Grad-CAM keeps positive evidence; CAM also shows evidence against the class, in blue. With "
    "global pooling and one dense layer, Grad-CAM is CAM without its negative values, on another scale."
)


def explain(
    run: ClassifierRun, images: ImageCache, insight: Insight, index: int, examples: np.ndarray
) -> list[Explanation]:
    """Explains the predictions of a network for some examples.

    Args:
        images: all images, at the size of the run's cache.
        examples: int [k], indices of the examples.
    """
    if not len(examples):
        return []
    pipeline = run.plan.evaluation_pipeline(images.take(examples), run.network.size)
    batches = [batch["image"].numpy()[batch["weight"].numpy() > 0] for batch in pipeline.evaluation_batches()]
    pixels, classes = np.concatenate(batches), insight.matrix.predicted[index, examples]
    maps = zip(grad_cam(run.network, pixels, classes), cam(run.network, pixels, classes), strict=True)
    confidence = insight.probabilities[index, examples].max(axis=1)
    return [
        Explanation(
            np.clip(np.rint(image), 0, 255).astype(np.uint8),
            f"{insight.class_names[label]}, {100 * probability:.0f} %",
            bool(insight.matrix.correct[index, example]),
            heat,
        )
        for image, label, probability, example, heat in zip(pixels, classes, confidence, examples, maps, strict=True)
    ]


def explanation_figure(
    insight: Insight, indices: Sequence[int], explained: Sequence[Sequence[Explanation]], examples: np.ndarray
) -> Figure:
    """Draws the explanations side by side, one list for each of the models at `indices`."""
    rows = [
        (f"true: {insight.class_names[insight.labels[example]]}", [each[row] for each in explained])
        for row, example in enumerate(examples)
    ]
    return class_activation_figure(rows, [insight.model_names[i] for i in indices], MAPS)


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


def cam(network: keras.Model, images: npt.ArrayLike, classes: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """CAM: the last feature maps weighted by the classifier's weights. Negative values are evidence against the class.

    Its spatial mean plus the classifier's bias is the class's logit. If the network normalizes the pooled features
    (ConvNeXt) or has a hidden layer (MobileNetV3), the features of each cell are treated in the same way, and the logit
    is only close to that.

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
