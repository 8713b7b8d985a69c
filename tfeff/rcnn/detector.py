"""A trained head applied to the regions of images."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from tfeff import config
from tfeff.errors import UserError
from tfeff.evaluation import Detections, best_f1_threshold, match
from tfeff.rcnn.detections import Postprocess
from tfeff.rcnn.regions import RegionSet
from tfeff.rcnn.workdir import Workdir

BATCH = 8192
"""Regions scored at once."""


@dataclass(frozen=True)
class Thresholds:
    """Score thresholds of a head, chosen on the validation images.

    Attributes:
        region: regions whose best score is lower are background.
        detection: detections with a lower score are not drawn, listed or counted.
        backbone: digest of the backbone whose features the head was trained on.
    """

    region: float
    detection: float
    backbone: str = ""

    def check_backbone(self, form: str, digest: str) -> None:
        """Requires the backbone that the head was trained with.

        Raises:
            UserError: the digest of another backbone.
        """
        if self.backbone != digest:
            raise UserError(
                f"the backbone has changed since {form} was trained; restore the old backbone, or train in a new "
                "--workdir"
            )


class Detector:
    """A head and its post-processing.

    Args:
        head: features [n, D] -> (scores [n, C], codes [n, C or 1, 4]).
        settings: of the post-processing.
    """

    def __init__(self, head: keras.Model, settings: config.Detection) -> None:
        self.head, self._settings = head, settings
        self.postprocess = Postprocess(
            settings.nms_overlap, settings.max_detections, vote_overlap=settings.vote_overlap
        )

    @classmethod
    def load(cls, workdir: Workdir, form: str) -> tuple["Detector", Thresholds]:
        """The detector of a finished run and its thresholds.

        Raises:
            UserError: the run has not finished.
        """
        path = workdir.thresholds(form)
        if not path.is_file():
            raise UserError(f"--workdir={workdir.path}: {form} is not trained yet; run tfeff.train to its end first")
        head = keras.saving.load_model(workdir.head(form), compile=False)
        return cls(head, workdir.settings().detection), Thresholds(**json.loads(path.read_text()))

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Scores float32 [n, C] of features [n, D]."""
        return np.concatenate([scores for scores, _ in self._outputs(features)])

    def detect(self, regions: RegionSet) -> list[Detections]:
        """The detections in each image, from its proposals."""
        return [self._detect_image(regions, image) for image in range(len(regions.images))]

    def choose_thresholds(self, validation: RegionSet) -> Thresholds:
        """Thresholds chosen on validation images."""
        best = self.scores(validation.features[validation.targets.is_object]).max(axis=1)
        detection = self._settings.score
        if detection is None:
            matching = match(self.detect(validation), validation.images.objects, validation.images.num_classes)
            detection = best_f1_threshold(matching)
        return Thresholds(float(np.quantile(best, self._settings.missed)), detection)

    def _detect_image(self, regions: RegionSet, image: int) -> Detections:
        proposals = regions.proposals[image]
        if not len(proposals):
            return Detections.none()
        outputs = list(self._outputs(regions.proposal_features(image)))
        scores, codes = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
        height, width = regions.images.sizes[image].tolist()
        return Detections(*self.postprocess(proposals, scores, codes, (height, width)))

    def _outputs(self, features: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Scores and codes, BATCH regions at a time; one empty pair if there are none."""
        for start in range(0, max(1, len(features)), BATCH):
            batch = np.asarray(features[start : start + BATCH], np.float32)
            scores, codes = self.head(batch, training=False)
            yield np.asarray(scores), np.asarray(codes)
