"""Precision-recall curves and Pascal VOC average precision, in its 11-point and all-point forms.

Source: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2 (11 points, until 2009);
VOC2012 development kit, section 3.4.1 and `VOCevaldet.m` (all points, since 2010).
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.evaluation.matching import Matching

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """The precision-recall curve of one class. Point i accepts the i + 1 detections with the highest scores.

    Attributes:
        objects: number of objects, without ignored ones.
        scores: float64 [n], in descending order.
        true_positives: int64 [n], cumulative.
        precision: float64 [n], true positives / detections.
    """

    objects: int
    scores: Floats
    true_positives: npt.NDArray[np.int64]
    precision: Floats

    @property
    def recall(self) -> Floats:
        """float64 [n], true positives / objects; NaN without objects."""
        return self.true_positives / self.objects if self.objects else np.full(len(self.true_positives), np.nan)

    @property
    def envelope(self) -> Floats:
        """float64 [n], the highest precision at this recall or above."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    @property
    def average_precision(self) -> float:
        """Area under the envelope (VOC 2010 and later); NaN without objects."""
        new = np.diff(self.true_positives, prepend=0)
        return float(new @ self.envelope) / self.objects if self.objects else np.nan

    @property
    def eleven_point(self) -> float:
        """Mean of the envelope at recalls 0, 0.1, ..., 1 (VOC 2007); NaN without objects.

        Recalls are compared as integer fractions, so 3 of 10 objects reach a recall of 0.3 despite rounding.
        """
        return float(self._precision_at(10).mean())

    @property
    def interpolated(self) -> Floats:
        """float64 [101], the envelope at recalls 0, 0.01, ..., 1; 0 beyond the last point, NaN without objects."""
        return self._precision_at(100)

    def _precision_at(self, steps: int) -> Floats:
        """Returns float64 [steps + 1], the envelope at recalls 0, 1 / steps, ..., 1."""
        if not self.objects:
            return np.full(steps + 1, np.nan)
        first = np.searchsorted(steps * self.true_positives, self.objects * np.arange(steps + 1))
        return np.append(self.envelope, 0.0)[first]


def precision_recall(matching: Matching) -> list[PrecisionRecall]:
    """Returns the curve of each class. Ignored detections are excluded."""
    curves = []
    for rows, objects in zip(matching.by_class, matching.objects.tolist(), strict=True):
        true_positives = np.cumsum(matching.true_positive[rows], dtype=np.int64)
        precision = true_positives / np.arange(1, len(true_positives) + 1)
        curves.append(PrecisionRecall(objects, matching.score[rows], true_positives, precision))
    return curves


def average_precisions(matching: Matching, *, eleven_point: bool = False) -> Floats:
    """Computes the average precision of each class, float64 [classes].

    NaN for classes whose objects are all ignored or absent.

    With `eleven_point`, in the 11-point form of VOC 2007 instead of the area of VOC 2010 and later.
    """
    curves = precision_recall(matching)
    return np.array([curve.eleven_point if eleven_point else curve.average_precision for curve in curves])


def mean_average_precision(ap: Floats, axis: int | tuple[int, ...] = -1) -> Floats:
    """Returns the mean over classes, ignoring NaN; NaN if all values are NaN.

    Args:
        ap: float64 [..., classes].
        axis: the axis of the classes, or several axes to average over.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of an empty slice is NaN, as intended
        return np.nanmean(ap, axis=axis)
