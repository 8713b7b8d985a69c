"""Whether annotations belong to the image before or after, as when both are renamed in order and one file is missing.

Boxes of the correct image contrast with their surroundings (`image_evidence`). That is weak evidence for one image, but
of a long series of images, in the order of their names, the boxes of the neighbor fit better only if they are shifted.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tfeff.boxes import relative_from_yxyx
from tfeff.data.dataset import Dataset
from tfeff.data.images import decoding
from tfeff.data.sample import evenly_spaced
from tfeff.errors import UserError
from tfeff.workbench.diagnosis.finding import Finding
from tfeff.workbench.diagnosis.image_evidence import Evidence
from tfeff.workbench.diagnosis.stretches import largest_sum, natural
from tfeff.workbench.diagnosis.thresholds import limit

IMAGES, BOXES = 200, 8
"""The last images in the order of names, where a shift has accumulated, and boxes of each."""
NEAR = tuple(shift for shift in range(-5, 6) if shift)
"""Shifts that are tested."""
FAR = tuple(sign * shift for shift in range(11, 39, 3) for sign in (-1, 1))
"""Shifts that nothing explains, for comparison."""


def findings(splits: Mapping[str, Dataset]) -> list[Finding]:
    """What the shifts of the annotations of all splits together say."""
    images = sorted(
        (natural(name), name, split, index)
        for split, dataset in splits.items()
        for index, name in enumerate(dataset.ids)
    )[-IMAGES:]
    if len(images) < max(map(abs, FAR)) + 2:
        return []
    names = [name for _, name, _, _ in images]
    boxes, evidence = [], list[Evidence | None]()
    for _, name, split, index in images:
        dataset = splits[split]
        height, width = dataset.sizes[index].tolist()
        own = relative_from_yxyx(dataset.objects[index].boxes_yxyx.astype(np.float64), (height, width))
        boxes.append(own[evenly_spaced(len(own), BOXES)])
        try:
            evidence.append(Evidence(decoding.decode(dataset.encoded(index), name)))
        except (UserError, OSError):
            evidence.append(None)
    found = best_shift(fits(evidence, boxes, (0, *NEAR, *FAR)))
    if found is None:
        return []
    shift, start, end, ratio = found
    where = f"of the image {abs(shift)} {'after' if shift > 0 else 'before'} it in the order of names"
    return [
        Finding(
            what=f"from {names[start]} to {names[end - 1]}, the boxes {where} fit each image better than its own: "
            "images and annotations were probably numbered separately, and a file is missing in one of the folders.",
            measured={"shift": shift, "images": end - start, "times_the_largest_chance": round(ratio, 1)},
            evidence=["see objects.png"],
            fix="pair the original files by their common names again; deleting or adding files at the end does not "
            "help",
        )
    ]


def fits(
    evidence: Sequence[Evidence | None], boxes: Sequence[npt.NDArray[np.float64]], shifts: Sequence[int]
) -> dict[int, npt.NDArray[np.float64]]:
    """How well the boxes of the image `shift` places later fit each image, by shift; NaN if unknown.

    Args:
        evidence: the pixels of each image.
        boxes: the boxes of each image, relative to it, float64 [n, 4].
        shifts: the shifts.
    """
    count = len(evidence)
    raw = {shift: np.full((count, 2), np.nan) for shift in shifts}
    for place, pixels in enumerate(evidence):
        for shift in shifts:
            other = place + shift
            if pixels is None or not 0 <= other < count or not len(boxes[other]):
                continue
            values = np.array([pixels.fit(np.clip(box, 0.0, 1.0)) for box in boxes[other]])
            values = values[np.isfinite(values).all(axis=1)]
            if len(values):
                raw[shift][place] = values.mean(axis=0)
    scale = np.nanstd(np.concatenate(list(raw.values())), axis=0)
    return {shift: (values / np.maximum(scale, 1e-9)).sum(axis=1) for shift, values in raw.items()}


def best_shift(scores: Mapping[int, npt.NDArray[np.float64]]) -> tuple[int, int, int, float] | None:
    """The shift that fits better than no shift in a stretch of images, if any.

    Args:
        scores: from `fits`, with shift 0.

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
