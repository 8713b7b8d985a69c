"""What the detections of several models in the same images say about models, classes, sizes, errors and images."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfeff import evaluation
from tfeff.analysis.comparison.cost import Cost
from tfeff.analysis.comparison.verdict import adjust, verdict
from tfeff.data.dataset import Objects
from tfeff.evaluation import DetectionReport, Detections
from tfeff.evaluation.classification import plain
from tfeff.evaluation.detection_errors import KINDS
from tfeff.reporting.tables import cell

SHOWN = 8
"""Images in which the detectors differ most."""
RESAMPLES_PER_PAIR = 100
"""The smallest p-value is 2 / resamples, and is multiplied by the number of pairs: 0.02."""
ENOUGH_IMAGES = 6
"""Differences have an interval if this many images have objects of the class or size: equal signs in five images are
not significant (2 / 2^5)."""
SIZES = {"small": "ap_small", "medium": "ap_medium", "large": "ap_large"}
"""Sizes of objects by COCO -> keys of its metrics."""


@dataclass(frozen=True, eq=False)
class Insight:
    """Results of m detectors on n images.

    Attributes:
        networks: what each of them is, in words.
        objects: the objects of each image.
        found: what each detector finds in each image, in any order and of any score.
        thresholds: minimum score of the detections of each run's exported model, chosen on its validation images, if
            it has any.
        notes: what the user should know, one line each.
    """

    split: str
    model_names: Sequence[str]
    networks: Sequence[str]
    workdirs: Sequence[str]
    class_names: Sequence[str]
    ids: Sequence[str]
    objects: Sequence[Objects]
    found: Sequence[Sequence[Detections]]
    thresholds: Sequence[float]
    costs: Sequence[Cost]
    notes: Sequence[str]

    @cached_property
    def reports(self) -> list[DetectionReport]:
        """The evaluation of each detector."""
        return evaluation.detection_reports(
            self.found, self.objects, self.class_names, score_thresholds=self.thresholds, resamples=self.resamples
        )

    @property
    def resamples(self) -> int:
        """Bootstrap resamples of the images: with fewer, no p-value of so many pairs could be small after Holm."""
        return max(1000, RESAMPLES_PER_PAIR * math.comb(len(self.found), 2))

    @cached_property
    def resampled(self) -> np.ndarray:
        """float64 [m, resamples], mAP on the same bootstrap resamples of the images."""
        return np.stack([report.resampled_mean_ap for report in self.reports])

    @cached_property
    def resampled_coco(self) -> dict[str, np.ndarray]:
        """COCO AP, of all objects and by size, on the first 1,000 of these resamples: they suffice for intervals.

        Key of its metrics -> float64 [m, 1000].
        """
        found = [evaluation.bootstrap_coco_ap(each, self.objects, len(self.class_names)) for each in self.found]
        return {key: np.stack([each[key] for each in found]) for key in found[0]}

    @cached_property
    def coco_images(self) -> dict[str, int]:
        """Number of images with objects that count in each of `resampled_coco`."""
        return evaluation.images_by_size(self.objects)

    @cached_property
    def ranking(self) -> list[int]:
        """Indices of the detectors: the highest mAP first, at equal mAP the one with fewer multiply-adds."""
        return sorted(
            range(len(self.reports)), key=lambda i: (-self.reports[i].mean_ap, self.costs[i].macs or math.inf)
        )

    @cached_property
    def differences(self) -> list[dict[str, Any]]:
        """Each pair of detectors: mAP of the first minus that of the second, in the order of the ranking.

        Intervals are those of `evaluation.percentile_interval` of the differences in the same resamples of the images,
        p-values those of `evaluation.bootstrap_p_value`, adjusted by Holm's method.
        """
        rows, images = list[dict[str, Any]](), self.reports[0].matching.images_with_objects
        values = [report.mean_ap for report in self.reports]
        for first, second in itertools.combinations(self.ranking, 2):
            resampled = self.resampled[first] - self.resampled[second]
            rows.append(
                {
                    "first": self.model_names[first],
                    "second": self.model_names[second],
                    **_difference(values, self.resampled, first, second, images),
                    "coco_ap": self._coco_difference("ap", first, second),
                    "p_value": evaluation.bootstrap_p_value(resampled, images),
                }
            )
        adjust(rows)
        return rows

    def _coco_difference(self, key: str, first: int, second: int) -> dict[str, float]:
        values = [report.coco[key] for report in self.reports]
        return _difference(values, self.resampled_coco[key], first, second, self.coco_images[key])

    @cached_property
    def quality(self) -> np.ndarray:
        """float64 [m, n], `evaluation.image_quality` of each detector in each image; 1 for correctly empty images."""
        found = [evaluation.image_quality(report.matching, report.score_threshold) for report in self.reports]
        return np.nan_to_num(np.stack(found), nan=1.0)

    @cached_property
    def contrasts(self) -> np.ndarray:
        """int64, images in which the qualities differ, the largest difference between two detectors first."""
        spread = np.ptp(self.quality, axis=0)
        order = np.argsort(-spread, kind="stable")
        return order[spread[order] > 0]

    @property
    def summary(self) -> str:
        """The result in two or three sentences."""
        best = self.ranking[0]
        report = self.reports[best]
        low, high = (cell(end) for end in report.mean_ap_interval)
        matching = report.matching
        few = evaluation.caveat(report.mean_ap_interval, matching.images_with_objects, matching.class_images)
        text = (
            f"{self.model_names[best]} has the highest mAP, {cell(report.mean_ap)} on {matching.images:,} "
            f"images of {self.split} (95 % interval {low} to {high}{few})."
        )
        return f"{text} {verdict(self.model_names, self.ranking, self.differences, self.costs)}"

    def model_rows(self) -> list[dict[str, Any]]:
        """Returns the numbers of each detector, the best first."""
        return [
            {
                "name": self.model_names[i],
                "workdir": self.workdirs[i],
                "network": self.networks[i],
                "mean_ap": self.reports[i].mean_ap,
                "mean_ap_interval": self.reports[i].mean_ap_interval,
                "coco": self.reports[i].coco,
                "score_threshold": self.reports[i].score_threshold,
                **asdict(self.costs[i]),
            }
            for i in self.ranking
        ]

    def errors(self, index: int) -> dict[str, dict[str, Any]]:
        """Returns a detector's errors by type: `count` at its score threshold, and `gain` in mAP if all were fixed."""
        report = self.reports[index]
        counts = report.errors.counts_at(report.matching, report.score_threshold)
        return {
            kind: {"count": int(count), "gain": float(gain)}
            for kind, count, gain in zip(KINDS, counts, report.errors.gains, strict=True)
        }

    def class_rows(self) -> list[dict[str, Any]]:
        """Returns each class: its objects, the number of images with these, the average precision of each detector, and
        differences from the best one.

        Differences, with `low` and `high`, are of the detectors after the first of `ranking`, minus that one; `low` and
        `high` are NaN if fewer than `ENOUGH_IMAGES` have objects of the class.
        """
        best, rows = self.ranking[0], list[dict[str, Any]]()
        class_images = self.reports[0].matching.class_images.tolist()
        for label, name in enumerate(self.class_names):
            values = [float(report.ap[label]) for report in self.reports]
            resampled = np.stack([report.resampled_ap[:, label] for report in self.reports])
            rows.append(
                {
                    "name": name,
                    "objects": int(self.reports[0].matching.objects[label]),
                    "images": class_images[label],
                    "ap": dict(zip(self.model_names, values, strict=True)),
                    "differences": {
                        self.model_names[i]: _difference(values, resampled, i, best, class_images[label])
                        for i in self.ranking[1:]
                    },
                }
            )
        return rows

    def size_rows(self) -> list[dict[str, Any]]:
        """Returns each size of objects: COCO AP of each detector, and differences from the best, as `class_rows`."""
        return [
            {
                "name": size,
                "ap": {name: report.coco[key] for name, report in zip(self.model_names, self.reports, strict=True)},
                "differences": {
                    self.model_names[i]: self._coco_difference(key, i, self.ranking[0]) for i in self.ranking[1:]
                },
            }
            for size, key in SIZES.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Returns all results, JSON-serializable."""
        return plain(
            {
                "split": self.split,
                "images": len(self.ids),
                "summary": self.summary,
                "notes": list(self.notes),
                "models": self.model_rows(),
                "differences": self.differences,
                "classes": self.class_rows(),
                "sizes": self.size_rows(),
                "errors": {name: self.errors(i) for i, name in enumerate(self.model_names)},
                "contrasts": [
                    {
                        "id": self.ids[image],
                        "quality": dict(zip(self.model_names, self.quality[:, image].tolist(), strict=True)),
                    }
                    for image in self.contrasts
                ],
            }
        )


def _difference(
    values: Sequence[float], resampled: np.ndarray, first: int, second: int, images: int
) -> dict[str, float]:
    """Returns the difference of two detectors' values, and the ends of its interval over the images.

    The ends are NaN if there are fewer than `ENOUGH_IMAGES`.

    Args:
        resampled: the values on resamples of the images, float64 [m, resamples].
        images: number of images with objects that the values are measured from.
    """
    low, high = np.nan, np.nan
    if images >= ENOUGH_IMAGES:
        low, high = evaluation.percentile_interval(resampled[first] - resampled[second], images)
    return {"difference": values[first] - values[second], "low": low, "high": high}
