"""Heads of R-CNN: from region features to class scores and encoded boxes (`boxes.coding`).

n: regions, D: features, C: classes without background.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfeff.boxes.coding import FAST_RCNN_WEIGHTS


@keras.saving.register_keras_serializable(package="tfeff")
class Standardize(keras.layers.Layer):
    """Standardizes features with a fixed mean and standard deviation.

    Args:
        mean: D values.
        std: D values above 0.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], dtype: Any = "float32", **options: Any) -> None:
        super().__init__(dtype=dtype, **options)
        self.mean, self.std = list(map(float, mean)), list(map(float, std))
        self._shift = np.asarray(mean, self.compute_dtype)
        self._scale = 1 / np.asarray(std, self.compute_dtype)

    def call(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """Standardized features [n, D]."""
        return (features - self._shift) * self._scale

    def get_config(self) -> dict[str, object]:
        """The constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "std": self.std}


def joint(
    mean: np.ndarray,
    std: np.ndarray,
    classes: int,
    *,
    hidden: Sequence[int] = (),
    l1: float = 0.0,
    dropout: float = 0.0,
    seed: int = 0,
) -> keras.Model:
    """Build a head with two outputs: a softmax classifier with background, and a class-agnostic box regressor.

    Args:
        mean: float [D], mean of the features.
        std: float [D], standard deviation of the features.
        classes: number of classes C.
        hidden: units of the dense layers that both outputs share.
        l1: factor of the L1 regularization of the kernels.
        dropout: dropout rate before each layer.
        seed: seed of the initial weights and of dropout.

    Returns:
        A model from features [n, D] to (logits [n, C + 1], background last; codes [n, 1, 4] with FAST_RCNN_WEIGHTS),
        both in `keras.config.floatx()` under any precision policy.
    """

    def dense(units: int, number: int, **options: Any) -> keras.layers.Dense:
        initializer = keras.initializers.GlorotUniform(seed + number)
        regularizer = keras.regularizers.L1(l1) if l1 else None
        return keras.layers.Dense(units, kernel_initializer=initializer, kernel_regularizer=regularizer, **options)

    def dropped(x: keras.KerasTensor, number: int) -> keras.KerasTensor:
        return keras.layers.Dropout(dropout, seed=seed + number, name=f"dropout_{number}")(x) if dropout else x

    precise = keras.config.floatx()
    features = keras.Input((len(mean),), name="features")
    x = Standardize(mean.tolist(), std.tolist(), dtype=precise, name="standardize")(features)
    for number, units in enumerate(hidden):
        x = dense(units, number, activation="relu", name=f"hidden_{number}")(dropped(x, number))
    x = dropped(x, len(hidden))
    logits = dense(classes + 1, len(hidden), dtype=precise, name="logits")(x)
    codes = dense(4, len(hidden) + 1, dtype=precise, name="codes")(x)
    return keras.Model(
        features, (logits, keras.layers.Reshape((1, 4), dtype=precise, name="boxes")(codes)), name="joint"
    )


def joint_detector(head: keras.Model) -> keras.Model:
    """Detector of a joint head: features [n, D] -> (scores [n, C], codes [n, 1, 4] with weights 1)."""
    logits, codes = head.outputs
    scores = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)[:, :-1]
    plain = keras.layers.Rescaling(1.0, dtype="float32", name="plain")(codes / np.array(FAST_RCNN_WEIGHTS, np.float32))
    return keras.Model(head.input, (scores, plain), name="joint_detector")


def classifier_detector(
    kernel: np.ndarray, biases: np.ndarray, columns: Sequence[int], activation: str = "softmax"
) -> keras.Model:
    """Detector of a classifier's last layer. It does not change the boxes.

    Args:
        kernel: float [D, K], kernel of the layer.
        biases: float [K], biases of the layer.
        columns: index of each of the C classes among the K outputs. The other outputs are background.
        activation: activation from logits to probabilities.

    Returns:
        A model from features [n, D] to (scores float32 [n, C], codes float32 [n, 1, 4], all 0).
    """
    features = keras.Input((len(kernel),), name="features", dtype="float32")
    classifier = keras.layers.Dense(len(biases), activation, dtype="float32", name="classifier")
    selection = keras.layers.Dense(len(columns), use_bias=False, dtype="float32", name="classes")
    zeros = keras.layers.Dense(4, kernel_initializer="zeros", use_bias=False, dtype="float32", name="no_codes")
    boxes = keras.layers.Reshape((1, 4), dtype="float32", name="boxes")(zeros(features))
    model = keras.Model(features, (selection(classifier(features)), boxes), name="classifier_detector")
    classifier.set_weights([kernel, biases])
    selection.set_weights([np.eye(len(biases), dtype=np.float32)[:, list(columns)]])
    return model


def linear_detector(
    weights: np.ndarray, biases: np.ndarray, box_weights: np.ndarray, box_biases: np.ndarray
) -> keras.Model:
    """Detector of the classic R-CNN: one linear SVM and one ridge regression per class.

    Args:
        weights: float [D, C], weights of the SVMs.
        biases: float [C], biases of the SVMs.
        box_weights: float [D, C, 4], weights of the ridge regressions.
        box_biases: float [C, 4], biases of the ridge regressions.

    Returns:
        A model from features [n, D] to (scores float32 [n, C], the sigmoid of the SVM margins, so 0.5 is the decision
        boundary; codes float32 [n, C, 4] with weights 1).
    """
    size, classes = weights.shape
    features = keras.Input((size,), name="features", dtype="float32")
    scores = keras.layers.Dense(classes, "sigmoid", dtype="float32", name="machines")
    regressors = keras.layers.Dense(4 * classes, dtype="float32", name="regressors")
    codes = keras.layers.Reshape((classes, 4), dtype="float32", name="boxes")(regressors(features))
    model = keras.Model(features, (scores(features), codes), name="classic_detector")
    scores.set_weights([weights, biases])
    regressors.set_weights([box_weights.reshape(size, -1), box_biases.ravel()])
    return model
