"""A region-based detector as one SavedModel: region features, heads, decoding and non-maximum suppression.

It needs only TensorFlow, in any of its languages:

    model = tf.saved_model.load("saved_model/joint")
    model.signatures["serving_default"](image=image, proposals=boxes)    # uint8 [height, width, 3], float32 [n, 4]
    model.signatures["serving_bytes"](encoded=file, proposals=boxes)     # scalar string: an image file

Proposals are `yxyx` in pixels of the image. Both signatures return `boxes` (float32 [m, 4], `yxyx`), `scores` (float32
[m], decreasing), `labels` (int32 [m]) and `names` (string [m]). `assets/detector.json` holds the class names, the
proposal method of the training, and the detection threshold.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff.data.images import decoding, graph_decoding
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.proposals.records import from_record
from tfeff.rcnn.detections import Postprocess
from tfeff.rcnn.feature_extractor import FeatureExtractor
from tfeff.serving.detector import DETECTOR_FILE, DetectorRecord, damaged, read_record
from tfeff.serving.frozen_graph import frozen
from tfeff.serving.loading import load
from tfeff.serving.staging import staged


class RegionDetector(tf.Module):
    """The module inside the SavedModel.

    Args:
        extractor: image and regions -> features.
        head: features [n, D] -> (scores [n, C], codes [n, C or 1, 4]).
        postprocess: scores and codes -> detections.
        class_names: C.
        record: the file `detector.json`, copied into the SavedModel.
        freeze: see `serving.savedmodel.export`.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        head: keras.Model,
        postprocess: Postprocess,
        class_names: Sequence[str],
        record: Path,
        *,
        freeze: bool,
    ) -> None:
        super().__init__(name="detector")
        variables = [variable.value for variable in (*extractor.backbone.variables, *head.variables)]
        self.model_variables = [] if freeze else variables
        self._channels = extractor.channels
        self._postprocess = postprocess
        self._names = tf.constant(list(class_names))
        self._record = tf.saved_model.Asset(os.fspath(record))
        proposals = tf.TensorSpec((None, 4), tf.float32, "proposals")
        image = tf.TensorSpec((None, None, extractor.channels), tf.uint8, "image")
        encoded = tf.TensorSpec((), tf.string, "encoded")
        # A separate function, so that both signatures share one copy of the network's graph.
        predict = tf.function(
            lambda image, boxes: head(extractor(image, boxes), training=False),
            input_signature=[image, proposals],
            autograph=False,
        )
        self._predict = frozen(predict) if freeze else predict
        self.from_image = tf.function(self._from_image, input_signature=[image, proposals], autograph=False)
        self.from_bytes = tf.function(self._from_bytes, input_signature=[encoded, proposals], autograph=False)

    def _from_image(self, image: tf.Tensor, proposals: tf.Tensor) -> dict[str, tf.Tensor]:
        # The fused CPU kernels reject an empty batch, so the whole image is added as a region and dropped again.
        whole = tf.cast(tf.stack([[0, 0, tf.shape(image)[0], tf.shape(image)[1]]]), tf.float32)
        boxes = tf.concat([proposals, whole], axis=0)
        scores, codes = self._predict(image, boxes)
        count = tf.shape(proposals)[0]
        detected, labels, score = self._postprocess.in_graph(
            boxes, tf.where(tf.range(count + 1)[:, tf.newaxis] < count, scores, -1.0), codes, tf.shape(image)[:2]
        )
        return {"boxes": detected, "scores": score, "labels": labels, "names": tf.gather(self._names, labels)}

    def _from_bytes(self, encoded: tf.Tensor, proposals: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._from_image(graph_decoding.decode(encoded, self._channels), proposals)


def export(
    extractor: FeatureExtractor,
    head: keras.Model,
    postprocess: Postprocess,
    directory: str | os.PathLike[str],
    *,
    class_names: Sequence[str],
    proposals: Mapping[str, Any],
    score: float,
    freeze: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes a detector as a SavedModel. The directory is written atomically.

    Args:
        extractor: image and regions -> features.
        head: features [n, D] -> (scores [n, C], codes [n, C or 1, 4]).
        postprocess: scores and codes -> detections.
        directory: of the SavedModel.
        class_names: C.
        proposals: the record of the proposal method (`proposals.records`).
        score: the detection threshold.
        freeze: see `serving.savedmodel.export`.
        overwrite: replace an existing SavedModel.

    Raises:
        UserError: the directory exists, or it cannot be written.
    """
    directory = Path(directory)
    with staged(directory, overwrite=overwrite, marker="saved_model.pb") as staging:
        try:
            path = staging / DETECTOR_FILE
            write(path, DetectorRecord(tuple(class_names), score, extractor.channels, proposals).to_json())
            detector = RegionDetector(extractor, head, postprocess, class_names, path, freeze=freeze)
            signatures = {"serving_default": detector.from_image, "serving_bytes": detector.from_bytes}
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=not freeze)
            tf.saved_model.save(detector, os.fspath(staging), signatures, options)
            path.unlink()
        except (OSError, tf.errors.OpError) as error:
            raise UserError(f"{directory}: cannot write the SavedModel: {error}") from error
    return directory


class ExportedRCNN:
    """The SavedModel of a form of R-CNN, with the proposal method of its training.

    Args:
        directory: of the SavedModel.

    Attributes:
        class_names: C.
        score: the detection threshold.

    Raises:
        UserError: there is no such SavedModel, or it is damaged.
    """

    def __init__(self, directory: str | Path) -> None:
        directory = Path(directory)
        record = read_record(directory)
        self.class_names, self.score, self._channels = record.class_names, record.score, record.channels
        try:
            self._propose = from_record(record.proposals or {})
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(directory, error) from error
        self._model = load(directory)
        self._detect = self._model.signatures["serving_default"]

    def __call__(self, encoded: bytes, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Detections in an image file.

        Args:
            encoded: the file's bytes.
            name: of the file, for messages.

        Returns:
            pixels uint8 [height, width, 3], boxes_yxyx float32 [m, 4], labels int32 [m], scores float32 [m].

        Raises:
            UserError: the file is not an image, or corrupt.
        """
        pixels = decoding.decode(encoded, name)
        return pixels, *self.detect(pixels)

    def detect(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """boxes_yxyx float32 [m, 4], labels int32 [m], scores float32 [m] in an image, uint8 [height, width, 3]."""
        boxes = self._propose(pixels).boxes_yxyx
        detections = self._detect(
            image=tf.constant(graph_decoding.in_channels(pixels, self._channels)), proposals=tf.constant(boxes)
        )
        return detections["boxes"].numpy(), detections["labels"].numpy(), detections["scores"].numpy()
