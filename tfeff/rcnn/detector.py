"""A trained head at work on the regions of a split."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from tfeff import config
from tfeff.errors import UserError
from tfeff.evaluation import Detections, best_f1_threshold, match
from tfeff.rcnn.detections import Postprocess
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
        backbone: digest of the weights whose features the head was trained on.
    """

    region: float
    detection: float
    backbone: str = ""

    def check(self, form: str, digest: str) -> None:
        """Refuses a head that was trained on the features of another backbone.

        Raises:
            UserError: it was.
        """
        if self.backbone != digest:
            raise UserError(
                f"the backbone has changed since {form} was trained; train again in a new --workdir, or put the old "
                "one back"
            )


class Detector:
    """A head with what comes after it.

    Args:
        head: features [n, D] -> (scores [n, C], codes [n, C or 1, 4]).
        settings: of what comes after it.
    """

    def __init__(self, head: keras.Model, settings: config.Detection) -> None:
        self.head, self._settings = head, settings
        self.postprocess = Postprocess(settings.nms_overlap, settings.max_detections)

    @classmethod
    def load(cls, workdir: Workdir, form: str) -> tuple["Detector", OperatingPoint]:
        """The detector of a finished run, and the scores from which on it is believed.

        Raises:
            UserError: the run has not finished.
        """
        if not workdir.point(form).is_file():
            raise UserError(
                f"--workdir={workdir.path}: its {form} is not trained yet; run tfeff.train on it to its end"
            )
        head = keras.saving.load_model(workdir.head(form), compile=False)
        point = OperatingPoint(**json.loads(workdir.point(form).read_text()))
        return cls(head, workdir.settings().detection), point

    def scores(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, C] of features [n, D]."""
        return np.concatenate([scores for scores, _ in self._outputs(features)])

    def detect(self, split: Split) -> list[Detections]:
        """The detections of each image, from its proposals."""
        return [self._image(split, image) for image in range(len(split.images))]

    def operating_point(self, held_out: Split) -> OperatingPoint:
        """The scores from which on to believe it, chosen on a split."""
        settings = self._settings
        best = self.scores(held_out.features[held_out.regions.is_object]).max(axis=1)
        if settings.score is not None:
            return OperatingPoint(float(np.quantile(best, settings.missed)), settings.score)
        matching = match(self.detect(held_out), held_out.images.objects, len(held_out.images.class_names))
        return OperatingPoint(float(np.quantile(best, settings.missed)), best_f1_threshold(matching))

    def _image(self, split: Split, image: int) -> Detections:
        if not len(split.proposals[image]):
            return Detections.none()
        parts = list(self._outputs(split.proposal_features(image)))
        scores, codes = (np.concatenate(of) for of in zip(*parts, strict=True))
        height, width = split.images.sizes[image].tolist()
        return Detections(*self.postprocess(split.proposals[image], scores, codes, (height, width)))

    def _outputs(self, features: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Scores and codes of BATCH regions after the other; of no regions, once."""
        for start in range(0, max(1, len(features)), BATCH):
            part = np.asarray(features[start : start + BATCH], np.float32)
            scores, codes = self.head(part, training=False)
            yield np.asarray(scores), np.asarray(codes)
