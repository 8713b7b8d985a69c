"""From a region's features to scores of classes and codes of boxes. D: features, C: classes, without background."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfeff.boxes.coding import Weights

CODE_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)
"""Factors of a box's code in the joint head, so that its loss is as large as the other one's."""


@keras.saving.register_keras_serializable(package="tfeff")
class Standardize(keras.layers.Layer):
    """Takes the mean off each feature and divides by its spread; fixed, not learned.

    Args:
        mean: D numbers.
        std: D numbers above 0.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], dtype: Any = "float32", **options: Any) -> None:
        super().__init__(dtype=dtype, **options)
        self.mean, self.std = [float(of) for of in mean], [float(of) for of in std]
        self._shift = np.asarray(mean, np.float32)
        self._scale = 1 / np.asarray(std, np.float32)

    def call(self, features: keras.KerasTensor) -> keras.KerasTensor:
        """float32 [n, D] of the same shape."""
        return (features - self._shift) * self._scale

    def get_config(self) -> dict[str, object]:
        """The arguments."""
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
    """Two heads that learn together: a softmax over the classes and background, and one regressor for all boxes.

    Args:
        mean: float [D], of the features.
        std: float [D].
        classes: C.
        hidden: units of dense layers that both share.
        l1: penalty of the kernels' absolute values.
        dropout: share of features dropped in training before each layer.
        seed: of the initial weights and of what is dropped.

    Returns:
        features [n, D] -> (logits float32 [n, C + 1], background last; codes float32 [n, 1, 4] times CODE_WEIGHTS).
    """

    def dense(units: int, number: int, **options: Any) -> keras.layers.Dense:
        start = keras.initializers.GlorotUniform(seed + number)
        penalty = keras.regularizers.L1(l1) if l1 else None
        return keras.layers.Dense(units, kernel_initializer=start, kernel_regularizer=penalty, **options)

    def thinned(x: keras.KerasTensor, number: int) -> keras.KerasTensor:
        return keras.layers.Dropout(dropout, seed=seed + number, name=f"dropout_{number}")(x) if dropout else x

    features = keras.Input((len(mean),), name="features")
    x = Standardize(mean.tolist(), std.tolist(), name="standardize")(features)
    for number, units in enumerate(hidden):
        x = dense(units, number, activation="relu", name=f"hidden_{number}")(thinned(x, number))
    x = thinned(x, len(hidden))
    logits = dense(classes + 1, len(hidden), dtype="float32", name="logits")(x)
    codes = dense(4, len(hidden) + 1, dtype="float32", name="codes")(x)
    return keras.Model(
        features, (logits, keras.layers.Reshape((1, 4), dtype="float32", name="boxes")(codes)), name="joint"
    )


def joint_detector(head: keras.Model) -> keras.Model:
    """A trained joint head as detectors take it: features [n, D] -> (scores [n, C], codes [n, 1, 4] of weights 1)."""
    logits, codes = head.outputs
    scores = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)[:, :-1]
    plain = keras.layers.Rescaling(1.0, dtype="float32", name="plain")(codes / np.array(CODE_WEIGHTS, np.float32))
    return keras.Model(head.input, (scores, plain), name="joint_detector")


def classifier_detector(
    kernel: np.ndarray, biases: np.ndarray, columns: Sequence[int], activation: str = "softmax"
) -> keras.Model:
    """A classifier's own last layer as detectors take it; boxes stay as they are.

    Args:
        kernel: float [D, K] of the layer.
        biases: float [K].
        columns: which of its K classes each of the C classes is; the others are background.
        activation: from its outputs to probabilities.

    Returns:
        features [n, D] -> (scores float32 [n, C], codes float32 [n, 1, 4], all 0).
    """
    features = keras.Input((len(kernel),), name="features", dtype="float32")
    classifier = keras.layers.Dense(len(biases), activation, dtype="float32", name="classifier")
    chosen = keras.layers.Dense(len(columns), use_bias=False, dtype="float32", name="classes")
    nothing = keras.layers.Dense(4, kernel_initializer="zeros", use_bias=False, dtype="float32", name="no_codes")
    boxes = keras.layers.Reshape((1, 4), dtype="float32", name="boxes")(nothing(features))
    model = keras.Model(features, (chosen(classifier(features)), boxes), name="classifier_detector")
    classifier.set_weights([kernel, biases])
    chosen.set_weights([np.eye(len(biases), dtype=np.float32)[:, list(columns)]])
    return model


def linear_detector(
    weights: np.ndarray, biases: np.ndarray, box_weights: np.ndarray, box_biases: np.ndarray
) -> keras.Model:
    """The classic head: one linear support vector machine and one box regressor a class.

    Args:
        weights: float [D, C] of the machines.
        biases: float [C].
        box_weights: float [D, C, 4] of the regressors.
        box_biases: float [C, 4].

    Returns:
        features [n, D] -> (scores float32 [n, C], the machines' margins through a sigmoid, 0.5 being their boundary;
        codes float32 [n, C, 4] of weights 1).
    """
    count, classes = weights.shape
    features = keras.Input((count,), name="features", dtype="float32")
    scores = keras.layers.Dense(classes, "sigmoid", dtype="float32", name="machines")
    regressors = keras.layers.Dense(4 * classes, dtype="float32", name="regressors")
    codes = keras.layers.Reshape((classes, 4), dtype="float32", name="boxes")(regressors(features))
    model = keras.Model(features, (scores(features), codes), name="classic_detector")
    scores.set_weights([weights, biases])
    regressors.set_weights([box_weights.reshape(count, -1), box_biases.ravel()])
    return model
