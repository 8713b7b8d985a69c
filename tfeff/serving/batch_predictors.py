"""Predictions of exported models for the batches of a run, to evaluate them as its network is evaluated."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfeff.data.input.batches import Batches
from tfeff.execution import resources
from tfeff.serving import exported, portable
from tfeff.serving.detector import load
from tfeff.serving.exported import SAVED_MODEL
from tfeff.serving.portable import Loaded
from tfeff.tasks.suppression import NAMES
from tfeff.tasks.task import ABOUT_IMAGES, Batch, Predictions, concatenate, predictions

TOGETHER = 32
"""Images in one call of a SavedModel that is no detector."""


class RuntimePredictor:
    """Predictions of a model for LiteRT, ONNX Runtime or OpenVINO; see `BatchPredictor`.

    Args:
        loaded: the model, which takes images that fit its input.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._run, self._together = loaded.run, loaded.inputs["images"][0] is None

    @classmethod
    def open(cls, path: Path) -> "RuntimePredictor":
        """Loads the model in a folder; errors as for `exported.load`."""
        return cls(exported.load(*exported.located(path), resources.cores()))

    def __call__(self, pipeline: Batches) -> Predictions:
        """Returns predictions for all images of a pipeline, in order."""
        return predictions(self.decoded, pipeline)

    def decoded(self, batch: Batch) -> dict[str, np.ndarray]:
        """Returns what `ImageTask.decode` returns for a batch."""
        given = portable.inputs(batch)
        if self._together:
            return {name: np.asarray(value) for name, value in self._run(given).items()}
        size = len(given["images"])
        single = [self._run({name: value[n : n + 1] for name, value in given.items()}) for n in range(size)]
        return {name: np.concatenate([each[name] for each in single]) for name in single[0]}


class SavedModelPredictor:
    """Predictions of the SavedModel of a classifier or a detector; see `BatchPredictor`.

    It fits images itself, so it gets them as the run's cache holds them, without the padding of a letterbox.

    Args:
        path: its folder.

    Raises:
        UserError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._model = load(path)  # whose variables must outlive its signature
        self._predict = self._model.signatures["serving_default"]

    def __call__(self, pipeline: Batches) -> Predictions:
        """Returns predictions for all images of a pipeline, in order.

        Boxes are in pixels of the cached images, of which `window_yxyx` says the size.
        """
        detects = "boxes" in self._predict.structured_outputs
        return concatenate(list(self._detections(pipeline) if detects else self._outputs(pipeline)))

    def _outputs(self, pipeline: Batches) -> Iterator[Predictions]:
        for chunk in pipeline.images.chunks(TOGETHER):
            for images in [chunk] if isinstance(chunk, np.ndarray) else [each[np.newaxis] for each in chunk]:
                found = self._predict(images=tf.constant(images))
                yield {name: value.numpy() for name, value in found.items()}

    def _detections(self, pipeline: Batches) -> Iterator[Predictions]:
        reader = pipeline.transform.reader
        for index in range(len(reader)):
            annotated, size = reader.annotated(tf.constant(index, tf.int64))
            found = self._predict(images=tf.cast(annotated.image, tf.uint8)[tf.newaxis])
            window = np.array([[0, 0, *annotated.image.shape[:2]]], np.float32)
            about = dict(zip(ABOUT_IMAGES, (size.numpy()[np.newaxis], window), strict=True))
            yield {name: found[name].numpy() for name in NAMES} | about


def batch_predictor(path: Path) -> RuntimePredictor | SavedModelPredictor:
    """Loads an exported model in its own runtime.

    Args:
        path: folder of a SavedModel, or of a model of another format that takes images that fit its input.

    Raises:
        UserError: there is no such model, it is damaged, or its runtime is not installed.
    """
    return SavedModelPredictor(path) if exported.located(path)[0] == SAVED_MODEL else RuntimePredictor.open(path)
