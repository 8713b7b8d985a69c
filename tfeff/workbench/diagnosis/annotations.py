"""The boxes of a split as they were read, and how well they, or boxes that they could mean instead, fit the images."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.boxes import paired_iou, relative_from_yxyx
from tfeff.data.dataset import Dataset, Written
from tfeff.data.images import decoding
from tfeff.data.sample import evenly_spaced
from tfeff.errors import UserError
from tfeff.workbench.diagnosis.image_evidence import Evidence, Preference, prefer
from tfeff.workbench.diagnosis.thresholds import limit

Boxes = npt.NDArray[np.float64]
Transform = Callable[[int, Boxes], Boxes]
"""Index of an image, its boxes as they were read -> as many boxes that these could mean instead; yxyx in pixels."""
IMAGES, BOXES = 80, 8
"""Images of a split, and boxes of an image, whose pixels are compared, at most."""


def unchanged(index: int, boxes: Boxes) -> Boxes:
    """The boxes as they were read."""
    return boxes


@dataclass(frozen=True, eq=False)
class Annotations:
    """The annotations of a split.

    Attributes:
        images: the split.
        written: boxes_yxyx in pixels as they were read, before any was fixed or dropped, float64 [n, 4] per image.
        sizes: (height, width) of each image.
        annotated_sizes: the same according to the annotations, or None.
    """

    images: Dataset
    written: Sequence[Boxes]
    sizes: Sequence[tuple[int, int]]
    annotated_sizes: Sequence[tuple[int, int] | None]

    @classmethod
    def of(cls, images: Dataset) -> "Annotations":
        """The annotations of a dataset; those of sources that do not keep what is written are taken as read."""
        written: Sequence[Written] = images.written or [
            Written(each.boxes_yxyx.astype(np.float64), each.labels.astype(np.int64)) for each in images.objects
        ]
        sizes = [(int(height), int(width)) for height, width in images.sizes]
        return cls(images, [each.boxes_yxyx for each in written], sizes, [each.image_size for each in written])

    @functools.cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of boxes in each image, int64 [images]."""
        return np.array([len(boxes) for boxes in self.written], np.int64)

    @functools.cached_property
    def count(self) -> int:
        """Number of boxes."""
        return int(self.counts.sum())

    def plausible(self, transform: Transform = unchanged) -> npt.NDArray[np.int64]:
        """Number of plausible boxes in each image after a transform, int64 [images]."""
        return np.array(
            [
                int(is_plausible(transform(index, boxes), size).sum()) if len(boxes) else 0
                for index, (boxes, size) in enumerate(zip(self.written, self.sizes, strict=True))
            ],
            np.int64,
        )

    @functools.cached_property
    def valid(self) -> float:
        """Share of boxes that are plausible as they were read."""
        return float(self.plausible().sum()) / max(self.count, 1)

    @functools.cached_property
    def sample(self) -> list[int]:
        """Images whose pixels are compared."""
        annotated = np.flatnonzero(self.counts)
        return annotated[evenly_spaced(len(annotated), IMAGES)].tolist()

    def evidence(self, index: int) -> Evidence | None:
        """The pixels of an image; None if it is unreadable."""
        if index not in self._evidence:
            try:
                image = decoding.decode(self.images.encoded(index), self.images.ids[index])
                self._evidence[index] = Evidence(image)
            except (UserError, OSError):
                self._evidence[index] = None
        return self._evidence[index]

    @functools.cached_property
    def _evidence(self) -> dict[int, Evidence | None]:
        return {}

    def fits(self, transform: Transform = unchanged, images: Sequence[int] | None = None) -> list[tuple[float, float]]:
        """`Evidence.fit` of some boxes after a transform.

        Args:
            transform: of the boxes.
            images: indices of the images; default the sample.
        """
        fits = list[tuple[float, float]]()
        for index in self.sample if images is None else images:
            evidence = self.evidence(index)
            if evidence is None:
                continue
            boxes = transform(index, self.written[index][evenly_spaced(len(self.written[index]), BOXES)])
            fits += [evidence.fit(np.clip(box, 0.0, 1.0)) for box in relative_from_yxyx(boxes, self.sizes[index])]
        return fits

    @functools.cached_property
    def as_read(self) -> list[tuple[float, float]]:
        """`fits` of the boxes as they were read."""
        return self.fits()

    def prefers(self, transform: Transform) -> Preference:
        """How often boxes fit the images better after a transform."""
        return prefer(self.fits(transform), self.as_read)

    def differs(self, transform: Transform) -> bool:
        """Whether a transform moves boxes by enough to matter."""
        overlaps = [
            paired_iou(self.written[index], transform(index, self.written[index]), ops=np) for index in self.sample
        ]
        return bool(np.nanmedian(np.concatenate(overlaps)) < limit("same_reading")) if overlaps else False


def is_plausible(boxes: Boxes, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Whether boxes are finite, have an area and lie inside their image: bool [n]."""
    slack = np.maximum(2.0, limit("box_tolerance") * np.array(size, float))
    with np.errstate(invalid="ignore"):
        inside = (boxes[:, :2] >= -slack).all(axis=1) & (boxes[:, 2:] <= np.array(size) + slack).all(axis=1)
        large = (boxes[:, 2:] - boxes[:, :2] >= limit("smallest_side")).all(axis=1)
    return np.asarray(np.isfinite(boxes).all(axis=1) & inside & large)
