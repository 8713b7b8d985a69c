"""Predictions and pooled features of a network for all images of a split, kept in files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfeff.data.input.cache import ImageCache
from tfeff.errors import UserError
from tfeff.models.heads.classifier import POOL
from tfeff.tasks import task as tasks
from tfeff.training import build, checkpoint
from tfeff.workbench.comparison.run import ClassifierRun


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """Predictions and features of a network for n images.

    Attributes:
        probabilities: float32 [n, classes], as `tfeff.evaluate` computes them.
        features: float32 [n, d], the globally pooled features; without test-time augmentation.
    """

    probabilities: np.ndarray
    features: np.ndarray


def predict(run: ClassifierRun, images: ImageCache, path: Path) -> SplitPredictions:
    """Predictions of a run's network, from the file if it holds them already.

    Args:
        run: of the network.
        images: the images, at the size of the run's cache.
        path: of the file; written if it is missing, damaged or of other weights or images.

    Raises:
        UserError: an output of the network is not finite.
    """
    key = _key(run, images)
    try:
        arrays, record = checkpoint.load(path)
        if record["key"] == key:
            return SplitPredictions(arrays["probabilities"], arrays["features"])
    except (UserError, KeyError):
        pass
    predicted = _predict(run, images)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"probabilities": predicted.probabilities, "features": predicted.features}
    checkpoint.save(path, arrays, {"key": key, "model": run.name})
    return predicted


def _key(run: ClassifierRun, images: ImageCache) -> str:
    dataset = images.dataset
    parts = f"{run.key} {dataset.fingerprint} {len(images)} {images.form}".encode()
    return hashlib.sha256(parts + dataset.labels.tobytes()).hexdigest()


def _predict(run: ClassifierRun, images: ImageCache) -> SplitPredictions:
    network, task = run.network, run.task
    predictor = task.predictor(network)
    pooled = network.get_layer(POOL).output
    if predictor is network:  # one pass for both
        both = keras.Model(network.input, [network.output, pooled])
    else:
        both = keras.Model(network.input, [predictor(network.input), pooled])

    def decoded(inputs: tasks.Batch) -> dict[str, tf.Tensor]:
        outputs, features = both(inputs["image"], training=False)
        return {**task.decode(outputs), "features": tf.cast(features, tf.float32)}

    pipeline = build.evaluation_pipeline(run.settings, images, network.size, (0, 1))
    values = tasks.predictions(tf.function(decoded, jit_compile=False, autograph=False), pipeline)
    for name in ("probabilities", "features"):
        if not np.isfinite(values[name]).all():
            raise UserError(f"--workdir={run.workdir.path}: {name} of the network are not finite: it has diverged")
    return SplitPredictions(values["probabilities"], values["features"])
