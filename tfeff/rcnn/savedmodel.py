"""A detector by regions as one SavedModel: features of regions, heads, decoding and suppression inside.

It needs TensorFlow alone, in any of its languages:

    model = tf.saved_model.load("saved_model/joint")
    model.signatures["serving_default"](image=image, proposals=boxes)    # uint8 [height, width, 3], float32 [n, 4]
    model.signatures["serving_bytes"](encoded=file, proposals=boxes)     # scalar string: an image file

Proposals are `yxyx` in pixels of the image. Both give `boxes` (float32 [m, 4], `yxyx`), `scores` (float32 [m],
falling), `labels` (int32 [m]) and `names` (string [m]). `assets/detector.json` says which proposals it was trained on,
the names of all classes, and from which score on a detection is to be believed.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfeff.data.images import decoding, graph_decoding
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.proposals import Proposer, SelectiveSearch, SlidingWindows
from tfeff.rcnn.detections import Postprocess
from tfeff.rcnn.region_features import RegionFeatures
from tfeff.serving.staging import staged

ABOUT = "detector.json"
ENGINES: Mapping[str, Callable[..., Proposer]] = {"selective_search": SelectiveSearch, "windows": SlidingWindows}


class RegionDetector(tf.Module):
    """What the SavedModel holds.

    Args:
        features: of regions.
        head: features [n, D] -> (scores [n, C], codes [n, C or 1, 4]).
        postprocess: from those to detections.
        class_names: C.
        about: text file that lies with the SavedModel.
    """

    def __init__(
        self,
        features: RegionFeatures,
        head: keras.Model,
        postprocess: Postprocess,
        class_names: Sequence[str],
        about: Path,
    ) -> None:
        super().__init__(name="detector")
        # Wrapped, for a SavedModel would take a model that is an attribute for a part of its own.
        self._features, self._head = (lambda: features), (lambda: head)
        self._variables = [of.value for of in (*features.backbone.variables, *head.variables)]
        self._postprocess = postprocess
        self._names = tf.constant(list(class_names))
        self._about = tf.saved_model.Asset(os.fspath(about))
        proposals = tf.TensorSpec((None, 4), tf.float32, "proposals")
        image = tf.TensorSpec((None, None, features.channels), tf.uint8, "image")
        encoded = tf.TensorSpec((), tf.string, "encoded")
        self.from_image = tf.function(self._from_image, input_signature=[image, proposals], autograph=False)
        self.from_bytes = tf.function(self._from_bytes, input_signature=[encoded, proposals], autograph=False)

    def _from_image(self, image: tf.Tensor, proposals: tf.Tensor) -> dict[str, tf.Tensor]:
        # The fused CPU kernels refuse an empty batch; the whole image, dropped again, stands in for it.
        whole = tf.cast(tf.stack([[0, 0, tf.shape(image)[0], tf.shape(image)[1]]]), tf.float32)
        boxes = tf.concat([proposals, whole], axis=0)
        scores, codes = self._head()(self._features()(image, boxes), training=False)
        count = tf.shape(proposals)[0]
        found, labels, score = self._postprocess.in_graph(
            boxes, tf.where(tf.range(count + 1)[:, tf.newaxis] < count, scores, -1.0), codes, tf.shape(image)[:2]
        )
        return {"boxes": found, "scores": score, "labels": labels, "names": tf.gather(self._names, labels)}

    def _from_bytes(self, encoded: tf.Tensor, proposals: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._from_image(graph_decoding.decode(encoded, self._features().channels), proposals)


def export(
    features: RegionFeatures,
    head: keras.Model,
    postprocess: Postprocess,
    directory: str | os.PathLike[str],
    *,
    class_names: Sequence[str],
    proposals: Mapping[str, Any],
    score: float,
    overwrite: bool = False,
) -> Path:
    """Writes a detector as a SavedModel; the directory appears whole or not at all.

    Args:
        features: of regions.
        head: features [n, D] -> (scores [n, C], codes [n, C or 1, 4]).
        postprocess: from those to detections.
        directory: where the SavedModel goes.
        class_names: C.
        proposals: `engine`, one of ENGINES, and its arguments; JSON-ready.
        score: from which on a detection is to be believed.
        overwrite: replace a SavedModel that is already there.

    Raises:
        UserError: the directory is taken, or it cannot be written.
    """
    directory = Path(directory)
    with staged(directory, overwrite=overwrite, marker="saved_model.pb") as staging:
        try:
            about = staging / ABOUT
            said = {
                "class_names": list(class_names),
                "proposals": dict(proposals),
                "score": score,
                "gray": features.channels == 1,
            }
            write(about, json.dumps(said, indent=2) + "\n")
            detector = RegionDetector(features, head, postprocess, class_names, about)
            signatures = {"serving_default": detector.from_image, "serving_bytes": detector.from_bytes}
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(detector, os.fspath(staging), signatures, options)
            about.unlink()
        except (OSError, tf.errors.OpError) as error:
            raise UserError(f"{directory}: the SavedModel could not be written: {error}") from error
    return directory


class LoadedDetector:
    """An exported detector with the proposals that it was trained on.

    Args:
        directory: of the SavedModel.

    Raises:
        UserError: there is none, or it is damaged.
    """

    def __init__(self, directory: str | Path) -> None:
        path = Path(directory)
        about = path / "assets" / ABOUT
        if not about.is_file():
            raise UserError(
                f"{path}: no detector there; it should be a SavedModel that tfeff.train or tfeff.export wrote"
            )
        try:
            said = json.loads(about.read_text())
            self.class_names: tuple[str, ...] = tuple(said["class_names"])
            self.score = float(said["score"])
            arguments = dict(said["proposals"])
            self._propose: Proposer = ENGINES[arguments.pop("engine")](**arguments)
            self._channels = 1 if said["gray"] else 3
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{about}: not what an export writes ({error!r}); export the detector again") from error
        try:
            self._model = tf.saved_model.load(os.fspath(path))
            self._detect = self._model.signatures["serving_default"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise UserError(f"{path}: the SavedModel cannot be read ({error}); export the detector again") from error

    def __call__(self, encoded: bytes, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(pixels uint8 [height, width, 3], boxes_yxyx float32 [m, 4], labels int32 [m], scores float32 [m]) of a file.

        Raises:
            UserError: it is no image; `name` says which.
        """
        pixels = decoding.decode(encoded, name)
        boxes = self._propose(pixels).boxes_yxyx
        found = self._detect(
            image=tf.constant(graph_decoding.in_channels(pixels, self._channels)), proposals=tf.constant(boxes)
        )
        return pixels, found["boxes"].numpy(), found["labels"].numpy(), found["scores"].numpy()
