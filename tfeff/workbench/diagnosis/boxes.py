"""The second link: whether the boxes lie where the objects are."""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfeff.boxes import paired_iou
from tfeff.data.dataset import Dataset, Written
from tfeff.data.images import decoding
from tfeff.errors import UserError
from tfeff.workbench.diagnosis import padding, pairing
from tfeff.workbench.diagnosis.box_readings import RELATIVE, Reading, declared, others
from tfeff.workbench.diagnosis.finding import Finding, Link, listed, share
from tfeff.workbench.diagnosis.image_evidence import Evidence, Preference, prefer
from tfeff.workbench.diagnosis.images import Survey
from tfeff.workbench.diagnosis.subject import evenly
from tfeff.workbench.diagnosis.thresholds import limit

Boxes = npt.NDArray[np.float64]
IMAGES, BOXES = 80, 8
"""Images of a split, and boxes of an image, whose pixels are compared, at most."""
FEW = 30
"""Boxes below which no pattern is inferred from where they lie."""
SAME = 0.8
"""Median IoU from which on two readings do not differ enough to matter."""


@dataclass(frozen=True, eq=False)
class Annotated:
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
    def of(cls, images: Dataset) -> "Annotated":
        """The annotations of a dataset; those of sources that do not keep what is written are taken as read."""
        written: Sequence[Written] = images.written or [
            Written(each.boxes_yxyx.astype(np.float64), each.labels.astype(np.int64)) for each in images.objects
        ]
        sizes = [(int(height), int(width)) for height, width in images.sizes]
        return cls(images, [each.boxes_yxyx for each in written], sizes, [each.image_size for each in written])

    @functools.cached_property
    def count(self) -> int:
        """Number of boxes."""
        return sum(map(len, self.written))

    @functools.cached_property
    def valid(self) -> float:
        """Share of boxes that are plausible as they were read."""
        return float(_plausible_boxes(self, lambda index, boxes: boxes).sum()) / max(self.count, 1)

    @functools.cached_property
    def sample(self) -> list[int]:
        """Images whose pixels are compared."""
        annotated = [index for index, boxes in enumerate(self.written) if len(boxes)]
        return [annotated[place] for place in evenly(len(annotated), IMAGES)] if annotated else []

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

    def fits(
        self, read: Callable[[int, Boxes], Boxes], images: Sequence[int] | None = None
    ) -> list[tuple[float, float]]:
        """`Evidence.fit` of some boxes after another reading.

        Args:
            read: index of an image, its boxes as they were read -> boxes in the other reading; as many, in pixels.
            images: indices of the images; default the sample.
        """
        fits = list[tuple[float, float]]()
        for index in self.sample if images is None else images:
            evidence = self.evidence(index)
            if evidence is None:
                continue
            boxes = read(index, self.written[index][evenly(len(self.written[index]), BOXES)])
            relative = boxes / np.tile(np.array(self.sizes[index], float), 2)
            fits += [evidence.fit(np.clip(box, 0.0, 1.0)) for box in relative]
        return fits

    @functools.cached_property
    def as_read(self) -> list[tuple[float, float]]:
        """`fits` of the boxes as they were read."""
        return self.fits(lambda index, boxes: boxes)

    def prefers(self, read: Callable[[int, Boxes], Boxes]) -> Preference:
        """How often another reading fits the images better."""
        return prefer(self.fits(read), self.as_read)

    def differs(self, read: Callable[[int, Boxes], Boxes]) -> bool:
        """Whether another reading moves boxes by enough to matter."""
        overlaps = [paired_iou(self.written[index], read(index, self.written[index]), ops=np) for index in self.sample]
        return bool(np.nanmedian(np.concatenate(overlaps)) < SAME) if overlaps else False


def check(source: str, splits: Mapping[str, Dataset], surveys: Mapping[str, Survey]) -> Link:
    """Checks the boxes.

    Args:
        source: name of the source, which says in which format it reads boxes.
        splits: images with objects, by role.
        surveys: the same, decoded.
    """
    annotated = {role: Annotated.of(images) for role, images in splits.items()}
    found: dict[str, Finding] = {}
    reading = declared(source)
    for role, each in annotated.items():
        for finding in _findings(role, each, reading, surveys[role]):
            found.setdefault(finding.what.partition(":")[2], finding)  # not again for each split
    findings = list(found.values())
    if not any(finding.broken for finding in findings):
        findings += pairing.findings(splits) or [
            finding for role, each in annotated.items() for finding in _not_theirs(role, each)
        ]
    measured = {
        role: {"boxes": each.count, "plausible_boxes": round(each.valid, 4)} for role, each in annotated.items()
    }
    findings.sort(key=lambda finding: not finding.broken)
    return Link(name="boxes", question="are the boxes where the objects are?", findings=findings, measured=measured)


def _findings(role: str, each: Annotated, reading: Reading, survey: Survey) -> list[Finding]:
    findings = _invalid_lines(role, each)
    if not each.count:
        return findings
    turned = [each.images.ids[index] for index, tag in zip(survey.indices, survey.orientation, strict=True) if tag != 1]
    exif = f" {share(len(turned), survey.examined)} images have an EXIF orientation." if turned else ""
    findings += _sideways(role, each)
    if not any(finding.broken for finding in findings) and each.valid < 1:
        wrong = each.valid < limit("valid_reading")
        findings += (_wrong_format(role, each, reading, exif) if wrong else []) or _damaged(role, each)
    if not any(finding.broken for finding in findings):
        findings += _on_padding(role, each) or _misplaced(role, each, reading, exif)
    if turned and not any(finding.broken for finding in findings):
        findings.append(
            Finding(
                what=f"{role}: {share(len(turned), survey.examined)} images have an EXIF orientation, which training "
                "ignores: the pixels are used as stored.",
                broken=False,
                measured={"images": len(turned)},
                evidence=[listed(turned)],
                fix="if the boxes were drawn on upright images, save the images upright",
            )
        )
    return findings + _placeholders(role, each) + _twice(role, each)


def _sideways(role: str, each: Annotated) -> list[Finding]:
    """Images whose height and width are exchanged in their annotations."""
    images = [
        index
        for index, (size, stated) in enumerate(zip(each.sizes, each.annotated_sizes, strict=True))
        if size[0] != size[1] and stated == size[::-1]
    ]
    places = [(index, number) for index in images for number in range(len(each.written[index]))]
    if len(images) <= limit("damaged_boxes") * len(each.sizes) or not places:
        return []
    sample = [images[place] for place in evenly(len(images), IMAGES)]
    directions = {clockwise: _turned(each, clockwise=clockwise) for clockwise in (True, False)}
    fits = {clockwise: each.fits(read, sample) for clockwise, read in directions.items()}
    clockwise = prefer(fits[True], fits[False]).wins >= 0.5
    preference = prefer(fits[clockwise], each.fits(lambda index, boxes: boxes, sample))
    if preference.wins <= 0.5 and each.valid >= limit("valid_reading"):
        return [
            Finding(
                what=f"{role}: the annotations of {share(len(images), len(each.sizes))} images state their height and "
                "width the other way round; the boxes fit the images.",
                broken=False,
                measured={"images": len(images)},
                evidence=[listed([each.images.ids[index] for index in images])],
            )
        ]
    return [
        Finding(
            what=f"{role}: {share(len(images), len(each.sizes))} images are stored sideways: their annotations state "
            "their height and width the other way round. The boxes were drawn on images rotated by 90 degrees "
            f"{'clockwise' if clockwise else 'counterclockwise'}, as viewers show photographs with an EXIF "
            "orientation.",
            measured={
                "images": len(images),
                "boxes_that_fit_better_rotated": round(preference.wins, 3),
                "boxes_compared": preference.count,
            },
            evidence=[
                listed([each.images.ids[index] for index in images]),
                *_examples(each, places, directions[clockwise]),
            ],
            fix="save these images upright (their orientation was probably lost when they were saved again); do not "
            "scale the boxes",
        )
    ]


def _wrong_format(role: str, each: Annotated, reading: Reading, exif: str) -> list[Finding]:
    """Another format in which practically all boxes lie inside their images; or all boxes of the images in which some
    do not."""
    readings = _readings(each, reading, units=True)
    counts = {name: _plausible_boxes(each, read) for name, (read, _) in readings.items()}
    enough = max(limit("valid_reading"), each.valid + 0.005)
    good = [
        name
        for name, found in counts.items()
        if found.sum() >= enough * each.count and max(_reach(each, readings[name][0])) >= limit("corner_extent")
    ]
    as_read = _plausible_boxes(each, lambda index, boxes: boxes)
    affected = as_read < np.array([len(boxes) for boxes in each.written])
    part = ""
    if not good:
        same_unit = _readings(each, reading, units=False)
        boxes = np.array([len(written) for written in each.written])
        wrong = boxes[affected].sum()
        good = [
            name
            for name in same_unit
            if affected.sum() >= 3 and counts[name][affected].sum() >= limit("mixed_reading") * wrong
        ]
        part = f"in {share(int(affected.sum()), len(affected))} images, "
    if not good:
        return []
    images = np.flatnonzero(affected)[:IMAGES].tolist() if part else each.sample
    fits = {name: each.fits(readings[name][0], images) for name in good}

    def rank(name: str) -> tuple[int, int]:
        """Readings that fit the images worse; among equals, the first one."""
        return sum(prefer(fits[name], fits[other]).z > 2 for other in good), -good.index(name)

    best = max(good, key=rank)
    read, fix = readings[best]
    return [
        Finding(
            what=f"{role}: {part}{best}.{exif if 'rotated' in best else ''}",
            measured={
                "plausible_as_read": round(each.valid, 4),
                "plausible_as_explained": round(float(counts[best].sum()) / each.count, 4),
                "boxes": each.count,
            },
            evidence=_examples(each, _implausible(each), read),
            fix=fix,
        )
    ]


def _readings(
    each: Annotated, reading: Reading, *, units: bool
) -> dict[str, tuple[Callable[[int, Boxes], Boxes], str]]:
    """Everything that the boxes could mean instead: what is wrong -> (the right boxes, what to do).

    Args:
        each: the annotations.
        reading: how they were read.
        units: also in other units.
    """
    found = dict[str, tuple[Callable[[int, Boxes], Boxes], str]]()
    for other in others(reading):
        if units or other.unit == reading.unit:
            found[f"the boxes are written as {other}, but they are read as {reading}"] = (
                _converted(each, reading, other),
                f"write the boxes as {reading}, for example with tools/convert_annotations.py",
            )
    if any(size is not None and size != own for size, own in zip(each.annotated_sizes, each.sizes, strict=True)):
        found["the boxes belong to images of the size in the annotations, not of the files"] = (
            _rescaled(each),
            "scale the boxes to the images, or use the images that were annotated",
        )
    if reading.unit == RELATIVE:
        found["x was divided by the height of the image, and y by its width"] = (
            _normalized_again(each),
            "divide x and the box's width by the width of the image, y and the box's height by its height",
        )
    for clockwise, word in ((True, "clockwise"), (False, "counterclockwise")):
        found[f"the boxes were drawn on images rotated by 90 degrees {word}"] = (
            _turned(each, clockwise=clockwise),
            "save the images upright, or rotate the boxes",
        )
    return found


def _damaged(role: str, each: Annotated) -> list[Finding]:
    """Boxes that are implausible in every format, by what is wrong with them."""
    findings, kinds = list[Finding](), dict[str, list[tuple[int, int]]]()
    for index, (boxes, size) in enumerate(zip(each.written, each.sizes, strict=True)):
        for number, box in enumerate(boxes):
            if kind := _defect(box, size):
                kinds.setdefault(kind, []).append((index, number))
    texts = {
        "not finite": ("are not finite numbers", "correct the export: NaN comes from a division by zero"),
        "without area": (
            "have no area: their width or height is 0",
            "delete them or draw them again; readers drop them, so their objects train as background",
        ),
        "swapped": ("have their corners swapped", "write the smaller coordinate first; readers correct this"),
        "outside": (
            "lie outside their images",
            "check that the annotations belong to these images: the same files, neither resized nor rotated",
        ),
        "tiny": ("are smaller than a pixel", "check the unit of the coordinates"),
    }
    for kind, places in kinds.items():
        reach = max(float((each.written[i][n][2:] / np.array(each.sizes[i])).max()) for i, n in places)
        scale = f" They reach up to {reach:.2f} times the size of the image." if kind == "outside" and reach > 0 else ""
        findings.append(
            Finding(
                what=f"{role}: {share(len(places), each.count)} boxes {texts[kind][0]}.{scale}",
                broken=len(places) > limit("damaged_boxes") * each.count and kind != "swapped",
                measured={"boxes": len(places), "of": each.count},
                evidence=[_place(each, index, number) for index, number in places[:3]],
                fix=texts[kind][1],
            )
        )
    return findings


def _misplaced(role: str, each: Annotated, reading: Reading, exif: str) -> list[Finding]:
    """Boxes that are plausible, but do not fit the pixels, or only use a corner of the images."""
    findings = list[Finding]()
    alternatives = {
        what: (read, fix)
        for what, (read, fix) in _readings(each, reading, units=False).items()
        if _plausible_boxes(each, read).sum() >= (each.valid - 0.02) * each.count
    }
    alternatives |= {
        "x and y of the boxes are exchanged": (_transposed(each), "exchange x and y in the annotations"),
        "the boxes are upside down: y is counted from the bottom": (
            _flipped(each, vertical=True),
            "write height - y: coordinates start at the top left",
        ),
        "the boxes are mirrored: x is counted from the right": (
            _flipped(each, vertical=False),
            "write width - x: coordinates start at the top left",
        ),
    }
    wrong_sizes = [
        index
        for index, size in enumerate(each.annotated_sizes)
        if size is not None and size != each.sizes[index] and len(each.written[index])
    ]
    winners = list[tuple[float, str, Preference]]()
    for what, (read, _) in alternatives.items():
        if each.differs(read):
            preference = each.prefers(read)
            if preference.wins >= limit("evidence_wins") and preference.z >= limit("evidence_z"):
                winners.append((preference.z, what, preference))
    if winners:
        _, what, preference = max(winners)
        read, fix = alternatives[what]
        findings.append(
            Finding(
                what=f"{role}: {what}.{exif if 'rotated' in what else ''}",
                measured={
                    "boxes_that_fit_better": round(preference.wins, 3),
                    "boxes_compared": preference.count,
                    "standard_deviations": round(preference.z, 1),
                },
                evidence=_examples(each, [(index, 0) for index in each.sample], read),
                fix=fix,
            )
        )
        return findings
    if wrong_sizes:
        index = wrong_sizes[0]
        findings.append(
            Finding(
                what=f"{role}: the annotations of {share(len(wrong_sizes), len(each.sizes))} images state another size "
                "than the file has.",
                broken=len(wrong_sizes) > limit("damaged_boxes") * len(each.sizes)
                and not _defended(each, _rescaled(each)),
                measured={"images": len(wrong_sizes), "of": len(each.sizes)},
                evidence=[
                    f"{each.images.ids[index]}: (height, width) {each.annotated_sizes[index]} in the annotation, "
                    f"{each.sizes[index]} in the file"
                ],
                fix="if the images were resized after they were annotated, scale the boxes with them",
            )
        )
    reach = _reach(each, lambda index, boxes: boxes)
    if each.count >= FEW and len(each.sample) >= 10 and max(reach) < limit("corner_extent"):
        findings.append(
            Finding(
                what=f"{role}: all boxes lie in the top left of their images: none reaches beyond {reach[0]:.0%} of "
                f"the height and {reach[1]:.0%} of the width.",
                measured={"largest_bottom": round(reach[0], 3), "largest_right": round(reach[1], 3)},
                evidence=[listed([each.images.ids[index] for index in each.sample])],
                fix="the boxes probably belong to smaller images: scale them by the ratio of the sizes",
            )
        )
        return findings
    return findings


def _not_theirs(role: str, each: Annotated) -> list[Finding]:
    """Boxes that belong to other images."""
    foreign = _foreign(each) if each.count else None
    if foreign is None or foreign.count < limit("foreign_boxes") or foreign.upper >= limit("foreign_wins"):
        return []
    return [
        Finding(
            what=f"{role}: the boxes fit their images no better than the boxes of other images do.",
            measured={"boxes_that_fit_better": round(foreign.wins, 3), "boxes_compared": foreign.count},
            evidence=["see objects.png"],
            fix="check that annotations and images belong together (names, order of lists), and the coordinates",
        )
    ]


def _on_padding(role: str, each: Annotated) -> list[Finding]:
    """Boxes on the bars that padding left at the borders of images."""
    padded, images, shares, places = 0, 0, list[float](), list[tuple[int, int]]()
    for index in each.sample:
        evidence = each.evidence(index)
        if evidence is None:
            continue
        images += 1
        if evidence.picture == (0.0, 0.0, 1.0, 1.0):
            continue
        padded += 1
        relative = each.written[index] / np.tile(np.array(each.sizes[index], float), 2)
        outside = padding.outside(relative, evidence.picture)
        shares += outside.tolist()
        places += [(index, int(number)) for number in np.flatnonzero(outside > limit("box_on_padding"))]
    if not places or padded < limit("padded_images") * images or len(places) < limit("boxes_on_padding") * len(shares):
        return []

    def read(index: int, boxes: Boxes) -> Boxes:
        evidence, size = each.evidence(index), np.tile(np.array(each.sizes[index], float), 2)
        return boxes if evidence is None else padding.shifted(boxes / size, evidence.picture) * size

    return [
        Finding(
            what=f"{role}: {share(padded, images)} images have bars at two sides, and "
            f"{share(len(places), len(shares))} of "
            "their boxes reach onto them: the images were padded, but the boxes were not moved with them.",
            measured={"boxes_on_bars": len(places), "of": len(shares), "padded_images": padded},
            evidence=_examples(each, places, read),
            fix="scale the original boxes by the factor of the image (the same for x and y) and add the width of the "
            "bar on the left and at the top; or keep the original images, which are padded while they are read",
        )
    ]


def _placeholders(role: str, each: Annotated) -> list[Finding]:
    """Boxes that nobody drew."""
    if each.count < FEW:
        return []
    findings = list[Finding]()
    whole, common = 0, Counter[tuple[float, ...]]()
    for boxes, size in zip(each.written, each.sizes, strict=True):
        relative = boxes / np.tile(np.array(size, float), 2)
        whole += int(((relative[:, :2] <= 0.01) & (relative[:, 2:] >= 0.99)).all(axis=1).sum())
        common.update({tuple(np.round(box, 4).tolist()) for box in relative})
    images = sum(bool(len(boxes)) for boxes in each.written)
    box, count = common.most_common(1)[0]
    if whole > limit("whole_image") * each.count:
        findings.append(
            Finding(
                what=f"{role}: {share(whole, each.count)} boxes cover their whole image.",
                measured={"boxes": whole, "of": each.count},
                fix="draw boxes around the objects; to classify whole images, use a folder per class",
            )
        )
    elif count > limit("repeated_boxes") * images and images >= 20:
        findings.append(
            Finding(
                what=f"{role}: {share(count, images)} images have exactly the same box.",
                measured={"images": count, "box_yxyx_relative": list(box)},
                fix="replace placeholders by boxes around the objects",
            )
        )
    return findings


def _twice(role: str, each: Annotated) -> list[Finding]:
    """Objects that are listed twice in their image."""
    double, names = 0, list[str]()
    for index, objects in enumerate(each.images.objects):
        rows = np.column_stack([objects.boxes_yxyx, objects.labels])
        extra = len(rows) - len(np.unique(rows, axis=0)) if len(rows) else 0
        double += extra
        names += [each.images.ids[index]] if extra else []
    if not double:
        return []
    return [
        Finding(
            what=f"{role}: {share(double, each.count)} objects are listed twice: same image, class and box.",
            broken=double > limit("duplicate_objects") * each.count,
            measured={"objects": double, "of": each.count},
            evidence=[listed(names)],
            fix="delete the repetitions",
        )
    ]


def _invalid_lines(role: str, each: Annotated) -> list[Finding]:
    """Annotations from which no box could be read."""
    defects = each.images.defects
    texts = {
        "invalid line": "write five numbers per line: class, center x, center y, width, height. Lines with more "
        "numbers are polygons or have a score: convert them to boxes",
        "object without a complete box": "give every object xmin, ymin, xmax and ymax as numbers",
        "object without a box or a class": "give every object four numbers (bbox) and a category_id",
    }
    return [
        Finding(
            what=f"{role}: {share(defects.counts[kind], each.count + defects.counts[kind])} objects: {kind}.",
            broken=defects.counts[kind] > limit("damaged_boxes") * (each.count + defects.counts[kind]),
            measured={"objects": defects.counts[kind]},
            evidence=[defects.examples[kind]],
            fix=fix,
        )
        for kind, fix in texts.items()
        if defects.counts[kind]
    ]


def _foreign(each: Annotated) -> Preference | None:
    """How often boxes fit their image better than a box of the next image does."""
    sample = each.sample
    if len(sample) < 2:
        return None
    following = dict(zip(sample, [*sample[1:], sample[0]], strict=True))

    def read(index: int, boxes: Boxes) -> Boxes:
        other = following[index]
        rows = each.written[other][np.arange(len(boxes)) % len(each.written[other])]
        return rows / np.tile(np.array(each.sizes[other], float), 2) * np.tile(np.array(each.sizes[index], float), 2)

    preference = each.prefers(read)
    return Preference(1 - preference.wins, preference.count)


def _defended(each: Annotated, read: Callable[[int, Boxes], Boxes]) -> bool:
    """Whether the boxes as they were read fit the images better than another reading."""
    preference = each.prefers(read)
    return preference.wins <= 0.5 and preference.z < -2


def _plausible_boxes(each: Annotated, read: Callable[[int, Boxes], Boxes]) -> npt.NDArray[np.int64]:
    """Number of plausible boxes in each image, int64 [images], after another reading."""
    return np.array(
        [
            int(_plausible(read(index, boxes), size).sum()) if len(boxes) else 0
            for index, (boxes, size) in enumerate(zip(each.written, each.sizes, strict=True))
        ]
    )


def _plausible(boxes: Boxes, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Whether boxes are finite, have an area and lie inside their image: bool [n]."""
    slack = np.maximum(2.0, limit("box_tolerance") * np.array(size, float))
    with np.errstate(invalid="ignore"):
        inside = (boxes[:, :2] >= -slack).all(axis=1) & (boxes[:, 2:] <= np.array(size) + slack).all(axis=1)
        large = (boxes[:, 2:] - boxes[:, :2] >= limit("smallest_side")).all(axis=1)
    return np.asarray(np.isfinite(boxes).all(axis=1) & inside & large)


def _defect(box: Boxes, size: tuple[int, int]) -> str:
    """What is wrong with a box; empty if nothing is."""
    if not np.isfinite(box).all():
        return "not finite"
    if (box[2:] < box[:2]).any():
        return "swapped"
    if (box[2:] == box[:2]).any():
        return "without area"
    limits = np.array(size, float)
    clipped = np.minimum(box[2:], limits) - np.maximum(box[:2], 0.0)
    lost = 1 - np.maximum(clipped, 0.0).prod() / (box[2:] - box[:2]).prod()
    if (clipped <= 0).any() or lost > limit("outside_share"):
        return "outside"
    return "tiny" if (box[2:] - box[:2] < limit("smallest_side")).any() else ""


def _implausible(each: Annotated) -> list[tuple[int, int]]:
    return [
        (index, int(number))
        for index, (boxes, size) in enumerate(zip(each.written, each.sizes, strict=True))
        for number in np.flatnonzero(~_plausible(boxes, size))
    ]


def _reach(each: Annotated, read: Callable[[int, Boxes], Boxes]) -> tuple[float, float]:
    """The largest bottom and right of all boxes after a reading, relative to their images."""
    ends = np.concatenate(
        [read(index, boxes)[:, 2:] / np.array(each.sizes[index]) for index, boxes in enumerate(each.written)]
    )
    return float(np.nanmax(ends[:, 0])), float(np.nanmax(ends[:, 1]))


def _converted(each: Annotated, reading: Reading, other: Reading) -> Callable[[int, Boxes], Boxes]:
    return lambda index, boxes: other.decode(reading.encode(boxes, each.sizes[index]), each.sizes[index])


def _rescaled(each: Annotated) -> Callable[[int, Boxes], Boxes]:
    def read(index: int, boxes: Boxes) -> Boxes:
        size = each.annotated_sizes[index] or each.sizes[index]
        return boxes * np.tile(np.array(each.sizes[index]) / np.array(size), 2)

    return read


def _normalized_again(each: Annotated) -> Callable[[int, Boxes], Boxes]:
    def read(index: int, boxes: Boxes) -> Boxes:
        height, width = each.sizes[index]
        return boxes * np.tile([width / height, height / width], 2)

    return read


def _transposed(each: Annotated) -> Callable[[int, Boxes], Boxes]:
    return lambda index, boxes: boxes[:, [1, 0, 3, 2]]


def _flipped(each: Annotated, *, vertical: bool) -> Callable[[int, Boxes], Boxes]:
    def read(index: int, boxes: Boxes) -> Boxes:
        (height, width), (top, left, bottom, right) = each.sizes[index], boxes.T
        if vertical:
            return np.stack([height - bottom, left, height - top, right], axis=-1)
        return np.stack([top, width - right, bottom, width - left], axis=-1)

    return read


def _turned(each: Annotated, *, clockwise: bool) -> Callable[[int, Boxes], Boxes]:
    """Boxes of an image that was turned when it was annotated, in the stored image."""

    def read(index: int, boxes: Boxes) -> Boxes:
        (height, width), (top, left, bottom, right) = each.sizes[index], boxes.T
        if clockwise:
            return np.stack([height - right, top, height - left, bottom], axis=-1)
        return np.stack([left, width - bottom, right, width - top], axis=-1)

    return read


def _examples(each: Annotated, places: Sequence[tuple[int, int]], read: Callable[[int, Boxes], Boxes]) -> list[str]:
    found = []
    for index, number in places[:3]:
        before, after = each.written[index][number], read(index, each.written[index])[number]
        found.append(
            f"{each.images.ids[index]}, object {number + 1}: top, left, bottom, right {_pixels(before)} as read, "
            f"{_pixels(after)} as explained, in {each.sizes[index][0]} x {each.sizes[index][1]}"
        )
    return found


def _place(each: Annotated, index: int, number: int) -> str:
    box = _pixels(each.written[index][number])
    return f"{each.images.ids[index]}, object {number + 1}: {box} in {each.sizes[index][0]} x {each.sizes[index][1]}"


def _pixels(box: Boxes) -> str:
    return "(" + ", ".join(f"{value:g}" for value in np.round(box, 2).tolist()) + ")"
