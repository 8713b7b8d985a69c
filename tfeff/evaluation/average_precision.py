"""Precision against recall, and the area below: Pascal VOC's average precision, in both of its forms.

Source: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2 (eleven points, until
2009); VOC2012 development kit, section 3.4.1 and `VOCevaldet.m` (all points, since 2010).
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.evaluation.matching import Matching

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Precision and recall of one class as more and more detections are believed.

    Attributes:
        objects: how many objects count.
        scores: float64 [n], falling; point i believes the detections down to the i-th.
        hits: int64 [n], how many of them are right.
        precision: float64 [n], hits / detections so far.
    """

    objects: int
    scores: Floats
    hits: npt.NDArray[np.int64]
    precision: Floats

    @property
    def recall(self) -> Floats:
        """float64 [n], hits / objects; NaN where there is no object."""
        return self.hits / self.objects if self.objects else np.full(len(self.hits), np.nan)

    @property
    def envelope(self) -> Floats:
        """float64 [n], the best precision at this recall or a higher one."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    @property
    def average_precision(self) -> float:
        """The area below the envelope (VOC 2010 and later); NaN where there is no object."""
        gained = np.diff(self.hits, prepend=0)
        return float(gained @ self.envelope) / self.objects if self.objects else np.nan

    @property
    def eleven_point(self) -> float:
        """Mean of the envelope at recalls of 0, 0.1, ..., 1 (VOC 2007); NaN where there is no object.

        Recalls are compared as fractions: 3 objects of 10 do reach 0.3, whatever becomes of 0.3 in binary.
        """
        return float(self._precision_at(10).mean())

    @property
    def interpolated(self) -> Floats:
        """float64 [101], the envelope at recalls of 0, 0.01, ..., 1; 0 beyond the last, NaN without objects."""
        return self._precision_at(100)

    def _precision_at(self, steps: int) -> Floats:
        """float64 [steps + 1], the envelope at recalls of 0, 1 / steps, ..., 1."""
        if not self.objects:
            return np.full(steps + 1, np.nan)
        reached = np.searchsorted(steps * self.hits, self.objects * np.arange(steps + 1))
        return np.append(self.envelope, 0.0)[reached]


def precision_recall(matching: Matching, label: int) -> PrecisionRecall:
    """The curve of one class; detections that are neither right nor wrong are no points of it."""
    of_class = np.flatnonzero((matching.label == label) & ~matching.passed_over)
    hits = np.cumsum(matching.hit[of_class], dtype=np.int64)
    return PrecisionRecall(
        objects=int(matching.objects[label]),
        scores=matching.score[of_class],
        hits=hits,
        precision=hits / np.arange(1, len(hits) + 1),
    )


def average_precisions(matching: Matching, *, eleven_point: bool = False) -> Floats:
    """float64 [classes], average precision of each class; NaN for classes without objects that count.

    Args:
        matching: the detections, judged.
        eleven_point: whether to take VOC 2007's form rather than the area of VOC 2010 and later.
    """
    curves = [precision_recall(matching, label) for label in range(matching.classes)]
    return np.array([curve.eleven_point if eleven_point else curve.average_precision for curve in curves])


def mean_average_precision(of_classes: Floats, axis: int | tuple[int, ...] = -1) -> Floats:
    """Mean over classes, without those whose value is NaN; NaN where all are.

    Args:
        of_classes: float64 [..., classes].
        axis: that of the classes, or several axes that are averaged over at once.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN, and that is meant
        return np.nanmean(of_classes, axis=axis)
