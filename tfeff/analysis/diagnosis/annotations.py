"""The boxes of a split as they were read, and how well they, or boxes that they could mean instead, fit the images.

Runs of consecutive images, sorted by name, show which parts of a dataset were merged, because merged datasets are
rarely shuffled. When images and annotations are both numbered in order and one file is missing, annotations belong to
the image before or after. Boxes of the correct image contrast with their surroundings (`image_evidence`). That is weak
evidence for one image. In a long series of images, however, the boxes of the neighbor fit better only if they are
shifted.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.analysis.diagnosis.finding import Finding
from tfeff.analysis.diagnosis.image_evidence import Evidence, Preference, prefer
from tfeff.analysis.diagnosis.thresholds import limit
from tfeff.analysis.pixel_statistics import pixels_of
from tfeff.boxes import paired_iou, relative_from_yxyx
from tfeff.data.dataset import Dataset, RawAnnotations, evenly_spaced

Boxes = npt.NDArray[np.float64]
Transform = Callable[[int, Boxes], Boxes]
"""Index of an image, its boxes as they were read -> as many boxes that these could mean instead; yxyx in pixels."""
IMAGES, BOXES = 80, 8
"""Images of a split, and boxes of an image, whose pixels are compared, at most."""


def unchanged(index: int, boxes: Boxes) -> Boxes:
    """Returns the boxes as they were read."""
    return boxes


@dataclass(frozen=True, eq=False)
class Annotations:
    """The annotations of a split.

    Attributes:
        raw_boxes: boxes_yxyx in pixels as they were read, before any was fixed or dropped, float64 [n, 4] per image.
        sizes: (height, width) of each image.
        annotated_sizes: the same according to the annotations, or None.
    """

    images: Dataset
    raw_boxes: Sequence[Boxes]
    sizes: Sequence[tuple[int, int]]
    annotated_sizes: Sequence[tuple[int, int] | None]

    @classmethod
    def of(cls, images: Dataset) -> "Annotations":
        """Returns the annotations of a dataset; those of sources that do not keep what is written are taken as read."""
        raw: Sequence[RawAnnotations] = images.raw_annotations or [
            RawAnnotations(each.boxes_yxyx.astype(np.float64), each.labels.astype(np.int64)) for each in images.objects
        ]
        sizes = [(int(height), int(width)) for height, width in images.sizes]
        return cls(images, [each.boxes_yxyx for each in raw], sizes, [each.image_size for each in raw])

    def by_size(self, change: Callable[[Boxes, int, int], Boxes]) -> Transform:
        """Returns the transform that changes boxes by the (height, width) of their image."""
        return lambda index, boxes: change(boxes, *self.sizes[index])

    @functools.cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of boxes in each image, int64 [images]."""
        return np.array([len(boxes) for boxes in self.raw_boxes], np.int64)

    @functools.cached_property
    def count(self) -> int:
        """Number of boxes."""
        return int(self.counts.sum())

    def plausible(self, transform: Transform = unchanged) -> npt.NDArray[np.int64]:
        """Returns the number of plausible boxes in each image after a transform, int64 [images]."""
        return np.array(
            [
                int(is_plausible(transform(index, boxes), size).sum()) if len(boxes) else 0
                for index, (boxes, size) in enumerate(zip(self.raw_boxes, self.sizes, strict=True))
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
        """Returns the pixels of an image; None if it is unreadable."""
        if index not in self._evidence:
            image = pixels_of(self.images, index)
            self._evidence[index] = None if image is None else Evidence(image)
        return self._evidence[index]

    @functools.cached_property
    def _evidence(self) -> dict[int, Evidence | None]:
        return {}

    def fits(self, transform: Transform = unchanged, images: Sequence[int] | None = None) -> list[tuple[float, float]]:
        """Returns `Evidence.fit` of boxes after a transform, for the images with these indices or the sample."""
        fits = list[tuple[float, float]]()
        for index in self.sample if images is None else images:
            evidence = self.evidence(index)
            if evidence is None:
                continue
            boxes = transform(index, self.raw_boxes[index][evenly_spaced(len(self.raw_boxes[index]), BOXES)])
            fits += [evidence.fit(np.clip(box, 0.0, 1.0)) for box in relative_from_yxyx(boxes, self.sizes[index])]
        return fits

    @functools.cached_property
    def as_read(self) -> list[tuple[float, float]]:
        """`fits` of the boxes as they were read."""
        return self.fits()

    def prefers(self, transform: Transform) -> Preference:
        """Counts how often boxes fit the images better after a transform."""
        return prefer(self.fits(transform), self.as_read)

    def differs(self, transform: Transform) -> bool:
        """Returns whether a transform moves boxes by enough to matter."""
        overlaps = [
            paired_iou(self.raw_boxes[index], transform(index, self.raw_boxes[index]), ops=np) for index in self.sample
        ]
        return bool(np.nanmedian(np.concatenate(overlaps)) < limit("same_reading")) if overlaps else False


def is_plausible(boxes: Boxes, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Returns whether boxes are finite, have an area and lie inside their image: bool [n]."""
    slack = np.maximum(2.0, limit("box_tolerance") * np.array(size, float))
    with np.errstate(invalid="ignore"):
        inside = (boxes[:, :2] >= -slack).all(axis=1) & (boxes[:, 2:] <= np.array(size) + slack).all(axis=1)
        large = (boxes[:, 2:] - boxes[:, :2] >= limit("smallest_side")).all(axis=1)
    return np.asarray(np.isfinite(boxes).all(axis=1) & inside & large)


def natural(name: str) -> list[tuple[int, str]]:
    """Returns a key that sorts numbers in names by their value.

    >>> sorted(["img10", "img9"], key=natural)
    ['img9', 'img10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def in_order(splits: Mapping[str, Dataset]) -> list[tuple[str, Dataset, int]]:
    """Returns the name, split and index of the images of all splits, in the order of their names."""
    images = [(name, split, index) for split in splits.values() for index, name in enumerate(split.ids)]
    return sorted(images, key=lambda image: (natural(image[0]), image[0]))


def longest(flags: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Returns the start and end of the longest run of true values.

    >>> longest(np.array([True, False, True, True]))
    (2, 4)
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    position = int((ends - starts).argmax())
    return int(starts[position]), int(ends[position])


def largest_sum(values: npt.NDArray[np.float64]) -> tuple[int, int, float]:
    """Returns the start, end and sum of the consecutive values with the largest sum; unknown values (NaN) count 0.

    >>> largest_sum(np.array([-1.0, 2.0, -1.0, 3.0, -5.0]))
    (1, 4, 4.0)
    """
    sums = np.concatenate([[0.0], np.nancumsum(values)])
    end = int((sums - np.minimum.accumulate(sums)).argmax())
    start = int(sums[: end + 1].argmin())
    return start, end, float(sums[end] - sums[start])


ORDERED_IMAGES, ORDERED_BOXES = 200, 8
"""The last images in the order of names, where a shift has accumulated, and boxes of each."""
NEAR = tuple(shift for shift in range(-5, 6) if shift)
"""Shifts that are tested."""
FAR = tuple(sign * shift for shift in range(11, 39, 3) for sign in (-1, 1))
"""Shifts that nothing explains, for comparison."""


def shifted_pairs(splits: Mapping[str, Dataset]) -> Iterator[Finding]:
    """Yields what the shifts of the annotations of all splits together say."""
    images = in_order(splits)[-ORDERED_IMAGES:]
    if len(images) < max(map(abs, FAR)) + 2:
        return
    names = [name for name, _, _ in images]
    boxes, evidence = [], list[Evidence | None]()
    for _, dataset, index in images:
        height, width = dataset.sizes[index].tolist()
        own = relative_from_yxyx(dataset.objects[index].boxes_yxyx.astype(np.float64), (height, width))
        boxes.append(own[evenly_spaced(len(own), ORDERED_BOXES)])
        image = pixels_of(dataset, index)
        evidence.append(None if image is None else Evidence(image))
    found = best_shift(shifted_fits(evidence, boxes, (0, *NEAR, *FAR)))
    if found is None:
        return
    shift, start, end, ratio = found
    where = f"of the image {abs(shift)} {'after' if shift > 0 else 'before'} it in the order of names"
    yield Finding(
        what=f"from {names[start]} to {names[end - 1]}, the boxes {where} fit each image better than its own: "
        "images and annotations were probably numbered separately, and a file is missing in one of the folders.",
        measured={"shift": shift, "images": end - start, "times_the_largest_chance": round(ratio, 1)},
        evidence=["see the boxes in analysis.html"],
        fix="pair the original files by their common names again; deleting or adding files at the end does not help",
    )


def shifted_fits(
    evidence: Sequence[Evidence | None], boxes: Sequence[npt.NDArray[np.float64]], shifts: Sequence[int]
) -> dict[int, npt.NDArray[np.float64]]:
    """Measures how well the relative boxes of the image `shift` places later fit each image; NaN if unknown."""
    count = len(evidence)
    raw = {shift: np.full((count, 2), np.nan) for shift in shifts}
    for place, own in enumerate(evidence):
        for shift in shifts:
            other = place + shift
            if own is None or not 0 <= other < count or not len(boxes[other]):
                continue
            values = np.array([own.fit(np.clip(box, 0.0, 1.0)) for box in boxes[other]])
            values = values[np.isfinite(values).all(axis=1)]
            if len(values):
                raw[shift][place] = values.mean(axis=0)
    scale = np.nanstd(np.concatenate(list(raw.values())), axis=0)
    return {shift: (values / np.maximum(scale, 1e-9)).sum(axis=1) for shift, values in raw.items()}


def best_shift(scores: Mapping[int, npt.NDArray[np.float64]]) -> tuple[int, int, int, float] | None:
    """Returns the shift that fits better than no shift in a stretch of images, if any.

    Returns:
        The shift, start and end of the stretch, and by how much its advantage exceeds those of all far shifts.
    """
    stretches = {shift: largest_sum(scores[shift] - scores[0]) for shift in scores if shift}
    shift = max((shift for shift in NEAR if shift in stretches), key=lambda each: stretches[each][2])
    start, end, gain = stretches[shift]
    chance = max(stretches[far][2] for far in FAR if far in stretches)
    if end - start < limit("shifted_images") or gain < limit("shift_advantage") * chance:
        return None
    return shift, start, end, gain / max(chance, 1e-9)
