"""Predictions and features of a classifier for the images of a split."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfeff.analysis.comparison.run import ComparedRun, predicted
from tfeff.data.input.cache import ImageCache
from tfeff.errors import UserError
from tfeff.networks.heads import CLASSIFIER, POOL
from tfeff.tasks import task as task_interface


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """Predictions and features of a network for n images.

    Attributes:
        probabilities: float32 [n, classes], as `tfeff.evaluate` computes them.
        features: float32 [n, d], the globally pooled features, or what the classifier reads; without test-time
            augmentation.
    """

    probabilities: np.ndarray
    features: np.ndarray


def predict(run: ComparedRun, images: ImageCache, path: Path, *, read: bool = False) -> SplitPredictions:
    """Returns predictions of a run's network, from the file if it holds them already.

    Args:
        images: the images, at the size of the run's cache.
        path: see `predicted`; another one with another `read`.
        read: the features are what the last layer reads, which some families compute from the pooled ones.

    Raises:
        UserError: an output of the network is not finite.
    """
    arrays = predicted(run, images, path, lambda: _predict(run, images, read))
    return SplitPredictions(arrays["probabilities"], arrays["features"])


def _predict(run: ComparedRun, images: ImageCache, read: bool) -> dict[str, np.ndarray]:
    network, task = run.network, run.task
    predictor = task.predictor(network)
    wanted = network.get_layer(CLASSIFIER).input if read else network.get_layer(POOL).output
    if predictor is network:  # one pass for both
        both = keras.Model(network.input, [network.output, wanted])
    else:
        both = keras.Model(network.input, [predictor(network.input), wanted])

    def decoded(inputs: task_interface.Batch) -> dict[str, tf.Tensor]:
        outputs, features = both(inputs["image"], training=False)
        return {**task.decode(outputs), "features": tf.cast(features, tf.float32)}

    pipeline = run.plan.evaluation_pipeline(images, network.size)
    values = task_interface.predictions(tf.function(decoded, jit_compile=False, autograph=False), pipeline)
    for name in ("probabilities", "features"):
        if not np.isfinite(values[name]).all():
            raise UserError(f"--workdir={run.workdir.path}: {name} of the network are not finite: it has diverged")
    return {name: values[name] for name in ("probabilities", "features")}
