"""A trained head at work on the regions of a split."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from tfeff import config
from tfeff.data import photograph
from tfeff.detection.detections import Postprocess
from tfeff.durable import write
from tfeff.errors import UserError
from tfeff.evaluation import Detections, best_f1_threshold, match
from tfeff.rcnn.splits import Split
from tfeff.rcnn.workdir import Workdir

BATCH = 8192
"""Regions whose scores are computed at once."""


@dataclass(frozen=True)
class OperatingPoint:
    """From which scores on a head is believed; chosen on the validation images.

    Attributes:
        region: a region whose best score is lower is background.
        detection: a detection of a lower score is not drawn, listed or counted.
    """

    region: float
    detection: float


class Detector:
    """One form of a finished run.

    Args:
        workdir: of the run.
        form: `joint` or `classic`.

    Raises:
        UserError: the run has not finished.
    """

    def __init__(self, workdir: Workdir, form: str) -> None:
        settings = workdir.settings().detection
        self.form, self._workdir = form, workdir
        path = workdir.head(form)
        if not path.is_file():
            raise UserError(f"--workdir={workdir.path}: no {path.name} there yet; run tfeff.train on it to its end")
        self.head = keras.saving.load_model(path, compile=False)
        self.postprocess = Postprocess(settings.nms_overlap, settings.max_detections)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, C] of features [n, D]."""
        return self._outputs(features)[0]

    def detect(self, split: Split) -> list[Detections]:
        """The detections of each image, from its proposals."""
        return [self._image(split, image) for image in range(len(split.images))]

    def operating_point(self, settings: config.Detection, held_out: Split) -> OperatingPoint:
        """Chooses scores on a split, and writes them beside the head."""
        best = self.scores(held_out.features[held_out.regions.is_object]).max(axis=1)
        detection = settings.score
        if detection is None:
            found = self.detect(held_out)
            detection = best_f1_threshold(match(found, held_out.images.objects, len(held_out.images.class_names)))
        point = OperatingPoint(float(np.quantile(best, settings.missed)), float(detection))
        write(self._point_path, json.dumps(asdict(point), indent=2) + "\n")
        return point

    @property
    def point(self) -> OperatingPoint:
        """What `operating_point` wrote."""
        return OperatingPoint(**json.loads(self._point_path.read_text()))

    @property
    def _point_path(self) -> Path:
        return self._workdir.head(self.form).with_suffix(".json")

    def _image(self, split: Split, image: int) -> Detections:
        if not len(split.proposals[image]):
            return Detections.none()
        scores, codes = self._outputs(split.proposal_features(image))
        size = photograph.encoded_size(split.images.encoded(image), split.images.ids[image])
        return Detections(*self.postprocess(split.proposals[image], scores, codes, size))

    def _outputs(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [
            [
                np.asarray(of)
                for of in self.head(np.asarray(features[start : start + BATCH], np.float32), training=False)
            ]
            for start in range(0, max(1, len(features)), BATCH)
        ]
        scores, codes = (np.concatenate(of) for of in zip(*parts, strict=True))
        return scores, codes
